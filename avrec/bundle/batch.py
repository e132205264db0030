"""The lists of all users of a bundle as one Parquet file: in bounded memory, and resumable after any kind of death.

Axes: B users of a part, K length of the lists, R rows of a part.
"""

import glob
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avrec import __version__
from avrec.bundle.answered import HOW
from avrec.bundle.recommender import Recommender
from avrec.bundle.schema import MANIFEST
from avrec.core.arrays import Bool, Int64
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import atomic_write, file_lock, read_json, sha256_file, write_json
from avrec.core.query import UserQuery
from avrec.retrieval.rerank import Reranking

ROWS_PER_PART = 2**19
MAX_USERS_PER_PART = 2**14
CLAIM = "avrec"  # the key in the file's metadata
FORMAT_VERSION = 1
COLUMNS = ("user_id", "rank", "item_id", "score", "how")
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["user_id", "rank", "item_id", "how"],
    "dictionary_pagesize_limit": 2**30,  # a dictionary of many ids would else be given up for plain text
    "write_statistics": ["user_id"],
}


@dataclass(frozen=True)
class Wish:
    """What every user is to get.

    Attributes:
        k: length of the lists, at least 1.
        exclude_seen: leave out what the user's history holds.
        allowed: (N,) true for the items that may be shown; all when None.
        reranking: how the lists are put in order; by score when None.
    """

    k: int
    exclude_seen: bool = True
    allowed: Bool | None = None
    reranking: Reranking | None = None


@dataclass(frozen=True)
class Written:
    """What was done.

    Attributes:
        path: the file.
        num_users: in the bundle; somebody to whom nothing may be shown has no row.
        resumed: users whose lists stood already.
        seconds: of this call.
    """

    path: Path
    num_users: int
    resumed: int
    seconds: float


def write_lists(
    recommender: Recommender, path: str | Path, wish: Wish, tell: Callable[[int, int], None] = lambda done, total: None
) -> Written:
    """Write `user_id, rank, item_id, score, how` of every user, users in the bundle's order, best item first.

    Some thousand users at a time become a file of their own in `<path>.parts`, beside a claim that says of which bundle
    and by which settings. Each appears whole or not at all, so a call after a `kill -9` takes up what stands there and makes
    what is missing; then the parts become the row groups of one file, which appears whole or not at all, and the folder goes.
    Ranks count from 1; ids and `how` (from what the user was served) are dictionaries.

    Args:
        recommender: of the bundle.
        path: the file; one that holds just these lists already is left as it is.
        wish: what every user is to get.
        tell: called with the users that are done, and all, at the start and after each part.

    Raises:
        ConfigError: the file or the parts are of another bundle or other settings, or another process writes them.
        ArtefactError: a part was damaged.
    """
    if wish.k < 1:
        raise ConfigError(f"k is {wish.k}; expected at least 1.")
    began, path = time.monotonic(), Path(path)
    parts = path.with_name(f"{path.name}.parts")
    num_users = len(recommender.bundle.users)
    claim = _claim(recommender, wish)
    if path.exists():
        _compare(path, _claim_of(path), claim)
        shutil.rmtree(parts, ignore_errors=True)  # somebody died between the last two steps
        return Written(path, num_users, num_users, time.monotonic() - began)
    with file_lock(parts / "lock", wait=False) as alone:
        if not alone:
            raise ConfigError(f"{parts}: another process is writing {path.name}. Wait for it, or name another file.")
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):  # of somebody who died while sealing
            left.unlink()
        if (parts / "claim.json").exists():
            _compare(parts, read_json(parts / "claim.json"), claim)
        else:
            write_json(parts / "claim.json", claim)
        step = claim["users_per_part"]
        starts = range(0, num_users, step)
        missing = [start for start in starts if not _part(parts, start).exists()]
        resumed = num_users - sum(min(step, num_users - start) for start in missing)
        done = resumed
        tell(done, num_users)
        for start in missing:
            users = np.arange(start, min(start + step, num_users))
            _write_part(_part(parts, start), part_table(recommender, users, wish))
            done += len(users)
            tell(done, num_users)
        _seal(path, [_part(parts, start) for start in starts], claim)
        shutil.rmtree(parts)
    return Written(path, num_users, resumed, time.monotonic() - began)


def part_table(recommender: Recommender, users: Int64, wish: Wish) -> pa.Table:
    """The rows of some users, (R, 5).

    Args:
        recommender: of the bundle.
        users: (B,) dense indices, rising by one.
        wish: what every user is to get.
    """
    bundle = recommender.bundle
    query = UserQuery.of_users(users, bundle.history)
    item_idx, scores, how = recommender.top(query, wish.k, wish.exclude_seen, wish.allowed, wish.reranking)
    shown_BK = item_idx >= 0
    row, rank = np.nonzero(shown_BK)
    shown_R = item_idx[shown_BK]
    used = np.zeros(len(bundle.items), np.bool_)
    used[shown_R] = True
    place = np.cumsum(used) - 1
    items = bundle.items.array.take(pa.array(np.flatnonzero(used)))
    columns = [
        _dictionary(row, bundle.users.array.slice(int(users[0]), len(users))),
        pa.array((rank + 1).astype(np.int32)),
        _dictionary(place[shown_R], items),
        pa.array(scores[shown_BK]),
        _dictionary(how[row], pa.array(HOW)),
    ]
    return pa.table(columns, schema=_schema())


def _dictionary(index: Int64, values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), values.cast(pa.string()))


def _schema() -> pa.Schema:
    words = pa.dictionary(pa.int32(), pa.string())  # what a reader of Parquet finds there
    return pa.schema(zip(COLUMNS, (words, pa.int32(), words, pa.float32(), words), strict=True))


def _claim(recommender: Recommender, wish: Wish) -> dict[str, Any]:
    """What two calls must agree on to write one file."""
    reranking = wish.reranking if wish.reranking is not None and wish.reranking.changes else None
    held = min(max(wish.k, reranking.pool if reranking else 1), len(recommender.bundle.items))  # candidates of a user
    allowed = None if wish.allowed is None else hashlib.sha256(np.packbits(wish.allowed).tobytes()).hexdigest()
    return {
        "format_version": FORMAT_VERSION,
        "avrec_version": __version__,
        "bundle": sha256_file(recommender.bundle.folder / MANIFEST),  # it names the hash of every other file
        "k": wish.k,
        "exclude_seen": wish.exclude_seen,
        "allowed": allowed,
        "rerank": None if reranking is None else asdict(reranking),
        "users_per_part": max(1, min(ROWS_PER_PART // max(held, 1), MAX_USERS_PER_PART)),
    }


def _compare(place: Path, found: object, claim: dict[str, Any]) -> None:
    if found != claim:
        other = found if isinstance(found, dict) else {}
        keys = sorted(key for key in claim.keys() | other.keys() if claim.get(key) != other.get(key))
        raise ConfigError(
            f"{place}: was made otherwise than asked now: {', '.join(keys)} differ. Delete it, or name another file."
        )


def _claim_of(path: Path) -> object:
    try:
        metadata = pq.read_schema(path).metadata or {}
        return json.loads(metadata.get(CLAIM.encode(), b"null"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{path}: exists and holds no lists of avrec ({error}). Name another file.") from error


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:012d}.parquet"


def _write_part(path: Path, table: pa.Table) -> None:
    with atomic_write(path) as file:
        pq.write_table(table, file, row_group_size=max(len(table), 1), **_OPTIONS)


def _seal(path: Path, parts: list[Path], claim: dict[str, Any]) -> None:
    """The parts as the row groups of one file, one of them in memory at a time."""
    schema = _schema().with_metadata({CLAIM: json.dumps(claim, sort_keys=True)})
    with atomic_write(path) as file, pq.ParquetWriter(file, schema, **_OPTIONS) as writer:
        for part in parts:
            try:
                table = pq.read_table(part, partitioning=None)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise ArtefactError(f"{part}: damaged ({error}). Delete it and repeat the command.") from error
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=max(len(table), 1))
