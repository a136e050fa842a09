"""Who may look: on loopback whoever is on this machine; beyond it whoever has the password.

On loopback the Host header must name it: else a web page that a browser on this machine shows could read ours through a name
of its own that points here.
"""

import base64
import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

USER = "flfleet"
#: Says nothing but that the process answers.
_OPEN = frozenset({"/healthz"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Guard:
    """ASGI middleware in front of a whole service."""

    def __init__(self, app: ASGIApp, password: SecretStr | None) -> None:
        self._app, self._password = app, password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers 401 or 403."""
        if scope["type"] != "http" or scope["path"] in _OPEN or self._may_look(scope):
            await self._app(scope, receive, send)
        else:
            await self._refusal()(scope, receive, send)

    def _may_look(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        if self._password is not None and _is_password(headers.get("authorization", ""), self._password):
            return True
        server = scope.get("server") or ("", None)
        return server[0] in LOOPBACK and _host(headers.get("host", "")) in LOOPBACK

    def _refusal(self) -> JSONResponse:
        if self._password is not None:
            body = {"error": "unauthorized", "reasons": [f"user {USER} and the password of FLFLEET_PAGE_PASSWORD"]}
            challenge = {"WWW-Authenticate": 'Basic realm="flfleet", charset="UTF-8"'}
            return JSONResponse(body, status_code=401, headers=challenge)
        reason = "this page is open on loopback only; to look from elsewhere, set FLFLEET_PAGE_PASSWORD"
        return JSONResponse({"error": "forbidden", "reasons": [reason]}, status_code=403)


def _is_password(authorization: str, password: SecretStr) -> bool:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded, validate=True)
    except ValueError:  # no base64, or no ASCII
        return False
    return hmac.compare_digest(given, f"{USER}:{password.get_secret_value()}".encode())


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
