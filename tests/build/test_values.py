"""Values against annotations: certain misfits are named, doubt passes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from avrec.build.bind import check
from avrec.build.values import fits
from avrec.core.errors import ConfigError

FITS = [
    (1, int), (1, float), (1.5, float), (True, bool), ("a", str), (None, None), (None, int | None), (3, int | str),
    ("a", Literal["a", "b"]), (None, str | None), ("x", Path), ("x", Any), ("x", Sequence[int]),
    ({}, int), ([1], Mapping), ("auto", Literal[1] | str), (float("inf"), float), (1, "int"),
]  # fmt: skip
MISFITS = [
    ("a", int), (1.5, int), (1e3, int), (True, int), (True, float), ("1", float), (1, bool), ("true", bool), (1, str),
    (None, int), (0, None), ("x", int | None), ("c", Literal["a", "b"]), (True, Literal[1]), (1.0, Literal[1]), (2, str | None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation"), FITS, ids=str)
def test_fits(value, annotation):
    assert fits(value, annotation)


@pytest.mark.parametrize(("value", "annotation"), MISFITS, ids=str)
def test_does_not_fit(value, annotation):
    assert not fits(value, annotation)


class Tower:
    def __init__(self, width: int, odd: "Absent" = 1):  # noqa: F821
        raise AssertionError("checking must not build")


class Sampler:
    def __init__(self, width: int, mode: Literal["a", "b"] = "a", rate: float | None = None, name: str = None):  # noqa: RUF013
        raise AssertionError("checking must not build")


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    for kind in (Tower, Sampler):
        monkeypatch.setattr(kind, "__module__", "avrec.core.ids")
        monkeypatch.setattr(sys.modules["avrec.core.ids"], kind.__name__, kind, raising=False)


def test_every_misfit_of_a_configuration_is_named():
    node = {"_target_": "avrec.core.ids.Sampler", "width": "big", "mode": "c", "rate": True, "name": None}
    with pytest.raises(ConfigError) as error:
        check(OmegaConf.create({"sampler": node}))
    assert str(error.value).splitlines() == [
        "3 problems in the configuration:",
        "  sampler.width: 'big' does not fit; avrec.core.ids.Sampler takes a whole number.",
        "  sampler.mode: 'c' does not fit; avrec.core.ids.Sampler takes 'a' or 'b'.",
        "  sampler.rate: True does not fit; avrec.core.ids.Sampler takes a number or null.",
    ]


def test_an_annotation_for_type_checkers_only_is_passed_over():
    check({"_target_": "avrec.core.ids.Tower", "width": "big"})


def test_values_still_missing_are_no_misfit():
    check(OmegaConf.create({"_target_": "avrec.core.ids.Sampler", "width": "???"}), allow_missing=True)


def test_the_trainer():
    with pytest.raises(ConfigError) as error:
        check({"trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": "three", "precision": "32-true"}})
    assert str(error.value) == (
        "trainer.max_epochs: 'three' does not fit; pytorch_lightning.Trainer takes a whole number or null."
    )
