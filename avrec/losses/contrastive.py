"""Audio-video alignment: the two halves of one item should find one another among all items.

Axes: N items, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.losses.softmax import masked_log_softmax


class Contrastive(nn.Module):
    """Symmetric InfoNCE between the sound and the picture of the same items (van den Oord et al. 2018; Radford et al. 2021).

    With `c_ij` the cosine of the sound of i and the picture of j, over the items that have both:
    `loss_i = -(log softmax_j(c_ij / temperature)_i + log softmax_j(c_ji / temperature)_i) / 2`.

    Args:
        temperature: divides the cosines.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, audio_ND: Tensor, video_ND: Tensor, both_N: Tensor) -> Tensor:
        """Loss of each item; 0 for one that lacks a half, which is nobody's candidate either, and for one alone.

        Args:
            audio_ND: pooled audio tokens of distinct items.
            video_ND: pooled video tokens of the same items.
            both_N: bool, the item has sound and picture.

        Returns:
            (N,) non-negative; its mean is over `both_N`.
        """
        audio_ND, video_ND = (
            functional.normalize(torch.where(both_N.unsqueeze(1), part_ND, 0.0), dim=1)
            for part_ND in (audio_ND, video_ND)
        )
        logits_NN = audio_ND @ video_ND.T / self.temperature
        valid_NN = both_N.unsqueeze(0).expand_as(logits_NN)
        found = (
            masked_log_softmax(logits_NN, valid_NN).diagonal() + masked_log_softmax(logits_NN.T, valid_NN).diagonal()
        )
        return torch.where(both_N, -0.5 * found, 0.0)
