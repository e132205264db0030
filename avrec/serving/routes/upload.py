"""`/upload`: where a sound or a film that the catalogue does not hold would stand in it."""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from avrec.bundle.uploads import EmbeddedFiles
from avrec.core.files import atomic_write
from avrec.serving.desk import Desk
from avrec.serving.messages import MAX_BUDGET_MS, MAX_K, UploadAnswer, Wish
from avrec.serving.questions import question_of_upload, require_mode
from avrec.serving.refusals import REFUSALS, RefusedError, printable, sentences
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from avrec.serving.spaces import Mode

router = APIRouter(tags=["lists"], responses=REFUSALS)
WHOLE = "file"
FIELDS = {"k", "mode"}


class UploadWish(BaseModel):
    """The text fields of the form."""

    model_config = ConfigDict(extra="forbid")
    k: int = Field(default=10, ge=1, le=MAX_K)
    mode: Mode = "hybrid"


def _form_schema() -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    files = {
        WHOLE: binary | {"description": "A film or a sound; it serves as every medium that it holds."},
        "audio": binary | {"description": "The sound, if it is not to be taken from `file`."},
        "video": binary | {"description": "The moving picture, if it is not to be taken from `file`."},
    }
    schema = UploadWish.model_json_schema()
    return {"type": "object", "additionalProperties": False, "properties": files | schema["properties"]}


@router.post(
    "/upload",
    response_model_exclude_unset=True,
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _form_schema()}}, "required": True}},
)
async def upload(request: Request) -> UploadAnswer:
    """Decode an upload in a process of its own, embed it, and list what resembles it. Nothing of it is kept."""
    desk = Desk.at(request)
    served = desk.served
    media = served.bundle.manifest.media
    if not media:
        raise RefusedError(422, "file: this bundle takes no media files; it was trained on finished features or ids.")
    if desk.uploading.locked():  # before the body is read, so that those who wait hold no disk
        raise RefusedError(429, "other uploads are being read; come back in a moment.")
    async with desk.uploading, request.form(max_files=3, max_fields=2) as form:
        wish, files = _read(form, served)
        found = await asyncio.to_thread(_embed, served, desk.settings, files)
    problems = [str(note) for note in found.problems]
    if not found.shares.any():
        raise RefusedError(422, "file: nothing of it could be read: " + " ".join(problems))
    id_dim = served.bundle.manifest.dims.id_dim
    history = found.history_vectors[0]
    question = question_of_upload(served, Wish(k=wish.k, mode=wish.mode), history[:id_dim], history[id_dim:])
    answer = await desk.answer(question, MAX_BUDGET_MS, request.state.arrived)
    shares = dict(zip(served.bundle.manifest.modalities, found.shares[0].tolist(), strict=True))
    notes = [str(note) for note in found.notes]
    return UploadAnswer(**dict(answer), shares=shares, problems=problems, notes=notes)


def _read(form: FormData, served: Served) -> tuple[UploadWish, dict[str, UploadFile]]:
    """The text fields, and a file for each medium that has one.

    Raises:
        RefusedError: a field is unknown, repeated or not what it should be, or there is no file.
    """
    items = form.multi_items()
    media = served.bundle.manifest.media
    files = {name: value for name, value in items if isinstance(value, UploadFile)}
    texts = {name: value for name, value in items if not isinstance(value, UploadFile)}
    if len(files) + len(texts) != len(items):
        raise RefusedError(422, "form: a field is given twice.")
    if unknown := sorted(files.keys() - {WHOLE, *media}):
        raise RefusedError(422, f"form: no file is expected in {printable(unknown[0])[:100]!r}; use {[WHOLE, *media]}.")
    if named := sorted(texts.keys() & {WHOLE, *media}):
        raise RefusedError(422, f"form: {named[0]!r} is text; send it as a file.")
    if not files:
        raise RefusedError(422, "form: no file; send one as `file` in multipart/form-data.")
    try:
        wish = UploadWish.model_validate(texts)
    except ValidationError as error:
        raise RefusedError(422, sentences(error.errors())) from None
    require_mode(served, wish.mode)
    if wish.mode == "collaborative":
        raise RefusedError(
            422, "mode: nobody has met an upload yet, so there is no collaborative answer; use hybrid or content."
        )
    chosen = {name: files.get(name) or files.get(WHOLE) for name in media}
    return wish, {name: given for name, given in chosen.items() if given is not None}


def _embed(served: Served, settings: ServerSettings, files: dict[str, UploadFile]) -> EmbeddedFiles:
    """Through the disk, since decoders seek; the caller's file names are not used."""
    limits = replace(settings.media_limits, max_file_bytes=settings.max_upload_bytes)
    with tempfile.TemporaryDirectory(prefix="avrec-upload-") as folder:
        names: dict[int, str] = {}
        for upload_file in files.values():
            if id(upload_file) not in names:
                names[id(upload_file)] = f"upload{len(names)}"
                with atomic_write(Path(folder) / names[id(upload_file)]) as file:
                    shutil.copyfileobj(upload_file.file, file)
        paths = {name: [names[id(upload_file)]] for name, upload_file in files.items()}
        return served.recommender.embed_files(paths, folder, num_workers=len(paths), limits=limits)
