"""Somebody's own tables, small: four tastes, of which sound and picture tell a little, and items that only the last days know."""

from pathlib import Path

import numpy as np

NUM_TASTES, USERS_EACH, WARM_EACH, COLD_EACH = 4, 15, 14, 6
NUM_USERS, ITEMS_EACH = NUM_TASTES * USERS_EACH, WARM_EACH + COLD_EACH
NUM_ITEMS = NUM_TASTES * ITEMS_EACH
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 7, 1, 2
FEATURE_DIMS = {"audio": 6, "visual": 9}
DAY_SEC = 86_400
START_SEC = 1_700_000_000


def user_id(user: int) -> str:
    return f"user {user:02d}"


def item_id(item: int) -> str:
    return f"clip-{item:02d}" + (" [/live]" if item % 10 == 9 else "")  # what a terminal library takes for markup


def chosen_items(rng: np.random.Generator, permute_test: bool = False) -> np.ndarray:
    """(users, 10) items in the order of time: seven warm ones of which two are of the next taste, then one for validation, which
    is new for every sixth user, then a warm and a new one.

    Args:
        permute_test: what was the test part of a user becomes that of another, who has other tastes and so not yet had it.
    """
    rows = []
    for user in range(NUM_USERS):
        first = user // USERS_EACH * ITEMS_EACH
        warm = first + rng.permutation(WARM_EACH)[: NUM_TRAIN + 2]
        warm[:2] = (warm[:2] + ITEMS_EACH) % NUM_ITEMS
        warm = rng.permutation(warm)
        cold = first + WARM_EACH + rng.permutation(COLD_EACH)[:2]
        validation = cold[1] if user % 6 == 0 else warm[-2]
        rows.append([*warm[:NUM_TRAIN], validation, warm[-1], cold[0]])
    items = np.array(rows)
    if permute_test:
        items[:, -NUM_TEST:] = items[np.roll(np.arange(NUM_USERS), 2 * USERS_EACH), -NUM_TEST:]
    return items


def write_tables(folder: Path, permute_test: bool = False) -> list[str]:
    """Write interactions.csv, items.csv, users.csv and a matrix for each modality; returns the overrides that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    items = chosen_items(rng, permute_test)
    stamps = START_SEC + np.arange(items.shape[1]) * 3 * DAY_SEC + np.arange(NUM_USERS)[:, None]
    lines = [
        f"{user_id(user)},{item_id(item)},{stamp}"
        for user in range(NUM_USERS)
        for item, stamp in zip(items[user], stamps[user], strict=True)
    ]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    names = [f"{item_id(item)},Clip {item}" for item in range(NUM_ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *names]) + "\n")
    paths = [f"data.interactions={folder / 'interactions.csv'}", f"data.items={folder / 'items.csv'}"]
    for name, width in FEATURE_DIMS.items():
        centres = np.repeat(rng.standard_normal((NUM_TASTES, width)), ITEMS_EACH, axis=0)
        values = centres + 1.8 * rng.standard_normal((NUM_ITEMS, width))
        np.save(folder / f"{name}.npy", values.astype(np.float32))
        paths.append(f"+data.features.{name}={folder / f'{name}.npy'}")
    return ["data=tables", *paths]


def write_media_tables(folder: Path, num_items: int = 24, num_users: int = 40) -> list[str]:
    """Somebody's own films with sound and a log in two tables; item 2 names a file that is damaged. Returns the overrides."""
    from avrec.media.sample.catalogue import Catalogue
    from avrec.media.sample.users import Audience
    from avrec.media.sample.writer import write_sample

    catalogue = Catalogue(5, num_items)
    audience = Audience(catalogue, num_users)
    write_sample(audience, folder / "my films", num_workers=1)
    damaged = folder / "my films" / catalogue.paths[2]
    damaged.write_bytes(damaged.read_bytes()[:200])
    lines, log = ["user_id,item_id,timestamp"], audience.log
    views = np.flatnonzero(log.event == 0)
    lines += [
        f"{audience.user_ids[log.user[at]]},{catalogue.item_ids[log.item[at]]},{log.time_sec[at]}" for at in views
    ]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    rows = ["item_id,audio,video"]
    for index, (name, path) in enumerate(zip(catalogue.item_ids, catalogue.paths, strict=True)):
        has = (catalogue.has_sound[index], catalogue.has_picture[index])
        rows.append(",".join([name, *(path if present else "" for present in has)]))
    (folder / "items.csv").write_text("\n".join(rows) + "\n")
    return [
        "data=tables",
        f"data.interactions='{folder / 'interactions.csv'}'",
        f"data.items='{folder / 'items.csv'}'",
        f"data.media_root='{folder / 'my films'}'",
    ]


def write_microlens(folder: Path, num_items: int = 60, num_users: int = 60) -> list[str]:
    """A tiny copy of the layout in which MicroLens is published, with films that can be decoded. Returns the overrides."""
    from avrec.media.sample.catalogue import Catalogue
    from avrec.media.sample.users import Audience
    from avrec.media.sample.writer import write_sample

    catalogue = Catalogue(5, num_items)
    audience = Audience(catalogue, num_users)
    write_sample(audience, folder / "made", num_workers=1)
    films = folder / "MicroLens-tiny_videos"
    films.mkdir()
    for index, path in enumerate(catalogue.paths):
        (folder / "made" / path).rename(films / f"{index}.mp4")
    log = audience.log
    rows = zip(log.user.tolist(), log.item.tolist(), (log.time_sec * 1000).tolist(), strict=True)
    lines = ["user,item,timestamp", *(f"{user},{item},{time_ms}" for user, item, time_ms in rows)]
    (folder / "MicroLens-tiny_pairs.csv").write_text("\n".join(lines) + "\n")
    (folder / "MicroLens-tiny_titles.csv").write_text(
        "item,title\n" + "".join(f'{item},"Film, number {item}"\n' for item in range(num_items))
    )
    return [f"data.path='{folder}'"]
