"""`RefusedError`, and how every error becomes one sentence: `{"error": "..."}`, the form that KServe's protocol asks for."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException

from avrec.core.errors import AvrecError
from avrec.serving.messages import Refusal

MAX_NAMED = 20
MAX_CHARS = 300
LOG = logging.getLogger(__name__)
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refusal, "description": "Refused, with the reason."}}


class RefusedError(Exception):
    """A request that is not served.

    Attributes:
        status: 400 to 499.
        text: why, and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(text)


def refusal(status: int, text: str) -> JSONResponse:
    """The answer to a request that is not served."""
    headers = {"Retry-After": "1"} if status == 429 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": printable(text)}, status, headers)


def printable(text: str) -> str:
    """Text that UTF-8 can carry: half a surrogate pair, which JSON may hold, cannot be sent back."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app a sentence."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return refusal(error.status, error.text)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(422, sentences(error.errors()))

    @app.exception_handler(AvrecError)
    async def unusable(request: Request, error: AvrecError) -> JSONResponse:
        return refusal(422, str(error))

    @app.exception_handler(FormParserError)
    async def no_form(request: Request, error: FormParserError) -> JSONResponse:
        return refusal(400, f"form: cannot be read as multipart/form-data ({error}).")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        known = {
            404: "there is no such path; /openapi.json lists them.",
            405: f"{request.method} is not possible here; /openapi.json lists what is.",
        }
        answer = refusal(error.status_code, known.get(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        LOG.exception("%s %s", request.method, request.url.path, exc_info=error)
        return refusal(500, "a defect of the server; its log says more.")


def sentences(errors: Sequence[Any]) -> str:
    """What pydantic found, one `where: what` after the other; the values themselves are not sent back."""
    if errors and errors[0]["type"] == "json_invalid":
        return f"body: not JSON, at character {errors[0]['loc'][-1]}: {errors[0]['ctx']['error']}."
    named = [f"{_where(error['loc'])}: {error['msg']}"[:MAX_CHARS] for error in errors[:MAX_NAMED]]
    rest = [f"and {len(errors) - MAX_NAMED} more"] if len(errors) > MAX_NAMED else []
    return "; ".join([*named, *rest]) + "."


def _where(location: Sequence[str | int]) -> str:
    place = [str(part) for part in location if part not in ("body", "query", "path")]
    return ".".join(place)[:MAX_CHARS] or "body"
