"""What the decoding process runs for the report: whole pictures in their own proportions. Imports nothing heavy."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.media.container import open_container
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.media.probe import check_limits, describe
from avrec.media.stream import StreamReader

BACKGROUND = 24  # of the bars beside a picture, nearly black


def decode_whole(path: Path, spec: AudioSpec | VideoSpec, limits: Limits) -> Clips:
    """As `avrec.media.decode.decode`, but a picture keeps its proportions inside `spec`, between bars.

    Raises:
        MediaError: the file cannot be used.
    """
    if isinstance(spec, AudioSpec):
        return decode(path, spec, limits)
    width, height = inner_size(*upright_size(path, limits), spec)
    clips = decode(path, replace(spec, width_px=width, height_px=height), limits)
    framed = np.full(spec.shape, BACKGROUND, np.uint8)
    top, left = (spec.height_px - height) // 2, (spec.width_px - width) // 2
    framed[:, :, top : top + height, left : left + width] = clips.values
    return Clips(framed, clips.valid, clips.notes)


def upright_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Width and height of a file's pictures as they are to be looked at, rotation applied; 0 x 0 without pictures."""
    with open_container(path) as container:
        info = describe(container)
        check_limits(path, info, limits)
        if info.pictures is None:
            return 0, 0
        stream = StreamReader(container, info.pictures.index, limits.max_pixels)
        for packet in stream.packets():
            for frame in stream.frames(packet):
                sideways = round(frame.rotation / 90) % 2
                size = (frame.width, frame.height)
                return size[::-1] if sideways else size
    return 0, 0


def inner_size(width: int, height: int, spec: VideoSpec) -> tuple[int, int]:
    """The largest size of these proportions inside the spec's; the spec's own where nothing is known.

    >>> inner_size(1920, 1080, VideoSpec(height_px=96, width_px=96)), inner_size(0, 0, VideoSpec(height_px=90, width_px=96))
    ((96, 54), (96, 90))
    """
    if width <= 0 or height <= 0:
        return spec.width_px, spec.height_px
    scale = min(spec.width_px / width, spec.height_px / height)
    return max(2, round(width * scale)), max(2, round(height * scale))
