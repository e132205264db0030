"""`create_app`: the routes, the guard and the thread that ranks, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import avrec
from avrec.serving.desk import Desk
from avrec.serving.guard import Guard
from avrec.serving.refusals import add_handlers
from avrec.serving.routes import admin, browse, health, infer, media, newcomers, page, recommend, upload
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings

DESCRIPTION = """Recommendations from a bundle. Every answer says from what it was given (`answered_by`) and by which bundle;
every refusal is a status of 400 to 499 with a sentence in `error`, except for a `Range` of `/media` that cannot be served
(400 or 416, plain text)."""


def create_app(settings: ServerSettings, served: Served) -> FastAPI:
    """The application.

    Args:
        settings: of the server.
        served: the bundle to begin with.
    """
    desk = Desk(settings, served)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.batcher.start()
        yield
        desk.batcher.stop()

    app = FastAPI(
        title="avrec",
        version=avrec.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
    )
    app.state.desk = desk
    for routes in (recommend, upload, newcomers, browse, media, page, infer, admin, health):
        app.include_router(routes.router)
    add_handlers(app)
    app.add_middleware(Guard, settings=settings, metrics=desk.metrics)
    return app
