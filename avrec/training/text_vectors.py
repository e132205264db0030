"""Titles, descriptions and captions of items as a feature modality: each text encoded once and kept on disk.

Axes: N items, H width of the text encoder.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from pytorch_lightning.utilities import rank_zero_only

from avrec.core.arrays import Bool, Float32, Float64
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.side import Texts
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import RecordReader
from avrec.factors.side.base import State, names_of
from avrec.models.encoders.text import TextEncoder
from avrec.training.device import fill_device, lent, single_precision
from avrec.training.healing import HealingReader
from avrec.training.progress import counting
from avrec.training.ranks import first_rank_first

PART_BATCHES = 16  # batches that are stored at once


class TextVectors:
    """The mean of the sentence vectors of an item's texts, by a frozen encoder.

    Several columns (a title, a description, a caption that a large model wrote) become one modality; for several modalities
    name several of these, each with its `columns`.

    Args:
        cache_folder: where vectors are kept by encoder and text, so that each is computed once; given by the run.
        device: where the encoder runs, see `fill_device`; given by the run.
        pretrained: see `TextEncoder`.
        columns: of text; all that the data set has when None.
        max_tokens: of a text; what is longer is cut, and counted.
        batch_texts: texts that are encoded at once.
    """

    def __init__(
        self,
        cache_folder: str | Path,
        device: str = "auto",
        pretrained: str = "wheel:all-minilm-l6-v2",
        columns: list[str] | None = None,
        max_tokens: int = 256,
        batch_texts: int = 64,
    ) -> None:
        self.cache_folder = Path(cache_folder)
        self.device = device
        self.pretrained = pretrained
        self.columns = columns
        self.max_tokens = max_tokens
        self.batch_texts = batch_texts

    def fit(self, dataset: Dataset) -> State | None:
        """The columns and the encoder's digest; None where the data set has no texts.

        Raises:
            ConfigError: the data set has no such column, or there is no such encoder.
        """
        unknown = sorted(set(self.columns or ()) - set(dataset.texts))
        if unknown:
            raise ConfigError(
                f"side: the data set '{dataset.name}' has no texts {unknown}; it has {sorted(dataset.texts)}."
            )
        columns = sorted(dataset.texts) if self.columns is None else list(self.columns)
        if not any(text for name in columns for text in dataset.texts[name]):
            return None
        return {"columns": columns, "encoder": [self._encoder.digest]}

    def feature(self, dataset: Dataset, state: State) -> Feature:
        """Unit vectors (N, H); absent where an item has none of the texts.

        Raises:
            ArtefactError: the data set lacks a column, or the encoder is another than the model was trained with.
        """
        columns, digest = names_of(state, "columns"), names_of(state, "encoder")
        absent = sorted(set(columns) - set(dataset.texts))
        if absent:
            raise ArtefactError(
                f"side: the model reads the texts {absent}, and the data set '{dataset.name}' has none."
            )
        if [self._encoder.digest] != digest:
            raise ArtefactError(
                f"side: '{self.pretrained}' is not the text encoder that the model was trained with: its digest is "
                f"{self._encoder.digest[:12]}, expected {''.join(digest)[:12]}. Give the same weights."
            )
        total, present = np.zeros((dataset.num_items, self._encoder.hidden_dim)), np.zeros(dataset.num_items, np.bool_)
        for name in columns:
            values, has_text = self._vectors(name, dataset.texts[name])
            total, present = total + values, present | has_text
        return Feature(_unit(total), present)

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.pretrained, self.max_tokens)

    def _vectors(self, column: str, texts: Texts) -> tuple[Float32, Bool]:
        """(N, H), zeros where absent, and who has a text."""
        encoder = self._encoder
        key = {"text": encoder.digest, "max_tokens": encoder.max_tokens, "pooling": "mean of tokens, unit length"}
        folder = self.cache_folder / f"text-{encoder.digest[:12]}-{encoder.max_tokens}"
        cache = RecordCache.open(folder, key, (encoder.hidden_dim,), np.float32)
        names = [None if text is None else hashlib.sha256(text.encode("utf-8")).hexdigest() for text in texts]

        def fill() -> RecordReader:
            missing = cache.missing([name or "" for name in names])
            self._fill(cache, column, {str(names[row]): str(texts[row]) for row in missing if texts[row]})
            return cache.reader(names)

        with first_rank_first():
            reader = HealingReader(cache, fill)
        values = np.zeros((len(texts), encoder.hidden_dim), np.float32)
        rows = np.flatnonzero(reader.present)
        values[rows] = reader.read(rows)[0]
        return values, reader.present

    def _fill(self, cache: RecordCache, column: str, missing: Mapping[str, str]) -> None:
        """Encode texts, the short ones first so that a batch is of like lengths, in parts that survive a broken run."""
        if not missing:
            return
        names, texts, encoder = np.array([*missing]), [*missing.values()], self._encoder
        counts = encoder.token_counts(texts)
        cut = int((counts > encoder.max_tokens).sum())
        if cut:
            rank_zero_only(print)(
                f"  {column}: {cut:,} of {len(texts):,} texts are longer than {encoder.max_tokens} tokens and are cut"
            )
        order = np.argsort(counts, kind="stable")
        part = self.batch_texts * PART_BATCHES
        device = fill_device(self.device)
        with (
            counting(f"encoding {column}", len(texts)) as progress,
            lent(encoder.model, device),
            single_precision(device.type),
        ):
            for start in range(0, len(order), part):
                rows = order[start : start + part]
                batches = [rows[at : at + self.batch_texts] for at in range(0, len(rows), self.batch_texts)]
                values = np.concatenate([encoder.encode([texts[row] for row in batch]) for batch in batches])
                cache.append(names[rows].tolist(), values, np.ones((len(rows), 1), np.float32))
                progress.advance(len(rows))
        cache.seal()


def _unit(vectors: Float64) -> Float32:
    """Rows of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), np.float32)
