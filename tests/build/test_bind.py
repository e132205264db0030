"""Arguments against signatures, without building: every message, all at once."""

import sys

import pytest
from omegaconf import OmegaConf

from avrec.build.bind import RUNTIME_ARGUMENTS, check
from avrec.core.errors import ConfigError


class Tower:
    def __init__(self, width, depth=2, *, dropout=0.1):
        raise AssertionError("binding must not build")


class Open:
    def __init__(self, first, /, *rest, **options):
        raise AssertionError("binding must not build")


class Empty:
    pass


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    for kind in (Tower, Open, Empty):
        monkeypatch.setattr(kind, "__module__", "avrec.core.ids")
        monkeypatch.setattr(sys.modules["avrec.core.ids"], kind.__name__, kind, raising=False)


TOWER = "avrec.core.ids.Tower"


def problems(config, **options):
    with pytest.raises(ConfigError) as error:
        check(OmegaConf.create(config), **options)
    return str(error.value)


def test_what_fits_passes():
    check({"a": {"_target_": TOWER, "width": 1, "dropout": 0.0}, "b": [{"_target_": TOWER, "_args_": [1, 2]}]})
    check({"a": {"_target_": TOWER, "_partial_": True}, "b": {"_target_": "avrec.core.ids.Empty"}})
    check({"a": {"_target_": "avrec.core.ids.Open", "_args_": [1, 2, 3], "anything": 1}, "b": 3, "c": None})
    check({"optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.99]}})


def test_a_misspelt_argument_of_a_partial():
    config = {"model": {"optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lrr": 1}}}
    assert problems(config) == "model.optimizer: torch.optim.Adam has no argument 'lrr'; did you mean 'lr'?"


def test_an_argument_like_no_other_lists_what_there_is():
    assert problems({"a": {"_target_": TOWER, "width": 1, "zzz": 1}}) == (
        f"a: {TOWER} has no argument 'zzz'; there are: depth, dropout, width."
    )
    assert problems({"_target_": "avrec.core.ids.Empty", "zzz": 1}) == (
        "avrec.core.ids.Empty has no argument 'zzz'; there is none."
    )
    long = problems({"trainer": {"_target_": "pytorch_lightning.Trainer", "zzz": 1}})
    assert long.startswith(
        "trainer: pytorch_lightning.Trainer has no argument 'zzz'; there are: accelerator, accumulate_grad_batches, barebones,"
    )
    assert long.endswith(" more.")


def test_a_misspelt_argument_of_the_trainer():
    config = {"trainer": {"_target_": "pytorch_lightning.Trainer", "max_epoch": 3}}
    assert (
        problems(config) == "trainer: pytorch_lightning.Trainer has no argument 'max_epoch'; did you mean 'max_epochs'?"
    )


def test_a_missing_argument():
    assert problems({"a": [{"_target_": TOWER}]}) == f"a[0]: {TOWER} needs the argument 'width'."
    assert problems({"a": {"_target_": "avrec.core.ids.Open"}}) == "a: avrec.core.ids.Open needs the argument 'first'."


def test_positions():
    assert problems({"_target_": TOWER, "_args_": [1, 2, 3]}) == (
        f"{TOWER} takes 2 arguments by position, but _args_ holds 3."
    )
    assert (
        problems({"_target_": TOWER, "_args_": [1], "width": 2})
        == f"{TOWER} gets 'width' twice: by name and in _args_."
    )


def test_all_problems_at_once():
    text = problems(
        {
            "a": {"_target_": TOWER, "widht": 1},
            "b": {"_target_": TOWER, "width": {"_target_": TOWER, "depht": 2}},
            "c": {"_target_": "avrec.core.ids.Towr"},
            "d": {"_target_": "avrec.core.idz.Tower"},
        }
    )
    assert text.splitlines() == [
        "6 problems in the configuration:",
        f"  a: {TOWER} has no argument 'widht'; did you mean 'width'?",
        f"  a: {TOWER} needs the argument 'width'.",
        f"  b.width: {TOWER} has no argument 'depht'; did you mean 'depth'?",
        f"  b.width: {TOWER} needs the argument 'width'.",
        "  c._target_: the module avrec.core.ids has no class 'Towr'. Did you mean 'Tower'?",
        "  d._target_: there is no module 'avrec.core.idz', so no 'avrec.core.idz.Tower'. Did you mean 'avrec.core.ids'?",
    ]


def test_runtime_arguments_are_listed_by_key():
    runtime = {"stages[*].tower": ("width",), "towers.*": ("width", "depth")}
    config = {"stages": [{"tower": {"_target_": TOWER}}], "towers": {"item": {"_target_": TOWER, "_partial_": True}}}
    check(config, runtime)
    assert problems(config, runtime={}) == f"stages[0].tower: {TOWER} needs the argument 'width'."
    config["towers"]["item"]["depth"] = 3
    assert problems(config, runtime=runtime) == (
        f"towers.item: {TOWER} gets 'depth' from avrec at run time; remove it from the configuration."
    )
    # A listed partial must be complete: what it will be given is known.
    assert problems({"towers": {"a": {"_target_": TOWER, "_partial_": True}}}, runtime={"towers.a": ("depth",)}) == (
        f"towers.a: {TOWER} needs the argument 'width'."
    )


def test_the_runtime_table_holds_names_only():
    assert all(isinstance(names, tuple) and names for names in RUNTIME_ARGUMENTS.values())


def test_values_still_missing_may_be_allowed():
    config = {"data": {"_target_": TOWER, "width": "???"}, "copy": "${data.width}"}
    check(OmegaConf.create(config), allow_missing=True)
    assert problems(config) == (
        "2 problems in the configuration:\n"
        "  copy: '${data.width}' leads to a key that has no value yet.\n"
        "  data.width: has no value yet. Give one: data.width=VALUE"
    )


def test_a_module_that_needs_an_absent_package_names_the_extra(monkeypatch, tmp_path):
    import avrec.core

    (tmp_path / "needy.py").write_text("import a_package_that_is_absent\nclass Needy: pass\n")
    monkeypatch.setattr(avrec.core, "__path__", [*avrec.core.__path__, str(tmp_path)])
    assert problems({"_target_": "avrec.core.needy.Needy"}) == (
        "_target_: 'avrec.core.needy.Needy' needs the Python module 'a_package_that_is_absent', which is not installed."
        " Install it with: pip install 'avrec[all]'"
    )
