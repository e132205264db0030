import json

import numpy as np

import avrec
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.significance import compare
from avrec.report.metrics_file import Measured, write_metrics
from tests.evaluation.world import Matrix, random_dataset


def test_metrics_stand_at_the_top_and_the_rest_beside_them(tmp_path):
    data = random_dataset(0)
    rng = np.random.default_rng(0)
    scorers = [Matrix(rng.random((data.num_users, data.num_items))) for _ in range(2)]
    model = Measured(
        [evaluate(scorers[0], data, part) for part in ("validation", "test")],
        {"operating_point": "cold98"},
        {"share/audio": 0.6},
    )
    baseline = Measured([evaluate(scorers[1], data, "test")], {"neighbours": 20})
    comparison = compare(model.evaluations[1], baseline.evaluations[0], "recall@20")
    write_metrics(
        tmp_path / "metrics.json",
        model,
        {"item_knn": baseline},
        data_hash="abc",
        seeds=[1, 2],
        comparisons={"item_knn": comparison},
        frontier=[{"offset": 0.5, "validation/recall@20": 0.1}],
    )
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["format_version"] == 1
    assert document["test/recall@20"] == model.evaluations[1].metrics["recall@20"]
    for key in ("test/cold/recall@20", "test/cold_only/recall@20", "test/coverage@20", "validation/ndcg@10"):
        assert isinstance(document[key], float)
    assert document["baselines"]["item_knn"]["test/recall@20"] == baseline.evaluations[0].metrics["recall@20"]
    assert document["baselines"]["item_knn"]["settings"] == {"neighbours": 20}
    assert document["comparisons"]["item_knn"]["p_value"] == comparison.p_value
    assert document["comparisons"]["item_knn"]["interval"] == list(comparison.interval)
    assert document["counts"]["test"]["targets"] == len(data.test)
    assert document["protocol"]["test"].startswith("test: mean over")
    assert (document["seeds"], document["data_hash"], document["code_version"]) == ([1, 2], "abc", avrec.__version__)
    assert document["frontier"] == [{"offset": 0.5, "validation/recall@20": 0.1}]
    assert document["settings"] == {"operating_point": "cold98"}
    assert document["catalogue/share/audio"] == 0.6
    assert (document["protocol_name"], document["diversity_by"]) == ("honest", None)
    for key in ("test/recall@20", "validation/ndcg@10", "test/cold/recall@20"):
        low, high = document["intervals"][key]
        assert low < document[key] < high
    low, high = document["baselines"]["item_knn"]["intervals"]["test/recall@20"]
    assert low < document["baselines"]["item_knn"]["test/recall@20"] < high
    assert document["interval_method"] == "95 % interval of the mean over users by Student's t"
