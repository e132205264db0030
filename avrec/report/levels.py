"""The levels on which one model ranks: its parts alone, and both together."""

from collections.abc import Iterable, Mapping

HYBRID = "hybrid"
LEVELS = {"ids only": "collaborative", "content only": "content-based"}  # by the name of the view
COMPARED = ("recall@20", "ndcg@20", "cold/recall@20", "warm/recall@20", "cold_only/recall@20", "coverage@20")


def levels_sentence(names: Iterable[str]) -> str | None:
    """Which rows of a table are which level of the model; None where there is but one.

    Args:
        names: of the model's rows, the marked operating point first.
    """
    first, *others = names
    parts = [f"“{name}” the {LEVELS[name]} one" for name in others if name in LEVELS]
    if not parts:
        return None
    return f"levels of one model: “{first.removesuffix(' *')}” is the {HYBRID} score, {' and '.join(parts)}"


def levels_side_by_side(
    part: str, model: Mapping[str, float], views: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """The main metrics by level, as they stand under `levels` of `metrics.json`; empty where there is but one.

    Args:
        part: the held-out part.
        model: metrics of the marked operating point, under keys such as `test/recall@20`.
        views: metrics of the other views by name.
    """
    found = {HYBRID: model} | {level: views[name] for name, level in LEVELS.items() if name in views}
    if len(found) == 1:
        return {}
    keys = [f"{part}/{name}" for name in COMPARED]
    return {level: {key: metrics[key] for key in keys if key in metrics} for level, metrics in found.items()}
