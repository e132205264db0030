"""Small pictures and short films for the page, made from decoded arrays: none of a stranger's bytes stand in it.

Axes: S samples, T frames, H height, W width.
"""

import io
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.image import imsave

from avrec.core.arrays import Float32
from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import require

SECONDS = 3.0
PICTURES = VideoSpec(num_frames=24, height_px=108, width_px=144, clip_sec=SECONDS)
SOUND = AudioSpec(sample_rate_hz=24_000, clip_sec=SECONDS)
FRAME_RATE_HZ = round(PICTURES.num_frames / SECONDS)
PICTURE_BITS, SOUND_BITS = 70_000, 24_000  # a second
JPEG_QUALITY = 55
OPUS_SAMPLES = 480  # 20 ms, a frame of Opus
TO_MEMORY = "w"  # the bytes go to the disk inside the page


def thumbnail(picture_HW3: np.ndarray) -> bytes:
    """A JPEG of one picture, uint8 RGB."""
    file = io.BytesIO()
    imsave(file, picture_HW3, format="jpg", pil_kwargs={"quality": JPEG_QUALITY})
    return file.getvalue()


def excerpt(frames_THW3: np.ndarray | None, samples_S: Float32 | None) -> bytes:
    """A WebM file (VP8 and Opus), which browsers play without a licence.

    Args:
        frames_THW3: uint8 at `FRAME_RATE_HZ`; None for sound alone.
        samples_S: at the rate of `SOUND`, in -1 to 1; None for pictures alone.
    """
    av = require("av", "decode")
    file = io.BytesIO()
    with av.open(file, mode=TO_MEMORY, format="webm") as container:
        film = None if frames_THW3 is None else _film_stream(container, frames_THW3)
        sound = None if samples_S is None else _sound_stream(container)
        if film is not None and frames_THW3 is not None:
            for index, picture in enumerate(frames_THW3):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE_HZ)
                container.mux(film.encode(frame))
        if sound is not None and samples_S is not None:
            _add_sound(av, container, sound, samples_S)
        for stream in (film, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return file.getvalue()


def _film_stream(container: Any, frames_THW3: np.ndarray) -> Any:
    stream = container.add_stream("libvpx", rate=FRAME_RATE_HZ)
    stream.height, stream.width = frames_THW3.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = PICTURE_BITS
    stream.codec_context.thread_count = 1
    stream.options = {"deadline": "good", "cpu-used": "5"}
    return stream


def _sound_stream(container: Any) -> Any:
    stream = container.add_stream("libopus", rate=SOUND.sample_rate_hz, layout="mono")
    stream.bit_rate = SOUND_BITS
    return stream


def _add_sound(av: Any, container: Any, stream: Any, samples_S: Float32) -> None:
    pcm = np.round(32767 * np.clip(samples_S, -1.0, 1.0)).astype(np.int16)
    for start in range(0, len(pcm), OPUS_SAMPLES):
        block = np.ascontiguousarray(pcm[start : start + OPUS_SAMPLES].reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND.sample_rate_hz, start, Fraction(1, SOUND.sample_rate_hz)
        container.mux(stream.encode(frame))
