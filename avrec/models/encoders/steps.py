"""Tokens of unequal stretches of time to the same K steps of every item.

Axes: N items, C clips, T tokens of a clip, L = C x T tokens of an item, K steps, H hidden width.
"""

import torch
from torch import Tensor


def to_steps(tokens_NCTH: Tensor, valid_NC: Tensor, num_steps: int) -> Tensor:
    """Average the valid stretches of an item's clips, laid end to end, over K equal parts of their time.

    Adaptive average pooling with a fractional length: a token weighs as much as it overlaps with the part, so that nothing
    of the padding is in any step, and no mask has to travel on. An item without anything valid gets zeros.

    Args:
        tokens_NCTH: in time order.
        valid_NC: share of each clip's time that is real, from 0 to 1.
        num_steps: K.

    Returns:
        (N, K, H).
    """
    weight_NKL = step_weights(valid_NC.to(tokens_NCTH.dtype), tokens_NCTH.shape[2], num_steps)
    return weight_NKL @ tokens_NCTH.flatten(1, 2)


def step_weights(valid_NC: Tensor, num_tokens: int, num_steps: int) -> Tensor:
    """Overlap of each of K parts with each of L tokens as a share of the part (N, K, L); rows sum to 1, or to 0 where nothing is valid."""
    length_NC = valid_NC * num_tokens
    clip_end_NC = length_NC.cumsum(dim=1)
    within_T = torch.arange(num_tokens, device=valid_NC.device, dtype=valid_NC.dtype)
    begin_NCT = (clip_end_NC - length_NC).unsqueeze(2) + torch.minimum(within_T, length_NC.unsqueeze(2))
    end_NCT = (clip_end_NC - length_NC).unsqueeze(2) + torch.minimum(within_T + 1, length_NC.unsqueeze(2))
    begin_N1L, end_N1L = begin_NCT.flatten(1).unsqueeze(1), end_NCT.flatten(1).unsqueeze(1)

    part_N11 = (clip_end_NC[:, -1:] / num_steps).unsqueeze(2)
    step_K1 = torch.arange(num_steps, device=valid_NC.device, dtype=valid_NC.dtype).unsqueeze(1)
    low_NK1, high_NK1 = step_K1 * part_N11, (step_K1 + 1) * part_N11
    overlap_NKL = (torch.minimum(end_N1L, high_NK1) - torch.maximum(begin_N1L, low_NK1)).clamp(min=0)
    return overlap_NKL / torch.where(part_N11 > 0, part_N11, torch.ones_like(part_N11))
