"""Mean cosine and effective rank against hand-made cases, and a run that stops when all items come to look alike."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.training.collapse import CollapseError, CollapseMonitor, effective_rank, mean_cosine
from avrec.training.stages import run_stage
from tests.training.world import CONTENT, adam, block_world, make_context, make_model, make_stage


def test_mean_cosine_is_over_pairs_of_different_rows():
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    expected = np.mean([0.0, math.sqrt(0.5), math.sqrt(0.5)])
    assert mean_cosine(rows) == pytest.approx(expected)
    assert mean_cosine(torch.ones(5, 3) * torch.arange(1, 6)[:, None]) == pytest.approx(1.0)


def test_effective_rank_counts_directions():
    assert effective_rank(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(4.0)
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[1.0, 2.0, 3.0]]) + 7.0
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dim, scale", [("bias", 1e4), ("weight", 0.0)])
def test_a_collapsed_content_stops_the_run_with_a_sentence(tmp_path, dim, scale):
    dataset = block_world()
    model = make_model(dataset)
    for encoder in model.item_tower.encoders.values():
        torch.nn.init.constant_(encoder.head.bias, scale if dim == "bias" else 1.0)
        if dim == "weight":
            torch.nn.init.zeros_(encoder.head.weight)
    with pytest.raises(CollapseError, match=r"stage stage, epoch 1: .*collapsed.*Lower the stage's learning rate"):
        run_stage(model, make_stage(CONTENT, optimizer=adam(1e-9)), 0, make_context(dataset, model, tmp_path))


def test_healthy_runs_raise_no_alarm(tmp_path):
    for seed in range(3):
        dataset = block_world(seed)
        model = make_model(dataset, seed=seed)
        run_stage(model, make_stage(CONTENT, max_epochs=5), 0, make_context(dataset, model, tmp_path / str(seed)))


@pytest.mark.parametrize("start, stops", [(None, False), (1.0, True)])
def test_a_common_direction_is_a_collapse_only_when_the_objective_has_fallen(tmp_path, start, stops):
    dataset = block_world()
    model = make_model(dataset)
    for encoder in model.item_tower.encoders.values():
        torch.nn.init.constant_(encoder.head.bias, 3.0)
    context = make_context(dataset, model, tmp_path, validate=lambda *_: {"objective": 0.4})
    stage = make_stage(CONTENT, max_epochs=1, optimizer=adam(1e-9))
    context = replace(context, callbacks=lambda: [CollapseMonitor("other", start)])
    if stops:
        with pytest.raises(CollapseError, match=r"stage other.*validation objective 0\.4000 after 1\.0000 at best"):
            run_stage(model, stage, 0, context)
    else:
        run_stage(model, stage, 0, context)
