"""The prepared data set on disk: names, units and versions that its writer and its reader share."""

from typing import Literal

from avrec.core.clips import MediaKind

FieldKind = Literal["numeric", "category", "text", "tags", "ignore"]

KIND = "avrec prepared data set"
FORMAT_VERSION = 2  # 2: tags, friends with weights, a numbered graph, kinds of fields, combined events
MANIFEST = "manifest.json"
PARTS = ("train", "validation", "test")
WEIGHT_SCALE = 1_000_000  # weights are whole millionths: their sums are exact in any order and in every engine
RESERVED_COLUMNS = ("user_idx", "item_idx", "entity_idx", "alive_in_validation", "alive_in_test")


def table_file(name: str) -> str:
    """The file of the table `name`."""
    return f"{name}.parquet"


def feature_file(modality: str) -> str:
    """The file of a modality's vectors."""
    return f"features/{modality}.npy"


def presence_column(modality: str) -> str:
    """The column of the items table that says which items have the modality."""
    return f"has_{modality}"


def alive_column(part: Literal["validation", "test"]) -> str:
    """The column of the items table that says which items a held-out window has as candidates."""
    return f"alive_in_{part}"


def path_column(kind: MediaKind) -> str:
    """The column of the items table with the items' files of a kind, null where there is none."""
    return f"{kind}_path"
