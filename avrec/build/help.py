"""What `avrec <verb> --help` prints: examples first, then the groups and the configuration."""

from pathlib import Path

from omegaconf import OmegaConf

from avrec.build.compose import Composed, ConfigPlace
from avrec.build.paths import conf_dir


def help_text(composed: Composed, place: ConfigPlace) -> str:
    """Header and footer come from the `hydra.help` of the verb's own file; nothing is imported to make the rest.

    Args:
        composed: the verb's configuration.
        place: where it was composed from.
    """
    help_node = composed.hydra.help
    folders = [conf_dir() if place.folder is None else place.folder, *([place.extra] if place.extra else [])]
    groups = {group: names for folder in folders for group, names in group_options(folder).items()}
    lines = [str(help_node.header).rstrip(), ""]
    if groups:
        lines.append("Groups (group=option; an experiment with +experiment=option):")
        lines += [f"  {group}: {', '.join(names)}" for group, names in sorted(groups.items())]
        lines.append("")
    lines.append("Configuration (key=value; a key that is not listed with +key=value):")
    lines += [f"  {line}" for line in OmegaConf.to_yaml(composed.config).rstrip().splitlines()]
    return "\n".join([*lines, "", str(help_node.footer).rstrip()])


def group_options(folder: Path) -> dict[str, list[str]]:
    """The config groups below a folder, Hydra's own apart, and their options, by the path of each group (`encoder/audio`)."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        group = file.parent.relative_to(folder).as_posix()
        if group != "." and not group.startswith("hydra/"):
            found.setdefault(group, []).append(file.stem)
    return found
