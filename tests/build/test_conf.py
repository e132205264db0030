"""Every file in `conf/` composes and binds; a new file is covered by standing there."""

import functools

import pytest

from avrec.build.bind import check
from avrec.build.compose import Composed, ConfigPlace, compose_at, compose_trials
from avrec.build.help import group_options
from avrec.build.paths import conf_dir
from avrec.build.schema import RunLevel
from avrec.cli import VERBS

FILES = sorted(path.relative_to(conf_dir()).with_suffix("").as_posix() for path in conf_dir().rglob("*.yaml"))
PRIMARY = [name for name in FILES if "/" not in name]
OPTIONS = [name for name in FILES if "/" in name and not name.startswith(("experiment/", "hydra/"))]
READS_ONLY = {"recommend", "serve", "verify"}
HYDRAS = [name for name in FILES if name.startswith("hydra/")]
EXPERIMENTS = [name for name in FILES if name.startswith("experiment/")]


@functools.cache
def plain(name: str) -> Composed:
    return compose_at(ConfigPlace(name), [])


def test_there_is_something_to_test():
    assert set(VERBS) <= set(PRIMARY)
    assert len(FILES) == len(PRIMARY) + len(OPTIONS) + len(EXPERIMENTS) + len(HYDRAS)
    assert not [path for path in conf_dir().rglob("*") if path.is_file() and path.suffix != ".yaml"]


@pytest.mark.parametrize("name", PRIMARY)
def test_a_primary_file(name):
    check(plain(name).config, allow_missing=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_group(name):
    group, _, option = name.rpartition("/")
    users = [verb for verb in VERBS if group in plain(verb).hydra.runtime.choices]
    for verb in users or ["train"]:
        override = f"{group}={option}" if users else f"+{group}={option}"
        check(compose_at(ConfigPlace(verb), [override]).config, allow_missing=True)


@pytest.mark.parametrize("name", HYDRAS)
def test_an_option_of_hydras_own(name):
    group, _, option = name.rpartition("/")
    check(compose_at(ConfigPlace("train"), [f"{group}={option}"]).config, allow_missing=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment(name):
    option = name.partition("/")[2]
    config = compose_at(ConfigPlace("train"), [f"+experiment={option}"]).config
    check(config, allow_missing=True)
    assert config.task_name == option, "runs of an experiment stand below its name"
    head = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert f"python train.py +experiment={option}" in head, "say at the top which command runs it"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_names_its_runs_and_shows_examples(verb):
    composed = plain(verb)
    assert composed.config.task_name == verb
    if verb in READS_ONLY:
        assert (composed.hydra.run.dir, composed.hydra.output_subdir) == (".", None)
    else:
        assert composed.hydra.run.dir == composed.config.run_dir
        assert composed.hydra.run.dir.startswith(f"runs/{verb}/20")
    assert composed.hydra.sweep.dir.startswith(f"sweeps/{verb}/20")
    assert composed.hydra.job.name == verb
    header = str(composed.hydra.help.header)
    assert header.startswith(f"avrec {verb}: ")
    assert f"\n  avrec {verb} " in header


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_the_help_compose(verb):
    """What `--help` shows can be typed: every example is composed and bound."""
    lines = [line.split("#")[0].split() for line in str(plain(verb).hydra.help.header).splitlines()]
    examples = [words[2:] for words in lines if words[:2] == ["avrec", verb]]
    assert examples
    for words in examples:
        overrides = [word for word in words if not word.startswith("-")]
        for composed in (
            compose_trials(ConfigPlace(verb), overrides)
            if "-m" in words
            else [compose_at(ConfigPlace(verb), overrides)]
        ):
            check(composed.config, allow_missing=True)


def test_run_level_keys_have_their_type():
    """A key of `RunLevel` that a verb sets is of that type already in the file (compose checks it), and none is unused."""
    used = {str(key) for verb in VERBS for key in plain(verb).config.keys()}
    assert {"seed", "task_name", "run_dir", "multirun"} <= used
    assert set(RunLevel.__dataclass_fields__) <= used, "delete what no verb uses"


def test_the_groups_are_listed_for_help():
    groups = group_options(conf_dir())
    assert all(f"{group}/{option}" in FILES for group, options in groups.items() for option in options)
