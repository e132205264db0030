"""One pass over a picture stream that decodes what a plan needs and converts only what is wanted."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avrec.core.clips import VideoSpec
from avrec.core.errors import require
from avrec.media.plan import Run, Timeline, packet_stamp
from avrec.media.stream import StreamReader

if TYPE_CHECKING:
    from av.packet import Packet

_SEEK_PACKETS = 100  # reading past fewer packets than these costs less than a seek
_TOLERANCE_SEC = 0.5  # a picture this near stands in for one that is damaged


class PictureReader:
    """Decodes the runs of a plan.

    Pictures that nothing refers to are not decoded unless they are wanted, and a run ends with its last target's packet.

    Args:
        stream: the picture stream.
        timeline: of the stream.
        spec: size of the pictures.

    Attributes:
        pictures: (H, W, 3) uint8 by time stamp of the target.
        num_replaced: of them, how many show the picture before because their own packet was damaged.
        num_mended: of them, how many the decoder had to mend, or to predict from a mended one.
    """

    def __init__(self, stream: StreamReader, timeline: Timeline, spec: VideoSpec) -> None:
        self.pictures: dict[int, np.ndarray] = {}
        self.num_replaced = 0
        self.num_mended = 0
        self._stream = stream
        self._timeline = timeline
        self._size = (spec.width_px, spec.height_px)
        self._tolerance = _TOLERANCE_SEC / float(stream.stream.time_base)
        self._scale = require("av.video.reformatter", "decode").VideoReformatter()
        self._pending: list[int] = []  # targets of this run that have not come
        self._previous: tuple[int, Any] | None = None
        self._mended = False  # since the last keyframe
        self._shown = 0  # pictures of the timeline up to here, where only their order is known

    def read(self, runs: Sequence[Run], seek: bool, packets: "Sequence[Packet[Any]]" = ()) -> None:
        """Decode the runs, in order, into `pictures`.

        Args:
            runs: from `plan_runs`.
            seek: go to the first keyframe, and over long stretches that are not needed; else the stream is read from
                where it stands.
            packets: if these are all that the runs need, they are not read again.
        """
        if packets:
            self._pass(runs, 0, packets, seek=False)
            return
        if seek:
            self._stream.seek(runs[0].keyframe)
        done = 0
        while done < len(runs):  # once, and once more after each seek
            done = self._pass(runs, done, self._stream.packets(), seek)

    def _pass(self, runs: Sequence[Run], at: int, packets: "Iterable[Packet[Any]]", seek: bool) -> int:
        """Read on until all runs are done or a seek was made; the number of the run that comes next."""
        decoding = False
        for packet in packets:
            stamp = packet_stamp(packet, self._timeline.has_pts)
            if not decoding:
                if not packet.is_keyframe or stamp is None or stamp < runs[at].keyframe:
                    continue
                if seek and stamp > runs[at].keyframe:
                    return len(runs)  # the seek went too far: what is missing tells the caller to read the file through
                decoding, unfed = True, self._start(runs[at], stamp)
            elif packet.is_keyframe and at + 1 < len(runs) and runs[at + 1].keyframe == stamp:
                at += 1
                unfed |= set(runs[at].targets)
                self._pending += runs[at].targets
            self._decode(packet, stamp in unfed)
            unfed.discard(stamp)
            if self._pending and (unfed or not self._timeline.has_pts):
                continue
            self._finish()
            at, decoding = at + 1, False
            if at == len(runs):
                return at
            if seek and runs[at].num_skipped > _SEEK_PACKETS:
                self._stream.seek(runs[at].keyframe)
                return at
        self._finish()
        return len(runs)

    def _start(self, run: Run, stamp: int) -> set[int | None]:
        """Begin at the keyframe with this stamp; the targets whose packets are still to come."""
        self._stream.codec.flush_buffers()
        self._pending, self._previous = list(run.targets), None
        self._shown = int(np.searchsorted(self._timeline.pts, stamp))
        return set(run.targets)

    def _decode(self, packet: "Packet[Any] | None", wanted: bool) -> None:
        self._stream.codec.skip_frame = "DEFAULT" if wanted or not self._timeline.has_pts else "NONREF"
        for frame in self._stream.frames(packet):
            stamp = frame.pts
            self._mended = frame.is_corrupt or (self._mended and not frame.key_frame)
            if not self._timeline.has_pts:
                stamp = int(self._timeline.pts[min(self._shown, len(self._timeline.pts) - 1)])
                self._shown += 1
            if stamp is not None:
                self._take(stamp, frame)

    def _take(self, stamp: int, frame: Any) -> None:
        """Keep the frame for each target that it shows: its own, or one before it that never came."""
        while self._pending and stamp >= self._pending[0]:
            target = self._pending.pop(0)
            if stamp == target or self._previous is None:
                self._keep(target, stamp, frame)
            else:
                self._keep(target, *self._previous)
        self._previous = (stamp, frame)

    def _finish(self) -> None:
        """Make the decoder give what it still holds; for targets that did not come the last picture was shown on."""
        if self._pending:
            self._decode(None, True)
        for target in self._pending:
            if self._previous is not None:
                self._keep(target, *self._previous)
        self._pending = []

    def _keep(self, target: int, stamp: int, frame: Any) -> None:
        if abs(stamp - target) > self._tolerance:
            return
        turns = round(frame.rotation / 90) % 4  # counter-clockwise, as the file asks
        width, height = self._size[::-1] if turns % 2 else self._size
        scaled = self._scale.reformat(frame, width, height, "rgb24", interpolation="BICUBIC", threads=1)
        self.num_replaced += stamp != target and self._stream.num_damaged > 0
        self.num_mended += self._mended
        self.pictures[target] = np.rot90(scaled.to_ndarray(), turns)
