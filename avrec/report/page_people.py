"""The sections about single users and items: ten users with their lists, and who is served worst."""

from collections.abc import Mapping

import numpy as np

from avrec.core.arrays import Int64
from avrec.report.page_parts import Media, Portrait, Section, Sheet, Tile, number, percent, sense, shown
from avrec.report.page_subject import LIST, Subject
from avrec.report.people import BIAS, IDS, Person
from avrec.report.plots import BLUE, GREY, INK, ORANGE, colour

PEOPLE_TITLE = "Ten users and their lists"
WORST_TITLE = "Served worst"
NUM_WORST = 12
WORDS = {IDS: "who else chose it", BIAS: "popularity"}
COLOURS = {IDS: BLUE, BIAS: GREY}
SENSE_COLOURS = (ORANGE, colour(2), colour(3), colour(5), INK)


def people_section(subject: Subject, found: list[Person], media: Mapping[int, Media]) -> Section:
    """Histories beside lists."""
    if not found:
        return Section("people", PEOPLE_TITLE, "Left out: the test part is empty.")
    names = [IDS, BIAS, *subject.modalities]
    colours = COLOURS | {name: SENSE_COLOURS[at % len(SENSE_COLOURS)] for at, name in enumerate(subject.modalities)}
    played: set[int] = set()
    portraits = []
    for person in found:  # suggestions first: they are what the page is about
        suggestions = [
            _tile(subject, item, media, played, hit, [(word(name), why[name], colours[name]) for name in names])
            for item, hit, why in zip(person.suggestions, person.hits, person.reasons, strict=True)
        ]
        history = [_tile(subject, item, media, played) for item in person.history]
        portraits.append(Portrait(subject_name(subject, person.user), _summary(person), history, suggestions))
    lead = (
        "Drawn evenly from the best served to the worst served, not chosen for their looks. The bar below a suggestion says "
        "what lifts its score above the average item of its kind, known or new, for this user; the content's part is divided by "
        "the shares of its modalities. A new item has no users of its own: its ids are those of items that resemble it."
    )
    keys = [(word(name), colours[name]) for name in names]
    return Section("people", PEOPLE_TITLE, lead + _media_words(subject, media), portraits=portraits, keys=keys)


def word(part: str) -> str:
    """A part of a score in the reader's words."""
    return WORDS.get(part) or sense(part)


def subject_name(subject: Subject, user: int) -> str:
    """A user's id as it is shown."""
    return shown(subject.dataset.users.ids([user])[0])


def _summary(person: Person) -> str:
    events = "event" if person.num_history == 1 else "events"
    hits = round(person.recall * person.num_targets)
    return f"{person.num_history:,} {events} of history; {hits} of {person.num_targets} held-out items in the list of {LIST}."


def _tile(
    subject: Subject,
    item: int,
    media: Mapping[int, Media],
    played: set[int],
    hit: bool = False,
    why: list[tuple[str, float, str]] | None = None,
) -> Tile:
    """An item; the first tile that shows it holds its excerpt."""
    badges = (["consumed"] if hit else []) + (["new"] if subject.dataset.cold_items[item] else [])
    found = media.get(item, Media())
    plays = found.kind if found.excerpt is not None and item not in played else None
    played.add(item)
    path = subject.path(item)
    lifting = [part for part in why or [] if part[1] > 0]
    return Tile(item, subject.title(item), badges, lifting, None if path is None else shown(path, 60), plays)


def _media_words(subject: Subject, media: Mapping[int, Media]) -> str:
    if not subject.dataset.media:
        return ""
    excerpts = sum(one.excerpt is not None for one in media.values())
    if not media:
        return " Pictures and sound are left out, since the media files could not be read here."
    return (
        f" {excerpts} of {len(media)} items have an excerpt of some seconds, where they are shown first; for the others there "
        "was no room in the file, or nothing could be read: their path stands below their name."
    )


def worst_section(subject: Subject) -> Section:
    """Users without a single hit, and items that are never shown to those who want them."""
    if subject.lists is None or subject.question is None:
        return Section("worst", WORST_TITLE, "Left out: the test part is empty.")
    sheets = [_worst_users(subject), _worst_items(subject)]
    assert subject.evaluation is not None
    none = float(np.mean(subject.evaluation.per_user[f"recall@{LIST}"] == 0))
    lead = (
        f"{percent(none)} of the test users find none of their held-out items in a list of {LIST}. Below are those of them "
        "with the most to find, and the items that were missed most often by users who went on to consume them."
    )
    return Section("worst", WORST_TITLE, lead, sheets=sheets)


def _worst_users(subject: Subject) -> Sheet:
    assert subject.question is not None and subject.evaluation is not None
    question, recall = subject.question, subject.evaluation.per_user[f"recall@{LIST}"]
    indptr, items = question.targets
    targets = np.diff(indptr)
    cold = np.add.reduceat(subject.dataset.cold_items[items], indptr[:-1], dtype=np.int64)
    rows = []
    for at in np.lexsort((question.users, -targets, recall))[:NUM_WORST]:
        user = int(question.users[at])
        rows.append(
            [
                subject_name(subject, user),
                f"{targets[at]:,}",
                f"{cold[at]:,}",
                f"{question.history.user_counts[user]:,}",
                number(float(recall[at])),
            ]
        )
    return Sheet("Users", ["user", "to find", "of them new items", "history", f"recall@{LIST}"], rows)


def found_counts(num_items: int, targets: Int64, lists_UK: Int64, hits_UK: np.ndarray) -> tuple[Int64, Int64]:
    """(N,) how often each item was to be found, and in how many of those lists it stood."""
    wanted = np.bincount(targets, minlength=num_items)
    return wanted, np.bincount(lists_UK[hits_UK], minlength=num_items)


def _worst_items(subject: Subject) -> Sheet:
    assert subject.question is not None and subject.lists is not None
    dataset, lists = subject.dataset, subject.lists
    wanted, hit = found_counts(dataset.num_items, subject.question.targets[1], lists.item_idx, lists.hit)
    missed = wanted - hit
    train = dataset.train.item_counts
    rows = []
    for item in np.lexsort((np.arange(len(missed)), -missed))[:NUM_WORST]:
        if missed[item] == 0:
            break
        lacks = [sense(name) for name, feature in dataset.features.items() if not feature.present[item]]
        rows.append(
            [
                subject.title(int(item)),
                f"{wanted[item]:,}",
                f"{hit[item]:,}",
                percent(hit[item] / wanted[item]),
                f"{train[item]:,}",
                ", ".join(lacks) or "nothing",
            ]
        )
    columns = ["item", "to find", "found", "share", "training events", "lacks"]
    return Sheet("Items", columns, rows)
