"""What several processes leave behind ends with the fit that started them."""

import os

from avrec.training.ranks import own_ranks


def test_rank_variables_are_undone(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for _ in range(2):
        with own_ranks():
            assert (os.environ.get("LOCAL_RANK"), os.environ["MASTER_PORT"]) == (None, "1234")
            os.environ.update(LOCAL_RANK="0", MASTER_PORT="9")
    assert "LOCAL_RANK" not in os.environ and os.environ["MASTER_PORT"] == "1234"
