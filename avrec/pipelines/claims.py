"""What a run's folder says of the run that it belongs to, and how another run differs from that."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from avrec import __version__
from avrec.core.errors import ConfigError
from avrec.core.files import read_json, sha256_file

CLAIM_FILE = "claim.json"
# Keys that do not decide what is trained: a broken run may go on with others.
AFTERWARDS = ("task_name", "num_threads", "calibration", "baseline", "logger", "media", "protocol", "rerank")
ANOTHER_SEED = ("seed",)


def portable(plain: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what belongs to one machine: folders, and where the data were read.

    The model that a run starts from is named by its digest: another file in its place makes another run.

    Raises:
        ConfigError: there is no such file.
    """
    kept = {
        key: value
        for key, value in plain.items()
        if key not in ("run_dir", "data_dir", "multirun", "data", "ckpt", "media")
    }
    data = {key: plain["data"].get(key) for key in ("name", "split", "options")}
    start = plain.get("start")
    if isinstance(start, dict) and "ckpt" in start:
        if not Path(start["ckpt"]).is_file():
            raise ConfigError(f"start.ckpt: there is no file {start['ckpt']}. Give the model.pt of a run.")
        kept["start"] = start | {"ckpt": f"sha256:{sha256_file(start['ckpt'])}"}
    return kept | {"data": data}


def claimed(config: DictConfig) -> dict[str, Any]:
    """The settings by which a training run claims its folder, without the seed: plain values as JSON holds them."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    kept = {
        key: value
        for key, value in portable({str(key): value for key, value in plain.items()}).items()
        if key not in (*AFTERWARDS, *ANOTHER_SEED)
    }
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def check_claim(folder: Path, settings: dict[str, Any], data_hash: str | None = None) -> None:
    """Refuse a folder that belongs to a run of other settings, data or code; one without a claim is free.

    Args:
        folder: of the run.
        settings: what `claimed` gives.
        data_hash: of the data set; any when None.

    Raises:
        ConfigError: it does; the message names what differs.
    """
    record = folder / CLAIM_FILE
    if not record.is_file():
        return
    claim = read_json(record)
    found = {key: value for key, value in claim["config"].items() if key not in ANOTHER_SEED}
    changed = differences(found, settings)
    changed += ["code_version"] * (claim["code_version"] != __version__)
    changed += ["data_hash"] * (data_hash is not None and claim["data_hash"] != data_hash)
    if changed:
        raise ConfigError(
            f"run_dir: {folder} holds a run with another {', '.join(changed[:5])}. "
            "Choose another run_dir, or repeat the old settings to go on with that study."
        )


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """The dotted keys at which two nested mappings differ.

    >>> differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}})
    ['a.c', 'd']
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            found
            for name in sorted(one.keys() | other.keys())
            for found in differences(one.get(name), other.get(name), f"{key}.{name}".strip("."))
        ]
    return [] if one == other else [key]
