"""Preprocessing in the form of Hugging Face's processors, compared with what the manifest cuts out of files."""

from pathlib import Path
from typing import Any

from avrec.bundle.media_specs import MediaSpec
from avrec.core.clips import AudioSpec
from avrec.core.errors import ArtefactError
from avrec.core.files import read_json


def check_preprocessing(path: Path, spec: MediaSpec) -> None:
    """Check that a processor takes what the spec cuts out.

    Args:
        path: a `preprocessor_config.json`.
        spec: of the manifest.

    Raises:
        ArtefactError: it is no processor's, or one of another rate or size.
    """
    value = read_json(path)
    if isinstance(spec, AudioSpec):
        _expect(path, value, "sampling_rate", spec.sample_rate_hz)
        kind = "feature_extractor_type"
    else:
        _expect(path, value, "size", {"height": spec.height_px, "width": spec.width_px})
        _expect(path, value, "do_center_crop", False)
        kind = "image_processor_type"
    if not isinstance(value.get(kind), str):
        raise ArtefactError(f"{path}: '{kind}' is {value.get(kind)!r}; expected a class. Export the bundle again.")


def _expect(path: Path, value: Any, key: str, expected: object) -> None:
    found = value.get(key) if isinstance(value, dict) else None
    if found != expected:
        raise ArtefactError(f"{path}: '{key}' is {found!r}; expected {expected!r}. Export the bundle again.")
