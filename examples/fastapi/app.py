"""A product behind Portcullis. `uvicorn app:app --port 8000` in this folder."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

from portcullis import caller

# Every route, also those written tomorrow. FastAPI's own pages about them would be left out: they are off.
app = FastAPI(dependencies=[Depends(caller)], openapi_url=None)
Caller = Annotated[dict, Depends(caller)]


@app.api_route("/whoami", methods=["GET", "POST"])
def whoami(claims: Caller) -> dict:
    return {"subject": claims["sub"], "roles": claims["roles"]}


@app.get("/reports")
def reports(claims: Caller) -> list[str]:
    if "admin" not in claims["roles"]:
        raise HTTPException(403, "administrators only")
    return ["everything is fine"]
