"""What is cut out of a media file, and the arrays that come of it.

Axes: C clips of a file, S samples, T frames, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.errors import ConfigError

MediaKind = Literal["audio", "video"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("audio", "video")


@dataclass(frozen=True)
class AudioSpec:
    """Which sound is read: `num_clips` stretches of `clip_sec`, their middles spread evenly over the file.

    Attributes:
        sample_rate_hz: after resampling.
        clip_sec: length of a clip; a shorter file is padded with silence, and how much is real is kept beside it.
        num_clips: clips of a file.

    Raises:
        ConfigError: a number is not positive.
    """

    sample_rate_hz: int = 16_000
    clip_sec: float = 4.0
    num_clips: int = 1

    def __post_init__(self) -> None:
        _positive(self, "sample_rate_hz", "clip_sec", "num_clips")

    @property
    def num_samples(self) -> int:
        """S: samples of a clip."""
        return round(self.sample_rate_hz * self.clip_sec)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, S) of a file's sound, float32."""
        return (self.num_clips, self.num_samples)


@dataclass(frozen=True)
class VideoSpec:
    """Which pictures are read: `num_frames` of each clip at the middles of equal parts of its time.

    Attributes:
        num_frames: of a clip.
        height_px: of a picture, the whole frame squeezed to it.
        width_px: likewise.
        clip_sec: length of a clip, their middles spread evenly over the file; None divides the whole file into the clips.
        num_clips: clips of a file.
        sampling: `exact` decodes the picture shown at each time; `keyframe` takes the nearest keyframe, which is much
            cheaper and may give one picture several times.
        decoder: `av` reads more kinds of files and mends damage; `decord` gives the same pictures of whole MP4, MOV,
            Matroska, WebM and AVI files, up to their scaling.

    Raises:
        ConfigError: a number is not positive, or there is no such decoder.
    """

    num_frames: int = 8
    height_px: int = 128
    width_px: int = 128
    clip_sec: float | None = None
    num_clips: int = 1
    sampling: Literal["exact", "keyframe"] = "exact"
    decoder: Literal["av", "decord"] = "av"

    def __post_init__(self) -> None:
        _positive(self, "num_frames", "height_px", "width_px", "clip_sec", "num_clips")
        if self.decoder not in ("av", "decord"):
            raise ConfigError(f"VideoSpec.decoder is {self.decoder!r}; expected av or decord.")

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, T, H, W, 3) of a file's pictures, uint8 RGB."""
        return (self.num_clips, self.num_frames, self.height_px, self.width_px, 3)


@dataclass(frozen=True)
class Clips:
    """What was read of one file.

    Attributes:
        values: (C, S) float32 sound or (C, T, H, W, 3) uint8 pictures.
        valid: (C,) share of each clip, above 0 and at most 1, that the file really held; the rest is padding at its end.
        notes: what a person should know although the file is usable, such as `short: 0.9 s of 261.7 s could be read`.
    """

    values: np.ndarray
    valid: Float32
    notes: tuple[str, ...] = ()


def _positive(spec: AudioSpec | VideoSpec, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{type(spec).__name__}.{name} is {value}; expected a positive number.")
