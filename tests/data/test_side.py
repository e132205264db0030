"""Tags, interests, friends, graph, fields and texts: from planted tables to a prepared data set and back."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import ArtefactError, DataError
from avrec.core.side import CategoryField, NumericField
from avrec.data import side_validation
from avrec.data.arrow import TEXT
from avrec.data.options import PrepareOptions
from avrec.data.prepare import prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.side_files import SideFiles
from avrec.data.sources.tables import TablesSource
from avrec.data.splits import GivenSplit, GlobalTimeSplit, RandomSplit, UserTimeSplit

ALL_TRAIN = RandomSplit(0.0, 0.0)
ROWS = [{"user_id": user, "item_id": item} for user, item in ("ua", "ub", "va", "wc")]
DAY, START = 86_400, 1_600_000_000


def tables_of(**columns):
    return pa.table({name: pa.array(values) for name, values in columns.items()})


@pytest.fixture
def manifest(tmp_path):
    return lambda: json.loads((tmp_path / "prepared" / "manifest.json").read_text())


def by_name(ids, tags):
    """{id: {tag: weight}}, without the empty ones."""
    dense = tags.rows.dense()
    names = tags.names.array.to_pylist()
    told = {
        name: {tag: int(weight) for tag, weight in zip(names, row, strict=True) if weight}
        for name, row in zip(ids.array.to_pylist(), dense, strict=True)
    }
    return {name: found for name, found in told.items() if found}


# -- tags


def test_tags_come_from_lists_text_and_statements(make_dataset):
    items = pa.table(
        {
            "item_id": pa.array(["a", "b", "c"], TEXT),
            "tags": pa.array(["rock| pop ||", "", None]),
            "genres": pa.array([["pop"], [], ["jazz", None, "jazz"]]),
        }
    )
    users = tables_of(user_id=["u", "v", "x"], interests=["rock|silence", None, "pop"])
    given = tables_of(
        item_id=["b", "b", "b", "a"], tag=["rock", "rock", " rock ", "rock"], user_id=["u", "v", "v", None]
    )
    dataset = make_dataset(ROWS, ALL_TRAIN, items=items, users=users, tags=given)
    assert dataset.item_tags.names.array.to_pylist() == ["jazz", "pop", "rock", "silence"]
    assert by_name(dataset.items, dataset.item_tags) == {
        "a": {"rock": 2, "pop": 2},
        "b": {"rock": 2},  # two people, one of them twice
        "c": {"jazz": 2},
    }
    assert by_name(dataset.users, dataset.user_interests) == {
        "u": {"rock": 2, "silence": 1},
        "v": {"rock": 1},
        "x": {"pop": 1},
    }
    assert dataset.user_interests.names is dataset.item_tags.names
    assert dataset.item_tags.rows.num_columns == 4 and dataset.user_interests.rows.num_rows == dataset.num_users


def test_a_tag_tells_nothing_of_a_held_out_event(make_dataset, manifest):
    rows = [
        {"user_id": u, "item_id": i, "split": s}
        for (u, i), s in zip(
            ("ua", "ub", "uc", "va", "vb"), ("train", "validation", "test", "test", "train"), strict=True
        )
    ]
    pairs = [(user, item) for user in "uv" for item in "abcd"]
    tags = tables_of(
        user_id=[user for user, _ in pairs],
        item_id=[item for _, item in pairs],
        tag=[user + item for user, item in pairs],
    )
    dataset = make_dataset(rows, GivenSplit(), tags=tags, items=["a", "b", "c", "d"])
    left = {"ua", "ud", "vb", "vc", "vd"}
    assert set(dataset.item_tags.names.array.to_pylist()) == left
    assert by_name(dataset.users, dataset.user_interests)["u"] == {"ua": 1, "ud": 1}
    assert manifest()["counts"]["tags"]["rows_of_held_out_pairs"] == 3
    assert manifest()["counts"]["tags"]["rows"] == 8


def test_tags_given_after_the_held_out_parts_began(make_dataset, manifest):
    rows = [{"user_id": user, "item_id": f"i{n}", "day": n + 10 * (user == "v")} for user in "uv" for n in range(10)]
    days, users = [5, 8, 9, 17, 18, None, 30, 3], ["u", "u", "v", "v", "v", "u", "stranger", None]
    tags = pa.table(
        {
            "item_id": pa.array(["x"] * 8),
            "tag": pa.array([f"t{n}" for n in range(8)]),
            "user_id": pa.array(users),
            "timestamp": pa.array([None if day is None else START + day * DAY for day in days], pa.int64()),
        }
    )
    # u's last two events are days 8 and 9, v's are 18 and 19
    dataset = make_dataset(rows, UserTimeSplit(0.1, 0.1), tags=tags, items=["x"])
    assert dataset.item_tags.names.array.to_pylist() == ["t0", "t2", "t3", "t5", "t6", "t7"]
    assert manifest()["counts"]["tags"]["rows_after_the_held_out_parts_began"] == 2
    assert manifest()["counts"]["tags"]["rows_of_unknown_users"] == 1
    # one moment for everybody: the 16 events up to day 15 of v's clock are train
    dataset = make_dataset(rows, GlobalTimeSplit(0.1, 0.1), tags=tags, items=["x"])
    assert dataset.validation.timestamp.min() == START + 16 * DAY
    assert dataset.item_tags.names.array.to_pylist() == ["t0", "t1", "t2", "t5", "t7"]


def test_tags_of_what_is_unknown_are_counted_and_told(make_dataset, manifest):
    tags = tables_of(item_id=["a", "ghost", "a", "b"], tag=["x", "y", "", None], user_id=["nobody", "u", "u", "u"])
    dataset = make_dataset(ROWS, ALL_TRAIN, tags=tags)
    assert by_name(dataset.items, dataset.item_tags) == {"a": {"x": 1}} and dataset.user_interests is None
    assert manifest()["warnings"] == [
        "tags: 2 of 4 rows hold no tag and were left out. The first is 'a'.",
        "tags: 1 of 4 rows tag an item that is not in the catalogue and were left out. The first is 'ghost'.",
        "tags: 1 of 4 rows were given by a user who is not in the catalogue: they count for the item alone. "
        "The first is 'nobody'.",
    ]


def test_what_a_filter_removed_is_unknown(make_dataset):
    rows = [*ROWS, {"user_id": "u", "item_id": "c"}]
    tags = tables_of(item_id=["a", "b", "c"], tag=["x", "y", "z"], user_id=["u", "v", "w"])
    social = tables_of(user_id=["u", "u"], friend_id=["v", "w"])
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(min_user_events=2), tags=tags, social=social)
    assert dataset.users.array.to_pylist() == ["u"] and len(dataset.social) == 0
    assert by_name(dataset.items, dataset.item_tags) == {"a": {"x": 1}, "b": {"y": 1}, "c": {"z": 1}}
    assert by_name(dataset.users, dataset.user_interests) == {"u": {"x": 1}}


# -- friends


def test_friends(make_dataset, manifest):
    social = tables_of(
        user_id=["w", "u", "u", "u", "ghost", "v"],
        friend_id=["u", "v", "v", "u", "u", None],
        weight=[0.5, 1.0, 2.5, 1.0, 1.0, 1.0],
    )
    dataset = make_dataset(ROWS, ALL_TRAIN, social=social)
    assert dataset.social.dense().tolist() == [[0, 2.5, 0], [0, 0, 0], [0.5, 0, 0]]
    assert manifest()["counts"]["social"] == {
        "rows": 2,
        "rows_of_earlier_pairs": 1,
        "rows_of_oneself": 1,
        "rows_of_unknown_users": 2,
    }
    assert manifest()["warnings"] == [
        "social: 2 of 6 rows name a user who is not in the catalogue and were left out. The first is 'ghost'.",
        "social: 1 of 6 rows make a user his own friend and were left out. The first is 'u'.",
    ]


# -- graph


GRAPH = tables_of(
    head=["m1", "m2", "m1", "m1", "m3", ""],
    relation=["by", "by", "by", "in", "of", "by"],
    tail=["x", "x", "x", "y", "m1", "z"],
)


def test_a_graph_with_entities_of_items(make_dataset, manifest):
    items = tables_of(item_id=["a", "b", "c", "d"], entity_id=["m1", None, "m2", "lost"])
    dataset = make_dataset(ROWS, ALL_TRAIN, items=items, knowledge=GRAPH)
    graph = dataset.knowledge
    assert graph.entities.array.to_pylist() == ["m1", "m2", "m3", "x", "y"]
    assert graph.relations.array.to_pylist() == ["by", "in", "of"] and len(graph) == 4
    assert graph.item_entity.tolist() == [0, -1, 1, -1]
    assert graph.neighbours().dense().tolist()[0] == [0, 0, 1, 1, 1]
    assert "entity_id" not in dataset.item_fields and "entity_id" not in dataset.texts
    assert manifest()["counts"]["knowledge"] == {
        "rows": 4,
        "rows_of_earlier_triples": 1,
        "rows_that_are_no_triple": 1,
        "entities": 5,
        "relations": 3,
        "items_with_an_entity": 2,
        "items_of_unknown_entities": 1,
    }
    assert manifest()["warnings"] == [
        "knowledge: 1 of 6 rows lack a head, relation or tail and were left out. The first is ''.",
        "items: 1 of 4 rows have an entity_id that is in no triple. The first is 'lost'.",
    ]


def test_a_graph_without_entities_names_the_items_themselves(make_dataset, manifest):
    graph = tables_of(head=["a", "b"], relation=["r", "r"], tail=["x", "x"])
    dataset = make_dataset(ROWS, ALL_TRAIN, knowledge=graph)
    assert dataset.knowledge.item_entity.tolist() == [0, 1, -1] and manifest()["warnings"] == []


# -- fields


FIELDS = pa.table(
    {
        "item_id": pa.array([f"i{n}" for n in range(6)], TEXT),
        "duration_sec": pa.array([1.5, None, float("nan"), 3.0, float("inf"), 0.0]),
        "year": pa.array([1990, None, 2000, 2001, 2002, 2003], pa.int32()),
        "explicit": pa.array([True, False, None, True, True, False]),
        "made": pa.array([dt.date(1970, 1, 2), None] + [dt.date(2000, 1, 1)] * 4),
        "language": pa.array(["en", "de", "", None, "en", "de"]),
        "kind": pa.array(["x", "x", "y", "y", "x", None]).dictionary_encode(),
        "title": pa.array(["same"] * 5 + [""]),
        "note": pa.array([f"note {n}" for n in range(6)]),
        "code": pa.array([7, 7, 8, 8, 8, None]),
        "vector": pa.array([[1.0]] * 6),
        "empty": pa.array([None] * 6, TEXT),
        "true_class": pa.array([1] * 6),
    }
)


def test_fields_get_kinds(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{n}"} for n in range(6)]
    users = tables_of(user_id=["u", "v"], age=[20, None], zip=["1", "2"], sex=["f", "f"])
    dataset = make_dataset(rows, ALL_TRAIN, items=FIELDS, users=users, field_kinds={"code": "category"})
    fields = dataset.item_fields
    assert set(fields) == {"duration_sec", "year", "explicit", "made", "language", "kind", "code"}
    assert set(dataset.texts) == {"title", "note"} and set(dataset.user_fields) == {"age", "sex"}
    assert fields["duration_sec"].values.tolist() == [1.5, 0, 0, 3, 0, 0]
    assert fields["duration_sec"].present.tolist() == [True, False, False, True, False, True]
    assert (
        fields["made"].values.tolist() == [86_400, 0, *[946_684_800] * 4] and fields["made"].values.dtype == np.float64
    )
    assert fields["explicit"].values.tolist() == [1, 0, 0, 1, 1, 0] and fields["explicit"].present.sum() == 5
    assert isinstance(fields["year"], NumericField) and isinstance(fields["language"], CategoryField)
    assert fields["language"].code.tolist() == [1, 0, -1, -1, 1, 0]
    assert fields["kind"].names.array.to_pylist() == ["x", "y"] and fields["code"].names.array.to_pylist() == ["7", "8"]
    assert dataset.texts["title"] == ("same",) * 5 + (None,) and dataset.texts["note"][2] == "note 2"
    assert dataset.user_fields["age"].present.tolist() == [True, False]


def test_text_with_many_repetitions_is_a_category(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{n}"} for n in range(6)]
    for distinct, found in ((3, "item_fields"), (4, "texts")):
        items = FIELDS.select(["item_id"]).append_column("colour", pa.array([f"c{n % distinct}" for n in range(6)]))
        dataset = make_dataset(rows, ALL_TRAIN, items=items)
        assert list(getattr(dataset, found)) == ["colour"] and len(dataset.texts) + len(dataset.item_fields) == 1


def problems_of(source, tmp_path):
    with pytest.raises(DataError) as error:
        prepare(source, ALL_TRAIN, PrepareOptions(), tmp_path / "x")
    return error.value.problems


def test_kinds_that_do_not_fit(make_source, tmp_path):
    kinds = {"languages": "text", "note": "numeric", "vector": "tags", "year": "text", "kind": "ignore"}
    assert problems_of(make_source(ROWS, items=FIELDS, field_kinds=kinds), tmp_path) == [
        f"field_kinds: no column is 'languages'; there are {sorted(FIELDS.column_names[1:])}. Did you mean 'language'?",
        "items: field_kinds: column 'year' has the type int32, which cannot be text.",
        "items: field_kinds: column 'note' has the type string, which cannot be numeric.",
        "items: field_kinds: column 'vector' has the type list<item: double>, which cannot be tags.",
    ]


# -- contracts


def rich(order=None, **changes):
    items = FIELDS.append_column("tags", pa.array([["a", "b"], [], None, ["b"], ["c"], ["a"]]))
    items = items.append_column("entity_id", pa.array(["m1", "m2", None, "m3", "x", "lost"]))
    draw = np.random.default_rng(0)
    log = [
        {"user_id": f"u{draw.integers(5)}", "item_id": f"i{draw.integers(6)}", "day": int(draw.integers(30))}
        for _ in range(80)
    ]
    names = {
        "user_id": pa.array([f"u{n % 7}" for n in range(30)]),
        "item_id": pa.array([f"i{n % 8}" for n in range(30)]),
    }
    parts = {
        "items": items,
        "users": tables_of(user_id=[f"u{n}" for n in range(5)], interests=["a|z", None, "c", "", "b"]),
        "tags": pa.table(names | {"tag": pa.array([f"t{n % 4}" for n in range(30)])}),
        "social": tables_of(
            user_id=["u0", "u1", "u0", "u9"], friend_id=["u1", "u0", "u1", "u1"], weight=[1.0, 2, 3, 4]
        ),
        "knowledge": GRAPH,
        **changes,
    }
    if order is not None:
        log = [log[row] for row in order.permutation(len(log))]
        parts = {name: table.take(order.permutation(len(table))) for name, table in parts.items()}
    return log, parts


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_changes_nothing(make_dataset, seed):
    plain = make_dataset(rich()[0], UserTimeSplit(), **rich()[1])
    rows, parts = rich(np.random.default_rng(seed))
    mixed = make_dataset(rows, UserTimeSplit(), **parts)
    assert mixed.content_hash == plain.content_hash
    np.testing.assert_array_equal(mixed.social.weight, plain.social.weight)
    assert mixed.texts["title"] == plain.texts["title"]


CHANGES = {
    "tags": rich()[1]["tags"].slice(1),
    "social": tables_of(user_id=["u0"], friend_id=["u1"], weight=[9.0]),
    "knowledge": GRAPH.slice(2),
    "users": tables_of(user_id=[f"u{n}" for n in range(5)], interests=["a|z", None, "c", "", "a"]),
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_changed_value_changes_the_hash(make_dataset, part):
    rows, parts = rich()
    plain = make_dataset(rows, UserTimeSplit(), **parts).content_hash
    assert make_dataset(rows, UserTimeSplit(), **parts | {part: CHANGES[part]}).content_hash != plain
    if part != "users":
        assert make_dataset(rows, UserTimeSplit(), **parts | {part: None}).content_hash != plain


def test_a_changed_kind_changes_the_hash(make_dataset):
    rows, parts = rich()
    plain = make_dataset(rows, UserTimeSplit(), **parts).content_hash
    assert make_dataset(rows, UserTimeSplit(), **parts, field_kinds={"code": "category"}).content_hash != plain


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"tags": tables_of(item_id=["a"])}, "tags: no column 'tag'; it has ['item_id']. Rename or add the column."),
        ({"tags": tables_of(item_id=["a"], tag=[1.5])}, "tags: column tag has the type double; expected text."),
        (
            {"tags": tables_of(item_id=["a"], tag=["x"], timestamp=["now"])},
            "tags: column timestamp has the type string; expected numbers.",
        ),
        (
            {"tags": tables_of(item_id=["a"], tag=["x" * 201])},
            f"tags row 1: tag is '{'x' * 59}... (203 characters); longer than 200 characters. Is this the right column?",
        ),
        (
            {"social": tables_of(user_id=["u"] * 3, friend_id=["v"] * 3, weight=[float("nan"), 0.0, 1.0])},
            "social row 1: weight is nan; expected a number over 0, at most 1e+06. Fix the row or drop it.",
        ),
        ({"knowledge": tables_of(head=["a"], tail=["b"])}, "knowledge: no column 'relation'; it has ['head', 'tail']."),
        (
            {"items": tables_of(item_id=["a"], tags=["word " * 50])},
            "items row 1: tags holds 'word word word word word word word word word word word word... (251 characters); "
            "a tag has at most 200 characters, and 1 here have more. Is tags a list of tags, separated by '|' in text?",
        ),
        (
            {"items": tables_of(item_id=["a"], entity_id=[1.5]), "knowledge": GRAPH},
            "items: column 'entity_id' has the type double; expected text. Cast the column.",
        ),
        (
            {"items": tables_of(item_id=["a"], title=["x" * 1_000_001])},
            f"items row 1: title is '{'x' * 59}... (1000003 characters); longer than 1000000 characters. Shorten or drop it.",
        ),
        ({"items": tables_of(item_id=["a"], entity_idx=[1])}, "items: column 'entity_idx' is a name that avrec itself"),
    ],
)
def test_tables_that_cannot_be_used(make_source, tmp_path, parts, problem):
    assert problems_of(make_source(ROWS, **parts), tmp_path)[0].startswith(problem)


def test_hostile_sizes_are_refused_by_a_sentence(make_source, tmp_path, monkeypatch):
    monkeypatch.setattr(side_validation, "MAX_ROWS", 5)
    monkeypatch.setitem(side_validation.MAX_DISTINCT, "relation", 2)
    tags = tables_of(item_id=["a"] * 6, tag=list("abcdef"))
    graph = tables_of(head=["a"] * 3, relation=list("rst"), tail=["b"] * 3)
    assert problems_of(make_source(ROWS, tags=tags, knowledge=graph), tmp_path) == [
        "tags: has 6 rows; at most 5 are read. Leave the rarest out.",
        "knowledge: has 3 different values of 'relation'; at most 2 are read. Leave the rarest out.",
    ]


# -- files of tables


@pytest.fixture
def files(tmp_path):
    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.csv").write_text(text)
        return tmp_path

    return write


def test_side_files(files, tmp_path):
    folder = files(
        log="user_id,item_id,event,watch_share\n1,a,view,0.5\n2,b,like,\n",
        items="item_id,tags,entity_id,year,code\na,rock|pop,7,1990,01\nb,,8,,02\n",
        users="user_id,interests,age\n1,rock,30\n2,,\n",
        friends="user_id,friend_id,weight\n1,2,0.5\n2,9,1\n",
        tags="user_id,item_id,tag,timestamp,note\n1,b,1990,2020-01-01,x\n",
        graph="head,relation,tail\n7,by,9\n8,by,9\n",
    )
    source = TablesSource(
        folder / "log.csv",
        folder / "items.csv",
        folder / "users.csv",
        side=SideFiles(folder / "friends.csv", folder / "tags.csv", folder / "graph.csv"),
        field_kinds={"code": "category"},
    )
    raw = source.read()
    assert raw.problems == () and raw.origin["ignored_columns"] == {}
    assert set(raw.origin["files"]) >= {"friends.csv", "tags.csv", "graph.csv"}
    dataset = load_dataset(prepare(source, ALL_TRAIN, PrepareOptions(), tmp_path / "prepared"))
    assert dataset.train.weight.tolist() == [0.5, 2.0]
    assert dataset.social.dense().tolist() == [[0, 0.5], [0, 0]]
    assert by_name(dataset.items, dataset.item_tags) == {"a": {"pop": 1, "rock": 1}, "b": {"1990": 1}}
    assert by_name(dataset.users, dataset.user_interests) == {"1": {"1990": 1, "rock": 1}}
    assert dataset.knowledge.item_entity.tolist() == [0, 1] and list(dataset.item_fields) == ["code", "year"]
    (warning,) = json.loads((tmp_path / "prepared" / "manifest.json").read_text())["warnings"]
    assert warning.startswith("friends.csv: 1 of 2 rows name a user")


def test_side_files_that_are_not_there_or_no_table(files):
    folder = files(log="user_id,item_id\n1,a\n", friends="user_id,freind_id\n1,2\n", tags="item_id,tag,usr_id\na,b,c\n")
    with pytest.raises(DataError, match=r"graph\.csv: no such file"):
        TablesSource(folder / "log.csv", side=SideFiles(knowledge=folder / "graph.csv")).read()
    source = TablesSource(folder / "log.csv", side=SideFiles(folder / "friends.csv", folder / "tags.csv"))
    assert source.read().problems == (
        "friends.csv: no column 'friend_id'; it has ['user_id', 'freind_id']. Did you mean 'freind_id'? "
        "Rename or add the column.",
        "tags.csv: column 'usr_id' is not known; 'user_id' is. Rename the column, or drop it.",
    )
    with pytest.raises(
        DataError, match="field_kinds: 'year' is to be 'number'; expected one of numeric, category, text"
    ):
        TablesSource(folder / "log.csv", field_kinds={"year": "number"}).read()


# -- the reader


@pytest.fixture
def folder(make_source, tmp_path):
    rows, parts = rich()
    return prepare(make_source(rows, **parts), UserTimeSplit(), PrepareOptions(duplicates="sum"), tmp_path / "data")


def changed(name, values, kind=None):
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values(table), kind))


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("social", changed("friend_idx", lambda t: [99] * len(t)), "friend_idx is outside 0 to 4"),
        ("social", changed("weight", lambda t: [0] * len(t)), "a weight is outside|a weight is 0"),
        ("social", lambda t: t.take(list(range(len(t)))[::-1]), "rows are not distinct and in order"),
        ("item_tags", changed("tag_idx", lambda t: [0] * len(t)), "rows are not distinct and in order"),
        ("item_tags", changed("tag_idx", lambda t: [0] * len(t), pa.int32()), "tag_idx is int32 with 0 nulls"),
        ("user_interests", changed("user_idx", lambda t: [-1] * len(t)), "user_idx is outside"),
        ("tag_names", changed("tag", lambda t: ["x"] * len(t)), "occur more than once"),
        ("tag_names", changed("tag_idx", lambda t: [0] * len(t)), "tag_idx is not 0, 1, 2"),
        ("knowledge", changed("relation_idx", lambda t: [7] * len(t)), "relation_idx is outside"),
        ("knowledge", lambda t: t.drop_columns("head_idx"), r"no column \['head_idx'\]"),
        ("items", changed("entity_idx", lambda t: [99] * len(t)), "entity_idx is outside 0 to 4"),
        ("items", lambda t: t.drop_columns("entity_idx"), "no column entity_idx of int64"),
        ("items", lambda t: t.drop_columns("language"), "no column 'language' that is category"),
        ("fields", changed("kind", lambda t: ["numeric"] * len(t)), "no column '.*' that is numeric"),
        ("interactions", changed("last_timestamp", lambda t: [0] * len(t)), "last_timestamp is before timestamp"),
    ],
)
def test_a_table_that_breaks_the_contract(folder, name, edit, message):
    path = folder / f"{name}.parquet"
    pq.write_table(edit(pq.read_table(path)), path)
    with pytest.raises(ArtefactError, match=rf"{name}\.parquet: .*({message})|{message}"):
        load_dataset(folder, verify=False)
    with pytest.raises(ArtefactError):
        load_dataset(folder)


@pytest.mark.parametrize(("absent", "table"), [("tag_names", "item_tags"), ("entities", "knowledge")])
def test_a_table_without_its_names(folder, absent, table):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    del document["tables"][absent]
    path.write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match=rf"{table}\.parquet: there is no {absent}\.parquet beside it"):
        load_dataset(folder, verify=False)
