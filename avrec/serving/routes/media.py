"""`/media`: an item's own file to a page that plays it, by the item's id, never by a path."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from avrec.core.clips import MediaKind
from avrec.media.problems import MediaError
from avrec.serving.desk import Desk
from avrec.serving.messages import MAX_ID_CHARS
from avrec.serving.player import PlayableFile
from avrec.serving.refusals import REFUSALS, RefusedError
from avrec.serving.served import Served

router = APIRouter(tags=["page"], responses=REFUSALS)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600",
}


@router.get("/media", response_class=FileResponse, responses={206: {"description": "The bytes of a `Range`."}})
async def media(
    request: Request,
    item: Annotated[str, Query(min_length=1, max_length=MAX_ID_CHARS)],
    kind: MediaKind,
    ticket: Annotated[
        str | None, Query(max_length=128, description="Of the item's card, where the server has a key.")
    ] = None,
) -> FileResponse:
    """The file, or the part of it that `Range` asks for. Its type is what its own first bytes say."""
    desk = Desk.at(request)
    if not desk.player.admits(item, kind, ticket):
        raise RefusedError(403, "ticket: not this file's, or its time is over; ask /cards for the item again.")
    found = await asyncio.to_thread(_file, desk, desk.served, item, kind)
    return FileResponse(found.path, media_type=found.media_type, headers=HEADERS)


def _file(desk: Desk, served: Served, item: str, kind: MediaKind) -> PlayableFile:
    item_idx = served.items.get(item)
    if item_idx is None:
        raise RefusedError(404, "item: not in this bundle.")
    try:
        return desk.player.file(served.display, item_idx, kind)
    except MediaError as error:
        raise RefusedError(404, f"item: its {kind} cannot be played here ({error.kind}).") from None  # names no path
