"""`serve`: listen until the system says stop, and finish what was begun."""

import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from avrec.core.errors import ConfigError
from avrec.serving.app import create_app
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings

KEEP_ALIVE_SEC = 30
SHUTDOWN_SEC = 30
BACKLOG = 2048


def serve(settings: ServerSettings) -> None:
    """Answer requests until SIGTERM or SIGINT; then no new ones are taken, and those that are under way get their answers.

    Raises:
        ConfigError: the address is not to be had.
        ArtefactError: something is wrong with the bundle.
    """
    started = time.monotonic()
    served = Served.open(settings.bundle_dir)
    listener = _listener(settings)
    options = uvicorn.Config(
        create_app(settings, served),
        access_log=False,
        log_level=logging.WARNING,
        lifespan="on",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SEC,
        timeout_graceful_shutdown=SHUTDOWN_SEC,
        backlog=BACKLOG,
    )
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    dims = served.bundle.manifest.dims
    print(
        f"avrec serve: {dims.num_items:,} items, {dims.num_users:,} users (bundle {served.version}) at http://{address} "
        f"after {time.monotonic() - started:.1f} s; key {'needed' if settings.api_key else 'not needed'}; "
        "a page to try it: /; what can be asked: /openapi.json",
        flush=True,
    )
    with listener, _quiet_end():
        uvicorn.Server(options).run(sockets=[listener])


def _listener(settings: ServerSettings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # from here on who comes early waits instead of being turned away
    except OSError as error:
        raise ConfigError(
            f"host {settings.host!r}, port {settings.port}: cannot listen there ({error}). Take another port, or 0 for any."
        ) from error
    return listener


@contextmanager
def _quiet_end() -> Iterator[None]:
    """After a clean end, code 0: uvicorn sends itself the signal that stopped it once more."""

    def nothing(number: int, frame: FrameType | None) -> None: ...

    before = {number: signal.signal(number, nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
