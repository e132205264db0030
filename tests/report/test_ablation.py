"""What a study says: differences, verdicts, files, the table and the page."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from avrec.core.errors import ArtefactError, AvrecError
from avrec.evaluation.compare import compare_series, read_series
from avrec.evaluation.significance import holm
from avrec.report.ablation import measured, write
from avrec.report.ablation_page import headline, page, title_of, write_page
from avrec.report.ablation_plots import COLOURS, Effect, forest
from avrec.report.ablation_table import study_table
from tests.report.ablation_world import ABOUT, HOSTILE, METRICS, SEEDS, make_entries, make_result


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return make_result(tmp_path_factory.mktemp("study"))


def row(result, name):
    return next(one for one in result.rows if one.entry.name == name)


def test_differences_are_paired_with_the_reference_and_corrected_together(result):
    reference = result.reference.entry
    tested = [one for one in result.rows if one.measures]
    alone = []
    for one in tested:
        seeds = list(one.entry.files)
        a = read_series(list(one.entry.files.values()), "recall@20", one.entry.view)
        b = read_series([reference.files[seed] for seed in seeds], "recall@20")
        alone.append(compare_series(a, b))
    assert [one.measures["recall@20"].comparison.p_value for one in tested] == holm([one.p_value for one in alone])
    for one, expected in zip(tested, alone, strict=True):
        found = one.measures["recall@20"].comparison
        assert (found.mean_difference, found.interval) == (expected.mean_difference, expected.interval)
    assert result.test.endswith(f"Holm over {len(tested)}")
    assert result.reference.measures["recall@20"].comparison is None


def test_verdicts(result):
    verdicts = {one.entry.name: one.measures["recall@20"].verdict for one in result.rows if one.measures}
    assert verdicts == {
        "again": "same",
        "worse": "worse",
        "better": "better",
        "noise": "unclear",
        HOSTILE: "worse",
        "control": "worse",
    }
    assert result.reference.measures["recall@20"].verdict == "untested"
    assert row(result, "again").measures["recall@20"].comparison.interval == (0.0, 0.0)


def test_a_seed_that_failed_is_left_out_of_the_pair(result):
    found = row(result, HOSTILE).measures["recall@20"]
    assert list(found.by_seed) == [1]
    assert found.comparison.seeds == (1,)
    assert row(result, "dead").measures == {}


def test_a_metric_that_tells_nothing_or_that_nobody_has_is_left_out(result, tmp_path):
    assert result.metrics == METRICS[:2]  # of new items alone everybody finds all
    reference, *others = make_entries(tmp_path, without="cold/recall@20")
    assert measured("x", ABOUT, METRICS, reference, others).metrics == ("recall@20",)
    with pytest.raises(ArtefactError, match=r"no column \['ndcg@20'\]"):
        measured("x", ABOUT, ("ndcg@20",), reference, others)


def test_without_a_reference_the_numbers_stand_alone(tmp_path):
    reference, *others = make_entries(tmp_path)
    lost = replace(reference, files={}, failed=dict.fromkeys(SEEDS, "broken"))
    found = measured("x", ABOUT, METRICS, lost, others[:3])
    assert found.reference.measures == {}
    assert all(one.measures["recall@20"].verdict == "untested" for one in found.rows)
    assert headline(found) == "No variant could be compared with the reference; below stands why."
    assert "nothing" in page(found).sections[-2].sheets[0].rows[1]
    drawn(found)


def test_a_file_of_another_question_is_refused(tmp_path):
    reference, first, *_ = make_entries(tmp_path)
    file = first.files[1]
    text = file.read_bytes()
    file.write_bytes(text[: len(text) // 2])
    with pytest.raises(AvrecError, match=r"1.parquet: not a readable Parquet file"):
        measured("x", ABOUT, METRICS, reference, [first])


def test_the_files_hold_every_number(result, tmp_path):
    write(tmp_path, result)
    found = json.loads((tmp_path / "ablation.json").read_text())
    by_name = {one["name"]: one for one in found["variants"]}
    worse = by_name["worse"]["measures"]["recall@20"]
    assert worse["comparison"]["mean_difference"] == pytest.approx(-0.1, abs=0.01)
    assert (worse["verdict"], by_name["worse"]["words"]) == ("worse", ["loss=worse"])
    assert by_name["dead"]["failed"] == {
        "1": "its process was ended by SIGKILL.",
        "2": "its process was ended by SIGKILL.",
    }
    assert found["left_out"] == [{"name": "gone", "study": "fusion", "reason": f"because {HOSTILE}"}]
    assert (found["part"], found["format_version"], found["reference"]["name"]) == ("validation", 1, "reference")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "ablation.csv").read_text())))
    assert len(lines) == 2 * (1 + 6)
    line = next(one for one in lines if one["variant"] == "better" and one["metric"] == "cold/recall@20")
    expected = row(result, "better").measures["cold/recall@20"]
    assert float(line["difference"]) == expected.comparison.mean_difference == pytest.approx(0.4, abs=0.05)
    assert (float(line["p_value"]), line["users"], line["seeds"]) == (expected.comparison.p_value, "20", "1 2")


def drawn(result, width=120):
    file = io.StringIO()
    Console(width=width, file=file).print(study_table(result))
    return file.getvalue()


def test_the_table_in_the_terminal(result):
    text = drawn(result)
    assert f"data {HOSTILE}, validation part" in " ".join(text.split())  # markup of a name is text
    line = next(line for line in text.splitlines() if line.strip().startswith("better"))
    mean = row(result, "better").measures["recall@20"].mean
    assert f"{mean:.4f}".lstrip("0") in line
    assert line.count("*") == 2 and "<.0001 *" in line and "+." in line
    assert "1.0000 =" in next(line for line in text.splitlines() if line.strip().startswith("again"))
    assert "dead (2 of 2 seeds" in text
    assert "failed: dead, seed 1: its process was ended by SIGKILL." in text
    assert "The test part was not read; read_test=true reads it." in text and "paired t over users" in text
    test = replace(result, about={**result.about, "part": "test", "test_read": True})
    assert "The test part was read once for each run" in drawn(test)
    beside = drawn(replace(result, about={**result.about, "test_read": True}))
    assert "This is validation" in beside and "not read" not in beside


class Reader(HTMLParser):
    """The texts and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_says_it_and_runs_nothing(result, tmp_path):
    text = write_page(tmp_path, result).read_text()
    found = Reader(text)
    assert "script" not in found.tags and "49" not in found.texts
    assert found.tags.count("img") == 2
    assert "://" not in text
    words = " ".join(found.texts)
    for expected in (
        "What each part is worth",
        "5 changes were tried on the model, over 2 seeds.",
        "Recall@20: 2 lower it (",
        "1 raises it (better +0.2",
        "better / worse",
        "3 runs failed. 1 variant does not apply here, or would change nothing.",
        "its process was ended by SIGKILL.",
        "loss=worse",
        "p over seeds",
    ):
        assert expected in words, expected
    assert "control" not in headline(result), "what was not retrained is no change"
    assert title_of("cold_only/recall@20") == "Recall@20 of new items among themselves"


def test_a_study_that_lost_nothing_says_so(tmp_path):
    reference, *others = make_entries(tmp_path)
    found = measured("x", ABOUT, METRICS, reference, others[:2])
    assert page(found).sections[-1].lead == "Nothing: every variant was trained over every seed."
    assert headline(found).startswith(
        "2 changes were tried on the model, over 2 seeds. Recall@20: 1 lowers it (worse -0.1"
    )
    assert "none moves it" in headline(measured("x", ABOUT, METRICS, reference, others[:1]))


def test_the_forest_has_a_colour_for_each_verdict():
    effects = [
        Effect(f"v{place}", 0.1 * place, (0.0, 0.2), verdict, (0.1, 0.2)) for place, verdict in enumerate(COLOURS)
    ]
    image = forest(effects, [2], "difference").decode()
    assert all(colour in image for colour in set(COLOURS.values()))
    assert image == forest(effects, [2], "difference").decode()
    assert image.count("<svg") == 1
    assert np.isfinite(float(image.split('width="')[1].split("pt")[0]))
