"""What a study trains: the reference, and variants of it, each a list of words added to the command line of `avrec train`."""

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from avrec.build.allow import allowed_object
from avrec.build.bind import check
from avrec.build.compose import ConfigPlace, compose_at
from avrec.build.nearest import hint
from avrec.build.paths import conf_dir
from avrec.build.resolve import ARGS, PARTIAL, TARGET
from avrec.core.errors import AvrecError, ConfigError
from avrec.data.control import CONTROLS, Control
from avrec.pipelines.ablate_templates import Template, World, expanded
from avrec.pipelines.claims import claimed, differences

REFERENCE = "reference"
ALL = "all"
CONTROL = "control="
# What is chosen after the stages: a variant of these alone starts from the reference's trained stages.
AFTER_STAGES = frozenset({"factors", "grid", "propagation"})
_SLUG = re.compile(r"[^a-z0-9._]+")
_PLAIN = re.compile(r"[A-Za-z0-9._ =:-]+")
MAX_SLUG = 60


@dataclass(frozen=True)
class Variant:
    """One thing that is trained over all seeds.

    Attributes:
        name: as it stands in the tables.
        study: which it belongs to; empty for the reference.
        words: added to the command line.
        settings: what the run's claim will say, for any seed.
        control: the control data set that it is trained on, if any.
        after_stages: whether its stages are those of the reference.
        note: what was done to make it fit, for the reader.
    """

    name: str
    study: str
    words: tuple[str, ...]
    settings: Mapping[str, Any]
    control: Control | None = None
    after_stages: bool = False
    note: str = ""

    @property
    def slug(self) -> str:
        """Its folder: a function of its name alone, so that other variants may come and go."""
        return slug(self.name)


@dataclass(frozen=True)
class LeftOut:
    """A variant that is not trained, and why."""

    name: str
    study: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that a study trains and leaves out; the reference is apart."""

    reference: Variant
    variants: tuple[Variant, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Line:
    """The command line of `avrec train` that a study varies.

    Attributes:
        place: where its configuration is composed from.
        words: without seed and folder.
    """

    place: ConfigPlace
    words: tuple[str, ...]

    def composed(self, words: Sequence[str]) -> DictConfig:
        """The configuration of the line with more words behind it; later words win.

        Raises:
            ConfigError: they do not compose.
        """
        return compose_at(self.place, [*self.words, *words]).config


def make_plan(line: Line, config: DictConfig, world: World) -> Plan:
    """Choose, expand, compose and check the variants.

    Args:
        line: of the reference.
        config: `ablation`, `study` and `variants`.
        world: what the templates may name.

    Raises:
        ConfigError: there is no such study or variant, two variants share a folder, or a variant is written wrongly.
    """
    chosen = _chosen(config, world)
    base = line.composed([])
    check(base)
    reference = Variant(REFERENCE, "", (), claimed(base))
    found: list[Variant] = []
    left_out: list[LeftOut] = []
    for template, one in chosen:
        if isinstance(one, str):
            left_out.append(LeftOut(template.name, template.study, one))
            continue
        made = _variant(one, line, [reference, *found])
        if isinstance(made, LeftOut):
            left_out.append(made)
        else:
            found.append(made)
    _check_folders([reference, *found])
    return Plan(reference, tuple(found), tuple(left_out))


def _chosen(config: DictConfig, world: World) -> list[tuple[Template, Template | str]]:
    """The expanded templates of the studies and variants that were asked for, or why one is left out."""
    studies = OmegaConf.to_container(config.ablation, resolve=True)
    assert isinstance(studies, dict)
    names = _names(config.study)
    for name in names:
        if name not in studies and name != ALL:
            raise ConfigError(f"study: {name!r}: no such study; {hint(name, [ALL, *map(str, studies)])}")
    pairs = [
        pair
        for study, variants in studies.items()
        if ALL in names or study in names
        for pair in expanded(str(study), variants, world)
    ]
    if config.variants is None:
        return pairs
    wanted, known = _names(config.variants), [template.name for template, _ in pairs]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"variants: {name!r}: no such variant; {hint(name, known)}")
    return [pair for pair in pairs if pair[0].name in wanted]


def _names(given: Any) -> list[str]:
    return [str(given)] if isinstance(given, str) else [str(name) for name in given]


def _variant(one: Template, line: Line, earlier: Sequence[Variant]) -> Variant | LeftOut:
    control, words = _control(one)
    try:
        config = line.composed(words)
        strangers = _strangers(config, words)
        if strangers:
            words += [f"~{key}" for key in strangers]
            config = line.composed(words)
        check(config)
    except AvrecError as error:
        return LeftOut(one.name, one.study, " ".join(str(error).split()))
    settings = claimed(config)
    for other in earlier if one.words else ():
        if other.control == control and not differences(other.settings, settings):
            return LeftOut(one.name, one.study, f"it is what '{other.name}' is already.")
    changed = {key.partition(".")[0] for key in differences(earlier[0].settings, settings)}
    after = bool(changed) and changed <= AFTER_STAGES and control is None
    note = f"without {', '.join(strangers)}, which the reference sets and this does not know" if strangers else ""
    return Variant(one.name, one.study, tuple(words), settings, control, after, note)


def _control(one: Template) -> tuple[Control | None, list[str]]:
    """The control that a variant asks for, and its words without that."""
    asked = [text.removeprefix(CONTROL) for text in one.words if text.startswith(CONTROL)]
    for name in asked:
        if name not in CONTROLS:
            raise ConfigError(f"ablation.{one.study}: {CONTROL}{name}: is none of {', '.join(CONTROLS)}.")
    found = next((control for control in CONTROLS if control in asked), None)
    return found, [text for text in one.words if not text.startswith(CONTROL)]


def _strangers(config: DictConfig, words: Sequence[str]) -> list[str]:
    """What an experiment had set for the option of a group that a word replaces, and the new option does not know."""
    found = []
    for word in words:
        key = key_of(word).replace("/", ".")
        node = None if word.startswith(("~", "+")) else OmegaConf.select(config, key)
        if not isinstance(node, DictConfig) or TARGET not in node:
            continue
        parameters = inspect.signature(allowed_object(node[TARGET], key)).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            known = {*parameters, TARGET, PARTIAL, ARGS}
            found += [f"{key}.{name}" for name in map(str, node) if name not in known]
    return found


def place_of_command() -> ConfigPlace:
    """Where the configuration of `avrec train` is composed from: as for the command that is running."""
    sources = {source.provider: source.path for source in HydraConfig.get().runtime.config_sources}
    main, extra = (None if (path := sources.get(name)) is None else Path(path) for name in ("main", "command-line"))
    return ConfigPlace("train", None if main == conf_dir().absolute() else main, extra)


def key_of(word: str) -> str:
    """The key or group that a word of a command line is about."""
    return str(OverridesParser.create().parse_override(word).key_or_group)


def slug(name: str) -> str:
    """A folder's name for a variant: readable, and with a part of a hash where characters were lost.

    >>> slug("without-audio"), slug("start:fold_in"), slug("only Ton/Bild")
    ('without-audio', 'start-fold_in', 'only-ton-bild-077ef650')
    """
    text = _SLUG.sub("-", name.lower()).strip("-.")[:MAX_SLUG]
    if _PLAIN.fullmatch(name) and len(name) <= MAX_SLUG and text:
        return text
    return f"{text}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def _check_folders(variants: Sequence[Variant]) -> None:
    seen: dict[str, str] = {}
    for one in variants:
        if one.slug in seen:
            raise ConfigError(
                f"ablation.{one.study}: {one.name!r} and {seen[one.slug]!r} would share the folder {one.slug}. Rename one of them."
            )
        seen[one.slug] = one.name


def every_run(plan: Plan, seeds: Sequence[int]) -> Iterator[tuple[Variant, int]]:
    """All runs in their order: seed by seed, the reference first, so that others can start from its stages."""
    for seed in seeds:
        yield from ((variant, seed) for variant in (plan.reference, *plan.variants))
