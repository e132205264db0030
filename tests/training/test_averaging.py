"""Weight averaging over epochs: what is averaged, who sees the average, and from where training goes on."""

from functools import partial

import pytest
import torch

from avrec.training.averaging import EpochAveraging, ExponentialAveraging
from avrec.training.checkpoints import load_tensors
from avrec.training.stages import run_stage
from tests.training.world import Ends, adam, block_world, make_context, make_model, make_stage, same, state_of

EPOCHS = 5
OBJECTIVES = (0.1, 0.2, 0.15, 0.4, 0.3)


def fit(folder, start_epoch, **trainer):
    """Run a stage; the ends of its epochs, what validation saw, the model that was left, and the summary."""
    dataset = block_world()
    model = make_model(dataset, dropout=0.2)
    ends, seen = Ends(), []

    def validate(current, weights):
        seen.append(state_of(current))
        return {"objective": OBJECTIVES[len(seen) - 1]}

    averaging = None if start_epoch is None else partial(EpochAveraging, start_epoch=start_epoch)
    context = make_context(dataset, model, folder, validate=validate, callbacks=lambda: [ends], **trainer)
    summary = run_stage(model, make_stage(max_epochs=EPOCHS, averaging=averaging), 0, context)
    assert len(ends.states) == len(seen) == EPOCHS
    return ends.states, seen, state_of(model), summary


def is_mean(found, states):
    return all(
        torch.allclose(
            value.double(), torch.stack([state[name].double() for state in states]).mean(dim=0), rtol=0, atol=1e-6
        )
        for name, value in found.items()
    )


@pytest.mark.parametrize("start_epoch", [0, 2, 99])
def test_validation_sees_the_mean_of_the_ends_of_epochs_and_before_the_start_the_weights_themselves(
    start_epoch, tmp_path
):
    ends, seen, _, _ = fit(tmp_path, start_epoch)
    assert (ends[0]["item_table.output_ND"] - ends[-1]["item_table.output_ND"]).abs().max() > 0.05
    for epoch in range(EPOCHS):
        if epoch <= start_epoch:
            assert same(seen[epoch], ends[epoch])
        else:
            assert is_mean(seen[epoch], ends[start_epoch : epoch + 1])
            assert not is_mean(seen[epoch], ends[epoch : epoch + 1])


@pytest.mark.parametrize("start_epoch", [None, 1])
def test_what_validation_saw_is_what_is_kept(start_epoch, tmp_path):
    _, seen, left, summary = fit(tmp_path, start_epoch)
    kept = load_tensors(tmp_path / "0_stage" / "best.ckpt")
    weights = {name.removeprefix("model."): value for name, value in kept["state_dict"].items() if "model." in name}
    assert same(weights, seen[3])
    assert same(left, seen[3])
    assert summary["objective"] == pytest.approx(0.4)
    assert (summary["epochs"], summary["best_epoch"], summary["undone"]) == (EPOCHS, 3, False)


def test_training_goes_on_from_the_weights_that_are_not_averaged(tmp_path):
    with_average, without = (fit(tmp_path / str(start), start)[0] for start in (0, None))
    assert all(same(one, other) for one, other in zip(with_average, without, strict=True))


def test_the_end_of_an_epoch_is_found_when_gradients_are_accumulated(tmp_path):
    ends, seen, _, _ = fit(tmp_path, 0, accumulate_grad_batches=3)
    assert is_mean(seen[1], ends[:2])
    assert not is_mean(seen[1], ends[1:2])


def test_an_exponential_moving_average_is_what_validation_sees_and_what_is_kept(tmp_path):
    dataset, ends, seen = block_world(), Ends(), []
    model = make_model(dataset)

    def validate(current, weights):
        seen.append(state_of(current))
        return {"objective": OBJECTIVES[len(seen) - 1]}

    context = make_context(dataset, model, tmp_path, validate=validate, callbacks=lambda: [ends])
    averaging = partial(ExponentialAveraging, decay=1.0)  # it never leaves the weights after the first step
    run_stage(model, make_stage(max_epochs=EPOCHS, averaging=averaging), 0, context)
    assert same(seen[0], seen[-1]) and same(state_of(model), seen[0])
    assert not same(ends.states[-1], seen[-1])


def test_what_does_not_move_keeps_its_last_bit_under_exponential_averaging(tmp_path):
    dataset = block_world()
    model = make_model(dataset)
    before = state_of(model)
    stage = make_stage(max_epochs=3, optimizer=adam(0.0), averaging=partial(ExponentialAveraging, decay=0.9))
    run_stage(model, stage, 0, make_context(dataset, model, tmp_path))
    assert same(state_of(model), before)


def test_the_exponential_mean_is_its_formula():
    average = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    function = ExponentialAveraging(decay=0.75)._kwargs["avg_fn"]
    assert function(average, torch.tensor([5.0, 2.0]), 3).tolist() == [2.0, -1.0]
