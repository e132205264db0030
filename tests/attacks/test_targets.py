"""A stranger's configuration must not run code of his choice: every probe is refused before anything is built."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from avrec.build.allow import FUNCTIONS, THIRD_PARTY, allowed_object, listed_names
from avrec.build.bind import check
from avrec.build.instantiate import instantiate
from avrec.core.errors import ConfigError

GOOD = {"_target_": "avrec.core.ids.IdMap", "ids": ["a"]}

# Names, one for each way in: plain ones, aliases, attributes of our own modules, methods, look-alikes, broken text.
NAMES = [
    "os.system",
    "posix.system",
    "nt.system",
    "subprocess.Popen",
    "subprocess.check_output",
    "builtins.eval",
    "builtins.exec",
    "builtins.print",
    "builtins.open",
    "builtins.__import__",
    "eval",
    "importlib.import_module",
    "runpy.run_path",
    "pickle.loads",
    "marshal.loads",
    "shelve.open",
    "ctypes.CDLL",
    "webbrowser.open",
    "socket.create_connection",
    "urllib.request.urlopen",
    "shutil.rmtree",
    "pathlib.Path",
    "pathlib.Path.unlink",
    "pathlib.Path.write_text",
    "numpy.load",
    "numpy.savetxt",
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.jit.load",
    "torch.compile",
    "torch.nn.Module",
    "torch.utils.cpp_extension.load",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.Adam.load_state_dict",
    "torch.optim.adam.Adam",
    "torch.optim.os.system",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.Trainer.fit",
    "pytorch_lightning.trainer.trainer.os.system",
    "pytorch_lightning.LightningModule.load_from_checkpoint",
    "pytorch_lightning.cli.LightningCLI",
    "transformers.AutoModel.from_pretrained",
    "hydra.utils.instantiate",
    "hydra.utils.call",
    "hydra.utils.get_class",
    "hydra.utils.get_method",
    "hydra.utils.get_object",
    "omegaconf.OmegaConf.load",
    "functools.partial",
    "functools.reduce",
    "operator.methodcaller",
    "types.FunctionType",
    "unittest.mock.MagicMock",
    "timeit.timeit",
    "code.interact",
    "avrec",
    "avrec.",
    ".avrec.core.ids.IdMap",
    "avrec..core.ids.IdMap",
    "avrec.core",
    "avrec.core.files",
    "avrec.core.files.os",
    "avrec.core.files.os.system",
    "avrec.core.files.shutil.rmtree",
    "avrec.core.files.Path",
    "avrec.core.files.np.load",
    "avrec.core.files.tempfile.mkstemp",
    "avrec.core.files.json.loads",
    "avrec.core.files.write_json",
    "avrec.core.files.MAX_JSON_BYTES",
    "avrec.core.errors.require",
    "avrec.core.errors.importlib.import_module",
    "avrec.core.errors.ModuleType",
    "avrec.core.dataset.IdMap",
    "avrec.core.ids.IdMap.from_values",
    "avrec.core.ids.IdMap.__init__",
    "avrec.core.ids.IdMap.__init__.__globals__",
    "avrec.core.ids.IdMap.__class__",
    "avrec.core.ids.__builtins__",
    "avrec.core.ids.__loader__",
    "avrec.__main__.main",
    "avrec.cli.main",
    "avrec.cli.traceback.print_exc",
    "avrec.build.instantiate.instantiate",
    "avrec.build.allow.importlib.import_module",
    "avrec.build.launch._run_hydra",
    "avrec.core.ids.IdMap ",
    " avrec.core.ids.IdMap",
    "avrec.core.ids.IdMap\n",
    "avrec.core.ids.IdMap\0",
    "avrec.core.ids:IdMap",
    "avrec/core/ids/IdMap",
    "AVREC.core.ids.IdMap",
    "\N{CYRILLIC SMALL LETTER A}vrec.core.ids.IdMap",
    "avrec.core.ids.IdMap\N{ZERO WIDTH SPACE}",
    "avrec_evil.core.ids.IdMap",
    "",
    None,
    3,
    True,
    ["avrec.core.ids.IdMap"],
    {"_target_": "avrec.core.ids.IdMap"},
]


def refused(config: Any, trusted: bool = True) -> str:
    """The message of the refusal; checking and building must both refuse, fast."""
    begin = time.monotonic()
    with pytest.raises(ConfigError) as first:
        check(config, trusted=trusted)
    with pytest.raises(ConfigError) as second:
        instantiate(config, trusted=trusted)
    assert str(first.value) == str(second.value)
    assert time.monotonic() - begin < 2 or "torch" in str(first.value)
    return str(first.value)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_off_the_list_is_refused(name: object) -> None:
    message = refused({"part": {"_target_": name, "command": "exit 3"}})
    assert message.startswith("part._target_: ") or message.startswith("2 problems"), message


WRAPPERS = {
    "nested argument": lambda evil: {**GOOD, "ids": evil},
    "deep in dicts and lists": lambda evil: {**GOOD, "ids": [{"a": [[{"b": evil}]]}]},
    "in _args_": lambda evil: {"_target_": "avrec.core.ids.IdMap", "_args_": [evil]},
    "in a list": lambda evil: [GOOD, evil],
    "under a plain dict": lambda evil: {"callbacks": {"good": GOOD, "evil": evil}},
    "as a partial": lambda evil: {**evil, "_partial_": True},
    "below a partial": lambda evil: {"_target_": "torch.optim.Adam", "_partial_": True, "lr": evil},
    "beside the good one": lambda evil: {"a": GOOD, "b": evil},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_hidden_target_is_refused_and_nothing_is_built(wrap: Any, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    message = refused(wrap({"_target_": "os.mkdir", "path": str(canary)}))
    assert "'os.mkdir' is not on the list of classes that a configuration may name" in message
    assert not canary.exists()


def test_good_parts_are_not_built_when_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr("avrec.core.ids.IdMap.__init__", lambda self, ids: built.append(ids))
    refused({"a": GOOD, "b": {"_target_": "os.getcwd"}})
    refused({"a": GOOD, "b": {"_target_": "avrec.core.files.os.getcwd"}})
    instantiate({"a": GOOD})
    assert built == [["a"]]


@pytest.mark.parametrize("name", ["antigravity.geohash", "this.s", "turtledemo.chaos.main", "torch.hub.load"])
def test_a_refused_name_is_not_imported(name: str) -> None:
    code = (
        "import sys\n"
        "from avrec.build.bind import check\n"
        "from avrec.core.errors import ConfigError\n"
        f"try: check({{'a': {{'_target_': 'torch.optim.Adam'}}, 'b': {{'_target_': {name!r}}}}})\n"
        "except ConfigError as error: assert 'is not on the list' in str(error)\n"
        f"print({name.split('.')[0]!r} in sys.modules, 'torch' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False False\n"


INTERPOLATIONS = {
    "from a key": {"name": "os.system", "part": {"_target_": "${name}"}},
    "put together": {"a": "os", "b": "system", "part": {"_target_": "${a}.${b}"}},
    "from the environment": {"part": {"_target_": "${oc.env:AVREC_TEST_TARGET}"}},
    "from the default of a variable": {"part": {"_target_": "${oc.env:AVREC_TEST_ABSENT,os.system}"}},
    "decoded": {"part": "${oc.decode:'{_target_: os.system, _args_: [\"exit 3\"]}'}"},
    "created": {"part": "${oc.create:{_target_: os.system}}"},
    "a whole node": {"evil": {"_target_": "os.system"}, "part": "${evil}"},
    "the values of a dict": {"evil": {"x": {"_target_": "os.system"}}, "part": "${oc.dict.values:evil}"},
    "of the key above": {"part": {"_target_": "${.name}", "name": "os.system"}},
    "selected": {"name": "os.system", "part": {"_target_": "${oc.select:name}"}},
}


@pytest.mark.parametrize("config", INTERPOLATIONS.values(), ids=INTERPOLATIONS)
def test_interpolations_are_resolved_before_the_check(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVREC_TEST_TARGET", "os.system")
    message = refused(OmegaConf.create(config))
    assert "'os.system' is not on the list of classes that a configuration may name" in message
    if "part" in config and isinstance(config["part"], dict):
        assert "part._target_" in message


ESCAPES = [r"\${oc.env:AVREC_TEST_SECRET}", r"x\${oc.decode:'1'}", r"\\\${a}", "${quoted}"]


@pytest.mark.parametrize("text", ESCAPES)
def test_text_that_would_be_an_interpolation_the_second_time_is_refused(text: str) -> None:
    config = OmegaConf.create({"quoted": r"\${oc.env:AVREC_TEST_SECRET}", "part": {**GOOD, "ids": [text]}})
    assert "still holds '${' after it was resolved" in refused(config)


SECRETS = [
    {"part": {"_target_": "avrec.models.x.X", "name": "${oc.env:AVREC_TEST_SECRET}"}},
    {"part": {"_target_": "avrec.models.x.X", "name": "a${oc.env:AVREC_TEST_SECRET}b"}},
    {"part": {"_target_": "avrec.models.x.X", "name": r"\${oc.env:AVREC_TEST_SECRET}"}},
    {"part": "${oc.decode:${oc.env:AVREC_TEST_SECRET}}", "x": 1},
    {"part": ["${oc.select:${oc.env:AVREC_TEST_SECRET}}"]},
    {"part": {"a": {"b": "${now:%Y}"}}},
    {"other": 1, "part": "${other}"},
]


@pytest.mark.parametrize("config", SECRETS, ids=repr)
@pytest.mark.parametrize("as_omegaconf", [False, True])
def test_a_config_from_a_file_reads_no_environment(
    config: dict[str, Any], as_omegaconf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVREC_TEST_SECRET", "hunter2")
    message = refused(OmegaConf.create(config) if as_omegaconf else config, trusted=False)
    assert "is refused in a configuration that comes with a file" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "name",
    [
        "avrec.core.ids.IdMap",
        "avrec.data.sources.tables.Tables",
        "torch.optim.Adam",
        "pytorch_lightning.Trainer",
        "avrec.modelsx.A",
    ],
)
def test_a_config_from_a_file_may_only_name_models(name: str) -> None:
    message = refused({"_target_": name}, trusted=False)
    assert (
        message == f"_target_: '{name}' is refused: a configuration that comes with a file may only name "
        "avrec.models.*, avrec.core.clips.*, avrec.factors.side.*, avrec.training.text_vectors.*."
    )


def test_a_config_from_a_file_holds_plain_values_only() -> None:
    message = refused({"a": {1, 2}, "b": Path("x"), "c": b"y"}, trusted=False)
    assert "3 problems in the configuration" in message
    assert "a: a value of type set is refused in a configuration that comes with a file." in message


def test_self_reference_and_unfolding_end_at_once() -> None:
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    bomb: list[Any] = ["x"] * 20
    for _ in range(12):
        bomb = [bomb] * 20
    for config in (cycle, {"a": bomb}):
        for trusted in (True, False):
            assert "nested deeper than 32 levels or holds more than 50000 values" in refused(config, trusted)
    for config in ({"a": "${b}", "b": "${a}"}, {"a": {"x": "${a}"}}):
        assert "cannot be resolved" in refused(OmegaConf.create(config))


RESERVED = {
    "_convert_": "object",
    "_recursive_": False,
    "_mode_": "x",
}


@pytest.mark.parametrize(("name", "value"), RESERVED.items())
def test_hydras_other_keys_are_refused(name: str, value: object) -> None:
    assert refused({"part": {**GOOD, name: value}}) == (
        f"part.{name}: is not supported. Nested nodes are always built, and lists and dicts arrive as plain ones."
    )


def test_keys_of_the_wrong_type_are_refused() -> None:
    assert refused({**GOOD, "_partial_": "false"}) == "_partial_: 'false' is neither true nor false."
    assert refused({**GOOD, "_args_": "ab"}) == "_args_: 'ab' is not a list."
    assert "the argument name 3 is not text" in refused({**GOOD, 3: 1})


@pytest.mark.parametrize("planted", [os.system, subprocess.Popen, Path, importlib.import_module, eval])
def test_an_alias_in_one_of_our_modules_is_refused(planted: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avrec.core.ids.Planted", planted, raising=False)
    assert "is only another name of" in refused({"_target_": "avrec.core.ids.Planted"})


def test_an_alias_in_a_listed_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.optim.Adam", subprocess.Popen)
    assert refused({"_target_": "torch.optim.Adam", "args": "true"}) == (
        "_target_: 'torch.optim.Adam' is only another name of subprocess.Popen and is refused."
    )


def test_a_module_level_getattr_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avrec.core.ids.__getattr__", lambda name: os.system, raising=False)
    assert "has no class 'System'" in refused({"_target_": "avrec.core.ids.System"})


@pytest.mark.parametrize("name", [*listed_names(), *FUNCTIONS])
def test_the_list_itself_is_true(name: str) -> None:
    """Every listed name exists in the installed versions and is a class of the package it is listed under."""
    found = allowed_object(name)
    assert callable(found)
    assert found.__module__.split(".")[0] == name.split(".")[0]


def test_the_list_is_short() -> None:
    assert sum(len(names) for names in THIRD_PARTY.values()) <= 40
