"""Losses as pure functions of score matrices; they know no ids, modules or config.

Axes: B users in the batch, N candidate items (columns).
Every loss is called as `loss(scores_BN, target_BN, valid_BN, log_q_N) -> loss_B`.
"""
