"""A broken stage goes on comparing with the best objective that it had reached before it broke."""

from dataclasses import replace

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from avrec.training.checkpoints import load_tensors
from avrec.training.collapse import CollapseError, CollapseMonitor
from avrec.training.stages import run_stage
from tests.training.test_stages import Plug, PulledPlugError
from tests.training.world import CONTENT, adam, block_world, make_context, make_model, make_stage

KEY = "CollapseMonitor{'stage': 'stage'}"


def one_direction(folder, objectives, *callbacks: Callback, epochs=4):
    """A stage whose items all point nearly one way: a collapse as soon as the told objective has fallen by half."""
    dataset = block_world()
    model = make_model(dataset)
    for encoder in model.item_tower.encoders.values():
        torch.nn.init.constant_(encoder.head.bias, 3.0)
    told = iter(objectives)
    context = make_context(dataset, model, folder, validate=lambda *_: {"objective": next(told)})
    context = replace(context, callbacks=lambda: list(callbacks))
    return run_stage(model, make_stage(CONTENT, epochs, optimizer=adam(1e-9)), 0, context)


def last(folder):
    return load_tensors(folder / "0_stage" / "last.ckpt")["callbacks"][KEY]


@pytest.mark.parametrize("moment", [("batch", 2, 1), ("epoch", 2, 0), ("validation", 2, 0)])
def test_what_a_broken_stage_had_reached_is_compared_with_after_it_goes_on(moment, tmp_path):
    with pytest.raises(PulledPlugError):
        one_direction(tmp_path, [0.5, 1.0], Plug(*moment))
    assert last(tmp_path) == {"best": 1.0}
    with pytest.raises(CollapseError, match=r"epoch 3: .*validation objective 0\.4000 after 1\.0000 at best"):
        one_direction(tmp_path, [0.4, 0.4])


def test_the_objective_that_has_not_fallen_by_half_goes_on(tmp_path):
    with pytest.raises(PulledPlugError):
        one_direction(tmp_path, [0.75, 0.5], Plug("batch", 2, 1))
    assert last(tmp_path) == {"best": 0.75}
    assert one_direction(tmp_path, [0.4, 0.875])["epochs"] == 4
    assert last(tmp_path) == {"best": 0.875}


def test_the_state_is_a_plain_number_of_its_stage():
    monitor = CollapseMonitor("top", start=0.3)
    assert monitor.state_dict() == {"best": 0.3}
    other = CollapseMonitor("top")
    other.load_state_dict(monitor.state_dict())
    assert other.best == 0.3
    assert monitor.state_key == other.state_key != CollapseMonitor("joint").state_key
