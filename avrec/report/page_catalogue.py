"""The sections about the catalogue: what popularity becomes, what content is made of, and where items lie."""

import numpy as np

from avrec.core.arrays import Float32, Float64, Int64
from avrec.evaluation.lists import GROUPS
from avrec.report.page_parts import SENSES, Picture, Section, Sheet, percent, sense
from avrec.report.page_sides import side_of
from avrec.report.page_subject import Subject
from avrec.report.plots_catalogue import catalogue_map, popularity, shares

GROUP_WORDS = dict(zip(GROUPS, ("popular", "middle", "rare", "new"), strict=True))
MAX_POINTS = 4000
BLOCK_ITEMS = 65_536


def popularity_section(subject: Subject) -> Section:
    """Whether lists are as popular as what users choose."""
    title = "Popular, rare and new items"
    if subject.lists is None or subject.question is None:
        return Section("popularity", title, "Left out: the test part is empty.")
    question, lists = subject.question, subject.lists
    in_list = lists.item_idx >= 0
    ends = np.concatenate([[0], np.cumsum(in_list.sum(axis=1))])
    found = {
        "in histories": question.masked_of(question.users),
        "chosen in the test part": question.targets,
        "shown in lists": (ends, lists.item_idx[in_list]),
    }
    series = {name: group_shares(*csr, subject.group_N) for name, csr in found.items()}
    words = [f"{GROUP_WORDS[name]}\n({np.sum(subject.group_N == place):,})" for place, name in enumerate(GROUPS)]
    history, chosen, listed = series.values()
    new = GROUPS.index("never trained")
    lead = (
        "Mean share over users. Popular items are the few that hold a fifth of the training events, rare ones the many that "
        f"hold the last fifth, new ones had none. {_tilt(chosen[0], listed[0])} New items are {percent(chosen[new])} of what "
        f"was chosen and {percent(listed[new])} of what is shown."
    )
    divergence = subject.run.value("popularity_kl@20")
    if divergence is not None:
        lead += f" The mean divergence of a list from its user's history is {divergence:.2f} nats; 0 is calibrated."
    rows = [
        [name, *(percent(float(value)) for value in (history[place], chosen[place], listed[place]))]
        for place, name in enumerate(GROUP_WORDS.values())
    ]
    alt = "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in rows)
    picture = Picture(popularity(words, series), f"Shares in histories, in the test part and in lists. {alt}.")
    return Section("popularity", title, lead, [picture], [Sheet("Mean share over users", ["", *series], rows)])


def _tilt(chosen: float, listed: float) -> str:
    """In words: are popular items shown too often?"""
    if listed > 1.25 * chosen and listed - chosen > 0.02:
        return f"Popular items are shown more often ({percent(listed)}) than they are chosen ({percent(chosen)})."
    if listed < 0.8 * chosen and chosen - listed > 0.02:
        return f"Popular items are shown less often ({percent(listed)}) than they are chosen ({percent(chosen)})."
    return f"Popular items are shown ({percent(listed)}) about as often as they are chosen ({percent(chosen)})."


def group_shares(indptr: Int64, items: Int64, group_N: Int64) -> Float64:
    """(G,) the mean over users of the share of each group; users without items are left out.

    >>> group_shares(np.array([0, 1, 3]), np.array([0, 0, 1]), np.array([0, 3])).tolist()
    [0.75, 0.0, 0.0, 0.25]
    """
    counts = np.diff(indptr)
    weights = np.repeat(1 / np.maximum(counts, 1), counts)
    sums = np.bincount(group_N[items], weights=weights, minlength=len(GROUPS))
    return np.asarray(sums / max(int(np.count_nonzero(counts)), 1), np.float64)


def shares_section(subject: Subject) -> Section:
    """What the content vector of an item is made of."""
    title = "What the content is made of"
    names = subject.modalities
    if len(names) < 2:
        told = f"one modality, {sense(names[0])}" if names else "ids alone"
        return Section("shares", title, f"Left out: the model reads {told}, so there is nothing to share.")
    present_NM = np.stack([subject.dataset.features[name].present for name in names], axis=1)
    whole_N, share_NM = present_NM.all(axis=1), subject.share_NM
    if not whole_N.any():
        return Section("shares", title, "Left out: no item has all modalities.")
    by_modality = {_label(name): share_NM[whole_N, place] for place, name in enumerate(names)}
    ranked = sorted(by_modality, key=lambda name: -float(by_modality[name].mean()))
    lead = (
        f"Of the {whole_N.sum():,} items that have everything, the fused content leans most on {ranked[0]} "
        f"({percent(float(by_modality[ranked[0]].mean()))} on average) and least on {ranked[-1]} "
        f"({percent(float(by_modality[ranked[-1]].mean()))}). A share is attention or weight in the fusion, not proof of use."
    )
    cold_N = subject.dataset.cold_items
    rows = []
    for place, name in enumerate(names):
        has = present_NM[:, place]
        means = [_mean(share_NM[chosen, place]) for chosen in (whole_N, whole_N & ~cold_N, whole_N & cold_N)]
        rows.append([_label(name), f"{has.sum():,}", f"{(~has).sum():,}", *means])
    columns = ["", "items with it", "items without", "mean share", "known items", "new items"]
    alt = ", ".join(f"{name} {float(values.mean()):.2f}" for name, values in by_modality.items())
    return Section(
        "shares",
        title,
        lead,
        [Picture(shares(by_modality), f"Histogram of shares; means: {alt}.")],
        [Sheet("Shares over items that have every modality", columns, rows)],
    )


def _label(modality: str) -> str:
    word = sense(modality)
    return f"{word} ({modality})" if modality in SENSES and word != modality else word


def _mean(values: Float64) -> str:
    return percent(float(values.mean())) if len(values) else "–"


def map_section(subject: Subject) -> Section:
    """Where items lie."""
    title = "Map of the catalogue"
    rows = sampled(subject.dataset.num_items)
    vectors = subject.scorer.item_vectors
    pictures, words = [], []
    dim = subject.scorer.model.item_tower.id_dim
    segments = np.delete(vectors, dim, axis=1)  # without bias and offset, which say nothing about taste
    places, kept = principal_plane(segments, rows)
    cold_N = subject.dataset.cold_items.astype(np.int64)
    image = catalogue_map(places, cold_N[rows], ["known items", "new items"], "vectors that are searched")
    pictures.append(Picture(image, f"Item vectors in the plane, {cold_N.sum():,} new items among {len(cold_N):,}."))
    words.append(
        f"The vectors that are searched, flattened onto the two directions in which they differ most, which keep "
        f"{percent(kept)} of their variance. Items that lie together are shown to the same people. "
        "Known items lean on their ids and new ones on their content, so the two may lie apart."
    )
    side = side_of(subject.dataset)
    if side is not None and subject.modalities:
        content, kept = principal_plane(np.asarray(subject.scorer.history[:, dim:].float().cpu().numpy()), rows)
        image = catalogue_map(content, side.group_N[rows], side.labels, f"content vectors by {side.name}")
        pictures.append(Picture(image, f"Content vectors in the plane by {side.name}: {', '.join(side.labels)}."))
        words.append(
            f"The second map is of content alone ({percent(kept)} of its variance), coloured by “{side.name}”."
        )
    elif side is None:
        words.append("The items have neither a field with a few values nor tags, so there is no other colouring.")
    if len(rows) < len(cold_N):
        words.append(f"{len(rows):,} items drawn evenly.")
    return Section("map", title, " ".join(words), pictures)


def sampled(num_items: int) -> Int64:
    """At most `MAX_POINTS` items, evenly over the catalogue."""
    return np.unique(np.linspace(0, num_items - 1, min(num_items, MAX_POINTS)).round().astype(np.int64))


def principal_plane(vectors_ND: Float32, rows: Int64) -> tuple[Float32, float]:
    """Some vectors on the first two principal axes of all (Pearson 1901).

    Returns:
        (len(rows), 2) with signs fixed by the largest component of each axis, and the share of the variance that is kept.
    """
    mean = vectors_ND.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((vectors_ND.shape[1],) * 2)
    for start in range(0, len(vectors_ND), BLOCK_ITEMS):
        block = vectors_ND[start : start + BLOCK_ITEMS] - mean
        scatter += block.T @ block
    values, axes = np.linalg.eigh(scatter)
    plane = axes[:, ::-1][:, :2]
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), np.arange(plane.shape[1])])
    places = (vectors_ND[rows] - mean) @ plane
    total = float(values.sum())
    kept = float(values[::-1][:2].sum()) / total if total > 0 else 1.0
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1]))).astype(np.float32), kept
