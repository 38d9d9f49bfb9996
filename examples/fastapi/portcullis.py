"""Who is calling, as Portcullis says it: a dependency for FastAPI.

The key set is fetched once and again when an unknown key appears; nothing else waits for the network.
Refuse every request without an assertion: requests of nobody bear one too, with the subject `anonymous`.
"""

import os

import jwt
from fastapi import HTTPException, Request

GATE = os.environ.get("PORTCULLIS_URL", "http://127.0.0.1:8080")
AUDIENCE = os.environ.get("PORTCULLIS_AUDIENCE", "app")  # the name in [upstream.NAME]
ISSUER = os.environ.get("PORTCULLIS_ISSUER", "portcullis")  # [assertion] issuer
REQUIRED = ["iss", "aud", "sub", "iat", "exp", "roles"]

keys = jwt.PyJWKClient(f"{GATE}/.portcullis/jwks.json", cache_keys=True, lifespan=3600, timeout=5)


def caller(request: Request) -> dict:
    """The verified claims: `sub`, `roles`, and for a user `sid` and perhaps `tenant`."""
    values = request.headers.getlist("x-portcullis-assertion")
    try:
        (assertion,) = values  # exactly one: with two, somebody else spoke as well
        if jwt.get_unverified_header(assertion).get("typ") != "portcullis-assertion+jwt":
            raise ValueError("another kind of token")
        return jwt.decode(
            assertion,
            keys.get_signing_key_from_jwt(assertion).key,
            algorithms=["EdDSA"],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=2,
            options={"require": REQUIRED, "strict_aud": True},
        )
    except (ValueError, jwt.PyJWTError) as error:
        raise HTTPException(401, "this request did not come through the gate") from error
