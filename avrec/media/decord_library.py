"""decord2, imported without what it would do to every other library of the process."""

import sys
from types import ModuleType

from avrec.core.errors import require

_NO_PACKAGE: ModuleType = None  # type: ignore[assignment]  # in sys.modules it says that there is no such package


def load_decord() -> ModuleType:
    """The module `decord`. Whoever needs it takes it from here and never imports it.

    On import decord2 3.4 opens every library of the packages `nvidia-*`, which PyTorch for CUDA brings, and lends their
    symbols to all. One of them, NVBLAS, answers to the names of BLAS: from then on a library that is loaded later, as FAISS
    is, multiplies matrices through it, and where no GPU or no `nvblas.conf` is found the process dies of it. Pictures are
    read here by the CPU, which needs none of these; without them the import takes .06 s in place of .45 s.

    Raises:
        MissingExtraError: decord2 is not installed.
    """
    if sys.modules.get("decord") is not None:
        return require("decord", "decode")
    loaded = sys.modules.get("nvidia")
    sys.modules["nvidia"] = _NO_PACKAGE
    try:
        return require("decord", "decode")
    finally:
        if loaded is None:
            del sys.modules["nvidia"]
        else:
            sys.modules["nvidia"] = loaded
