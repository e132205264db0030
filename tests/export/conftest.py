import pytest

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
