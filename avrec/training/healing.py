"""`HealingReader`: encoded items by item, mended where the disk has damaged them."""

from collections.abc import Callable

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import DamagedRecordsError, RecordReader


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
