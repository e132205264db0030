"""`instantiate`: what it builds, what it gives back, and the errors it explains."""

import functools
import sys
from dataclasses import dataclass

import hydra.utils
import pytest
from omegaconf import OmegaConf

from avrec.build.instantiate import instantiate
from avrec.core.errors import ConfigError, DataError
from avrec.core.ids import IdMap


@dataclass
class Plain:
    size: int


class Part:
    """Stands in for a class of ours: the fixture puts it into a module of avrec."""

    def __init__(self, *numbers, width=1, child=None, children=(), data=None):
        self.numbers, self.width, self.child, self.children, self.data = numbers, width, child, children, data

    def __eq__(self, other):
        return isinstance(other, Part) and vars(self) == vars(other)


class Failing:
    def __init__(self, width, text="", part=None):
        raise ZeroDivisionError(f"width {width}")


class Faulty:
    def __init__(self):
        raise DataError(["items.csv row 3: bad", "items.csv row 4: bad"])


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    for kind in (Part, Failing, Faulty):
        monkeypatch.setattr(kind, "__module__", "avrec.core.ids")
        monkeypatch.setattr(sys.modules["avrec.core.ids"], kind.__name__, kind, raising=False)


PART = "avrec.core.ids.Part"

SAME_AS_HYDRA = [
    {"_target_": PART},
    {"_target_": PART, "width": 3, "children": [1, 2, {"a": None}]},
    {"_target_": PART, "_args_": [1, 2], "child": {"_target_": PART, "width": 2}},
    {"_target_": PART, "children": [{"_target_": PART, "width": 2}, {"x": {"_target_": PART}}]},
    {"a": {"_target_": PART}, "b": [1, {"_target_": PART, "width": 2}], "c": None, "d": 1.5},
    {"width": 7, "part": {"_target_": PART, "width": "${width}", "child": {"_target_": PART, "width": "${..width}"}}},
    [{"_target_": PART}, "text"],
]


@pytest.mark.parametrize("config", SAME_AS_HYDRA, ids=str)
def test_it_builds_what_hydra_builds(config):
    config = OmegaConf.create(config)
    ours = instantiate(config)
    assert ours == hydra.utils.instantiate(config, _convert_="all")
    assert not OmegaConf.is_config(ours)


def test_a_node_inside_a_configuration_sees_the_whole():
    config = OmegaConf.create({"seed": 4, "model": {"part": {"_target_": PART, "width": "${seed}"}}})
    assert instantiate(config.model.part).width == 4


def test_none_is_an_optional_part_left_out():
    assert instantiate(None) is None
    assert instantiate(OmegaConf.create({"logger": None}).logger) is None


def test_a_partial_is_a_plain_partial():
    made = instantiate({"_target_": PART, "_partial_": True, "width": 2, "child": {"_target_": PART}})
    assert type(made) is functools.partial
    assert made(child=None) == Part(width=2)
    assert instantiate({"_target_": PART, "_partial_": True}, width=5)() == Part(width=5)


def test_runtime_arguments_reach_the_outermost_target_untouched():
    data, sizes = Plain(3), {"audio": {"_target_": "os.system"}}
    made = instantiate({"_target_": PART, "child": {"_target_": PART}}, data=data, children=sizes)
    assert made.data is data
    assert made.children is sizes
    assert made.child.data is None


def test_plain_data_and_omegaconf_give_the_same():
    config = {"_target_": PART, "children": [1]}
    assert instantiate(config) == instantiate(OmegaConf.create(config)) == Part(children=[1])
    assert config == {"_target_": PART, "children": [1]}


def message(config, kind=ConfigError, **runtime):
    with pytest.raises(kind) as error:
        instantiate(config, **runtime)
    return str(error.value)


def test_a_failing_target_names_key_target_values_and_reason():
    node = {"_target_": "avrec.core.ids.Failing", "width": -1, "text": "x" * 99, "part": {"_target_": PART}}
    config = OmegaConf.create({"model": {"parts": [{"_target_": PART}, node]}})
    assert message(config) == (
        f"model.parts[1]: avrec.core.ids.Failing(width=-1, text='{'x' * 36}..., part=<{PART}>) failed:"
        " ZeroDivisionError: width -1"
    )
    with pytest.raises(ConfigError) as error:
        instantiate(config.model)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_failing_real_optimizer_says_why():
    import torch

    config = OmegaConf.create({"optimizer": {"_target_": "torch.optim.Adam", "lr": -1.0}})
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert message(config.optimizer, params=parameters) == (
        "optimizer: torch.optim.Adam(lr=-1.0) failed: ValueError: Invalid learning rate: -1.0"
    )


def test_an_error_of_ours_keeps_its_class_and_learns_the_place():
    with pytest.raises(DataError) as error:
        instantiate(OmegaConf.create({"source": {"_target_": "avrec.core.ids.Faulty"}}))
    assert error.value.problems == ["items.csv row 3: bad", "items.csv row 4: bad"]
    assert error.value.__notes__ == ["(while building source: avrec.core.ids.Faulty)"]


def test_arguments_that_do_not_fit_stop_it_before_anything_is_built():
    text = message({"a": {"_target_": "avrec.core.ids.Failing", "width": 1}, "b": {"_target_": PART, "widht": 2}})
    assert text == f"b: {PART} has no argument 'widht'; did you mean 'width'?"


def test_runtime_arguments_are_bound_too():
    assert message({"_target_": PART}, widht=2) == f"{PART} has no argument 'widht'; did you mean 'width'?"
    assert (
        message({"_target_": PART, "width": 1}, width=2)
        == "width: is given by avrec; remove it from the configuration."
    )
    assert (
        message([{"_target_": PART}], width=2) == "the node: has no _target_, so nothing takes the arguments ['width']."
    )
    assert (
        message({"_target_": PART, "_partial_": True}, widht=2)
        == f"{PART} has no argument 'widht'; did you mean 'width'?"
    )


def test_a_missing_value_is_named():
    config = OmegaConf.create({"data": {"_target_": PART, "width": "???", "child": "${data.width}"}})
    assert message(config) == (
        "2 problems in the configuration:\n"
        "  data.width: has no value yet. Give one: data.width=VALUE\n"
        "  data.child: '${data.width}' leads to a key that has no value yet."
    )


def test_an_interpolation_that_leads_nowhere_is_named():
    assert message(OmegaConf.create({"a": {"_target_": PART, "width": "${b.c}"}})) == (
        "a.width: '${b.c}' cannot be resolved: Interpolation key 'b.c' not found"
    )


def test_trusted_is_true_unless_said():
    assert isinstance(instantiate({"_target_": "avrec.core.ids.IdMap", "ids": ["a"]}), IdMap)
    assert "may only name avrec.models.*, avrec.core.clips.*" in message(
        {"_target_": "avrec.core.ids.IdMap", "ids": ["a"]}, trusted=False
    )
