"""One stream of an open file: its packets and frames, past whatever is damaged."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from avrec.core.errors import require

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet


class StreamReader:
    """Reads one stream on one thread; a packet that cannot be decoded is counted and passed over.

    Args:
        container: an open file.
        index: of the stream in it.
        max_pixels: the decoder refuses larger pictures, also where they come in the middle of a stream.

    Attributes:
        num_damaged: packets that could not be read or decoded so far.
    """

    def __init__(self, container: "InputContainer", index: int, max_pixels: int = 2**31 - 1) -> None:
        self.stream: Any = container.streams[index]
        self.codec: Any = self.stream.codec_context
        discard = require("av.stream", "decode").Discard  # containers that can do not even load what is discarded
        for other in container.streams:
            other.discard = discard.default if other.index == index else discard.all
        if not self.codec.is_open:
            self.codec.thread_count = 1  # files are decoded in parallel, not the parts of one file
            self.codec.options = {"max_pixels": str(max_pixels)}
        self.num_damaged = 0
        self._container = container
        self._error: type[Exception] = require("av", "decode").error.FFmpegError

    @property
    def start_pts(self) -> float:
        """The start of the file, in units of this stream's time stamps."""
        start = self._container.start_time or 0
        return start / 1e6 / float(self.stream.time_base)

    def seek(self, pts: int) -> None:
        """Go to the last keyframe at or before a time stamp; where that fails, to wherever the file lets us."""
        try:
            self._container.seek(pts, stream=self.stream)
        except self._error:
            self.num_damaged += 1

    def packets(self) -> Iterator["Packet[Any]"]:
        """Whole packets from here to the end, or to where the container breaks off."""
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._error:
                self.num_damaged += 1
                return
            if packet.is_corrupt:  # the file ends inside it
                self.num_damaged += 1
            elif packet.size:
                yield packet

    def frames(self, packet: "Packet[Any] | None") -> list[Any]:
        """Frames that the decoder gives after this packet; None makes it give what it still holds."""
        try:
            frames: list[Any] = self.codec.decode(packet)
        except self._error:
            self.num_damaged += 1
            return []
        return frames
