"""Where encoders run while a cache is filled, and in which precision: as the exported graph will, on whatever device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from avrec.core.errors import ConfigError

CHOOSE = ("auto", "gpu")


def fill_device(name: str) -> torch.device:
    """The device of a name: one of PyTorch's, or an accelerator of Lightning's.

    Args:
        name: `auto` and `gpu` are the current CUDA device where there is one, else the processor.

    Raises:
        ConfigError: there is no such device.
    """
    if name in CHOOSE:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"media.device is {name!r}, which is no device of PyTorch. Give auto, cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"media.device is {name!r}; PyTorch sees {torch.cuda.device_count()} CUDA devices. Give media.device=cpu, or auto."
        )
    return device


@contextmanager
def lent(encoder: nn.Module, device: torch.device) -> Iterator[None]:
    """Move an encoder from the processor to a device, and back at the end, whatever ends it; bits and parameters stay the same.

    One that lives on an accelerator stays there: it is in the middle of a stage, and its trainer put it there.

    Raises:
        ConfigError: the device lacks the memory.
    """
    home = next(encoder.parameters()).device
    moves = home.type == "cpu" and device.type != "cpu"
    try:
        if moves:
            encoder.to(device)
        yield
    except torch.OutOfMemoryError as error:
        place = device if moves else home
        raise ConfigError(
            f"media: encoding needs more memory than {place} has free. Lower media.batch_items, or give media.device=cpu."
        ) from error
    finally:
        if moves:
            encoder.to(home)


@contextmanager
def single_precision(device_type: str) -> Iterator[None]:
    """Multiply float32 as float32: no TF32, whose 10 bits are PyTorch's default in convolutions on CUDA, and no autocast."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
