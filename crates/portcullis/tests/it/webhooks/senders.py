"""Signs and verifies with the senders' own libraries: a list of orders in, a list of answers out, as JSON."""

import json
import sys
from datetime import datetime, timezone

import stripe
import standardwebhooks


def sign_stripe(order):
    signed = f"{order['time']}.{order['body']}"
    signature = stripe.WebhookSignature._compute_signature(signed, order["secret"])
    return {"stripe-signature": f"t={order['time']},v1={signature}"}


def sign_standard(order):
    at = datetime.fromtimestamp(order["time"], tz=timezone.utc)
    signature = standardwebhooks.Webhook(order["secret"]).sign(order["id"], at, order["body"])
    return {"webhook-id": order["id"], "webhook-timestamp": str(order["time"]), "webhook-signature": signature}


def verify(order):
    headers, body = order["headers"], order["body"]
    if order["scheme"] == "stripe":
        stripe.Webhook.construct_event(body, headers["stripe-signature"], order["secret"])
    else:
        standardwebhooks.Webhook(order["secret"]).verify(body, headers)
    return True


DO = {"sign-stripe": sign_stripe, "sign-standard": sign_standard, "verify": verify}
json.dump([DO[order["do"]](order) for order in json.load(sys.stdin)], sys.stdout)
