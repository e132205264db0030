"""`Guard`: what is decided about a request before anything reads its body."""

import asyncio
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avrec.serving.metrics import Metrics
from avrec.serving.refusals import RefusedError, refusal
from avrec.serving.settings import ServerSettings

# A page's players cannot send a key: /media asks for a ticket instead.
OPEN_PATHS = frozenset(
    {"/", "/media", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/openapi.json"}
)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BODY_SEC = 60.0


class Guard:
    """ASGI middleware: host, origin, key and size of each request; and it counts and times them.

    A page of a foreign site can make its visitor's browser send requests to a server on loopback. So the `Host` must be one of
    this server's names, which a foreign name that was bound to 127.0.0.1 is not, and where there is an `Origin`, it must be
    this server.

    Args:
        app: what is guarded.
        settings: of the server.
        metrics: counts.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._key = None if settings.api_key is None else settings.api_key.encode("ascii")
        self._hosts = settings.answered_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with a body that cannot grow beyond its limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived, status = time.monotonic(), 500
        scope.setdefault("state", {})["arrived"] = arrived

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            limit = self._checked(scope)
            await self._app(scope, _limited(receive, limit, arrived + BODY_SEC), noted)
        except RefusedError as error:
            await refusal(error.status, error.text)(scope, receive, noted)
        finally:
            self._metrics.request(_route(scope), status, time.monotonic() - arrived)

    def _checked(self, scope: Scope) -> int:
        """The most bytes that the body may have.

        Raises:
            RefusedError: the request is not let in.
        """
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._hosts and "*" not in self._hosts and _name(host) not in self._hosts:
            raise RefusedError(
                421, "Host: this server does not answer to that name; it knows those in its setting `hosts`."
            )
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in SAFE_METHODS and urlsplit(origin).netloc != host:
            raise RefusedError(403, "Origin: pages of other sites may not send requests to this server.")
        if self._key is not None and path not in OPEN_PATHS and not self._has_key(headers):
            raise RefusedError(401, "a key is needed: send it as `X-API-Key: KEY` or `Authorization: Bearer KEY`.")
        limit = self._limit(path)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > limit:
            raise RefusedError(413, f"the body has {length[:20]} bytes; {path[:100]} takes {limit}.")
        return limit

    def _has_key(self, headers: Headers) -> bool:
        assert self._key is not None
        bearer = headers.get("authorization", "")
        given = headers.get("x-api-key") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._key)

    def _limit(self, path: str) -> int:
        if path == "/upload":
            return self._settings.max_upload_bytes
        if path.startswith("/v2/"):
            return self._settings.max_tensor_bytes
        return self._settings.max_body_bytes


def _name(host: str) -> str:
    """The name of a `Host` without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _route(scope: Scope) -> str:
    """The route's pattern, never the path itself: what a stranger sends must not become a label."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"


def _limited(receive: Receive, limit: int, deadline: float) -> Receive:
    """The same messages, until they hold more bytes than the limit or come too slowly."""
    num_bytes, complete = 0, False

    async def limited() -> Message:
        """The next message, or a refusal."""
        nonlocal num_bytes, complete
        if complete:  # what still comes is that the client has gone
            return await receive()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {BODY_SEC:.0f} s.") from None
        num_bytes += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if num_bytes > limit:
            raise HTTPException(413, f"the body has more than {limit} bytes, which is what this path takes.")
        return message

    return limited
