"""`licences.json`: what the sources of encoders and data say of their licences."""

from avrec.bundle.parts import LICENCES
from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError
from avrec.core.files import read_json

NOT_STATED = "not stated by its source"
ENCODER_KEYS = frozenset({"modality", "encoder", "weights", "revision", "licence"})


def check_licences(bundle: Bundle) -> None:
    """Check that the file names a licence for the data and for each encoder of raw media, `not stated` included.

    Raises:
        ArtefactError: it does not.
    """
    path = bundle.folder / LICENCES
    value = read_json(path)
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, dict) or data.keys() != {"name", "licence"} or not _texts(data):
        raise ArtefactError(f"{path}: 'data' is {data!r}; expected a name and a licence. Export the bundle again.")
    encoders = value.get("encoders")
    whole = isinstance(encoders, list) and all(
        isinstance(one, dict) and one.keys() == ENCODER_KEYS and _texts(one) for one in encoders
    )
    if not whole or sorted(one["modality"] for one in encoders) != sorted(bundle.manifest.media):
        raise ArtefactError(
            f"{path}: 'encoders' does not name the licence of each of {sorted(bundle.manifest.media)}. Export the bundle again."
        )


def _texts(value: dict[str, object]) -> bool:
    return all(isinstance(text, str) and text for text in value.values())
