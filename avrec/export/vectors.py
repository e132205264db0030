"""`vectors.parquet`: what a vector database takes, ids and item vectors in one table."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.bundle.parts import VECTORS
from avrec.bundle.reader import Bundle
from avrec.core.files import write_table


def write_vectors(bundle: Bundle, folder: Path) -> None:
    """Write the columns `item_id` (text) and `vector` (a list of D + 1 + C floats), row = item_idx."""
    flat = pa.array(np.ascontiguousarray(bundle.item_vectors).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, bundle.item_vectors.shape[1])
    write_table(folder / VECTORS, pa.table({"item_id": bundle.items.array, "vector": vectors}))
