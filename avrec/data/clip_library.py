"""Clips of a catalogue's media files: decoded once, kept in a record cache, read by item."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import AudioSpec, MediaKind, VideoSpec
from avrec.core.errors import ArtefactError, require
from avrec.data.clip_batch import ClipBatch, plain, storable
from avrec.data.media_errors import NOTE, MediaProblem, check_bad_share, write_media_errors
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import DamagedRecordsError, RecordReader
from avrec.media.isolation import DecodePool, Job
from avrec.media.limits import Limits
from avrec.media.paths import resolve
from avrec.media.problems import MediaError

DECODER_VERSION = 1  # to be raised when `avrec.media.decode` gives other arrays for the same file and spec
DECODERS = {
    "audio": {"av": "av", "soundfile": "soundfile"},
    "video": {"av": "av", "decord2": "decord"},
}  # distribution: module
DTYPES = {"audio": np.float16, "video": np.uint8}
LIMITED = frozenset({"too_large", "timed_out", "out_of_memory", "crashed"})  # may end otherwise under other limits
SAMPLE_BYTES = 4096  # read at three places, which costs about as much as to look the file up
ENOUGH_BAD = 100  # fewer are all looked for, so that one run names them all

Spec = AudioSpec | VideoSpec
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FillReport:
    """What one filling did.

    Attributes:
        num_files: distinct files that were asked for.
        num_kept: of them, known without decoding: from an earlier run, or since nothing is there.
        num_decoded: decoded now, with or without success.
        seconds: on the clock, spent on decoding and storing.
        problems: by path, those remembered included.
    """

    num_files: int
    num_kept: int
    num_decoded: int
    seconds: float
    problems: Mapping[str, MediaProblem]

    @property
    def items_per_sec(self) -> float:
        """Files decoded in a second; 0 when none were."""
        return self.num_decoded / self.seconds if self.num_decoded else 0.0


class ClipReader:
    """Clips by item; a damaged block is decoded again when it is met, and nothing else.

    Attributes:
        present: (N,) true where the item has clips.
        names: (N,) of the records: what else is kept of a file goes by the same name; None without a file.
        report: of the filling.
        repaired: names of records that were damaged and have been decoded again.
    """

    def __init__(
        self,
        records: RecordReader,
        names: Sequence[str | None],
        report: FillReport,
        repair: Callable[[], tuple[RecordReader, list[str]]],
    ) -> None:
        self._records = records
        self.names = tuple(names)
        self._repair = repair
        self.present: Bool = records.present
        self.report = report
        self.repaired: list[str] = []

    def __len__(self) -> int:
        return len(self.present)

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """Clips of items, all of them `present`.

        Returns:
            (len, *spec.shape) float16 sound or uint8 pictures, and (len, C) the share of each clip that the file held.

        Raises:
            ArtefactError: records are damaged, and their files can no longer be decoded.
            IndexError: an item has no clips.
        """
        try:
            return self._records.read(idx)
        except DamagedRecordsError as error:
            self._records, struck = self._repair()
            self.repaired += struck
            gone = np.flatnonzero(self.present & ~self._records.present)
            if len(gone):
                raise ArtefactError(
                    f"{error} They could not be decoded again for the items {gone[:5].tolist()}: their files have changed or "
                    "gone. Start again."
                ) from error
            return self._records.read(idx)


class ClipLibrary:
    """Decodes media files in child processes and keeps the clips in `folder/audio` and `folder/video`.

    A clip is known by its file's path, size, time of change and a sample of its bytes, so that a changed file is decoded again,
    and so is a file of another media root that looks the same from outside, as files of unpacked archives may.
    """

    def __init__(
        self,
        media_root: str | Path,
        folder: str | Path,
        num_workers: int | None = 2,
        limits: Limits = Limits(),  # noqa: B008
        max_bad_share: float = 0.05,
    ) -> None:
        """Prepare, without touching anything.

        Args:
            media_root: paths are relative to it, and files lie below it.
            folder: of the caches and of `media_errors.csv`.
            num_workers: decoding processes; None takes one for each core.
            limits: for each file.
            max_bad_share: of the files with a path; above it, `fill` stops.
        """
        self._media_root = Path(media_root)
        self._folder = Path(folder)
        self._num_workers = num_workers
        self._limits = limits
        self._max_bad_share = max_bad_share
        self._lines: dict[MediaKind, list[tuple[str, MediaProblem]]] = {}

    @property
    def errors_file(self) -> Path:
        """Every problem of the fillings of this library."""
        return self._folder / "media_errors.csv"

    def fill(
        self,
        kind: MediaKind,
        paths: Sequence[str | None],
        spec: Spec,
        progress: Progress | None = None,
        item_ids: Sequence[str] | None = None,
    ) -> ClipReader:
        """Decode what is not yet known, and give a reader over all items.

        Args:
            kind: of the stream to read.
            paths: (N,) of each item, None where it has no file; items may share one.
            spec: what to cut out.
            progress: called with the files decoded so far and the files to decode in all.
            item_ids: (N,) for `media_errors.csv`; positions without it.

        Raises:
            DataError: more than `max_bad_share` of the files cannot be used.
            ArtefactError: the cache was filled for another spec or by other decoders, or the disk is full.
            MissingExtraError: the extra `decode` is not installed.
        """
        assert isinstance(spec, AudioSpec if kind == "audio" else VideoSpec), (kind, spec)
        cache = self._open(kind, spec)
        names, problems = self._names(kind, paths)
        report = self._fill(cache, kind, names, spec, problems, progress or (lambda done, total: None))
        ids = item_ids if item_ids is not None else [str(position) for position in range(len(paths))]
        self._lines[kind] = [
            (item_id, report.problems[path])
            for item_id, path in zip(ids, paths, strict=True)
            if path is not None and path in report.problems
        ]
        write_media_errors(self.errors_file, [line for lines in self._lines.values() for line in lines])
        looked_at = report.num_kept + report.num_decoded
        check_bad_share(report.problems, report.num_files, looked_at, self._max_bad_share, self.errors_file)
        cache.seal()
        of_items = [names.get(path) if path is not None else None for path in paths]

        def repair() -> tuple[RecordReader, list[str]]:
            struck = cache.drop_damaged()
            again, lost = self._names(kind, paths)
            self._fill(cache, kind, again, spec, lost, lambda done, total: None)
            return cache.reader(of_items), struck

        return ClipReader(cache.reader(of_items), of_items, report, repair)

    def _open(self, kind: MediaKind, spec: Spec) -> RecordCache:
        key = {"kind": kind, "spec": asdict(spec), "decoder": decoders_of(kind)}
        return RecordCache.open(self._folder / kind, key, spec.shape, DTYPES[kind], spec.num_clips)

    def _names(self, kind: MediaKind, paths: Sequence[str | None]) -> tuple[dict[str, str], dict[str, MediaProblem]]:
        """Names of records by path, and what is wrong with the paths that have none."""
        names, problems = {}, {}
        for path in dict.fromkeys(path for path in paths if path is not None):
            try:
                names[path] = f"{plain(path)}|{_look(resolve(self._media_root, path))}"
            except MediaError as error:
                problems[path] = MediaProblem(path, kind, error.kind, str(error))
            except OSError as error:
                reason = f"{path!r}: cannot be read ({error.strerror}). Look at its disk."
                problems[path] = MediaProblem(path, kind, "unreadable", reason)
        return names, problems

    def _fill(
        self,
        cache: RecordCache,
        kind: MediaKind,
        names: Mapping[str, str],
        spec: Spec,
        problems: dict[str, MediaProblem],
        progress: Progress,
    ) -> FillReport:
        files = list(names)
        num_files = len(names) + len(problems)
        before = cache.reader(list(names.values()))
        todo = sorted({*cache.missing(list(names.values())).tolist(), *self._worth_another_try(before)})
        for position, note in before.notes.items():
            problems[files[position]] = MediaProblem(files[position], kind, NOTE, note)
        for position in before.reasons.keys() - set(todo):
            told = json.loads(before.reasons[position])
            problems[files[position]] = MediaProblem(files[position], kind, told["class"], told["reason"])
        num_bad = sum(problem.is_damage for problem in problems.values())
        allowed = max(ENOUGH_BAD, self._max_bad_share * num_files)
        cache.check_room(len(todo))
        start, done = time.perf_counter(), 0
        progress(0, len(todo))
        if todo and num_bad <= allowed:
            with ClipBatch(cache, self._limits) as batch, self._pool(spec) as pool:
                for outcome in pool.decode(Job(position, files[position], spec) for position in todo):
                    path = files[outcome.index]
                    problem = batch.add(names[path], storable(outcome, path))
                    done += 1
                    progress(done, len(todo))
                    if problem is not None:
                        problems[path] = MediaProblem(path, kind, *problem)
                        num_bad += problems[path].is_damage
                    if num_bad > allowed:
                        break
        if cache.unreadable:
            cache.drop_damaged()
        kept = num_files - len(todo)
        return FillReport(num_files, kept, done, time.perf_counter() - start, problems)

    def _pool(self, spec: Spec) -> DecodePool:
        return DecodePool(self._media_root, self._num_workers, self._limits, specs=[spec])

    def _worth_another_try(self, reader: RecordReader) -> Iterator[int]:
        """Positions that failed under other limits than today's."""
        for position, reason in reader.reasons.items():
            told = json.loads(reason)
            if told["class"] in LIMITED and told["limits"] != asdict(self._limits):
                yield position


def decoders_of(kind: MediaKind) -> dict[str, int | str]:
    """What turns files of a kind into clips, with its versions; what is made of clips depends on it too.

    Raises:
        MissingExtraError: the extra `decode` is not installed.
    """
    return {"avrec": DECODER_VERSION} | {name: _version(name, module) for name, module in DECODERS[kind].items()}


def _look(file: Path) -> str:
    """Size, time of change, and a checksum of the file's first, middle and last bytes."""
    sample = hashlib.blake2b(digest_size=8)
    with open(file, "rb", buffering=0) as content:
        about = os.fstat(content.fileno())
        for place in (0, about.st_size // 2, max(0, about.st_size - SAMPLE_BYTES)):
            content.seek(place)
            sample.update(content.read(SAMPLE_BYTES))
    return f"{about.st_size}|{about.st_mtime_ns}|{sample.hexdigest()}"


def _version(distribution: str, module: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        require(module, "decode")
        return "unknown"
