"""From a source's friends, tags and graph to numbered, sorted tables: the same whatever the order of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Int64
from avrec.core.ids import IdMap
from avrec.core.interactions import event_order, run_starts
from avrec.data.arrow import TEXT, truth
from avrec.data.engine import SplitLog
from avrec.data.field_kinds import ENTITY, kinds_of
from avrec.data.layout import WEIGHT_SCALE
from avrec.data.numbering import Numbered
from avrec.data.sources.base import RawData
from avrec.data.tag_tables import tag_tables
from avrec.data.warned import Warned

TRIPLE = ("head", "relation", "tail")


@dataclass(frozen=True)
class SideTables:
    """Numbered side information.

    Attributes:
        tables: those of `fields`, `tag_names`, `item_tags`, `user_interests`, `social`, `entities`, `relations` and
            `knowledge` for which there is something.
        item_entity: (N,) entity of each item, -1 for none; None without a graph.
        counts: numbers for the manifest, by table.
        warnings: lines that tell of rows that were left out.
    """

    tables: Mapping[str, pa.Table]
    item_entity: Int64 | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def side_tables(raw: RawData, numbered: Numbered, log: SplitLog, users: IdMap, items: IdMap) -> SideTables:
    """Number the side information of the kept users and items; what names others is counted and left out."""
    tables, counts, warned = {}, {}, Warned()
    fields = _fields(raw)
    if len(fields):
        tables["fields"] = fields
    tags, counted = tag_tables(raw, numbered, log, users, items, warned)
    tables |= tags
    if tags or raw.tags is not None:
        counts["tags"] = counted
    if raw.social is not None:
        tables["social"], counts["social"] = _social(raw, raw.social, users, warned)
    item_entity = None
    if raw.knowledge is not None:
        graph, item_entity, counts["knowledge"] = _knowledge(raw, raw.knowledge, items, warned)
        tables |= graph
    return SideTables(tables, item_entity, counts, tuple(warned.lines))


def _fields(raw: RawData) -> pa.Table:
    """`side`, `name`, `kind` of every column that is not ignored, sorted; users have no texts."""
    found = []
    for side, table, id_name in (("items", raw.items, "item_id"), ("users", raw.users, "user_id")):
        if table is not None:
            found += [(side, name, kind) for name, kind in kinds_of(table, id_name, raw.field_kinds).items()]
    kept = sorted(entry for entry in found if entry[2] != "ignore" and (entry[0], entry[2]) != ("users", "text"))
    columns = list(zip(*kept, strict=True)) or [(), (), ()]
    return pa.table(
        {name: pa.array(values, TEXT) for name, values in zip(("side", "name", "kind"), columns, strict=True)}
    )


def _social(raw: RawData, social: pa.Table, users: IdMap, warned: Warned) -> tuple[pa.Table, dict[str, int]]:
    """Distinct pairs of two known users, in order; of several weights the largest."""
    place = raw.place("social")
    user, friend = users.index(social["user_id"]), users.index(social["friend_id"])
    unknown = (user < 0) | (friend < 0)
    shown = pc.if_else(pa.array(user < 0), social["user_id"], social["friend_id"])
    own = ~unknown & (user == friend)
    weight = np.full(len(social), WEIGHT_SCALE)
    if "weight" in social.column_names:
        given = np.asarray(pc.fill_null(social["weight"].cast(pa.float64()), 1.0))
        weight = np.maximum(np.rint(given * WEIGHT_SCALE), 1).astype(np.int64)
    counts = {
        "rows_of_unknown_users": warned.rows(
            place, unknown, shown, "name a user who is not in the catalogue and were left out."
        ),
        "rows_of_oneself": warned.rows(place, own, social["user_id"], "make a user his own friend and were left out."),
    }
    keep = ~(unknown | own)
    order = event_order(user[keep], friend[keep])
    user, friend, weight = (values[keep][order] for values in (user, friend, weight))
    starts = run_starts(user, friend)
    largest = np.maximum.reduceat(weight, starts) if len(starts) else weight
    table = pa.table({"user_idx": user[starts], "friend_idx": friend[starts], "weight": largest})
    return table, {"rows": len(table), **counts, "rows_of_earlier_pairs": int(keep.sum()) - len(table)}


def _knowledge(
    raw: RawData, knowledge: pa.Table, items: IdMap, warned: Warned
) -> tuple[dict[str, pa.Table], Int64, dict[str, int]]:
    """Entities, relations and distinct triples in order, and the entity of each item."""
    place, columns = raw.place("knowledge"), [knowledge[name].cast(TEXT) for name in TRIPLE]
    whole = np.logical_and.reduce([truth(pc.not_equal(column, "")) for column in columns])
    broken = warned.rows(place, ~whole, columns[0], "lack a head, relation or tail and were left out.")
    head, relation, tail = (column.filter(pa.array(whole)) for column in columns)
    entities = IdMap.from_values(pa.concat_arrays([pc.unique(head), pc.unique(tail)]))
    relations = IdMap.from_values(relation)
    heads, codes, tails = entities.index(head), relations.index(relation), entities.index(tail)
    order = event_order(heads, tails, codes)
    heads, codes, tails = heads[order], codes[order], tails[order]
    starts = run_starts(heads, codes, tails)
    entity_of, named = _entity_of(raw, items)
    item_entity = entities.index(entity_of)
    counts = {
        "rows": len(starts),
        "rows_that_are_no_triple": broken,
        "rows_of_earlier_triples": len(heads) - len(starts),
        "entities": len(entities),
        "relations": len(relations),
        "items_with_an_entity": int((item_entity >= 0).sum()),
        "items_of_unknown_entities": warned.rows(
            raw.place("items"), named & (item_entity < 0), entity_of, f"have an {ENTITY} that is in no triple."
        ),
    }
    tables = {
        "entities": pa.table({"entity_idx": np.arange(len(entities)), "entity": entities.array}),
        "relations": pa.table({"relation_idx": np.arange(len(relations)), "relation": relations.array}),
        "knowledge": pa.table({"head_idx": heads[starts], "relation_idx": codes[starts], "tail_idx": tails[starts]}),
    }
    return tables, item_entity, counts


def _entity_of(raw: RawData, items: IdMap) -> tuple[pa.Array, Bool]:
    """The name of each item in the graph, and (N,) whether the source itself gave one: else it is the item's id."""
    if ENTITY not in raw.items.column_names:
        return items.array, np.zeros(len(items), np.bool_)
    row = pc.index_in(items.array, value_set=raw.items["item_id"].combine_chunks())
    entity_of = raw.items[ENTITY].cast(TEXT).combine_chunks().take(row)
    return entity_of, truth(pc.is_valid(entity_of))
