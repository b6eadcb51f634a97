"""Answers of the API: JSON, and errors with the HTTP status that fits."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from medp2p.errors import ControlError, MedP2PError
from medp2p.groups import find_error
from medp2p.net.guard import bug_text

log = logging.getLogger(__name__)

#: HTTP status of an error code; 422 for every other one.
_STATUS = {
    "usage": 400,
    "source": 400,
    "config": 400,
    "no-session": 401,
    "not-found": 404,
    "unknown-peer": 404,
    "conflict": 409,
    "check-refused": 409,
    "vault-locked": 423,
    "control": 500,
    "store": 500,
    "unreachable": 502,
    "no-space": 507,
}


def error_json(error: MedP2PError) -> dict[str, Any]:
    """Return the body that carries an error to the client."""
    return {"error": {**error.to_json(), "exit_code": error.exit_code}}


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON answer; ASCII only, so that lone surrogates cannot break it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Response(text.encode("ascii"), status, media_type="application/json")


def error_answer(error: MedP2PError, status: int | None = None) -> Response:
    """Return the answer for an error that a person can act on."""
    return answer(error_json(error), status or _STATUS.get(error.code, 422))


async def safely(
    request: Request, give: Callable[[], Awaitable[Response]], count_bug: Callable[[], None]
) -> Response:
    """Return what ``give`` answers; its errors are answers too, a bug ends this request only.

    Args:
        request: Names the route in the log.
        give: Its answer.
        count_bug: Called for a bug.

    Cancellation: passes through, also out of a group; nobody is there to hear of errors beside it.
    """

    def note(error: Exception) -> None:
        # Types and places only: messages of foreign exceptions hold paths.
        log.error("bug behind %s: %s", request.scope["route"].path, bug_text(error))
        count_bug()

    try:
        return await give()
    except MedP2PError as error:
        return error_answer(error)
    except ExceptionGroup as group:
        if (error_inside := find_error(group)) is not None:
            return error_answer(error_inside)
        note(group)
    except Exception as error:  # noqa: BLE001 - one request must not end the daemon
        note(error)
    except BaseExceptionGroup as group:
        errors, stop = group.split(Exception)
        if errors is not None and find_error(errors) is None:
            note(errors)
        if stop is not None:
            raise stop from None
    return error_answer(
        ControlError(
            "the daemon made a mistake; nothing is known to have changed",
            hint="its log says more; please report it",
        )
    )
