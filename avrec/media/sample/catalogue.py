"""`Catalogue`: which item sounds and looks like what, as a pure function of (seed, item)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.core.errors import ConfigError
from avrec.core.order import generator
from avrec.media.sample.encode import encoded
from avrec.media.sample.pictures import PICTURES, Film, synthesise_film
from avrec.media.sample.sounds import SOUNDS, Sound, synthesise_sound

# N items
LACKING_BLOCK = 16  # of so many items one lacks the sound and another the picture
MAX_ITEMS = 100_000


@dataclass(frozen=True)
class Catalogue:
    """Items with a sound class and, independently, a picture class.

    Of every eight items in a row each class has one, of every sixteen one lacks the sound and one the picture; so a larger
    catalogue begins with the smaller one.

    Attributes:
        seed: of everything.
        num_items: items.

    Raises:
        ConfigError: the number of items is out of range.
    """

    seed: int
    num_items: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_items <= MAX_ITEMS:
            raise ConfigError(f"num_items is {self.num_items}; expected 1 to {MAX_ITEMS}.")

    @cached_property
    def sound_class(self) -> Int64:
        """(N,) index into `SOUNDS`; also drawn for an item that lacks the sound."""
        return self._shuffled_blocks(len(SOUNDS), "sample/sound class")

    @cached_property
    def picture_class(self) -> Int64:
        """(N,) index into `PICTURES`."""
        return self._shuffled_blocks(len(PICTURES), "sample/picture class")

    @property
    def has_sound(self) -> Bool:
        """(N,) whether the file has a sound."""
        return np.asarray(self._lacking != 0)

    @property
    def has_picture(self) -> Bool:
        """(N,) whether the file has pictures."""
        return np.asarray(self._lacking != 1)

    @property
    def item_ids(self) -> list[str]:
        """The name of each item."""
        return [f"item{index:05d}" for index in range(self.num_items)]

    @property
    def paths(self) -> list[str]:
        """Each item's file, below the folder of the sample."""
        return [f"files/{item_id}.mp4" for item_id in self.item_ids]

    def sound(self, index: int) -> Sound:
        """The sound of one item, whether its file has one or not."""
        draw = generator(self.seed, index, "sample/sound")
        return synthesise_sound(int(self.sound_class[index]), self._duration_sec(index), draw)

    def film(self, index: int) -> Film:
        """The pictures of one item, whether its file has them or not."""
        draw = generator(self.seed, index, "sample/film")
        return synthesise_film(int(self.picture_class[index]), self._duration_sec(index), draw)

    def file_bytes(self, index: int) -> bytes:
        """The MP4 file of one item.

        Raises:
            MissingExtraError: PyAV is not installed.
        """
        sound = self.sound(index) if self.has_sound[index] else None
        film = self.film(index) if self.has_picture[index] else None
        return encoded(sound, film)

    @cached_property
    def _lacking(self) -> Int64:
        """(N,) 0 where the sound is lacking, 1 where the picture is."""
        return self._shuffled_blocks(LACKING_BLOCK, "sample/lacking")

    def _duration_sec(self, index: int) -> float:
        return float(generator(self.seed, index, "sample/duration").uniform(3.2, 4.9))

    def _shuffled_blocks(self, size: int, stream: str) -> Int64:
        """(N,) the numbers below `size`, block after block, each block in an order of its own."""
        num_blocks = -(-self.num_items // size)
        blocks = [generator(self.seed, block, stream).permutation(size) for block in range(num_blocks)]
        return np.concatenate(blocks)[: self.num_items].astype(np.int64)
