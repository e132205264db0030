"""The one door to the disk: everything is written atomically, and sizes that a header claims are checked before reading."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avrec.core.errors import ArtefactError

MAX_JSON_BYTES = 64 * 2**20
MAX_TABLE_BYTES = 8 * 2**30


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` whole or not at all.

    The bytes go to a temporary file in the same folder, are flushed to the disk and renamed; a crash at any moment leaves
    the old file as it was. The folder is created when it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
        _fsync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a folder that appears under `path` only when it is complete; an older one is replaced.

    An error at any moment leaves the older folder under `path`. No file system call swaps two folders portably: a power cut
    exactly between the last two renames leaves the older one whole in a sibling whose name ends in `.old`.

    Yields:
        A temporary sibling folder to write into.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield draft
        draft.chmod(0o755)
        if path.exists():
            _exchange(draft, path)
        else:
            try:
                os.replace(draft, path)
            except OSError as error:  # somebody else was first
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                _exchange(draft, path)
        _fsync_folder(path.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _exchange(draft: Path, path: Path) -> None:
    """Put `draft` in the place of the existing `path`; when that fails, the old folder is put back."""
    attic = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    old = attic / path.name
    try:
        os.replace(path, old)
        try:
            os.replace(draft, path)
        except BaseException:
            old.rename(path)
            raise
    except BaseException:
        with contextlib.suppress(OSError):
            attic.rmdir()
        raise
    shutil.rmtree(attic, ignore_errors=True)


@contextlib.contextmanager
def file_lock(path: str | Path, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on `path`, an empty file that is created when missing and never removed.

    The kernel lets go of it when its holder dies, however it dies, so a lock is never stale.

    Args:
        path: any file that all parties agree on.
        shared: together with other shared holders; else alone.
        wait: until the others let go; else give up at once.

    Yields:
        Whether the lock is held; always true with `wait`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # by name, since a forked child may still hold the descriptor


def sha256_file(path: str | Path) -> str:
    """Hex digest of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, value: object) -> None:
    """Write JSON atomically: sorted keys, UTF-8, no NaN."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode("utf-8") + b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot be read ({error.strerror}). Check the path, or make the artefact again."
        ) from error


def read_json(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read JSON of at most `max_bytes`.

    Raises:
        ArtefactError: the file is missing, too large or not JSON.
    """
    path = Path(path)
    size = _size(path)
    if size > max_bytes:
        raise ArtefactError(f"{path}: {size} bytes of JSON; at most {max_bytes} are read. Is this the right file?")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error}). Make the artefact again.") from error


def check_format_version(value: Any, path: str | Path, supported: int) -> None:
    """Raise ArtefactError unless `value["format_version"]` is `supported`."""
    found = value.get("format_version") if isinstance(value, dict) else None
    if found != supported:
        raise ArtefactError(
            f"{path}: format version {found!r}; this avrec reads version {supported}. Make the artefact again."
        )


def write_npy(path: str | Path, array: np.ndarray) -> None:
    """Write one plain array (no objects) as `.npy`, atomically."""
    with atomic_write(path) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def read_npy(path: str | Path, ndim: int | None = None, mmap: bool = True) -> np.ndarray:
    """Read or map an `.npy` file after comparing the header's claim with the file's length.

    Raises:
        ArtefactError: missing, damaged, truncated, holding Python objects, or of another number of dimensions than `ndim`.
    """
    path = Path(path)
    size = _size(path)
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"npy version {version}")
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(file)
            data_bytes = size - file.tell()
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:  # numpy parses the header as Python text
        raise ArtefactError(f"{path}: not a readable .npy file ({error}). Write it again with numpy.save.") from error
    if dtype.hasobject:
        raise ArtefactError(
            f"{path}: holds Python objects (pickle), which are never loaded. Save a numeric array instead."
        )
    claimed = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape):
        raise ArtefactError(f"{path}: the header claims the shape {shape}. The file is damaged.")
    if claimed != data_bytes:
        raise ArtefactError(
            f"{path}: the header claims {claimed} bytes {shape}, the file holds {data_bytes}. The file is damaged."
        )
    if ndim is not None and len(shape) != ndim:
        raise ArtefactError(f"{path}: shape {shape}; expected {ndim} dimensions.")
    if claimed == 0 or not mmap:
        return np.asarray(np.load(path, allow_pickle=False))
    return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))


def map_records(path: str | Path, dtype: np.dtype, shape: tuple[int, ...], num_records: int) -> np.ndarray:
    """Map the first whole records of a raw file: all `num_records`, or as many as a truncated file still holds.

    Returns:
        (at most `num_records`, *shape), read-only; never more than the file's length, whatever was claimed.

    Raises:
        FileNotFoundError: there is no such file.
    """
    whole = os.stat(path).st_size // (math.prod(shape) * dtype.itemsize)
    held = min(num_records, whole)
    if held == 0:
        return np.empty((0, *shape), dtype)
    return np.asarray(np.memmap(path, dtype, mode="r", shape=(held, *shape)))


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a Parquet table, atomically."""
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd")


def read_table(path: str | Path, columns: list[str] | None = None, max_bytes: int = MAX_TABLE_BYTES) -> pa.Table:
    """Read a Parquet table whose footer claims at most `max_bytes` uncompressed.

    Raises:
        ArtefactError: missing, damaged, lacking a column, or larger than `max_bytes`.
    """
    path = Path(path)
    _size(path)
    try:
        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            claimed = sum(file.metadata.row_group(group).total_byte_size for group in groups)
            if claimed > max_bytes:
                raise ArtefactError(f"{path}: claims {claimed} bytes when expanded; at most {max_bytes} are read.")
            absent = set(columns or ()) - set(file.schema_arrow.names)
            if absent:
                raise ArtefactError(f"{path}: no column {sorted(absent)}; it has {file.schema_arrow.names}.")
            table = file.read(columns=columns)
        table.validate(full=True)
    except ArtefactError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # a garbled footer: any of these
        raise ArtefactError(f"{path}: not a readable Parquet file ({error}). Write it again.") from error
    return table
