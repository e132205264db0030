"""`history.json`: how a client that has only the graph makes the user tower's inputs from a history."""

from typing import Any

from avrec.bundle.schema import Manifest

FORMAT_VERSION = 1


def history_spec(manifest: Manifest) -> dict[str, Any]:
    """What the file of a bundle says; it follows from the manifest, so `verify` writes it again and compares.

    `avrec.core.query.padded` is the same in code.
    """
    dims = manifest.dims
    per_event = ["batch", "length"]
    return {
        "format_version": FORMAT_VERSION,
        "max_items": manifest.max_history_items,
        "order": "oldest first; of a longer history the last max_items events",
        "length": "from 1 to max_items, one for the whole batch; a user without a history has one padded event",
        "padding": {
            "place": "at the end",
            "mask": False,
            "weights": 0.0,
            "ages": 0.0,
            "history_vectors": "any finite row",
        },
        "inputs": {
            "user_vector": {
                "dtype": "float32",
                "shape": ["batch", dims.id_dim],
                "value": "the user's row of user_vectors.npy, which follows users.parquet; zeros for a stranger",
            },
            "history_vectors": {
                "dtype": "float32",
                "shape": [*per_event, dims.history_dim],
                "value": "of each event the item's row of history_vectors.npy, which follows items.parquet",
            },
            "weights": {
                "dtype": "float32",
                "shape": per_event,
                "value": "strength of each event; 1 where it is not known",
            },
            "ages": {
                "dtype": "float32",
                "shape": per_event,
                "unit": "days",
                "value": "from the event to the question, not below 0; 0 where there is no time",
            },
            "mask": {"dtype": "bool", "shape": per_event, "value": "true where there is an event"},
        },
        "score": "the inner product of the output `vector` with a row of item_vectors.npy",
    }
