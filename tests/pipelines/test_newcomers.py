import re
from pathlib import Path

import pytest

from tests.export.newcomer_world import newcomer_world


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return newcomer_world(tmp_path_factory.mktemp("newcomers") / "bundle").folder


def listed(out: str) -> list[int]:
    return [int(number) for number in re.findall(r"item (\d\d)", out)]


@pytest.mark.parametrize(
    ("words", "how", "first", "last"),
    [
        (["interests=[calm]"], "interests", 0, 9),
        (["interests={loud:3,calm:0.5}"], "interests", 10, 19),
        (["friends=[user 1,user 2]"], "friends", 0, 9),
        (["fields={age:61,country:SE}"], "fields", 10, 19),
        (["history=[item 12]", "interests=[loud]"], "history", 10, 19),
    ],
)
def test_somebody_new_is_answered(console, bundle: Path, words: list[str], how: str, first: int, last: int) -> None:
    out = console("recommend", f"bundle_dir={bundle}", "k=4", *words).out
    assert out.startswith(f"newcomer: answered from {how}\n")
    assert len(listed(out)) == 4 and all(first <= item <= last for item in listed(out))


def test_what_is_not_known_is_an_error_or_named(console, bundle: Path) -> None:
    words = ["recommend", f"bundle_dir={bundle}", "interests=[jazz]", "friends=[user 3]", "k=2"]
    assert "does not know interest 'jazz'. Or take unknown=serve." in console(*words, code=3).err
    out = console(*words, "unknown=serve").out
    assert out.startswith("newcomer: answered from friends\nnot known to this bundle: interest 'jazz'\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["interests=[calm]", "user=user 3"], "interests tells of somebody new: beside it only history can be given"),
        (["friends=[user 1]", "users=all"], "friends tells of somebody new"),
        (["interests=calm"], r"interests and friends are lists"),
        (["friends={a:1}"], r"interests and friends are lists"),
        (["fields=[age]"], "fields are names with values"),
        (["interests={calm:much}"], "a weight is no number"),
        ([], "For somebody new give interests="),
    ],
)
def test_mistakes_are_told(console, bundle: Path, words: list[str], message: str) -> None:
    assert message in console("recommend", f"bundle_dir={bundle}", *words, code=2).err


def test_a_weight_must_be_positive(console, bundle: Path) -> None:
    answer = console("recommend", f"bundle_dir={bundle}", "interests={calm:-1}", code=3)
    assert "interest 'calm' weighs -1.0; give a positive number" in answer.err
