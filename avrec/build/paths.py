"""Where the configuration folder stands: inside an installed wheel, or at the root of a checkout."""

from pathlib import Path

import avrec
from avrec.core.errors import ArtefactError

PRIMARY = "train.yaml"


def conf_dir(package: Path | None = None) -> Path:
    """The folder of the configuration files.

    An installed wheel carries it as `avrec/conf`; in a checkout (also when installed with `pip install -e`) it is
    `conf` beside the package.

    Args:
        package: the folder of the `avrec` package; that of the imported one when None.

    Raises:
        ArtefactError: there is no such folder.
    """
    package = Path(avrec.__file__).resolve().parent if package is None else package
    candidates = [package / "conf", package.parent / "conf"]
    for folder in candidates:
        if (folder / PRIMARY).is_file():
            return folder
    looked = " and ".join(str(folder) for folder in candidates)
    raise ArtefactError(
        f"no configuration folder with {PRIMARY} at {looked}. Install avrec again: pip install --force-reinstall avrec"
    )
