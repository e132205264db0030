"""The variants of a study as `conf/ablation` writes them, and what they become on one data set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from avrec.core.errors import ConfigError

MODALITY, OTHERS = "{modality}", "{others}"
STAGES = ("{id_stage}", "{other_stage}")
NEEDS = {
    "modalities": "the model uses no modality",
    "features": "the data set has no finished features",
    "media": "the data set has no media files",
    "item_tags": "the data set has no tags of items",
    "knowledge": "the data set has no knowledge graph",
    "social": "the data set has no friends",
    "item_fields": "the data set has no fields of items",
    "texts": "the data set has no texts",
    "side": "the data set has neither tags nor a knowledge graph, fields or texts of items",
}


@dataclass(frozen=True)
class World:
    """What templates may name.

    Attributes:
        modalities: of the reference model, in its order.
        finished: those that are vectors of the data set.
        has: keys of `NEEDS` that hold.
        stages: {`{id_stage}`: stages that train ids, `{other_stage}`: the others}.
        options: config group -> its options.
    """

    modalities: tuple[str, ...]
    finished: frozenset[str]
    has: frozenset[str]
    stages: Mapping[str, tuple[str, ...]]
    options: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Template:
    """A variant as it is written: name, study, words, and what the data set must have."""

    name: str
    study: str
    words: tuple[str, ...]
    needs: str | None = None

    @classmethod
    def of(cls, study: str, name: str, entry: Any) -> "Template":
        """Read one entry.

        Raises:
            ConfigError: it is neither a list of words nor `{needs, words}`.
        """
        place = f"ablation.{study}: {name!r}"
        needs = None
        if isinstance(entry, Mapping):
            if not {"words"} <= entry.keys() <= {"words", "needs"}:
                raise ConfigError(f"{place} has the keys {sorted(map(str, entry))}; expected words, and perhaps needs.")
            needs, entry = entry.get("needs"), entry["words"]
        if not isinstance(entry, list) or not all(isinstance(word, str) for word in entry):
            raise ConfigError(f"{place}: {entry!r} is not a list of words such as ['id_dim=32', 'start=random'].")
        if needs is not None and needs not in NEEDS:
            raise ConfigError(f"{place}: needs {needs!r}, which is none of {', '.join(NEEDS)}.")
        return cls(name, study, tuple(entry), needs)

    def with_text(self, old: str, new: str, name: str | None = None) -> "Template":
        """Everywhere `old` replaced by `new`; in the name by `name` where that is given."""
        words = tuple(word.replace(old, new) for word in self.words)
        return Template(self.name.replace(old, new if name is None else name), self.study, words, self.needs)


def expanded(
    study: str, variants: Mapping[Any, Any] | None, world: World
) -> Iterator[tuple[Template, "Template | str"]]:
    """Every template of a study once for each modality or option that its name asks for.

    Yields:
        the template under its final name, and it again with its words filled in, or the reason why it is left out.

    Raises:
        ConfigError: an entry is written wrongly.
    """
    for name, entry in (variants or {}).items():
        template = Template.of(study, str(name), entry)
        for one in _copies(template, world):
            yield one, _problem(one, world) or _with_stages(one, world)


def _copies(template: Template, world: World) -> Iterator[Template]:
    if MODALITY in template.name:
        if not world.modalities:
            yield Template(template.name, template.study, template.words, "modalities")
        for modality in world.modalities:
            others = [quoted(other) for other in world.modalities if other != modality]
            filled = template.with_text(OTHERS, f"[{','.join(others)}]")
            yield filled.with_text(MODALITY, quoted(modality), modality)
        return
    for group, options in world.options.items():
        if f"{{{group}}}" in template.name:
            yield from (template.with_text(f"{{{group}}}", option) for option in options)
            return
    yield template


def _problem(one: Template, world: World) -> str | None:
    """Why a variant cannot be on this data set, or None."""
    if one.needs is not None and one.needs not in world.has:
        return f"{NEEDS[one.needs]}."
    if "modalities=[]" in one.words and len(world.modalities) == 1 and len(one.words) == 1:
        return "the model has no other modality; see 'ids-alone'."
    if len(world.modalities) == 1 and one.words == (f"modalities=[{quoted(world.modalities[0])}]",):
        return "the model has no other modality, so it is the reference."
    unfinished = [name for name in world.modalities if name not in world.finished]
    if "control=random" in one.words and unfinished:
        return f"{', '.join(unfinished)} is not made of finished vectors, which alone can be drawn anew."
    return None


def _with_stages(one: Template, world: World) -> Template:
    words: list[str] = []
    for word in one.words:
        mark = next((mark for mark in STAGES if mark in word), None)
        words += [word] if mark is None else [word.replace(mark, stage) for stage in world.stages[mark]]
    return Template(one.name, one.study, tuple(words), one.needs)


def quoted(name: str) -> str:
    """A modality's name, which is an identifier of any script, as a value of a command line's word."""
    return f"'{name}'"
