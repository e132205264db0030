import pytest

from tests.export.media_world import MediaWorld, media_world_of
from tests.export.world import World, world_of


@pytest.fixture(scope="session", params=["attention", "concatenation", "ids"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of(request.param, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def attention_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of("attention", tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def ids_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of("ids", tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def media_world(tmp_path_factory: pytest.TempPathFactory) -> MediaWorld:
    return media_world_of(tmp_path_factory.mktemp("world"))
