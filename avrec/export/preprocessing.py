"""Preprocessing of each media encoder as a `preprocessor_config.json` of Hugging Face's transformers.

What the graph does with a clip, said as the processor that does the same: `AutoFeatureExtractor` or `AutoImageProcessor`
reads the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from avrec.bundle.parts import PREPROCESSING
from avrec.core.files import write_json
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.processor import processor_of


def write_preprocessing(encoders: Mapping[str, MediaEncoder], folder: Path) -> None:
    """Write one processor for each modality that comes as raw media."""
    for name, encoder in encoders.items():
        path = folder / PREPROCESSING.format(name)
        path.parent.mkdir(parents=True)
        plain = json.loads(processor_of(encoder).to_json_string())
        write_json(path, {key: value for key, value in plain.items() if key != "mel_filters"})  # a megabyte, computed
