"""A small configuration folder with what can go wrong in it."""

from pathlib import Path

import pytest

FILES = {
    "train.yaml": """
defaults:
  - run_level
  - trainer: cpu
  - logger: null
  - _self_
task_name: train
seed: 1
data_dir: ???
ckpt: null
calibration: cold98
layers: [{width: 1}, {width: 2}]
optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.1}
copy: ${optimizer}
""",
    "trainer/cpu.yaml": "_target_: pytorch_lightning.Trainer\nmax_epochs: 1\naccelerator: cpu\n",
    "trainer/ddp.yaml": "_target_: pytorch_lightning.Trainer\nmax_epochs: 1\naccelerator: cpu\ndevices: 2\n",
    "logger/csv.yaml": "_target_: pytorch_lightning.loggers.CSVLogger\nsave_dir: ${run_dir}\n",
    "experiment/quick.yaml": "# @package _global_\nseed: 9\ntrainer: {max_epochs: 2}\n",
    "experiment/other.yaml": "# @package _global_\ndefaults:\n  - override /trainer: ddp\nseed: 8\n",
    "experiment/typo.yaml": "# @package _global_\nsede: 9\noptimzer: {lr: 1}\n",
    "experiment/broken.yaml": "a: [1, 2\nb: 3\n",
    "experiment/evil.yaml": "# @package _global_\nhydra: {callbacks: {x: {_target_: torch.hub.load}}}\n",
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def conf(tmp_path):
    folder = tmp_path / "conf"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in ("run_level.yaml", "hydra/job_logging/avrec.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / "conf" / name).read_text())
    return folder
