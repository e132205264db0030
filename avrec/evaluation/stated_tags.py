"""What a user would state as his interests if he were new: his own tags, as far as they are known.

Axes: U users, T tags, N items.
"""

import numpy as np

from avrec.core.sparse import SparseRows
from avrec.retrieval.side_facts import SideFacts

NUM_STATED = 5
MIN_TAG_ITEMS = 5  # a tag of fewer items names them


def stated_tags(facts: SideFacts) -> SparseRows:
    """(U, T) ones at the `NUM_STATED` tags that say most of each user.

    From the tags that he gave or stated himself, `log(1 + w_t) idf_t`; where he has none of use, from the profile of his history,
    `share_t idf_t`; with `idf_t = log(1 + U / U_t)`, U_t being the users whose profiles hold the tag. Nobody states a tag
    that fewer than `MIN_TAG_ITEMS` items carry.

    Args:
        facts: collected from nothing held out.
    """
    own, profiles = facts.told.interests, facts.profiles
    idf_T = np.log1p(profiles.num_rows / np.maximum(profiles.column_counts, 1))
    idf_T[facts.item_tags.column_counts < MIN_TAG_ITEMS] = 0.0
    said_by_himself = idf_T[own.column] > 0
    without = (np.bincount(own.row[said_by_himself], minlength=own.num_rows) == 0)[profiles.row]
    row = np.concatenate([own.row, profiles.row[without]])
    tag = np.concatenate([own.column, profiles.column[without]])
    weight = np.concatenate([np.log1p(own.weight.astype(np.float64)), profiles.weight[without]]) * idf_T[tag]
    row, tag, weight = row[weight > 0], tag[weight > 0], weight[weight > 0]
    order = np.lexsort((tag, -weight, row))
    row, tag = row[order], tag[order]
    first = np.searchsorted(row, np.arange(profiles.num_rows))
    said = np.arange(len(row)) - first[row] < NUM_STATED
    return SparseRows.from_entries(row[said], tag[said], profiles.num_rows, profiles.num_columns)
