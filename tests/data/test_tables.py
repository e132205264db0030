import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import DataError
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.base import EVENT_COLUMNS
from avrec.data.sources.tables import TablesSource
from avrec.data.splits import GlobalTimeSplit, RandomSplit

NOON = 1_767_268_800  # 2026-01-01 12:00 UTC


def source_of(tmp_path, text, name="interactions.csv", **others):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TablesSource(path, **others)


def problems_of(source, tmp_path, split=None, options=None):
    with pytest.raises(DataError) as error:
        prepare(source, split or RandomSplit(0, 0), options or PrepareOptions(), tmp_path / "prepared")
    return error.value.problems


def test_the_smallest_case(tmp_path):
    raw = source_of(tmp_path, "user_id,item_id\nu,a\nu,b\n").read()
    assert raw.interactions.schema.names == list(EVENT_COLUMNS)
    assert raw.interactions.schema.types == list(EVENT_COLUMNS.values())
    assert raw.interactions["item_id"].to_pylist() == ["a", "b"]
    assert raw.interactions["timestamp"].null_count == 2


def test_bom_crlf_quotes_and_text_that_looks_like_something_else(tmp_path):
    text = b'\xef\xbb\xbfitem_id,user_id,event\r\n007,NA,"a,b"\r\n"x\r\ny",null,\r\n'
    rows = source_of(tmp_path, text).read().interactions.select(["user_id", "item_id", "event"]).to_pylist()
    assert rows == [
        {"user_id": "NA", "item_id": "007", "event": "a,b"},
        {"user_id": "null", "item_id": "x\r\ny", "event": None},
    ]


def test_tsv_and_other_separators(tmp_path):
    tsv = source_of(tmp_path, "user_id\titem_id\nu\ta,b\n", "log.tsv").read()
    assert tsv.interactions["item_id"].to_pylist() == ["a,b"]
    bars = source_of(tmp_path, "user_id|item_id\nu|a\n", separator="|").read()
    assert bars.interactions["item_id"].to_pylist() == ["a"]


def test_parquet_ids_become_decimal_text(tmp_path):
    path = tmp_path / "log.parquet"
    table = pa.table(
        {"user_id": pa.array([1, 2**63], pa.uint64()), "item_id": pa.array(["a", "b"]).dictionary_encode()}
    )
    pq.write_table(table, path)
    log = TablesSource(path).read().interactions
    assert log["user_id"].to_pylist() == ["1", "9223372036854775808"]
    assert log["item_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (str(NOON), NOON),
        (f"{NOON}.9", NOON),
        ("2026-01-01T12:00:00", NOON),
        ("2026-01-01 12:00:00.999", NOON),
        ("2026-01-01T12:00", NOON),
        ("2026-01-01", NOON - 43_200),
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T13:30:00+01:30", NOON),
    ],
)
def test_times_as_text(tmp_path, cell, expected):
    for other in (str(NOON), "2026-01-01T12:00:00"):  # alone and beside another notation
        log = source_of(tmp_path, f"user_id,item_id,timestamp\nu,a,{cell}\nu,b,{other}\n").read()
        assert log.problems == ()
        assert log.interactions["timestamp"].to_pylist() == [expected, NOON]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([dt.datetime(2026, 1, 1, 12, 0, 0, 999_000)], pa.timestamp("ms")),
        pa.array([dt.datetime(2026, 1, 1, 12)], pa.timestamp("s", "Europe/Vienna")),
        pa.array([NOON * 10**9 + 5], pa.timestamp("ns")),
        pa.array([float(NOON)]),
        pa.array([NOON], pa.uint32()),
        pa.array(["2026-01-01T12:00:00Z"]),
    ],
)
def test_times_in_parquet(tmp_path, values):
    pq.write_table(pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": values}), tmp_path / "log.parquet")
    assert TablesSource(tmp_path / "log.parquet").read().interactions["timestamp"].to_pylist() == [NOON]


def test_dates_are_midnight_and_times_before_1970_round_down(tmp_path):
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": pa.array([dt.date(2026, 1, 1)])})
    pq.write_table(table, tmp_path / "log.parquet")
    assert TablesSource(tmp_path / "log.parquet").read().interactions["timestamp"].to_pylist() == [NOON - 43_200]
    pq.write_table(table.set_column(2, "timestamp", pa.array([-1], pa.timestamp("ms"))), tmp_path / "log.parquet")
    assert TablesSource(tmp_path / "log.parquet").read().interactions["timestamp"].to_pylist() == [-1]


@pytest.mark.parametrize(
    ("unit", "name", "factor"), [("ms", "milli", 10**3), ("us", "micro", 10**6), ("ns", "nano", 10**9)]
)
def test_a_wrong_time_unit_is_one_problem_that_names_the_right_one(tmp_path, unit, name, factor):
    text = f"user_id,item_id,timestamp\nu,a,{NOON * factor}\nu,b,{(NOON + 5) * factor}\n"
    assert problems_of(source_of(tmp_path, text), tmp_path) == [
        f"interactions.csv: timestamp values such as {NOON * factor} look like {name}seconds, but are read as seconds. "
        f"Set time_unit='{unit}'."
    ]
    log = source_of(tmp_path, text, time_unit=unit).read().interactions
    assert log["timestamp"].to_pylist() == [NOON, NOON + 5]


def test_seconds_read_as_milliseconds(tmp_path):
    source = source_of(tmp_path, f"user_id,item_id,timestamp\nu,a,{NOON}\n", time_unit="ms")
    assert problems_of(source, tmp_path) == [
        f"interactions.csv: timestamp values such as {NOON} look like seconds, but are read as milliseconds. "
        "Set time_unit='s'."
    ]


def test_mixed_units_are_told_by_row(tmp_path):
    text = f"user_id,item_id,timestamp\nu,a,{NOON}\nu,b,{NOON * 1000}\n"
    assert problems_of(source_of(tmp_path, text), tmp_path, GlobalTimeSplit()) == [
        f"interactions.csv row 2: timestamp is {NOON * 1000}; a time in the future (this looks like milliseconds); "
        "expected seconds since 1970 or an ISO date. Fix the row or drop it."
    ]


def test_every_bad_cell_is_told_with_row_column_value_and_remedy(tmp_path):
    text = (
        "user_id,item_id,timestamp,value,split\n"
        "u,a,yesterday,1,train\n"
        'u,"b\nc",2026-02-30,1,train\n'
        "u,d,0,1,train\n"
        "u,e,-5,1,train\n"
        f"u,f,{NOON},many,train\n"
        f"u,g,{NOON},nan,train\n"
        f"u,h,{NOON},1,tset\n"
        f",i,{NOON},1,test\n"
        f" u,1.0,{NOON},1,test\n"
    )
    time = "expected seconds since 1970 or an ISO date. Fix the row or drop it."
    assert problems_of(source_of(tmp_path, text), tmp_path) == [
        "interactions.csv row 5: value is 'many'; expected a number. Fix the row or drop it.",
        f"interactions.csv row 1: timestamp is 'yesterday'; {time}",
        f"interactions.csv row 2: timestamp is '2026-02-30'; {time}",
        "interactions.csv row 7: split is 'tset'; expected train, validation or test. Did you mean 'test'? "
        "Fix the row or drop it.",
        "interactions.csv row 8: user_id is ''; expected an id. Give the row an id or drop it.",
        "interactions.csv row 9: user_id is ' u'; an id with a space at an end. Strip the column.",
        "interactions.csv row 9: item_id is '1.0'; an id that went through a column of floats. "
        "Write ids as text or as whole numbers.",
        "interactions.csv row 6: value is nan; expected a finite number. Fix the row or drop it.",
        f"interactions.csv row 3: timestamp is 0; {time}",
        f"interactions.csv row 4: timestamp is -5; {time}",
    ]


def test_five_rows_are_shown_and_the_others_counted(tmp_path):
    text = "user_id,item_id,value\n" + "".join(f"u,i{n},x\n" for n in range(8))
    problems = problems_of(source_of(tmp_path, text), tmp_path)
    assert len(problems) == 6
    assert problems[-1] == "interactions.csv: 3 more rows with this problem in value, 8 in all."


def test_ragged_rows_keep_the_numbers_of_the_others_right(tmp_path):
    text = "user_id,item_id,value\nu,a,1\nu\nu,b,x\nu,c,1,9\nu,d,y\n"
    assert problems_of(source_of(tmp_path, text), tmp_path) == [
        "interactions.csv row 2: has 1 cells; the header has 3. Quote a cell that holds the separator, or drop the row.",
        "interactions.csv row 4: has 4 cells; the header has 3. Quote a cell that holds the separator, or drop the row.",
        "interactions.csv row 3: value is 'x'; expected a number. Fix the row or drop it.",
        "interactions.csv row 5: value is 'y'; expected a number. Fix the row or drop it.",
    ]


def test_text_that_is_not_utf8_is_told_by_cell(tmp_path):
    text = "user_id,item_id\nu,a\nMüller,b\nu,c\n".encode("latin-1")
    assert problems_of(source_of(tmp_path, text), tmp_path) == [
        "interactions.csv row 2: user_id is b'M\\xfcller'; expected UTF-8. Save the file as UTF-8."
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user_id,item_id\nu,a\n".encode("utf-16"), "is UTF-16; expected UTF-8. Save it as UTF-8."),
        ("", "is empty; expected a line of column names. Is this the right file?"),
        ("user_id,user_id\n1,2\n", "column 'user_id' stands twice in the header. Rename or drop one."),
        ("user_id;item_id\n1;2\n", "the header 'user_id;item_id' has no ','. Set separator=';'."),
        ("user_id,item_id,tïme\n".encode("latin-1"), "the header is not UTF-8. Save the file as UTF-8."),
        ("user_id,item_id\n", "has no rows. Is this the right file?"),
        (
            "user,item_id,value\n1,2,3\n",
            "no column 'user_id'; it has ['user', 'item_id', 'value']. Did you mean 'user'? Rename or add the column.",
        ),
        (
            "user_id,item_id,timestampp\n1,2,3\n",
            "column 'timestampp' is not known; 'timestamp' is. Rename the column, or drop it.",
        ),
        ("user_id,item_id,Value\n1,2,3\n", "column 'Value' is not known; 'value' is. Rename the column, or drop it."),
    ],
)
def test_files_that_are_no_table(tmp_path, text, problem):
    assert problems_of(source_of(tmp_path, text), tmp_path) == [f"interactions.csv: {problem}"]


def test_a_huge_cell_is_quoted_short(tmp_path):
    (problem,) = problems_of(source_of(tmp_path, "user_id,item_id,value\nu,a," + "9x" * 10**6 + "\n"), tmp_path)
    assert len(problem) < 250 and "(2000002 characters)" in problem


def test_a_quote_that_is_never_closed(tmp_path):
    problems = problems_of(source_of(tmp_path, 'user_id,item_id\n"u,a\n' + "u,b\n" * 100), tmp_path)
    assert any("has 1 cells; the header has 2. Quote a cell" in problem for problem in problems)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (pa.array([1.0, 2.0]), r"column user_id has the type double; expected text. Write the ids as text or as whole"),
        (pa.array([True, False]), r"column user_id has the type bool; expected text"),
        (pa.array([1, None]), r"row 2: user_id is empty; expected an id"),
    ],
)
def test_parquet_ids_of_other_types(tmp_path, values, problem):
    pq.write_table(pa.table({"user_id": values, "item_id": ["a", "b"]}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=problem):
        prepare(TablesSource(tmp_path / "log.parquet"), RandomSplit(0, 0), PrepareOptions(), tmp_path / "out")


def test_missing_files_and_endings_are_told_together(tmp_path):
    with pytest.raises(DataError) as error:
        TablesSource(tmp_path / "a.csv", tmp_path / "b.csv", features={"audio": tmp_path / "c.npy"}).read()
    assert len(error.value.problems) == 3 and all(
        "no such file. Check the path." in line for line in error.value.problems
    )
    (tmp_path / "log.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"log.xlsx: has the ending '.xlsx'; expected .csv, .tsv, .parquet. Convert"):
        TablesSource(tmp_path / "log.xlsx").read()
    (tmp_path / "log.parquet").write_text("x")
    with pytest.raises(DataError, match=r"log[.]parquet: not a readable Parquet file"):
        TablesSource(tmp_path / "log.parquet").read()


def test_columns_that_are_not_read_stand_in_the_manifest(tmp_path):
    raw = source_of(tmp_path, "user_id,item_id,session\nu,a,1\n").read()
    assert raw.origin["ignored_columns"] == {"interactions.csv": ["session"]}
    assert raw.origin["files"]["interactions.csv"]["bytes"] == 30


@pytest.fixture
def catalogue(tmp_path):
    """Two tables and a function that writes a feature file and gives the problems."""
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\n")
    (tmp_path / "items.csv").write_text("item_id,title,year,code\nb,x,1990,01\na,,,2\nc,y,2000,\n")

    def source(**others):
        return TablesSource(tmp_path / "log.csv", tmp_path / "items.csv", **others)

    return source


def test_side_fields_get_types(catalogue):
    items = catalogue().read().items
    assert items["year"].to_pylist() == [1990, None, 2000]
    assert items["title"].to_pylist() == ["x", None, "y"]
    assert items["code"].to_pylist() == ["01", "2", None]  # a leading zero: no number


def test_npy_rows_are_in_the_order_of_the_items_table(catalogue, tmp_path):
    np.save(tmp_path / "audio.npy", np.array([[1, 2], [3, 4], [5, 6]], np.float16))
    ids, values = catalogue(features={"audio": tmp_path / "audio.npy"}).read().features["audio"]
    assert ids.to_pylist() == ["b", "a", "c"] and values.dtype == np.float32 and values[1].tolist() == [3, 4]


def test_parquet_vectors_name_their_items_and_may_be_absent(catalogue, tmp_path):
    vectors = pa.table({"item_id": ["c", "b", "a"], "vector": [[1.0, 2.0], None, [3.0, 4.0]]})
    pq.write_table(vectors, tmp_path / "audio.parquet")
    ids, values = catalogue(features={"audio": tmp_path / "audio.parquet"}).read().features["audio"]
    assert ids.to_pylist() == ["c", "a"] and values.tolist() == [[1, 2], [3, 4]]


def test_rows_of_zeros(catalogue, tmp_path):
    np.save(tmp_path / "audio.npy", np.array([[1.0], [0.0], [2.0]]))
    features = {"audio": tmp_path / "audio.npy"}
    assert problems_of(catalogue(features=features), tmp_path) == [
        "audio.npy row 2: the vector of item 'a' is all zero. Leave the item out, or set zero_rows='absent' if zeros mean "
        "that it is missing."
    ]
    ids, _ = catalogue(features=features, zero_rows="absent").read().features["audio"]
    assert ids.to_pylist() == ["b", "c"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.ones((2, 4)), "audio.npy: 2 rows, but the items table has 3. Row i must be the vector of items row i."),
        (np.ones(3), "audio.npy: shape (3,); expected 2 dimensions."),
        (np.array([["a"], ["b"], ["c"]]), "audio.npy: has the dtype <U1; expected numbers. Save it as float32."),
        (np.ones((3, 2), complex), "audio.npy: has the dtype complex128; expected numbers. Save it as float32."),
        (
            np.array([[1.0], [np.nan], [np.inf]]),
            "audio.npy row 2: the vector of item 'a' holds NaN or infinity (or overflows float32). "
            "Compute the vector again, or leave the item out.",
        ),
        (np.array([[1.0], [2.0], [1e300]]), "audio.npy row 3: the vector of item 'c' holds NaN or infinity"),
        (np.ones((3, 0)), "audio.npy: float32 of shape (3, 0); expected floats of shape (items, dimension)."),
    ],
)
def test_feature_files_that_cannot_be_used(catalogue, tmp_path, values, problem):
    np.save(tmp_path / "audio.npy", values)
    assert problems_of(catalogue(features={"audio": tmp_path / "audio.npy"}), tmp_path)[0].startswith(problem)


def test_python_objects_are_never_loaded(catalogue, tmp_path):
    np.save(tmp_path / "audio.npy", np.array([{}, {}, {}], dtype=object), allow_pickle=True)
    (problem,) = problems_of(catalogue(features={"audio": tmp_path / "audio.npy"}), tmp_path)
    assert problem.startswith("audio.npy: holds Python objects (pickle), which are never loaded.")


def test_parquet_features_that_cannot_be_used(catalogue, tmp_path):
    path = tmp_path / "audio.parquet"
    for columns, problem in (
        ({"item_id": ["a"], "x": [1.0]}, "has the columns ['item_id', 'x']; expected item_id and one list column"),
        ({"item_id": ["a", "b"], "x": [[1.0], [1.0, 2.0]]}, "vectors have 1 to 2 numbers; expected one length."),
        ({"item_id": ["a"], "x": [[1.0, None]]}, "1 numbers inside vectors are null."),
        ({"item_id": ["a", "a"], "x": [[1.0], [2.0]]}, "an item_id is empty or occurs twice."),
    ):
        pq.write_table(pa.table(columns), path)
        assert problems_of(catalogue(features={"audio": path}), tmp_path)[0].startswith(f"audio.parquet: {problem}")


def test_npy_features_need_an_items_table(tmp_path):
    np.save(tmp_path / "audio.npy", np.ones((1, 2)))
    source = source_of(tmp_path, "user_id,item_id\nu,a\n", features={"audio": tmp_path / "audio.npy"})
    assert problems_of(source, tmp_path) == [
        "audio.npy: its rows are in the order of an items table, and none is given. Give `items`."
    ]


def test_tables_prepare_and_load(catalogue, tmp_path):
    np.save(tmp_path / "audio.npy", np.arange(6, dtype=np.float64).reshape(3, 2) + 1)
    source = catalogue(features={"audio": tmp_path / "audio.npy"}, name="mine")
    dataset = load_dataset(prepare(source, RandomSplit(0, 0), PrepareOptions(), tmp_path / "out"))
    assert dataset.name == "mine" and dataset.items.array.to_pylist() == ["a", "b", "c"]
    assert dataset.features["audio"].values.tolist() == [[3, 4], [1, 2], [5, 6]]
