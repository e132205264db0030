"""Writes the Triton model repository of a bundle; see `avrec.bundle.triton`."""

import shutil
from pathlib import Path

from avrec.bundle.parts import ITEM_TOWER, TRITON_CONFIGS, TRITON_MODELS, USER_TOWER
from avrec.bundle.reader import Bundle
from avrec.bundle.towers import max_rows, open_item_tower, open_user_tower
from avrec.bundle.triton import triton_config
from avrec.core.files import atomic_write


def write_triton(bundle: Bundle, folder: Path) -> None:
    """Write `triton/<tower>/config.pbtxt` and `triton/<tower>/1/model.onnx` for both towers."""
    rows = max_rows(bundle)
    for tower, graph in {USER_TOWER: open_user_tower(bundle), ITEM_TOWER: open_item_tower(bundle)}.items():
        (folder / TRITON_MODELS[tower]).parent.mkdir(parents=True)
        with atomic_write(folder / TRITON_CONFIGS[tower]) as file:
            file.write(triton_config(tower, graph, rows[tower]).encode())
        shutil.copyfile(folder / f"{tower}.onnx", folder / TRITON_MODELS[tower])
