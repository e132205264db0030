"""An item of nothing, to see whether a tower runs at all."""

import numpy as np

from avrec.bundle.content import Content, RawClips
from avrec.bundle.schema import Manifest
from avrec.core.arrays import Float32
from avrec.media.wire import dtype_of


def item_of_zeros(manifest: Manifest) -> Content:
    """One item of silence, black pictures and features that are zero."""
    content: dict[str, Float32 | RawClips] = {
        name: np.zeros((1, width), np.float32) for name, width in manifest.feature_dims.items()
    }
    for name, spec in manifest.media.items():
        content[name] = RawClips(np.zeros((1, *spec.shape), dtype_of(spec)), np.ones((1, spec.num_clips), np.float32))
    return content
