"""`digest`: one hash of what a sample catalogue consists of, fixed before any model is tuned on it."""

import hashlib

import numpy as np

from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.users import Audience

NUM_HASHED_ITEMS = 16


def digest(seed: int, num_items: int, num_users: int) -> str:
    """SHA-256 over classes, presence, releases, friends, tags, the log, and the arrays of the first items.

    What is hashed are whole numbers and text, so the same on every machine; the encoded files are not, since another
    encoder writes other bytes.
    """
    catalogue = Catalogue(seed, num_items)
    audience = Audience(catalogue, num_users)
    log = audience.log
    total = hashlib.sha256()
    for values in (
        catalogue.sound_class,
        catalogue.picture_class,
        catalogue.has_sound,
        catalogue.has_picture,
        audience.release_sec,
        audience.friends,
        np.round(1_000 * audience.utility).astype(np.int64),
        *(log.user, log.item, log.event, log.time_sec),
    ):
        _add(total, values)
    total.update(repr(audience.tags).encode("utf-8"))
    for index in range(min(NUM_HASHED_ITEMS, num_items)):
        sound, film = catalogue.sound(index), catalogue.film(index)
        total.update(f"{sound.rate_hz} {film.rate_hz}".encode())
        _add(total, sound.samples)
        _add(total, film.frames)
    return total.hexdigest()


def _add(total: "hashlib._Hash", values: np.ndarray) -> None:
    """The shape and the values, little-endian."""
    total.update(repr(values.shape).encode("utf-8"))
    total.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
