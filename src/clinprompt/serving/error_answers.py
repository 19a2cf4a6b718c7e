"""Answer requests that failed, in one form and without what the client sent."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clinprompt.errors import RunError
from clinprompt.serving.access import Refused, internal_error
from clinprompt.serving.predict_requests import NoteRequest
from clinprompt.serving.teaching_requests import NAMES


def add_error_answers(app: FastAPI) -> None:
    """Have an application answer every error with its status, and in the form of ``Refused``."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RunError, _not_written)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def without_input(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return validation errors without what the client sent, which may be text of a record."""
    known = NAMES | set(NoteRequest.model_fields) | {"body", "model", "messages", "prompt"}
    parts = []
    for error in errors:
        place = [str(one) if isinstance(one, int) or one in known else "…" for one in error["loc"]]
        message = "not valid JSON" if error["type"] == "json_invalid" else error["msg"]
        parts.append(f"{'.'.join(place)}: {message}" if place else message)
    return "; ".join(parts)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse(error.content(), status_code=error.status)


async def _not_written(_: Request, error: Exception) -> JSONResponse:
    """Answer that a file could not be written; the message names the file and the remedy."""
    assert isinstance(error, RunError)
    return JSONResponse(Refused(500, "not_written", str(error)).content(), status_code=500)


async def _not_valid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    refused = Refused(422, "invalid_request", without_input(error.errors()))
    return JSONResponse(refused.content(), status_code=422)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    refused = Refused(error.status_code, "http_error", str(error.detail))
    return JSONResponse(refused.content(), status_code=error.status_code, headers=error.headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(internal_error().content(), status_code=500)  # the guard logs the error
