"""What is cut out of a file, as plain data in a manifest, so that a reader without PyTorch decodes a new upload alike."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from avrec.bundle.plain_reader import PlainReader
from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import ConfigError

MediaSpec = AudioSpec | VideoSpec

_AUDIO = {"sample_rate_hz": int, "clip_sec": float, "num_clips": int}
_VIDEO = {
    "num_frames": int,
    "height_px": int,
    "width_px": int,
    "clip_sec": float,
    "num_clips": int,
    "sampling": str,
    "decoder": str,
}
_CHOICES = {"sampling": ("exact", "keyframe"), "decoder": ("av", "decord")}


def specs_to_json(specs: Mapping[str, MediaSpec]) -> dict[str, Any]:
    """{modality: {"kind": "audio" or "video", and the fields of its spec}}."""
    return {
        name: {"kind": "audio" if isinstance(spec, AudioSpec) else "video", **asdict(spec)}
        for name, spec in specs.items()
    }


def read_specs(reader: PlainReader, value: Any) -> dict[str, MediaSpec]:
    """Check what `specs_to_json` made.

    Raises:
        ArtefactError: a key is missing or unknown, or a value is not one that a spec may hold.
    """
    return {name: _read(reader, f"media.{name}", spec) for name, spec in reader.typed("media", value, dict).items()}


def _read(reader: PlainReader, key: str, value: Any) -> MediaSpec:
    kind = reader.typed(key, value, dict).get("kind")
    if kind not in ("audio", "video"):
        raise reader.error(f"{key}.kind", kind, "audio or video")
    types = _AUDIO if kind == "audio" else _VIDEO
    reader.keys(key, value, types.keys() | {"kind"})
    given = {name: value[name] for name in types}
    for name, expected in types.items():
        if kind == "video" and name == "clip_sec" and given[name] is None:  # the whole file
            continue
        found = reader.typed(f"{key}.{name}", given[name], expected)
        if expected is float and not math.isfinite(found):
            raise reader.error(f"{key}.{name}", found, "a finite number")
    for name, choices in _CHOICES.items():
        if kind == "video" and given[name] not in choices:
            raise reader.error(f"{key}.{name}", given[name], " or ".join(choices))
    try:
        spec = AudioSpec(**given) if kind == "audio" else VideoSpec(**given)
        assert spec.shape  # an OverflowError where no array could be so long
        return spec
    except (ConfigError, OverflowError) as error:
        raise reader.error(key, value, f"numbers that can be read by ({error})") from error
