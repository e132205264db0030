"""What a media file claims to hold, read from its headers; nothing is decoded here."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avrec.media.container import open_container
from avrec.media.limits import Limits
from avrec.media.problems import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

_STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp")
_MAX_RATE_HZ = 768_000


@dataclass(frozen=True)
class SoundInfo:
    """The sound stream that is read.

    Attributes:
        index: of the stream in the file.
        codec: FFmpeg's name of it.
        sample_rate_hz: as stored.
        num_channels: as stored.
        start_sec: its first sample after the start of the file.
        duration_sec: as the header claims; None if it says nothing.
        notes: that there are several, and which was taken.
    """

    index: int
    codec: str
    sample_rate_hz: int
    num_channels: int
    start_sec: float
    duration_sec: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureInfo:
    """The stream of moving pictures that is read.

    Attributes:
        index: of the stream in the file.
        codec: FFmpeg's name of it.
        width_px: as stored, before any rotation.
        height_px: likewise.
        start_sec: its first picture after the start of the file.
        duration_sec: as the header claims; None if it says nothing.
        notes: that there are several, and which was taken.
    """

    index: int
    codec: str
    width_px: int
    height_px: int
    start_sec: float
    duration_sec: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MediaInfo:
    """What a file claims to hold.

    Attributes:
        format_name: FFmpeg's name of the container.
        start_sec: time stamp of the earliest stream, which is second 0 of the file.
        duration_sec: as the header claims; None if it says nothing.
        sound: the best sound stream, or None.
        pictures: the largest stream of moving pictures, or None; a cover picture is none.
    """

    format_name: str
    start_sec: float
    duration_sec: float | None
    sound: SoundInfo | None
    pictures: PictureInfo | None


def probe(path: Path) -> MediaInfo:
    """Read the headers of a file.

    Raises:
        MediaError: `missing` or `unreadable`.
    """
    with open_container(path) as container:
        return describe(container)


def describe(container: "InputContainer") -> MediaInfo:
    """Say what an open file claims to hold."""
    start_sec = (container.start_time or 0) / 1e6
    duration_sec = container.duration / 1e6 if container.duration and container.duration > 0 else None
    moving = [stream for stream in container.streams.video if _moves(stream)]
    largest: Any = max(moving, key=lambda stream: stream.width * stream.height, default=None)
    audible = [stream for stream in container.streams.audio if stream.codec_context is not None]  # None: no decoder
    best: Any = container.streams.best("audio")
    best = best if best in audible else next(iter(audible), None)
    sound = pictures = None
    if best is not None:
        codec = best.codec_context
        number = len(audible)
        notes = (f"streams: of {number} with sound, stream {best.index} is read",) if number > 1 else ()
        sound = SoundInfo(best.index, codec.name, codec.sample_rate, codec.channels, *_extent(best, start_sec), notes)
    if largest is not None:
        codec = largest.codec_context
        size = f"{codec.width}x{codec.height}"
        notes = (f"streams: of {len(moving)} with pictures, the largest, {size}, is read",) if len(moving) > 1 else ()
        extent = _extent(largest, start_sec)
        pictures = PictureInfo(largest.index, codec.name, codec.width, codec.height, *extent, notes)
    return MediaInfo(container.format.name, start_sec, duration_sec, sound, pictures)


def check_limits(path: Path, info: MediaInfo, limits: Limits) -> None:
    """Refuse by what the headers claim, before anything is decoded.

    Raises:
        MediaError: `too_large`.
    """
    claims = [
        ("bytes", path.stat().st_size, limits.max_file_bytes),
        ("seconds", info.duration_sec or 0, limits.max_duration_sec),
    ]
    if info.pictures:
        claims.append(("pixels a picture", info.pictures.width_px * info.pictures.height_px, limits.max_pixels))
    if info.sound:
        claims.append(("sound channels", info.sound.num_channels, limits.max_channels))
        claims.append(("sound samples a second", info.sound.sample_rate_hz, _MAX_RATE_HZ))
    for what, claimed, most in claims:
        if claimed > most:
            raise MediaError("too_large", f"{path.name}: {claimed:g} {what}, more than the limit of {most:g}")


def _moves(stream: "Stream") -> bool:
    """Whether the stream is more than a cover picture."""
    attached = bool(int(stream.disposition) & 0x0400)  # AV_DISPOSITION_ATTACHED_PIC
    single = stream.codec_context is not None and stream.codec_context.name in _STILL_CODECS and stream.frames == 1
    return stream.codec_context is not None and not attached and not single


def _extent(stream: "Stream", file_start_sec: float) -> tuple[float, float | None]:
    """Start after the start of the file, and claimed duration, in seconds."""
    base = stream.time_base or 0
    start_sec = float((stream.start_time or 0) * base) - file_start_sec if stream.start_time is not None else 0.0
    duration_sec = float(stream.duration * base) if stream.duration and stream.duration > 0 else None
    return max(0.0, start_sec), duration_sec
