"""The blocks of docs/serving-vectors.md, run as they stand: their lists are the bundle's.

PostgreSQL: set AVREC_TEST_POSTGRES to the connection string of a database with pgvector that may be written to.
"""

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avrec.bundle.queries import query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from tests.export.world import World

PAGE = (Path(__file__).parents[2] / "docs" / "serving-vectors.md").read_text(encoding="utf-8")
USERS = ["user 1", "user 7", "user 12"]


def blocks(heading: str | None) -> str:
    """The program below a heading, or the one before the first heading."""
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    part = parts[0] if heading is None else next(part for part in parts if part.startswith(heading))
    return "\n".join(re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL))


def run(program: str, names: dict[str, Any], **places: str) -> dict[str, Any]:
    for name, value in places.items():
        assert name in program
        program = program.replace(name, value)
    exec(compile(program, "serving-vectors.md", "exec"), names)
    return names


def found_by(heading: str, world: World, user: str, **places: str) -> list[tuple[str, float]]:
    names = run(blocks(None), {}, BUNDLE=str(world.folder), USER=user)
    return run(blocks(heading), names, BUNDLE=str(world.folder), **places)["found"]


def check(found: list[tuple[str, float]], world: World, user: str) -> None:
    """Equal to the bundle's list of 20, up to ties."""
    bundle = Bundle.open(world.folder)
    recommender = Recommender(bundle)
    scores = recommender.score(query_users(bundle, [user]))[0]
    expected = recommender.for_users([user], 20)[0]
    assert len(found) == len(expected.item_ids) > 15 and len({item for item, _ in found}) == len(found)
    np.testing.assert_allclose([score for _, score in found], expected.scores, rtol=1e-5, atol=1e-5)
    own = scores[bundle.items.index([item for item, _ in found])]
    np.testing.assert_allclose(own, expected.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("user", USERS)
def test_duckdb(attention_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.chdir(tmp_path)
    check(found_by("DuckDB", attention_world, user), attention_world, user)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.skipif(importlib.util.find_spec("lancedb") is None, reason="LanceDB is not installed: pip install lancedb")
def test_lancedb(attention_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.chdir(tmp_path)
    check(found_by("LanceDB", attention_world, user), attention_world, user)


@pytest.mark.parametrize("user", USERS)
def test_pgvector(attention_world: World, user: str) -> None:
    where = os.environ.get("AVREC_TEST_POSTGRES")
    if where is None:
        pytest.skip("no PostgreSQL: set AVREC_TEST_POSTGRES to the connection string of a database with pgvector")
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'")
    with psycopg.connect(where) as database:
        database.execute("DROP TABLE IF EXISTS item")
    check(found_by("PostgreSQL", attention_world, user, DATABASE=where), attention_world, user)
