"""Where in a file its clips lie, for sound and pictures alike, so that the two stay in step."""

import numpy as np

from avrec.core.arrays import Float32, Float64


def clip_starts(duration_sec: float, clip_sec: float, num_clips: int) -> Float64:
    """Starts of the clips: their middles divide the file evenly, and none leaves a file that is long enough to hold it.

    >>> clip_starts(12.0, 4.0, 2)
    array([1., 7.])
    >>> clip_starts(3.0, 4.0, 1)
    array([0.])
    """
    middles = (np.arange(num_clips) + 0.5) / num_clips * duration_sec
    return np.clip(middles - clip_sec / 2, 0.0, max(0.0, duration_sec - clip_sec))


def valid_share(starts: Float64, clip_sec: float, end_sec: float) -> Float32:
    """(C,) share of each clip that lies before the end of the stream."""
    return np.clip((end_sec - starts) / clip_sec, 0.0, 1.0).astype(np.float32)
