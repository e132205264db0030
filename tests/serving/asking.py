"""A client that calls the application itself: no socket, no third-party client."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from avrec.serving.app import create_app
from avrec.serving.desk import Desk
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings

BOUNDARY = "boundary-of-parts"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Asker:
    """Runs an application in a loop of its own while it is entered."""

    def __init__(self, settings: ServerSettings, served: Served) -> None:
        self.app: FastAPI = create_app(settings, served)
        self.desk: Desk = self.app.state.desk
        self._loop = asyncio.new_event_loop()
        self._lifespan = self.app.router.lifespan_context(self.app)

    def __enter__(self) -> "Asker":
        self.run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def post(self, path: str, message: Any = None, **options: Any) -> Reply:
        return self.run(self.send("POST", path, message, **options))

    def get(self, path: str, **options: Any) -> Reply:
        return self.run(self.send("GET", path, **options))

    async def send(
        self,
        method: str,
        path: str,
        message: Any = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        chunks: list[bytes] | None = None,
    ) -> Reply:
        """One request; `chunks` come one after the other without a length in the header."""
        parts = chunks if chunks is not None else [json.dumps(message).encode() if body is None else body]
        path, _, query = path.partition("?")
        given = {"host": "localhost", "content-type": "application/json"}
        if chunks is None:
            given["content-length"] = str(len(parts[0]))
        given |= headers or {}
        waiting = [
            {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
            for number, part in enumerate(parts)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return waiting.pop(0) if waiting else await asyncio.Event().wait()

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        await self.app(scope, receive, send)
        answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:]), answered)


def form(**fields: Path | bytes | str) -> dict[str, Any]:
    """Options of `post` for multipart/form-data; text fields are given as str, files as a path or bytes."""
    parts = []
    for name, value in fields.items():
        is_file = not isinstance(value, str)
        content = value.read_bytes() if isinstance(value, Path) else value.encode() if isinstance(value, str) else value
        extra = '; filename="../../evil.m3u8"\r\nContent-Type: video/mp4' if is_file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return {"body": body, "headers": {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}}
