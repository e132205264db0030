"""`/admin/swap`: another bundle, without a dropped request."""

import asyncio
import logging
import time
from pathlib import Path

from fastapi import APIRouter, Request

from avrec.core.errors import AvrecError
from avrec.serving.desk import Desk
from avrec.serving.messages import SwapAnswer, SwapRequest
from avrec.serving.refusals import REFUSALS, RefusedError
from avrec.serving.served import Served

router = APIRouter(prefix="/admin", tags=["administration"], responses=REFUSALS)
LOG = logging.getLogger(__name__)


@router.post("/swap")
async def swap(asked: SwapRequest, request: Request) -> SwapAnswer:
    """Verify and open another bundle in the background, then answer from it; to go back, swap to the old folder.

    Requests go on being answered from the old bundle until the new one is ready; if anything is wrong with it, the old one stays.
    """
    desk = Desk.at(request)
    if desk.swapping.locked():
        raise RefusedError(409, "another bundle is being opened; ask again when it is in force.")
    async with desk.swapping:
        started, previous = time.monotonic(), desk.served
        try:
            folder = _folder_below(desk.settings.swap_root, asked.bundle_dir)
            served = await asyncio.to_thread(Served.open, folder)
        except (AvrecError, OSError, RefusedError) as error:
            desk.metrics.swap("refused")
            LOG.warning("bundle %r refused: %s", asked.bundle_dir, error)
            raise RefusedError(422, f"bundle_dir: {error} The bundle {previous.version} stays in force.") from error
        desk.served = served
    desk.metrics.swap("done")
    LOG.warning("bundle %s (%s) replaced %s", served.version, folder, previous.version)
    return SwapAnswer(
        bundle=served.version,
        bundle_dir=str(served.bundle.folder),
        previous=previous.version,
        previous_dir=str(previous.bundle.folder),
        seconds=time.monotonic() - started,
    )


def _folder_below(root: Path, given: str) -> Path:
    """The folder, absolute or relative to `root`, with links resolved."""
    if "\0" in given:
        raise RefusedError(422, "holds a NUL byte.")
    try:
        folder = (root / given).resolve()
        is_folder = folder.is_dir()
    except OSError as error:
        raise RefusedError(422, f"cannot be a folder ({error.strerror}).") from None
    if not folder.is_relative_to(root):
        raise RefusedError(422, "leads out of the folder that bundles may be swapped in from (setting `bundle_root`).")
    if not is_folder:
        raise RefusedError(422, "there is no such folder below the setting `bundle_root`.")
    return folder
