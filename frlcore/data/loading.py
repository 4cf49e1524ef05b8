"""Data sets as uint8 tensors with a fixed split: handwritten digits, CIFAR-10, SVHN, and folders of your own images.

Everything stays uint8 until the last moment: `augment` moves bytes about, `to_float` maps them to [0, 1].
A data set has a digest (sha256 over its image bytes, then its label bytes; for SVHN the md5 sums of its files), known
without the data at hand and checked whenever the data are read, so that a result can name the exact pixels it rests on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import pad

from frlcore.data import sources
from frlcore.data.folders import image_folder
from frlcore.data.pictures import decode
from frlcore.data.splits import Split, Splits, digest
from frlcore.errors import UserError
from frlcore.settings import AUGMENTS, DataInfo, counted, info

__all__ = ["DataInfo", "Split", "Splits", "augment", "digest", "image_folder", "info", "load", "picture", "to_float"]


def load(
    name: str, *, root: str | Path = Path("data/raw"), fold: int = 0, folds: int = 5, download: bool = True
) -> Splits:
    """Read a named data set, check its digest and split it, the same way on every machine.

    "digits" needs no download: stratified cross-validation, test = `fold` of `folds`, and a quarter of the rest for
    validation. "digits-uneven" is the same with classes as unequal in size as SVHN's. "cifar10" and "svhn" are read
    from `root` (fetched there if absent and `download`): the last 300 training images of every class are the
    validation split, the test set is the test split, and `fold` must be 0. Raises UserError for an unknown name, a
    fold that does not exist, and missing or damaged files. Sec. 5.1 and App. A.1.4.
    """
    facts = info(name)
    return sources.LOADERS[name](facts, root=Path(root), fold=fold, folds=folds, download=download)


def picture(path: str | Path, *, size: int) -> torch.Tensor:
    """One picture file as `image_folder` reads it, uint8 (1, 3, size, size); raises UserError with the reason."""
    path = Path(path)
    return torch.from_numpy(decode([path], counted("size", size), root=path.parent))


def to_float(images: torch.Tensor, scale: int) -> torch.Tensor:
    """Map uint8 images (N, C, H, W) to float32 in [0, 1], contiguous in channels-last order."""
    return images.to(torch.float32, memory_format=torch.channels_last) / scale


def augment(images: torch.Tensor, kind: str, *, generator: torch.Generator, padding: int = 4) -> torch.Tensor:
    """Shift every uint8 image (B, C, H, W) by up to `padding` pixels and mirror half of them, on their own device.

    "crop" pads with zeros and cuts a window at a random place, "crop_flip" also mirrors left to right with
    probability 1/2, "none" returns the images. Every random number is drawn from `generator`. Sec. 5.1.
    """
    if kind == "none":
        return images
    if kind not in AUGMENTS:
        raise UserError(f'unknown augmentation "{kind}"; choose one of: {", ".join(AUGMENTS)}')
    batch, _, height, width = images.shape

    def draw(below: int) -> torch.Tensor:
        return torch.randint(below, (batch,), generator=generator, device=generator.device).to(images.device)

    top, left = draw(2 * padding + 1), draw(2 * padding + 1)
    windows = pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # view (B, C, top, left, H, W)
    cut = windows[torch.arange(batch, device=images.device), :, top, left]  # (B, C, H, W)
    if kind == "crop":
        return cut
    return torch.where(draw(2).bool()[:, None, None, None], cut.flip(-1), cut)
