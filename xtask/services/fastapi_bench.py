"""What a team writes when it has no gate: session, CSRF, limits, headers and a log line in a middleware of its own.

One uvicorn worker on the loopback address. PORTCULLIS_BENCH_SESSIONS names a file with one session token per line.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import sys
import time

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

KEY = secrets.token_bytes(32)
SAFE = {"GET", "HEAD", "OPTIONS"}
# (name, how many, in how many seconds)
LIMITS = [
    ("address", 1_000_000, 1),
    ("address", 50_000_000, 60),
    ("user", 1_000_000, 1),
    ("user", 50_000_000, 60),
]

log = logging.getLogger("app")
app = FastAPI()
sessions: dict[str, dict] = {}
windows: dict[tuple, int] = {}


def refuse(status: int, title: str) -> JSONResponse:
    return JSONResponse({"title": title, "status": status}, status, media_type="application/problem+json")


def within_limits(address: str, user: str, now: float) -> bool:
    for index, (name, most, seconds) in enumerate(LIMITS):
        key = (index, address if name == "address" else user, int(now / seconds))
        windows[key] = windows.get(key, 0) + 1
        if windows[key] > most:
            return False
    if len(windows) > 100_000:
        windows.clear()
    return True


def csrf_token(session: str) -> str:
    return hmac.new(KEY, session.encode(), hashlib.sha256).hexdigest()


@app.middleware("http")
async def protect(request: Request, call_next):
    start = time.time()
    request_id = secrets.token_hex(16)
    token = request.cookies.get("session", "")
    session = sessions.get(hashlib.sha256(token.encode()).hexdigest())
    if session is None or session["expires_at"] < start:
        return refuse(401, "sign in")
    if not within_limits(request.client.host, session["user"], start):
        return refuse(429, "too many requests")
    if request.method not in SAFE:
        given = request.headers.get("x-csrf-token", "")
        if not hmac.compare_digest(given, csrf_token(token)):
            return refuse(403, "the CSRF token is not valid")
    if "user" not in session["roles"]:
        return refuse(403, "not permitted")
    request.state.user = session["user"]

    response = await call_next(request)

    nonce = secrets.token_urlsafe(16)
    headers = response.headers
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    headers["Content-Security-Policy"] = f"default-src 'self'; script-src 'self' 'nonce-{nonce}'"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    line = {
        "request_id": request_id,
        "method": request.method,
        "path": request.url.path,
        "status": response.status_code,
        "duration_ms": round((time.time() - start) * 1000, 3),
        "user": session["user"],
    }
    log.info(json.dumps(line))
    return response


@app.get("/api/v1/conversations/{conversation}/messages")
async def messages(conversation: str, limit: int = 50):
    return {"conversation": conversation, "limit": limit, "messages": []}


def main() -> None:
    with open(os.environ["PORTCULLIS_BENCH_SESSIONS"], encoding="ascii") as file:
        for number, token in enumerate(file.read().split()):
            digest = hashlib.sha256(token.encode()).hexdigest()
            sessions[digest] = {"user": f"user-{number}", "roles": ["user"], "expires_at": time.time() + 86_400}
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
