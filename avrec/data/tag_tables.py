"""The tags of items and the interests of users as numbered tables, without what would give a held-out event away."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Int64
from avrec.core.ids import IdMap
from avrec.core.interactions import event_order, run_starts
from avrec.data.arrow import TEXT, truth
from avrec.data.cuts import NEVER, held_out_from, in_held_out
from avrec.data.engine import SplitLog
from avrec.data.field_kinds import kinds_of, tag_entries
from avrec.data.numbering import Numbered
from avrec.data.sources.base import RawData
from avrec.data.warned import Warned


def tag_tables(
    raw: RawData, numbered: Numbered, log: SplitLog, users: IdMap, items: IdMap, warned: Warned
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """`tag_names`, `item_tags` and `user_interests`, where there is something, and numbers for the manifest.

    Tags come from columns of kind `tags`, once each, and from the source's table of who tagged what, where a tag weighs as
    many people as gave it. What a user says of an item that he has in validation or test would give that away, and so
    would what was said after the held-out parts began: both are left out, for the item too.
    """
    counts: dict[str, int] = {}
    item, item_tag = _of_columns(raw, raw.items, "item_id", items)
    user, user_tag = np.zeros(0, np.int64), pa.array([], TEXT)
    if raw.users is not None:
        user, user_tag = _of_columns(raw, raw.users, "user_id", users)
    if raw.tags is not None:
        keep, counts = _usable(raw, raw.tags, numbered, log, users, items, warned)
        given = _distinct(raw.tags, keep)
        item = np.concatenate([item, items.index(given["item_id"])])
        item_tag = pa.concat_arrays([item_tag, given["tag"].combine_chunks()])
        user = np.concatenate([user, users.index(given["user_id"])])
        user_tag = pa.concat_arrays([user_tag, given["tag"].combine_chunks()])
    item_tag, item = item_tag.filter(pa.array(item >= 0)), item[item >= 0]
    user_tag, user = user_tag.filter(pa.array(user >= 0)), user[user >= 0]
    names = IdMap.from_values(pa.concat_arrays([item_tag, user_tag]))
    tables = {"tag_names": pa.table({"tag_idx": np.arange(len(names)), "tag": names.array})} if len(names) else {}
    for name, key, index, tag in (
        ("item_tags", "item_idx", item, item_tag),
        ("user_interests", "user_idx", user, user_tag),
    ):
        if len(index):
            tables[name] = _counted(key, index, names.index(tag))
            counts[name] = len(tables[name])
    return tables, counts | {"tags": len(names)}


def _of_columns(raw: RawData, table: pa.Table, id_name: str, ids: IdMap) -> tuple[Int64, pa.Array]:
    """Index and tag of each entry of a side table's columns of tags."""
    kinds = kinds_of(table, id_name, raw.field_kinds)
    row, tag = tag_entries(table, [name for name, kind in kinds.items() if kind == "tags"])
    return ids.index(table[id_name])[row], tag


def _usable(
    raw: RawData, tags: pa.Table, numbered: Numbered, log: SplitLog, users: IdMap, items: IdMap, warned: Warned
) -> tuple[Bool, dict[str, int]]:
    """(rows,) which rows of the table of tags may be used, and numbers for the manifest."""
    place, size = raw.place("tags"), len(tags)
    named = "user_id" in tags.column_names
    user = numbered.users.index(tags["user_id"]) if named else np.full(size, -1)
    empty = ~truth(pc.not_equal(pc.utf8_trim_whitespace(tags["tag"].cast(TEXT)), ""))
    stranger = ~empty & (items.index(tags["item_id"]) < 0)
    keep = ~(empty | stranger)
    item = numbered.items.index(tags["item_id"])
    held = keep & (user >= 0) & in_held_out(log.events, user, item, len(numbered.items))
    late = keep & ~held & _too_late(tags, user, log, len(numbered.users))
    keep &= ~(held | late)
    counts = {
        "rows": size,
        "rows_without_a_tag": warned.rows(place, empty, tags["item_id"], "hold no tag and were left out."),
        "rows_of_unknown_items": warned.rows(
            place, stranger, tags["item_id"], "tag an item that is not in the catalogue and were left out."
        ),
        "rows_of_held_out_pairs": int(held.sum()),
        "rows_after_the_held_out_parts_began": int(late.sum()),
    }
    if named:
        unknown = keep & truth(pc.is_valid(tags["user_id"])) & (users.index(tags["user_id"]) < 0)
        what = "were given by a user who is not in the catalogue: they count for the item alone."
        counts["rows_of_unknown_users"] = warned.rows(place, unknown, tags["user_id"], what)
    return keep, counts


def _too_late(tags: pa.Table, user: Int64, log: SplitLog, num_users: int) -> Bool:
    """(rows,) true for what was said when the held-out parts had begun, for this user or for everybody."""
    cuts = held_out_from(log.events, num_users)
    if cuts is None or "timestamp" not in tags.column_names:
        return np.zeros(len(tags), np.bool_)
    begin = cuts[:, 0]
    anybody = begin[0] if len(begin) and (begin == begin[0]).all() else NEVER
    cut = np.where(user >= 0, begin[np.maximum(user, 0)], anybody)
    time = tags["timestamp"]
    return truth(pc.is_valid(time)) & (np.asarray(pc.fill_null(time, 0)) >= cut)


def _distinct(tags: pa.Table, keep: Bool) -> pa.Table:
    """Distinct `item_id`, `user_id` (null where nobody is named) and `tag`; strangers count as different people."""
    tag = pc.utf8_trim_whitespace(tags["tag"].cast(TEXT))
    user_id = tags["user_id"].cast(TEXT) if "user_id" in tags.column_names else pa.nulls(len(tags), TEXT)
    table = pa.table({"item_id": tags["item_id"].cast(TEXT), "user_id": user_id, "tag": tag})
    return table.filter(pa.array(keep)).group_by(["item_id", "user_id", "tag"]).aggregate([])


def _counted(key: str, index: Int64, tag: Int64) -> pa.Table:
    """Distinct pairs in order, and how often each stands there."""
    order = event_order(index, tag)
    index, tag = index[order], tag[order]
    starts = run_starts(index, tag)
    count = np.diff(np.append(starts, len(index)))
    return pa.table({key: index[starts], "tag_idx": tag[starts], "weight": count})
