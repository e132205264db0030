import io

from rich.console import Console

from avrec.evaluation.rerank_prices import Prices, RerankTrials
from avrec.report.levels import levels_sentence, levels_side_by_side
from avrec.report.rerank import rerank_document, rerank_table

ROWS = {
    "as ranked": {"ndcg@20": 0.4, "recall@20": 0.5, "diversity@20": 0.7, "novelty@20": 5.0, "coverage@20": 0.25},
    "MMR, lambda 0.5": {"ndcg@20": 0.3, "recall@20": 0.45, "novelty@20": 5.5, "coverage@20": 0.5},
}
AGES = {"as ranked": 31.04, "MMR, lambda 0.5": 20.0}


def text_of(table):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_the_price_stands_beside_what_is_bought():
    prices = Prices("validation", 30, 1200, 20, ROWS, "content", "train users in common")
    text = text_of(rerank_table(prices, RerankTrials(pool=60)))
    lines = [line.split() for line in text.splitlines()]
    assert ["as", "ranked", "0.4000", "0.500", "0.700", "5.000", "0.250"] in lines
    assert ["MMR,", "lambda", "0.5", "0.3000", "-25.0", "%", "0.450", "-", "5.500", "0.500"] in lines
    words = " ".join(text.split())
    assert "on validation (30 users drawn from 1,200)" in words and "from the best 60 of each user" in words
    assert "days" not in words and "…" not in text
    assert "alike by content" in words and "by train users in common" in words


def test_ages_where_there_is_time():
    rows = {name: row | {"mean_age_days@20": AGES[name]} for name, row in ROWS.items()}
    prices = Prices("test", 30, 30, 20, rows, "taste", "content (audio)")
    text = text_of(rerank_table(prices, RerankTrials()))
    assert "31.0" in text and "half-life 30 days; age since the first event" in " ".join(text.split())
    text = " ".join(text_of(rerank_table(prices, RerankTrials(released="released"))).split())
    assert "age since the column 'released'" in text and "(30 users)" in text
    document = rerank_document(prices, RerankTrials(released="released"))
    assert document["rows"] == rows and document["trials"]["released"] == "released" and document["users"] == 30


def test_levels_of_one_model():
    sentence = levels_sentence(["overall *", "cold98", "ids only", "content only", "overall, content permuted"])
    assert sentence == (
        "levels of one model: “overall” is the hybrid score, “ids only” the collaborative one and “content only” the "
        "content-based one"
    )
    assert levels_sentence(["overall *", "cold98"]) is None
    model = {"test/recall@20": 0.3, "test/mrr@20": 0.1}
    views = {"cold98": {"test/recall@20": 0.2}, "ids only": {"test/recall@20": 0.1, "test/ndcg@20": 0.05}}
    assert levels_side_by_side("test", model, views) == {
        "hybrid": {"test/recall@20": 0.3},
        "collaborative": {"test/recall@20": 0.1, "test/ndcg@20": 0.05},
    }
    assert levels_side_by_side("test", model, {}) == {}
