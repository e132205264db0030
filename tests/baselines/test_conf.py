"""`conf/baseline/*.yaml`: a recommender and a small grid of its arguments, as data."""

import importlib
import inspect
import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

FILES = sorted((Path(__file__).resolve().parents[2] / "conf" / "baseline").glob("*.yaml"))
EXPECTED = {
    *("popularity", "recent_popularity", "item_knn", "user_knn", "p3alpha", "rp3beta"),
    *("ease", "ials", "bpr", "svd", "content_knn", "hybrid", "oracle"),
}


def build(node: dict) -> object:
    arguments = {
        key: build(value) if isinstance(value, dict) and "_target_" in value else value for key, value in node.items()
    }
    module, name = arguments.pop("_target_").rsplit(".", 1)
    target = getattr(importlib.import_module(module), name)
    inspect.signature(target).bind(**arguments)
    return target(**arguments)


def test_every_baseline_has_a_file():
    assert {path.stem for path in FILES} == EXPECTED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_default_and_every_setting_of_the_grid_can_be_built(path):
    conf = OmegaConf.to_container(OmegaConf.load(path))
    assert set(conf) - {"needs_features"} == {"recommender", "grid"}
    assert conf.get("needs_features", False) == (path.stem in {"content_knn", "hybrid"})
    assert hasattr(build(conf["recommender"]), "fit")
    settings = list(itertools.product(*conf["grid"].values()))
    assert len(settings) <= 12
    for setting in settings:
        built = build(conf["recommender"] | dict(zip(conf["grid"], setting, strict=True)))
        assert type(built) is type(build(conf["recommender"]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_defaults_in_the_file_are_those_of_the_constructor(path):
    node = OmegaConf.to_container(OmegaConf.load(path))["recommender"]
    module, name = node.pop("_target_").rsplit(".", 1)
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert set(node) == set(parameters)
    plain = {key: value for key, value in node.items() if not isinstance(value, dict)}
    assert plain == {key: parameters[key].default for key in plain}
