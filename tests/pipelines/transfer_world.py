"""One simulated world cut in two: catalogues without a common item or user, whose features mean the same."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from avrec.data.sources.simulated import SimulatedSource


def write_halves(
    folder: Path, seed: int, num_users: int, few_users: int, num_items: int
) -> tuple[list[str], list[str]]:
    """Write a catalogue with many users and one with few; returns the overrides that name them.

    Args:
        folder: to write into.
        seed: of the world.
        num_users: of both together.
        few_users: of the second.
        num_items: of both together, half each.
    """
    raw = SimulatedSource(num_users, num_items, missing_share=0.0, seed=seed).read()
    views = raw.interactions.filter(pc.equal(raw.interactions["event"], "view"))
    ids = raw.items["item_id"].to_pylist()
    item = pc.index_in(views["item_id"], value_set=raw.items["item_id"].combine_chunks()).to_numpy()
    user = pc.index_in(views["user_id"], value_set=raw.users["user_id"].combine_chunks()).to_numpy()
    second = np.random.default_rng(seed).permutation(num_items) < num_items // 2
    words = []
    for name, rows, kept in (("many", user >= few_users, ~second), ("few", user < few_users, second)):
        place = folder / name
        place.mkdir(parents=True)
        lines = [
            f"{name} {user[row]},{ids[item[row]]},{views['timestamp'][row].as_py()}"
            for row in np.flatnonzero(rows & kept[item])
        ]
        (place / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
        (place / "items.csv").write_text("\n".join(["item_id", *(ids[index] for index in np.flatnonzero(kept))]) + "\n")
        one = ["data=tables", f"data.interactions={place / 'interactions.csv'}", f"data.items={place / 'items.csv'}"]
        for modality, (of, values) in raw.features.items():
            assert of.to_pylist() == ids
            np.save(place / f"{modality}.npy", values[kept])
            one.append(f"+data.features.{modality}={place / f'{modality}.npy'}")
        words.append(one)
    return words[0], words[1]
