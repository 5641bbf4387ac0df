"""On which device and in which precision does a run compute, and what did it take there?"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from logclock.train.config import RunConfig

__all__ = ["autocast", "check_memory", "choose_device", "choose_precision", "peak_memory_bytes", "torch_settings"]


def choose_device(name: str) -> torch.device:
    """Return the device that `auto`, `cuda`, `mps` or `cpu` stands for on this machine.

    Raises:
        ValueError: The named device is not here.
    """
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, is_here in here.items() if is_here))
    if not here[name]:
        found = ", ".join(device for device, is_here in here.items() if is_here)
        raise ValueError(f"execution.device is {name!r}, this machine has {found}. Use 'auto' to take what is there.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return `float32` or `bfloat16` for a precision setting on a device.

    Raises:
        ValueError: bfloat16 was asked for on a CUDA device without it.
    """
    cuda_has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        return "bfloat16" if cuda_has_it else "float32"
    if name == "bfloat16" and device.type == "cuda" and not cuda_has_it:
        raise ValueError(
            f"precision is 'bfloat16', which {torch.cuda.get_device_name(device)} does not have. Use 'float32'."
        )
    return name


def check_memory(config: RunConfig) -> None:
    """Raise a ValueError for a model whose weights alone, which are drawn on the CPU, exceed this machine's memory."""
    num_params = config.model.size().total_params
    needed, there = 4 * num_params, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"the model has {num_params:,} parameters, {needed / 1e9:.3g} GB of float32; this machine has "
            f"{there / 1e9:.3g} GB of memory. Use a smaller model (--heads, or --set model.PATH=VALUE)."
        )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which the model's forward pass runs."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextlib.contextmanager
def torch_settings(config: RunConfig) -> Iterator[None]:
    """Set what torch keeps per process, the number of threads and the random state, and put it back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.execution.num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most that tensors took on a CUDA device, and the most that the whole process took elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, kibibytes on Linux
