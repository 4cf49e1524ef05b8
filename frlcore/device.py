"""The device that computes: which there is, its precision and its random numbers, and what to say when memory ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

from frlcore.errors import UserError

T = TypeVar("T")


def pick_device(name: str) -> torch.device:
    """The device called `name` (cpu, cuda, cuda:1), or the best one for "auto"; UserError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("not a device for training")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here; choose another one, such as cpu") from error
    return device


@contextmanager
def arithmetic(device: torch.device, *, tf32: bool, benchmark: bool) -> Iterator[None]:
    """On a CUDA device: float32 products as TF32 or in true float32, and cuDNN's choice of kernels by trial."""
    if device.type != "cuda":
        yield
        return
    settings = ((torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32"),
                (torch.backends.cudnn, "benchmark"))  # fmt: skip
    before = [getattr(place, name) for place, name in settings]
    try:
        for (place, name), value in zip(settings, (tf32, tf32, benchmark), strict=True):
            setattr(place, name, value)
        yield
    finally:
        for (place, name), value in zip(settings, before, strict=True):
            setattr(place, name, value)


def seed_for(purpose: str, seed: int, epoch: int) -> int:
    """A number below 2^63 for random numbers to begin at, unrelated for any two (purpose, seed, epoch)."""
    word = np.random.SeedSequence([*purpose.encode(), seed, epoch]).generate_state(1, np.uint64)[0]
    return int(word >> 1)


@contextmanager
def global_random(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Run the body on torch's global random numbers from `seed` on, then put those of the CPU and of `device` back.

    Dropout and its like draw from them. Without a `seed` the body begins where they are; other devices are not touched.
    """
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach every device there is
            if cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        yield


def within_memory(work: Callable[[], T], attempt: Callable[[int], object], batch_size: int) -> T:
    """`work()`; when the device's memory does not suffice, a UserError naming a batch size with which it did.

    `attempt(n)` does the memory-hungry part of the work with n images; sizes are halved until one fits.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        pass  # what the failed work held is let go before the attempts
    size = batch_size // 2
    while size:
        torch.cuda.empty_cache()  # does nothing where there is no CUDA
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            size //= 2
        else:
            raise UserError(f"a batch of {batch_size} images needs more memory than the device has; {size} images fit")
    raise UserError("the device's free memory does not suffice for one image; free some or use another device")
