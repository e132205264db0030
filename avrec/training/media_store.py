"""`MediaStore`: the media of a catalogue as clips, as activations at a frozen boundary, and as steps, each kept on disk.

Everything is kept in single precision. Steps computed from activations in half precision are off by 7e-5 to 8e-4 of the
largest, and by 8e-3 from the stem of EfficientNet-Lite0; behind the head, which standardises, the tokens of Whisper tiny.en are
off by 4e-4 to 7e-4, those of Lite0 by 2e-3 to 5e-3, from its stem by 0.13. The exported graph starts from media and must agree to
1e-4. From single precision steps are those from media, but for rounding where blocks of items differ. So they are computed
from the highest level that stands, and what is validated while encoders are trained is what will be served.

Axes: N items, C clips of a file, K steps in time, H hidden width.
"""

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import MediaKind
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ConfigError
from avrec.data.clip_library import ClipLibrary, ClipReader, decoders_of
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import DamagedRecordsError, RecordReader
from avrec.media.limits import Limits
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.two_tower import TwoTower
from avrec.training.device import fill_device, lent, single_precision
from avrec.training.healing import HealingReader
from avrec.training.level_plan import stored_in, ways
from avrec.training.progress import counting
from avrec.training.ranks import first_rank_first
from avrec.training.rates import Rates

PART_BLOCKS = 8  # blocks of items that are stored at once,
PART_BYTES = 256 * 2**20  # or fewer, where their activations are larger than this


class LevelReader(Protocol):
    """What an encoder can start from, by item."""

    present: Bool

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """Values (len, *shape) and the valid share (len, C) of each clip, of items that are present."""
        ...


class MediaStore:
    """Reads media once and encodes what is frozen once; a second run finds everything again by what went into it.

    Args:
        dataset: names the files of its items.
        folder: of the caches.
        num_workers: processes that decode.
        max_bad_share: a larger share of unreadable files stops the run.
        batch_items: items that are encoded at once.
        limits: of each file.
        device: to which encoders move while they fill a cache, see `fill_device`.

    Raises:
        ConfigError: the data set does not know the folder that the names start from, or there is no such device.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: str | Path,
        num_workers: int = 2,
        max_bad_share: float = 0.05,
        batch_items: int = 16,
        limits: Limits | None = None,
        device: str = "auto",
    ) -> None:
        if dataset.media_root is None:
            raise ConfigError(
                "data.media_root: the data set names media files; give the folder that their paths start from."
            )
        self.dataset = dataset
        self.folder = Path(folder)
        self.batch_items = batch_items
        self.rates = Rates()
        self.media_root = Path(dataset.media_root)
        self.num_workers = num_workers
        self.max_bad_share = max_bad_share
        self.limits = limits or Limits()
        self.device = fill_device(device)
        self._clips: dict[MediaKind, ClipReader] = {}
        self._levels: defaultdict[MediaKind, set[int]] = defaultdict(set)  # of which a cache may stand

    def clips(self, encoder: MediaEncoder) -> ClipReader:
        """The decoded clips that an encoder listens to or looks at; what is missing is decoded now."""
        kind = encoder.kind
        if kind not in self._clips:
            began = time.monotonic()
            folder = self.folder / "clips" / _digest(asdict(encoder.spec))
            library = ClipLibrary(self.media_root, folder, self.num_workers, self.limits, self.max_bad_share)
            with first_rank_first(), counting(f"decoding {kind}") as progress:
                paths = self.dataset.media[kind].paths
                reader = library.fill(kind, paths, encoder.spec, progress, self.dataset.items.array.to_pylist())
            self.rates.add("decode", kind, reader.report.num_decoded, time.monotonic() - began)
            self._clips[kind] = reader
            if reader.report.problems:
                rank_zero_only(print)(
                    f"  {kind}: {len(reader.report.problems)} files are named in {library.errors_file}"
                )
        return self._clips[kind]

    def level(self, encoder: MediaEncoder, level: int) -> LevelReader:
        """What stands below a trainable part: the clips themselves, or cached activations of the frozen part."""
        clips = self.clips(encoder)
        if level == RAW:
            return clips
        cache = self._cache(encoder, level)

        def fill() -> RecordReader:
            self._fill(encoder, {level: cache})
            return cache.reader(clips.names)

        with first_rank_first():
            self._fill(encoder, {level: cache})
        return HealingReader(cache, fill)

    def _place(self, encoder: MediaEncoder, level: int) -> tuple[dict[str, object], Path]:
        """The key and the folder of a level's cache."""
        key = {**encoder.fingerprint(level), "decoder": decoders_of(encoder.kind)}
        return key, self.folder / "encoded" / f"{encoder.kind}-{_digest(key)}"

    def _cache(self, encoder: MediaEncoder, level: int) -> RecordCache:
        key, folder = self._place(encoder, level)
        self._levels[encoder.kind].add(level)
        return RecordCache.open(folder, key, encoder.level_shape(level), np.float32, encoder.spec.num_clips)

    def _below(self, encoder: MediaEncoder, caches: Mapping[int, RecordCache]) -> dict[int, RecordCache]:
        """Caches below the highest of these levels that were filled by the weights as they stand."""
        found = {level: cache for level, cache in caches.items() if level < max(caches)}
        for level in self._levels[encoder.kind] - set(caches):
            if level < max(caches) and self._place(encoder, level)[1].is_dir():
                found[level] = self._cache(encoder, level)
        return found

    def steps(self, encoder: MediaEncoder) -> Feature:
        """The steps (N, K, H) of every item by the encoder as it stands, exactly, and who has them.

        What is missing is computed from the highest level that this store has filled and whose weights are still the same:
        after training, 5 times faster than from media for one block of Whisper tiny.en, 11 times for two of EfficientNet-Lite0.
        """
        reader = self.level(encoder, encoder.pooled_level)
        values = np.zeros((self.dataset.num_items, *encoder.feature_shape), np.float32)
        rows = np.flatnonzero(reader.present)
        values[rows] = reader.read(rows)[0]
        return Feature(values, reader.present)

    def fill(self, encoder: MediaEncoder, levels: Sequence[int]) -> None:
        """Encode what the caches of these levels lack, all in one pass, in parts that survive a broken run."""
        self.clips(encoder)
        with first_rank_first():
            self._fill(encoder, {level: self._cache(encoder, level) for level in sorted(levels)})

    def _fill(self, encoder: MediaEncoder, caches: Mapping[int, RecordCache]) -> None:
        """Likewise, by this process alone."""
        clips = self.clips(encoder)
        rows = np.flatnonzero(clips.present)
        names = np.asarray(clips.names, dtype=object)[rows]
        stored = {level: stored_in(cache, list(names)) for level, cache in caches.items()}
        num_missing = int((~np.stack(list(stored.values()))).any(axis=0).sum())
        if not num_missing:
            return
        began = time.monotonic()
        starts = {level: cache.reader(clips.names) for level, cache in self._below(encoder, caches).items()}
        stored = {level: reader.present[rows] for level, reader in starts.items()} | stored
        for level, cache in caches.items():
            cache.check_room(int((~stored[level]).sum()))
        with (
            counting(f"encoding {encoder.kind}", num_missing) as progress,
            self.rates.preprocessing(encoder),
            lent(encoder, self.device),
        ):
            for start, levels, found in ways(stored, caches):
                climb = _Climb(encoder, {RAW: clips, **starts}, start, levels)
                for part in _blocks(found, self._part_items(encoder, levels)):
                    blocks = [climb(rows[block]) for block in _blocks(part, self.batch_items)]
                    valid = np.concatenate([block[1] for block in blocks])
                    for level in levels:
                        values = np.concatenate([block[0][level] for block in blocks])
                        caches[level].append(list(names[part]), values, valid)
                    progress.advance(len(part))
        self.rates.add("encode", encoder.kind, num_missing, time.monotonic() - began)
        for cache in caches.values():
            if cache.unreadable:  # what it held has been encoded again
                cache.drop_damaged()
            cache.seal()

    def _part_items(self, encoder: MediaEncoder, levels: Sequence[int]) -> int:
        """Items that are held in memory and stored at once, whole blocks of them."""
        item_bytes = sum(4 * math.prod(encoder.level_shape(level)) for level in levels)
        return self.batch_items * min(PART_BLOCKS, max(1, PART_BYTES // (item_bytes * self.batch_items)))


@dataclass(frozen=True)
class _Climb:
    """A block of items to each of some levels, from the lowest up, and their valid shares."""

    encoder: MediaEncoder
    readers: Mapping[int, LevelReader]
    start: int
    levels: Sequence[int]

    def __call__(self, rows: Int64) -> tuple[dict[int, Float32], Float32]:
        """{level: (len, *level_shape(level))} and (len, C); from the media where what was stored is damaged."""
        reached, found = self.start, {}
        try:
            values, valid = self.readers[reached].read(rows)
        except DamagedRecordsError:
            reached = RAW
            values, valid = self.readers[reached].read(rows)
        for level in self.levels:
            values = encode(self.encoder, values, valid, reached, level).cpu().numpy()
            reached, found[level] = level, values
        return found, valid


@torch.no_grad()
def encode(encoder: MediaEncoder, values: np.ndarray, valid: Float32, start: int, level: int) -> Tensor:
    """A block of items from one level to another, in eval mode and single precision, on the encoder's device."""
    was_training = encoder.training
    encoder.eval()
    tensor, share = as_tensors(encoder, values, valid)
    with single_precision(tensor.device.type):
        encoded = encoder.encode(tensor, start, level, share)
    encoder.train(was_training)
    return encoded


def as_tensors(encoder: MediaEncoder, values: np.ndarray, valid: Float32) -> tuple[Tensor, Tensor]:
    """What a reader gave, on the encoder's device and, pictures apart, in its precision."""
    like = next(encoder.parameters())
    tensor = torch.from_numpy(values).to(like.device)
    return tensor if tensor.dtype == torch.uint8 else tensor.to(like.dtype), torch.from_numpy(valid).to(like)


def _digest(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def _blocks(rows: Int64, size: int) -> Iterator[Int64]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def media_encoders(model: TwoTower) -> dict[str, MediaEncoder]:
    """Those of a model's encoders that read media, by modality."""
    return {name: found for name, found in model.item_tower.encoders.items() if isinstance(found, MediaEncoder)}


def with_steps(
    dataset: Dataset, model: TwoTower, store: MediaStore | None, boundaries: Mapping[str, Sequence[int]] | None = None
) -> Dataset:
    """The data set with the steps (N, K, H) of the model's media encoders, as they stand, among its features.

    What follows (towers, baselines, evaluation) then treats media as it treats finished features.

    Args:
        dataset: names media files.
        model: with the encoders.
        store: of the media; None for a model that reads none.
        boundaries: {modality: levels} that later stages will start from, stored in the same pass.
    """
    features = dict(dataset.features)
    for name, encoder in media_encoders(model).items() if store is not None else ():
        assert store is not None
        levels = [level for level in (boundaries or {}).get(name, ()) if level != RAW]
        store.fill(encoder, [*levels, encoder.pooled_level])
        features[name] = store.steps(encoder)
    return replace(dataset, features=features)
