"""Another bundle and back: no request is dropped, each is answered from one bundle, a bad bundle changes nothing."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from avrec.core.errors import ArtefactError
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.world import World
from tests.serving.asking import Asker


@pytest.fixture
def folders(attention_world: World, ids_world: World, tmp_path: Path) -> tuple[Path, Path]:
    """Two bundles below one root, whose answers differ."""
    return (
        Path(shutil.copytree(attention_world.folder, tmp_path / "root" / "first")),
        Path(shutil.copytree(ids_world.folder, tmp_path / "root" / "second")),
    )


@pytest.fixture
def swapper(folders: tuple[Path, Path]) -> Iterator[Asker]:
    with Asker(ServerSettings(folders[0]), Served.open(folders[0])) as asker:
        yield asker


def test_there_and_back_under_load(swapper: Asker, folders: tuple[Path, Path]) -> None:
    first, second = (Served.open(folder) for folder in folders)
    expected = {
        served.version: list(served.recommender.for_users(["user 2"], 8)[0].item_ids) for served in (first, second)
    }
    seen: Counter[str] = Counter()

    async def load(going: asyncio.Event) -> None:
        while going.is_set():
            reply = await swapper.send("POST", "/recommend/batch", {"requests": [{"user": "user 2", "k": 8}] * 3})
            assert reply.status == 200
            answers = reply.json["answers"]
            assert len({answer["bundle"] for answer in answers}) == 1, "a batch is answered from one bundle"
            for answer in answers:
                assert answer["degraded"] is None
                assert [item["item"] for item in answer["items"]] == expected[answer["bundle"]]
            seen[answers[0]["bundle"]] += 1

    async def swaps() -> None:
        going = asyncio.Event()
        going.set()
        clients = [asyncio.create_task(load(going)) for _ in range(4)]
        for name, served, other in (
            ("second", second, first),
            (str(folders[0]), first, second),
            ("second", second, first),
        ):
            reply = await swapper.send("POST", "/admin/swap", {"bundle_dir": name})
            assert reply.status == 200, reply.body
            assert (reply.json["bundle"], reply.json["previous"]) == (served.version, other.version)
            assert (await swapper.send("POST", "/recommend", {})).json["bundle"] == served.version
            await asyncio.sleep(0.02)
        going.clear()
        await asyncio.gather(*clients)

    swapper.run(swaps())
    assert min(seen[first.version], seen[second.version]) > 0
    text = swapper.get("/metrics").body.decode()
    assert 'avrec_swaps_total{outcome="done"} 3.0' in text
    assert f'version="{second.version}"' in text and first.version not in text


def test_what_is_wrong_with_a_bundle_is_said_and_the_old_one_stays(swapper: Asker, folders: tuple[Path, Path]) -> None:
    version = swapper.desk.served.version
    spoiled = folders[1] / "user_tower.onnx"
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"?")
    altered = Path(shutil.copytree(folders[0], folders[0].parent / "altered")) / "item_vectors.npy"
    altered.write_bytes(altered.read_bytes()[:-1] + b"?")
    outside = Path(shutil.copytree(folders[0], folders[0].parent.parent / "outside"))
    (folders[0].parent / "link").symlink_to(outside)
    (folders[0].parent / "empty").mkdir()
    for name, text in (
        ("second", "user_tower.onnx: sha256"),
        ("altered", "item_vectors.npy: sha256"),
        ("empty", "manifest.json"),
        ("nowhere", "no such folder"),
        ("../outside", "leads out of the folder"),
        (str(outside), "leads out of the folder"),
        ("link", "leads out of the folder"),
        ("first/manifest.json", "no such folder"),
        ("x" * 4000, "cannot be a folder (File name too long)"),
    ):
        reply = swapper.post("/admin/swap", {"bundle_dir": name})
        assert reply.status == 422 and text in reply.json["error"], reply.body
        assert reply.json["error"].endswith(f"The bundle {version} stays in force.")
    assert swapper.post("/recommend", {"user": "user 2"}).json["bundle"] == version
    assert 'avrec_swaps_total{outcome="refused"} 9.0' in swapper.get("/metrics").body.decode()


def test_one_swap_at_a_time(swapper: Asker) -> None:
    async def twice() -> list[int]:
        replies = await asyncio.gather(
            *(swapper.send("POST", "/admin/swap", {"bundle_dir": "second"}) for _ in range(2))
        )
        return sorted(reply.status for reply in replies)

    assert swapper.run(twice()) == [200, 409]


def test_a_server_does_not_start_on_a_bundle_that_verify_refuses(folders: tuple[Path, Path]) -> None:
    (folders[0] / "parity.json").unlink()
    with pytest.raises(ArtefactError, match=r"parity\.json"):
        Served.open(folders[0])
