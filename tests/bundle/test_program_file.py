import json
import zipfile
from pathlib import Path

import pytest
import torch

from avrec.bundle.program_file import check_no_pickle
from avrec.core.errors import ArtefactError
from tests.export.media_world import MediaWorld


class Halves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


@pytest.mark.parametrize("tower", ["user_tower", "item_tower"])
def test_a_bundle_s_program_holds_no_pickle_and_no_path_of_this_machine(media_world: MediaWorld, tower: str) -> None:
    path = media_world.folder / f"{tower}.pt2"
    check_no_pickle(path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if Path(info.filename).parent.name != "weights":
                data = archive.read(info)
                assert b"PK\x03\x04" not in data and b"cposix" not in data and b"\x80\x02" not in data[:2]
                assert str(Path(__file__).parents[2]).encode() not in data


def test_example_inputs_are_refused_since_they_are_pickled(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Halves(), (torch.ones(2),)), str(tmp_path / "a.pt2"))
    with pytest.raises(
        ArtefactError, match=r"a\.pt2: holds data/sample_inputs/model\.pt, which PyTorch would unpickle"
    ):
        check_no_pickle(tmp_path / "a.pt2")


def copied(source: Path, target: Path, **changes: bytes) -> Path:
    """The archive with other entries; keys end their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = next((data for end, data in changes.items() if info.filename.endswith(end)), old.read(info))
            new.writestr(info.filename, data)
        root = old.infolist()[0].filename.split("/")[0]
        for name, data in changes.items():
            if "/" in name:
                new.writestr(f"{root}/{name}", data)
    return target


def test_a_weight_that_is_declared_as_pickled_is_refused(media_world: MediaWorld, tmp_path: Path) -> None:
    source = media_world.folder / "user_tower.pt2"
    with zipfile.ZipFile(source) as archive:
        name = next(name for name in archive.namelist() if name.endswith("_weights_config.json"))
        config = json.loads(archive.read(name))
    weight = next(iter(config["config"]))
    config["config"][weight]["use_pickle"] = True
    target = copied(source, tmp_path / "a.pt2", **{"_weights_config.json": json.dumps(config).encode()})
    with pytest.raises(ArtefactError, match=f"a.pt2: holds {weight}, which PyTorch would unpickle"):
        check_no_pickle(target)


@pytest.mark.parametrize(
    "name", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/model/a.so", "extra/x.py"]
)
def test_anything_else_in_it_is_refused(media_world: MediaWorld, tmp_path: Path, name: str) -> None:
    target = copied(media_world.folder / "user_tower.pt2", tmp_path / "a.pt2", **{name: b"x"})
    with pytest.raises(ArtefactError, match=f"a.pt2: holds {name}, which PyTorch would unpickle or run"):
        check_no_pickle(target)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + bytes(18) + b"x", b"{}"])
def test_what_is_no_program_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pt2").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"a\.pt2: not a readable \.pt2 program"):
        check_no_pickle(tmp_path / "a.pt2")


def test_a_description_that_is_none_is_refused(media_world: MediaWorld, tmp_path: Path) -> None:
    for number, data in enumerate((b"{", b"[]", b'{"config": {"a": {}}}', b'{"config": 3}')):
        target = copied(
            media_world.folder / "user_tower.pt2", tmp_path / f"{number}.pt2", **{"_weights_config.json": data}
        )
        with pytest.raises(ArtefactError, match=r"\.pt2: not a readable \.pt2 program"):
            check_no_pickle(target)
