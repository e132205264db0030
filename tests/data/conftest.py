"""Small logs by hand, as sources and as prepared folders."""

from dataclasses import dataclass

import pyarrow as pa
import pytest

from avrec.data.arrow import TEXT
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.base import RawData, event_table

DAY = 86_400
START = 1_600_000_000


@dataclass
class GivenSource:
    """A source that hands over what the test wrote."""

    raw: RawData

    def read(self):
        return self.raw


@pytest.fixture
def make_source():
    """rows (dicts of event columns) and anything else of RawData -> source; times are days after START."""

    def make(rows, items=None, users=None, **others):
        columns = {name: pa.array([row.get(name) for row in rows]) for name in {key for row in rows for key in row}}
        if "day" in columns:
            columns["timestamp"] = pa.array([START + row["day"] * DAY for row in rows], pa.int64())
            del columns["day"]
        for name, values in (("items", items), ("users", users)):
            if isinstance(values, list):
                others[name] = pa.table({f"{name[:-1]}_id": pa.array(values, TEXT)})
            elif values is not None:
                others[name] = values
        others.setdefault("items", pa.table({"item_id": pa.array([], TEXT)}))
        return GivenSource(RawData(name="hand", interactions=event_table(columns), **others))

    return make


@pytest.fixture
def make_dataset(make_source, tmp_path):
    """rows, split, options -> the loaded data set."""

    def make(rows, split, options=None, **others):
        source = make_source(rows, **others)
        return load_dataset(prepare(source, split, options or PrepareOptions(), tmp_path / "prepared"))

    return make


@pytest.fixture
def parts_of():
    """A data set -> {part: [(user_id, item_id), ...]} in stored order."""

    def parts(dataset):
        return {
            name: list(
                zip(
                    dataset.users.ids(getattr(dataset, name).user_idx),
                    dataset.items.ids(getattr(dataset, name).item_idx),
                    strict=True,
                )
            )
            for name in ("train", "validation", "test")
        }

    return parts
