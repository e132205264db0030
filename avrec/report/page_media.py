"""The thumbnails and excerpts of the items that a page shows, as many as there is room for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from avrec.core.clips import Clips, MediaKind
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError, MissingExtraError
from avrec.media.isolation import DecodePool, Job
from avrec.media.limits import Limits
from avrec.report.page_excerpts import FRAME_RATE_HZ, PICTURES, SOUND, excerpt, thumbnail
from avrec.report.page_parts import Media
from avrec.report.people import Person

MAX_ITEMS = 120
KINDS: tuple[MediaKind, ...] = ("video", "audio")  # a job's number is twice its item's, and one more for sound
NUM_WORKERS = 2
DECODER = "avrec.report.page_frames:decode_whole"
BASE64 = 4 / 3  # characters for a byte
BESIDE = 120  # characters of markup beside each


def wanted_items(found: Sequence[Person]) -> list[int]:
    """The items that people's tiles show, first all best suggestions, then all second ones, and histories last."""
    lists = [person.suggestions for person in found], [person.history for person in found]
    ranked = [
        items[place]
        for group in lists
        for place in range(max(map(len, group), default=0))
        for items in group
        if place < len(items)
    ]
    return list(dict.fromkeys(ranked))[:MAX_ITEMS]


def read_media(dataset: Dataset, items: Sequence[int], limits: Limits) -> dict[int, Media]:
    """A thumbnail and an excerpt of each item whose files can be read, decoded in processes of their own.

    Args:
        dataset: names the files.
        items: of interest.
        limits: for each file.

    Returns:
        By item, in the order of `items`; empty where there are no media, their folder is gone, or PyAV is not installed.
    """
    jobs = [
        Job(2 * place + is_sound, path, SOUND if is_sound else PICTURES)
        for place, item in enumerate(items)
        for is_sound, kind in enumerate(KINDS)
        if kind in dataset.media and (path := dataset.media[kind].paths[item]) is not None
    ]
    if not jobs or dataset.media_root is None:
        return {}
    found: dict[int, Media] = {}
    waiting: dict[int, int] = {}
    for job in jobs:
        waiting[job.index // 2] = waiting.get(job.index // 2, 0) + 1
    clips: dict[int, dict[int, Clips]] = {}
    try:
        with DecodePool(dataset.media_root, NUM_WORKERS, limits, DECODER) as pool:
            for outcome in pool.decode(jobs):
                place, is_sound = divmod(outcome.index, 2)
                waiting[place] -= 1
                if outcome.clips is not None:
                    clips.setdefault(place, {})[is_sound] = outcome.clips
                if waiting[place] == 0 and place in clips:
                    parts = clips.pop(place)
                    found[items[place]] = _media(parts.get(0), parts.get(1))
    except (ConfigError, MissingExtraError):
        return {}
    return {item: found[item] for item in items if item in found}


def _media(pictures: Clips | None, sound: Clips | None) -> Media:
    """From the clips of one item, cut to what the file really held."""
    frames = samples = image = None
    if pictures is not None:
        frames = pictures.values[0][: max(1, round(float(pictures.valid[0]) * PICTURES.num_frames))]
        image = thumbnail(frames[len(frames) // 2])
    if sound is not None:
        samples = sound.values[0][: max(1, round(float(sound.valid[0]) * SOUND.num_samples))]
    moving = frames is not None and len(frames) >= FRAME_RATE_HZ // 4
    if not moving and samples is None:
        return Media(image)
    return Media(image, excerpt(frames if moving else None, samples), "video" if moving else "audio")


def fitting(media: Mapping[int, Media], room_bytes: int) -> dict[int, Media]:
    """As many thumbnails, then as many excerpts, as fit into the room; items are taken in their order."""
    kept: dict[int, Media] = {}
    for item, one in media.items():
        cost = _characters(one.thumbnail)
        if cost <= room_bytes:
            kept[item] = replace(one, excerpt=None)
            room_bytes -= cost
    for item in kept:
        cost = _characters(media[item].excerpt)
        if media[item].excerpt is not None and cost <= room_bytes:
            kept[item] = media[item]
            room_bytes -= cost
    return kept


def _characters(content: bytes | None) -> int:
    return 0 if content is None else int(len(content) * BASE64) + BESIDE
