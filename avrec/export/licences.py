"""`licences.json`: what binds whoever passes a bundle on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avrec.bundle.licences import NOT_STATED
from avrec.bundle.parts import LICENCES
from avrec.core.files import write_json
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import WHEEL

# As their origins state it; {name of a data set: licence}.
_DATA = {
    "lastfm": "HetRec 2011, Last.fm: non-commercial research use, copyright Last.fm",
    "movielens": "GroupLens MovieLens: research use with acknowledgement, no commercial use without permission",
    "sample": "made by avrec; free of others' rights",
    "simulated": "made by avrec; free of others' rights",
}


def licences(
    encoders: Mapping[str, MediaEncoder], encoder_licences: Mapping[str, str], data_name: str, data_licence: str | None
) -> dict[str, Any]:
    """What the file of a bundle says.

    Args:
        encoders: of raw media.
        encoder_licences: {modality: what the source of its weights says}.
        data_name: of the data set.
        data_licence: what its owner says; None to take what is known of it.
    """
    return {
        "format_version": 1,
        "data": {"name": data_name, "licence": data_licence or _DATA.get(data_name, NOT_STATED)},
        "encoders": [
            {
                "modality": name,
                "encoder": type(encoder).__name__,
                "weights": _weights(encoder),
                "revision": encoder.checkpoint.revision or NOT_STATED,
                "licence": encoder_licences.get(name) or NOT_STATED,
            }
            for name, encoder in encoders.items()
        ],
    }


def write_licences(folder: Path, value: Mapping[str, Any]) -> None:
    """Write the file."""
    write_json(folder / LICENCES, value)


def _weights(encoder: MediaEncoder) -> str:
    """The wheel or hub id; of a folder its last name, since the rest belongs to one machine."""
    is_hub = ":" not in encoder.checkpoint.revision
    return encoder.pretrained if is_hub or encoder.pretrained.startswith(WHEEL) else Path(encoder.pretrained).name
