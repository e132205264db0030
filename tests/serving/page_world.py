"""The media world's bundle as an export of a data set with titles, tags and media paths would be; and a server of it."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import uvicorn

from avrec.bundle.newcomer_tables import GROUP_VECTORS, GROUPS, ITEM_TAGS, MEAN, TAG_VECTORS, TAGS
from avrec.bundle.schema import ITEM_IDS, MANIFEST
from avrec.core.files import read_npy, read_table, sha256_file, write_json, write_npy, write_table
from avrec.serving.app import create_app
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.media_world import NUM_FILES, MediaWorld, path
from tests.export.world import NUM_ITEMS

KEY = "a key of more than sixteen characters"
HOSTILE = "<img src=x onerror=alert(1)> & Söhne"
FIRST_FILE = NUM_ITEMS - NUM_FILES


def columns() -> dict[str, pa.Array]:
    """Titles, tags and paths of 30 items: the last six have films, item 3 a sound, others what may not be served."""
    titles = [f"Title {index}" for index in range(NUM_ITEMS)]
    titles[0], titles[1] = HOSTILE, None
    tags: list[list[str] | None] = [["sea", "night"] if index % 2 else None for index in range(NUM_ITEMS)]
    films = [path(index) if index >= FIRST_FILE else None for index in range(NUM_ITEMS)]
    sounds = list(films)
    films[4], films[5], films[6], films[7] = "../secret.mp4", "link.mp4", "page.mp4", "absent.mp4"
    sounds[3], sounds[FIRST_FILE] = "sound.wav", "sound.wav"
    texts = {"title": titles, "video_path": films, "audio_path": sounds}
    return {name: pa.array(values, pa.string()) for name, values in texts.items()} | {
        "tags": pa.array(tags, pa.list_(pa.large_string()))
    }


def showing(bundle: Path, folder: Path, given: dict[str, pa.Array]) -> Path:
    """A copy of a bundle whose items have these columns besides; with tags, they are interests to state as well."""
    shutil.copytree(bundle, folder)
    table = read_table(folder / ITEM_IDS, ["item_id"])
    for name, column in given.items():
        table = table.append_column(name, column)
    write_table(folder / ITEM_IDS, table)
    if given.keys() >= columns().keys():
        write_interests(folder)
        write_fields(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    changed = [path for path in folder.iterdir() if path.suffix in (".npy", ".parquet")]
    manifest["files"] |= {path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size} for path in changed}
    write_json(folder / MANIFEST, manifest)
    return folder


def write_interests(folder: Path) -> None:
    """Two tags on every second item; nobody's history says anything of the first."""
    (width,) = read_npy(folder / MEAN).shape
    vectors = np.random.default_rng(4).standard_normal((2, width)).astype(np.float32)
    write_npy(folder / TAG_VECTORS, vectors)
    write_table(folder / TAGS, pa.table({"tag": ["night", "sea"], "users": np.array([0, 3], np.float32)}))
    item, tag = np.repeat(np.arange(1, NUM_ITEMS, 2), 2), np.tile([0, 1], NUM_ITEMS // 2)
    entries = {"item_idx": item, "tag_idx": tag, "weight": np.ones(len(item), np.float32)}
    write_table(folder / ITEM_TAGS, pa.table(entries))


def write_fields(folder: Path) -> None:
    """A country of two values, and an age in two bands."""
    (width,) = read_npy(folder / MEAN).shape
    write_npy(folder / GROUP_VECTORS, np.random.default_rng(5).standard_normal((4, width)).astype(np.float32))
    groups = {
        "field": pa.array(["age", "age", "country", "country"], pa.string()),
        "value": pa.array([None, None, "PT", "SE"], pa.string()),
        "low": np.array([-np.inf, 30.0, np.nan, np.nan]),
        "high": np.array([30.0, np.inf, np.nan, np.nan]),
        "users": np.full(4, 5, np.float32),
    }
    write_table(folder / GROUPS, pa.table(groups))


def media_folder(world: MediaWorld, folder: Path) -> Path:
    """The world's films, a sound, and what may not be served; a secret lies beside the folder."""
    root = folder / "media"
    shutil.copytree(world.media_root, root)
    (folder / "secret.mp4").write_bytes((root / "0.mp4").read_bytes())
    (root / "link.mp4").symlink_to(folder / "secret.mp4")
    (root / "page.mp4").write_text("<!doctype html><script>alert(1)</script>")
    (root / "sound.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(24))
    return root


@contextmanager
def served_at(settings: ServerSettings, served: Served) -> Iterator[str]:
    """The address of a server that runs beside the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = uvicorn.Config(create_app(settings, served), log_level="error", access_log=False)
        server = uvicorn.Server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
