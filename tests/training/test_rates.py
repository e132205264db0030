"""Rates add up by part and modality, preprocessing is timed inside encoding, and a counter says its rate."""

import time

import pytest
import torch
from torch import nn

from avrec.training.progress import counting
from avrec.training.rates import Rates


def test_rows_add_up_and_stand_in_the_order_of_the_line():
    rates = Rates()
    rates.add("encode", "audio", 10, 2.0)
    rates.add("decode", "video", 4, 1.0)
    rates.add("encode", "audio", 20, 4.0)
    rates.add("step", "audio", 0, 9.0)
    found = [(row["part"], row["modality"], row["items"], row["items_per_sec"]) for row in rates.rows()]
    assert found == [("decode", "video", 4, 4.0), ("encode", "audio", 30, 5.0)]


class Slow(nn.Module):
    def forward(self, values):
        time.sleep(0.01)
        return values


def test_preprocessing_is_timed_by_itself_and_the_hooks_leave():
    encoder = nn.Module()
    encoder.kind, encoder.trunk = "audio", nn.Module()
    encoder.trunk.preprocess = Slow()
    rates = Rates()
    with rates.preprocessing(encoder):
        encoder.trunk.preprocess(torch.zeros(3, 2))
    encoder.trunk.preprocess(torch.zeros(5, 2))
    assert rates.items == {("preprocess", "audio"): 3}
    assert 0.01 <= rates.seconds["preprocess", "audio"] < 5


def test_a_counter_says_what_was_done_with_its_rate(capsys):
    with counting("decoding audio", 8) as progress:
        progress.advance(3)
        progress(8, 8)
    assert progress.done == 8
    assert "decoding audio: 8 items in" in capsys.readouterr().out
    with counting("nothing"):
        pass
    assert capsys.readouterr().out == ""


def test_a_counter_closes_when_its_work_fails():
    with pytest.raises(RuntimeError, match="decoder"), counting("decoding audio", 8):
        raise RuntimeError("decoder")
