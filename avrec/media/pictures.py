"""Clips of pictures: placed, planned, read in one pass, and compared with what was claimed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avrec.core.arrays import Int64
from avrec.core.clips import Clips, VideoSpec
from avrec.media.container import open_container
from avrec.media.decord_pictures import read_with_decord
from avrec.media.limits import Limits
from avrec.media.picture_reader import PictureReader
from avrec.media.placement import clip_starts, valid_share
from avrec.media.plan import Timeline, list_pictures, nearest_keyframes, plan_runs, shown_at
from avrec.media.probe import MediaInfo
from avrec.media.problems import MediaError
from avrec.media.stream import StreamReader

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

_WITHOUT_PTS = ("avi",)
_SHORT_SEC = 0.1  # headers round by less


def read_pictures(path: Path, container: "InputContainer", info: MediaInfo, spec: VideoSpec, limits: Limits) -> Clips:
    """Read the clips of pictures that `spec` asks for.

    Args:
        path: of the file, for a second try and the messages.
        container: the same file, open.
        info: what the file claims.
        spec: what to read.
        limits: bounds the pixels and the duration that are found while reading.

    Raises:
        MediaError: `no_stream`, `too_large`, `truncated` or `unreadable`.
    """
    if info.pictures is None:
        raise MediaError("no_stream", f"{path.name}: holds no moving pictures")
    stream = StreamReader(container, info.pictures.index, limits.max_pixels)
    by_decord = spec.decoder == "decord"
    held: list[Packet[Any]] | None = [] if spec.sampling == "keyframe" and not by_decord else None
    timeline = list_pictures(stream, info.format_name not in _WITHOUT_PTS, held)
    if not len(timeline.pts):
        raise MediaError("truncated", f"{path.name}: the header names moving pictures, but none follows")
    unit_sec = float(stream.stream.time_base)
    end_sec = max((timeline.end_pts - stream.start_pts) * unit_sec, unit_sec)
    if end_sec > limits.max_duration_sec:
        raise MediaError("too_large", f"{path.name}: longer than the limit of {limits.max_duration_sec:g} seconds")
    clip_sec = spec.clip_sec or end_sec / spec.num_clips
    starts = clip_starts(end_sec, clip_sec, spec.num_clips)
    times_sec = starts[:, None] + (np.arange(spec.num_frames) + 0.5) / spec.num_frames * clip_sec
    choose = shown_at if spec.sampling == "exact" else nearest_keyframes
    targets = choose(timeline, times_sec / unit_sec + stream.start_pts)
    num_replaced = num_mended = 0
    if by_decord:
        pictures = read_with_decord(path, container, info.pictures.index, timeline, targets, spec)
    else:
        reader = _read(path, stream, timeline, targets, held or (), spec, limits)
        pictures, num_replaced, num_mended = reader.pictures, reader.num_replaced, reader.num_mended
    values, num_lost = _arrange(path.name, pictures, targets)
    notes = list(info.pictures.notes)
    if spec.sampling == "keyframe":
        notes.append(f"keyframes: {len(pictures)} distinct of {targets.size} pictures")
    claimed_sec = info.duration_sec
    if info.pictures.duration_sec is not None:
        claimed_sec = info.pictures.start_sec + info.pictures.duration_sec
    if claimed_sec is not None and end_sec < 0.9 * claimed_sec - _SHORT_SEC:
        notes.append(f"short: {end_sec:.2f} s of {claimed_sec:.1f} s could be read")
    num_replaced += num_lost
    if num_replaced or num_mended:
        mended = f"{num_mended} are mended by the decoder"
        notes.append(f"damaged: of {targets.size} pictures {num_replaced} are replaced by a neighbour, {mended}")
    return Clips(values, valid_share(starts, clip_sec, end_sec), tuple(notes))


def _read(
    path: Path,
    stream: StreamReader,
    timeline: Timeline,
    targets: Int64,
    held: "Sequence[Packet[Any]]",
    spec: VideoSpec,
    limits: Limits,
) -> PictureReader:
    """The reader after its pass, which holds the pictures by time stamp."""
    runs = plan_runs(timeline, targets.ravel())
    stream.num_damaged = 0  # while decoding
    reader = PictureReader(stream, timeline, spec)
    reader.read(runs, seek=True, packets=held)
    if len(reader.pictures) == sum(len(run.targets) for run in runs):
        return reader
    with open_container(path) as again:  # perhaps the seeks of this file cannot be trusted: read it through
        stream = StreamReader(again, stream.stream.index, limits.max_pixels)
        reader = PictureReader(stream, timeline, spec)
        reader.read(runs, seek=False)
    return reader


def _arrange(name: str, pictures: dict[int, np.ndarray], targets: Int64) -> tuple[np.ndarray, int]:
    """(C, T, H, W, 3) and the number of places that a neighbour in time fills."""
    read = np.array(sorted(pictures), np.int64)
    num_lost = int((~np.isin(targets, read)).sum())
    if num_lost > targets.size / 2:
        raise MediaError("unreadable", f"{name}: {num_lost} of the {targets.size} pictures wanted could not be decoded")
    after = np.clip(np.searchsorted(read, targets), 0, len(read) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(read[after] - targets) <= np.abs(read[before] - targets), read[after], read[before])
    values = np.empty((*targets.shape, *pictures[int(read[0])].shape), np.uint8)
    for place, stamp in np.ndenumerate(nearest):
        values[place] = pictures[int(stamp)]
    return values, num_lost
