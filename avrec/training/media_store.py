"""`MediaStore`: the media of a catalogue as clips, as activations at a frozen boundary, and as steps, each kept on disk.

Axes: N items, C clips of a file, K steps in time, H hidden width.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
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
from avrec.data.clip_library import ClipLibrary, ClipReader
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import DamagedRecordsError, RecordReader
from avrec.media.limits import Limits
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.two_tower import TwoTower
from avrec.training.progress import counting
from avrec.training.ranks import first_rank_first
from avrec.training.rates import Rates

PART_BLOCKS = 8  # blocks of items that are stored at once


class LevelReader(Protocol):
    """What an encoder can start from, by item."""

    present: Bool

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """Values (len, *shape) and the valid share (len, C) of each clip, of items that are present."""
        ...


class HealingReader:
    """Encoded items; a damaged block is encoded again when it is met, and nothing else.

    Args:
        cache: of the records.
        fill: encodes what the cache lacks and reads all.
    """

    def __init__(self, cache: RecordCache, fill: Callable[[], RecordReader]) -> None:
        self._cache = cache
        self._fill = fill
        self._records = fill()
        self.present: Bool = self._records.present

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """Values (len, *shape) and valid shares (len, C) of items that are present."""
        try:
            return self._records.read(idx)
        except DamagedRecordsError:
            self._cache.drop_damaged()
            self._records = self._fill()
            return self._records.read(idx)


class MediaStore:
    """Reads media once and encodes what is frozen once; a second run finds everything again by what went into it.

    Args:
        dataset: names the files of its items.
        folder: of the caches.
        num_workers: processes that decode.
        max_bad_share: a larger share of unreadable files stops the run.
        batch_items: items that are encoded at once.
        limits: of each file.

    Raises:
        ConfigError: the data set does not know the folder that the names start from.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: str | Path,
        num_workers: int = 2,
        max_bad_share: float = 0.05,
        batch_items: int = 16,
        limits: Limits | None = None,
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
        self._clips: dict[MediaKind, ClipReader] = {}

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

    def _cache(self, encoder: MediaEncoder, level: int) -> RecordCache:
        """Half precision for activations, which are large; single for steps, which are served."""
        key = encoder.fingerprint(level)
        folder = self.folder / "encoded" / f"{encoder.kind}-{_digest(key)}"
        dtype = np.float32 if level == encoder.pooled_level else np.float16
        return RecordCache.open(folder, key, encoder.level_shape(level), dtype, encoder.spec.num_clips)

    def steps(self, encoder: MediaEncoder) -> Feature:
        """The steps (N, K, H) of every item by the encoder as it stands, exactly, and who has them."""
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
        """Likewise, by this process alone; the levels ascend."""
        clips = self.clips(encoder)
        rows = np.flatnonzero(clips.present)
        names = np.asarray(clips.names, dtype=object)[rows]
        missing = np.unique(np.concatenate([cache.missing(list(names)) for cache in caches.values()]))
        if not len(missing):
            return
        began = time.monotonic()
        with counting(f"encoding {encoder.kind}", len(missing)) as progress, self.rates.preprocessing(encoder):
            for part in _blocks(missing, PART_BLOCKS * self.batch_items):
                found = [self._climb(encoder, clips, rows[block], caches) for block in _blocks(part, self.batch_items)]
                for level, cache in caches.items():
                    values = np.concatenate([one[0][level] for one in found])
                    cache.append(list(names[part]), values, np.concatenate([one[1] for one in found]))
                progress.advance(len(part))
        self.rates.add("encode", encoder.kind, len(missing), time.monotonic() - began)
        for cache in caches.values():
            cache.seal()

    def _climb(
        self, encoder: MediaEncoder, clips: ClipReader, rows: Int64, levels: Iterable[int]
    ) -> tuple[dict[int, np.ndarray], Float32]:
        """The values of a block of items at each level, from the lowest up, and their valid shares."""
        values, valid = clips.read(rows)
        reached, found = RAW, {}
        for level in levels:
            values = encode(encoder, values, valid, reached, level).cpu().numpy()
            reached, found[level] = level, values
        return found, valid


@torch.no_grad()
def encode(encoder: MediaEncoder, values: np.ndarray, valid: Float32, start: int, level: int) -> Tensor:
    """A block of items from one level to another, in eval mode, on the encoder's device."""
    was_training = encoder.training
    encoder.eval()
    tensor, share = as_tensors(encoder, values, valid)
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
