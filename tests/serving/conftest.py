from collections.abc import Iterator

import pytest

from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.media_world import MediaWorld, media_world_of
from tests.export.world import World, world_of
from tests.serving.asking import Asker


@pytest.fixture(scope="session")
def attention_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of("attention", tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def ids_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of("ids", tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def media_world(tmp_path_factory: pytest.TempPathFactory) -> MediaWorld:
    return media_world_of(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def served(attention_world: World) -> Served:
    return Served.open(attention_world.folder)


@pytest.fixture
def asker(served: Served) -> Iterator[Asker]:
    with Asker(ServerSettings(served.bundle.folder), served) as asker:
        yield asker
