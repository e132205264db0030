"""Which pictures are read, and from which keyframes: planned from the packets' time stamps, before anything is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avrec.core.arrays import Float64, Int64
from avrec.media.stream import StreamReader

if TYPE_CHECKING:
    from av.packet import Packet


_HELD_BYTES = 2**26
_ROUNDING = 1e-3  # of a time stamp's unit: a time that falls on a picture's start shows that picture


@dataclass(frozen=True)
class Timeline:
    """When the pictures of a stream are shown, in units of its time stamps.

    Attributes:
        pts: of all pictures, ascending.
        keyframes: of those that can be decoded without others, ascending.
        end_pts: when the last picture ends.
        has_pts: the stamps are those of presentation; else only their order counts.
    """

    pts: Int64
    keyframes: Int64
    end_pts: int
    has_pts: bool


@dataclass(frozen=True)
class Run:
    """Pictures that one start at a keyframe gives.

    Attributes:
        keyframe: time stamp to start from.
        targets: time stamps of the pictures wanted, ascending.
        num_skipped: packets between the last target of the run before and this keyframe, about.
    """

    keyframe: int
    targets: tuple[int, ...]
    num_skipped: int


def list_pictures(stream: StreamReader, has_pts: bool, keyframes: "list[Packet[Any]] | None" = None) -> Timeline:
    """Read the time stamps of all packets; nothing is decoded.

    Args:
        stream: at its start.
        has_pts: the container stores when a picture is shown; else, as in AVI, only their order is known, and the
            times of decoding, in ascending order, stand for it.
        keyframes: if given, gets the packets of the keyframes, so that they need not be read again; none of them if
            they are too large to be held together.
    """
    free_bytes = _HELD_BYTES
    stamps, keys, longest = [], [], 0
    for packet in stream.packets():
        stamp = packet_stamp(packet, has_pts)
        if packet.is_discard or stamp is None:
            continue
        stamps.append(stamp)
        longest = max(longest, packet.duration or 0)
        if packet.is_keyframe:
            keys.append(stamp)
            free_bytes -= packet.size
            if keyframes is not None and free_bytes >= 0:
                keyframes.append(packet)
    if keyframes and free_bytes < 0:
        keyframes.clear()
    pts = np.unique(np.array(stamps, np.int64))
    if len(pts) > 1:
        longest = int(np.median(np.diff(pts)))
    end = int(pts[-1]) + longest if len(pts) else 0
    return Timeline(pts, np.unique(np.array(keys or stamps[:1], np.int64)), end, has_pts)


def packet_stamp(packet: "Packet[Any]", has_pts: bool) -> int | None:
    """When the packet's picture is shown, or its place in the order of decoding."""
    return packet.pts if has_pts and packet.pts is not None else packet.dts


def shown_at(timeline: Timeline, wanted_pts: Float64) -> Int64:
    """Time stamp of the picture shown at each time: the last that began; the first where none has yet."""
    began = np.searchsorted(timeline.pts, wanted_pts + _ROUNDING, "right")
    return timeline.pts[np.maximum(began - 1, 0)]


def nearest_keyframes(timeline: Timeline, wanted_pts: Float64) -> Int64:
    """Time stamp of the keyframe nearest to each time, the earlier of two."""
    after = np.searchsorted(timeline.keyframes, wanted_pts)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(timeline.keyframes) - 1)
    earlier, later = timeline.keyframes[before], timeline.keyframes[after]
    return np.where(wanted_pts - earlier <= later - wanted_pts, earlier, later)


def plan_runs(timeline: Timeline, targets: Sequence[int] | Int64) -> list[Run]:
    """Group the pictures by the keyframe that precedes each, in one pass over the stream.

    Args:
        timeline: of the stream.
        targets: time stamps of pictures, in any order, repeated or not.
    """
    wanted = np.unique(np.asarray(targets, np.int64))
    owner = np.maximum(np.searchsorted(timeline.keyframes, wanted, "right") - 1, 0)
    if not timeline.has_pts:  # a keyframe's place in decoding order says nothing of its place on the screen
        owner[:] = 0
    runs, reached = [], 0
    for key in np.unique(owner):
        start = int(timeline.keyframes[key])
        mine = tuple(int(target) for target in wanted[owner == key])
        runs.append(Run(start, mine, int(np.searchsorted(timeline.pts, start)) - reached))
        reached = int(np.searchsorted(timeline.pts, mine[-1])) + 1
    return runs
