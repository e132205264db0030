"""`report.html` from a run made by hand: what it holds, what it may not hold, and what it says where a part is missing."""

import re
from dataclasses import replace

import numpy as np
import pytest

from avrec.core.errors import ArtefactError, AvrecError
from avrec.media.limits import Limits
from avrec.report.page import FILE, MAX_BYTES, page_bytes, write_page
from avrec.report.page_catalogue import group_shares, principal_plane
from avrec.report.page_parts import number, percent, shown
from avrec.report.page_people import found_counts
from avrec.report.page_rerank import rerank_section
from avrec.report.page_results import headline
from avrec.report.page_run import RunRecord, read_curves
from avrec.report.page_sides import side_of
from avrec.report.page_training import training_section
from tests.report.page_world import CURVES, HOSTILE, MANIFEST, RERANKED, Parsed, hostile_dataset, make_subject
from tests.training.world import block_world

pytestmark = pytest.mark.filterwarnings("error::UserWarning:avrec.report")

TAGS = set(
    "html head meta title style body header h1 h2 h3 h4 p ul ol li strong span nav a main section div img i figure figcaption table "
    "thead tbody tr th td bdi article footer".split()
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def content(subject):
    write_page(subject, Limits())
    return (subject.run.folder / FILE).read_bytes()


def test_it_is_small_and_loads_nothing(content):
    assert len(content) < MAX_BYTES
    page = Parsed(content)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "poster", "srcset", "data", "action", "xlink:href")
    ]
    assert any(value.startswith("data:image/svg+xml;base64,") for value in addresses)
    assert all(re.match(r"data:(image|video|audio)/|#[a-z]", value) for value in addresses)
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {value[1:] for value in addresses if value.startswith("#")} <= anchors
    text = content.decode()
    assert not re.search(r"(https?|ftp|file):|//www|@import", text.replace(HOSTILE, ""))
    assert all("data:image" in found for found in re.findall(r"url\([^)]{,20}", text))
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "script-src" not in policy


def test_what_strangers_name_stays_text(content):
    page = Parsed(content)
    tags = [tag for tag, _ in page.elements]
    assert set(tags) <= TAGS, set(tags) - TAGS
    assert tags.count("style") == tags.count("title") == 1
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("style") is None or re.fullmatch(
            r"(width:[\d.]+%;)?background:#[0-9a-f]{6}", attributes["style"]
        )
    assert "<script>alert(1)</script>" in page.text, "the words are still there, as words"
    assert "{{ 7 * 7 }}" in page.text and "\u202e" not in page.text


def test_every_part_says_what_was_measured(content, subject):
    text, metrics = Parsed(content).text, subject.run.metrics
    for title in (
        "Compared with baselines",
        "Where it works and where it does not",
        "What showing new items costs",
        "What varied and fresh lists cost",
        "Popular, rare and new items",
        "What the content is made of",
        "Map of the catalogue",
        "Ten users and their lists",
        "Served worst",
        "How training went",
        "Data, and what was filtered",
        "Damaged media",
    ):
        assert text.count(title) >= 2, f"{title}: a heading and a link"
    assert "Left out" not in text
    assert percent(metrics["test/recall@20"]) in text
    low, high = metrics["intervals"]["test/recall@20"]
    assert f"{number(low)} to {number(high)}" in text
    assert number(metrics["test/cold/recall@20"]) in text
    assert "Stage “joint” ran for 2 epochs; epoch 2 was kept." in text
    assert "51 % of the events that were read are kept" in text and "488" in text
    assert "One file could not be used" in text
    assert "simulated users" in text
    assert "keep it as carefully as the log" in text


def test_the_same_run_gives_the_same_bytes(subject, content):
    assert page_bytes(subject, Limits()) == content


def test_the_price_of_every_order(subject):
    section = rerank_section(subject.run)
    [sheet] = section.sheets
    assert sheet.caption == "on validation, 60 users of 64"
    assert sheet.columns == ["", "NDCG@20", "price", "recall", "diversity", "age, days"]
    assert sheet.rows == [
        ["as ranked", "0.200", "", "0.400", "0.600", "12.2"],
        ["MMR, lambda 0.5", "0.150", "-25.0 %", "0.350", "0.800", "11.0"],
        ["MMR, lambda 0", "0.100", "-50.0 %", "0.300", "0.900", "10.0"],
        ["fresh, weight 0.3", "0.180", "-10.0 %", "0.400", "–", "3.0"],
        ["seen items not hidden", "0.050", "-75.0 %", "0.100", "0.500", "–"],
    ]
    assert "Fresh orders add" in section.lead and "might repeat the history" in section.lead
    [picture] = section.pictures
    assert "MMR, lambda 0.5: diversity 0.800, NDCG 0.150" in picture.alt and "fresh" not in picture.alt
    plain = {"as ranked": {"ndcg@10": 0.2, "recall@10": 0.4}}
    section = rerank_section(replace(subject.run, reranking=RERANKED | {"rows": plain, "users": 64}))
    assert section.sheets[0].rows == [["as ranked", "0.200", "", "0.400"]] and not section.pictures
    assert section.sheets[0].caption == "on validation, 64 users" and "Fresh" not in section.lead


def test_a_page_without_room_is_an_error(subject, monkeypatch):
    monkeypatch.setattr("avrec.report.page._sections", lambda subject: ([], []))
    with pytest.raises(AvrecError, match=r"at most 1,000 are written"):
        page_bytes(subject, Limits(), max_bytes=1000)


def test_missing_parts_are_left_out_with_a_sentence(tmp_path):
    plain = block_world()
    alone = replace(plain, features={"audio": plain.features["audio"]})
    subject = make_subject(tmp_path, alone, evaluated=False)
    empty = replace(subject, question=None, evaluation=None)
    text = Parsed(page_bytes(empty, Limits())).text
    for sentence in (
        "This run was not evaluated on its test part",
        "Left out: the run holds no metrics.json with a test part.",
        "Left out: the calibration had no choice",
        "Left out: nothing was re-ranked. Train with rerank=prices to be told.",
        "Left out: the test part is empty.",
        "Left out: the model reads one modality, sound, so there is nothing to share.",
        "The items have neither a field with a few values nor tags",
        "Left out: the run's folder holds no finished stage",
        "Left out: the prepared data set is not where the run had it.",
        "Left out: this data set names no media files.",
    ):
        assert sentence in text, sentence
    assert text.count("Left out: the test part is empty.") == 3


def test_a_stage_without_a_log_says_how_to_have_curves(subject):
    stage = replace(subject.run.stages[0], curves={})
    assert "Train with logger=csv" in training_section(replace(subject.run, stages=(stage,))).lead
    short = replace(stage, curves={"train/loss": ([0], [1.0])})
    chosen = replace(subject.run, record={"chosen": "chosen on validation: propagation none;\u202e factors none"})
    assert (
        "After training this was chosen on validation: propagation none; factors none." in training_section(chosen).lead
    )
    assert "chosen" not in training_section(replace(subject.run, record={})).lead
    section = training_section(replace(subject.run, stages=(short,)))
    assert "no stage ran for two epochs" in section.lead and not section.pictures


@pytest.mark.parametrize(
    ("interval", "p_value", "words"),
    [
        ((0.01, 0.03), 0.01, "the model is better by more than chance would explain"),
        ((-0.03, -0.01), 0.01, "the model is worse by more than chance would explain"),
        ((0.01, 0.03), 0.06, "a difference that may be chance"),
        ((-0.01, 0.03), 0.01, "a difference that may be chance"),
    ],
)
def test_the_headline_claims_no_more_than_the_test(subject, interval, p_value, words):
    comparison = subject.run.metrics["comparisons"][HOSTILE] | {"interval": interval, "p_value": p_value}
    run = replace(subject.run, metrics={**subject.run.metrics, "comparisons": {HOSTILE: comparison}})
    assert words in headline(run)


def test_curves_are_averaged_over_an_epoch(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(CURVES)
    found = read_curves(path)
    assert found["train/loss"] == ([0, 1], [8.0, 4.0])
    assert found["train/id_loss"] == ([0, 1], [5.0, 3.0])
    assert found["val/recall@20"] == ([0, 1], [0.1, 0.2])
    assert read_curves(tmp_path / "absent.csv") == {}
    path.write_text("epoch,step,train/loss\nx,1,2\n")
    with pytest.raises(ArtefactError, match=r"metrics.csv: not a log of training .* Remove it"):
        read_curves(path)


def test_stages_stand_in_their_order(tmp_path):
    for name in ("10_last", "2_first"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "done.json").write_text("{}")
    assert [stage.name for stage in RunRecord.read(tmp_path, tmp_path).stages] == ["first", "last"]


def test_shares_of_groups_are_means_over_users():
    rng = np.random.default_rng(0)
    counts = np.array([3, 0, 5, 1])
    items, groups = rng.integers(0, 7, counts.sum()), rng.integers(0, 4, 7)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    expected = np.zeros(4)
    for user in (0, 2, 3):
        own = groups[items[indptr[user] : indptr[user + 1]]]
        expected += [np.mean(own == group) / 3 for group in range(4)]
    np.testing.assert_allclose(group_shares(indptr, items, groups), expected)


def test_the_plane_is_that_of_the_singular_values():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((50, 6)) * [5, 3, 1, 1, 1, 1] + 7).astype(np.float32)
    rows = np.array([0, 3, 49])
    places, kept = principal_plane(vectors, rows)
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(places), np.abs(left[rows, :2] * values[:2]), atol=1e-3)
    assert kept == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    assert principal_plane(np.ones((4, 1), np.float32), np.arange(4))[0].shape == (4, 2)


def test_the_colours_are_a_field_a_truth_or_tags():
    assert side_of(hostile_dataset()).labels[0].startswith("{{ 7 * 7 }}")
    assert side_of(block_world()) is None


def test_items_are_counted_where_they_were_found():
    lists = np.array([[0, 1], [1, 2]])
    hits = np.array([[True, False], [True, False]])
    wanted, found = found_counts(4, np.array([0, 1, 1, 3]), lists, hits)
    assert wanted.tolist() == [1, 2, 0, 1] and found.tolist() == [1, 1, 0, 0]


def test_texts_of_strangers_are_cut_to_one_short_line():
    assert shown("x" * 500) == "x" * 79 + "…"
    assert shown("a\u2028b\u200fc\n\td") == "a bc d"
    assert len(shown(HOSTILE * 100)) == 80
    assert MANIFEST["name"] == HOSTILE
