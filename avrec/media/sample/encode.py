"""Sound and film to the bytes of one MP4 file: H.264 and AAC."""

import io
from fractions import Fraction
from typing import Any

from avrec.core.errors import require
from avrec.media.sample.pictures import Film
from avrec.media.sample.sounds import Sound

AUDIO_BITS_PER_CHANNEL = 64_000
BLOCK_SAMPLES = 1024  # a frame of AAC
TO_MEMORY = "w"  # the bytes go to the disk through core/files.py


def encoded(sound: Sound | None, film: Film | None) -> bytes:
    """An MP4 file with the streams that are given; a keyframe every second.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    av = require("av", "decode")
    file = io.BytesIO()
    with av.open(file, mode=TO_MEMORY, format="mp4") as container:
        streams = [_film_stream(container, film)] if film else []
        streams += [_sound_stream(container, sound)] if sound else []
        if film:
            _add_film(av, container, streams[0], film)
        if sound:
            _add_sound(av, container, streams[-1], sound)
        for stream in streams:
            container.mux(stream.encode(None))
    return file.getvalue()


def _film_stream(container: Any, film: Film) -> Any:
    stream = container.add_stream("libx264", rate=film.rate_hz)
    stream.height, stream.width = film.frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.gop_size = film.rate_hz
    stream.codec_context.thread_count = 1  # files are encoded side by side
    stream.options = {"preset": "veryfast", "crf": "22"}
    return stream


def _add_film(av: Any, container: Any, stream: Any, film: Film) -> None:
    for index, picture in enumerate(film.frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, film.rate_hz)
        container.mux(stream.encode(frame))


def _sound_stream(container: Any, sound: Sound) -> Any:
    num_channels = sound.samples.shape[1]
    stream = container.add_stream("aac", rate=sound.rate_hz, layout="mono" if num_channels == 1 else "stereo")
    stream.options = {"aac_coder": "fast"}  # closer to these sounds than the default search, at half its cost
    stream.bit_rate = AUDIO_BITS_PER_CHANNEL * num_channels
    return stream


def _add_sound(av: Any, container: Any, stream: Any, sound: Sound) -> None:
    layout = "mono" if sound.samples.shape[1] == 1 else "stereo"
    for start in range(0, len(sound.samples), BLOCK_SAMPLES):
        block = sound.samples[start : start + BLOCK_SAMPLES]
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sound.rate_hz, start, Fraction(1, sound.rate_hz)
        container.mux(stream.encode(frame))
