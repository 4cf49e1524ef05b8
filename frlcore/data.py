"""Data sets as uint8 tensors with a fixed split: handwritten digits, CIFAR-10, and folders of your own images.

Everything stays uint8 until the last moment: `augment` moves bytes about, `to_float` maps them to [0, 1].
A data set has a digest (sha256 over its image bytes, then its label bytes), known without the data at hand
and checked whenever the data are read, so that a result can name the exact pixels it rests on.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from frlcore.errors import UserError
from frlcore.settings import DataInfo, info

AUGMENTS = ("none", "crop", "crop_flip")
DIGITS_VALIDATION = 0.25  # share of what a test fold leaves over
CIFAR10_VALIDATION = 300  # images a class, the last ones in file order; the released code's choice
SPLIT_SEED = 20210718  # fixed for good: every committed record rests on these splits


@dataclass(frozen=True)
class Split:
    """Some of the examples of a data set, with where each one stands in it."""

    images: torch.Tensor  # uint8 (N, C, H, W)
    labels: torch.Tensor  # int64 (N,)
    index: torch.Tensor  # int64 (N,), position in the source data; CIFAR-10 test images follow the training images

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; no example is in two of them."""

    info: DataInfo
    train: Split
    validation: Split
    test: Split


def load(
    name: str, *, root: str | Path = Path("data/raw"), fold: int = 0, folds: int = 5, download: bool = True
) -> Splits:
    """Read a named data set, check its digest and split it, the same way on every machine.

    "digits" needs no download: stratified cross-validation, test = `fold` of `folds`, and a quarter of the rest for
    validation. "cifar10" is read from `root` (fetched there if absent and `download`): the last 300 training
    images of every class are the validation split, the test batch is the test split, and `fold` must be 0.
    Raises UserError for an unknown name, a fold that does not exist, and missing or damaged files. Sec. 5.1.
    """
    facts = info(name)
    if name == "digits":
        return _digits(facts, fold, folds)
    if fold != 0:
        raise UserError(f"{name} comes with its own test set, so the only fold is 0, not {fold}")
    return _cifar10(facts, Path(root), download)


def digest(*arrays: np.ndarray) -> str:
    """sha256 over the bytes of uint8 arrays, one after the other."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array, dtype=np.uint8).data)
    return sha.hexdigest()


def _checked(facts: DataInfo, *arrays: np.ndarray) -> None:
    found = digest(*arrays)
    if found != facts.digest:
        raise UserError(
            f"the data set {facts.name} is not the one this code knows (sha256 {found[:12]}..., expected "
            f"{facts.digest[:12]}...); reinstall or download it again"
        )


def _split(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    index = np.sort(index)
    return Split(
        images=torch.from_numpy(np.ascontiguousarray(images[index])),
        labels=torch.from_numpy(labels[index].astype(np.int64)),
        index=torch.from_numpy(index.astype(np.int64)),
    )


def _splits(facts: DataInfo, images: np.ndarray, labels: np.ndarray, parts: list[tuple[np.ndarray, ...]]) -> Splits:
    """Put together the (train, validation, test) positions of every class."""
    return Splits(facts, *(_split(images, labels, np.concatenate(part)) for part in zip(*parts, strict=True)))


def _shuffled_classes(labels: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """For every class the positions of its examples in a random order of its own (numpy's frozen generator)."""
    for c in range(int(labels.max()) + 1):
        yield np.random.RandomState(seed + c).permutation(np.flatnonzero(labels == c))


def _digits(facts: DataInfo, fold: int, folds: int) -> Splits:
    if not 2 <= folds <= 20:
        raise UserError(f"folds must be between 2 and 20, not {folds}")
    if not 0 <= fold < folds:
        raise UserError(f"fold must be between 0 and {folds - 1}, not {fold}")
    from sklearn.datasets import load_digits  # slow to import, so only here

    source = load_digits()
    images = source.images.astype(np.uint8)[:, None]  # (1797, 1, 8, 8), values 0..16
    labels = source.target.astype(np.uint8)
    _checked(facts, images, labels)

    parts = []
    for order in _shuffled_classes(labels, SPLIT_SEED):
        start, stop = fold * len(order) // folds, (fold + 1) * len(order) // folds
        rest = np.concatenate([order[stop:], order[:start]])  # cyclic: validation moves on with the fold
        cut = round(DIGITS_VALIDATION * len(rest))
        parts.append((rest[cut:], rest[:cut], order[start:stop]))
    return _splits(facts, images, labels, parts)


def _cifar10(facts: DataInfo, root: Path, download: bool) -> Splits:
    from torchvision.datasets import CIFAR10  # slow to import, so only here

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old pickles make newer numpy releases complain
        try:
            sources = [CIFAR10(root, train=train, download=download) for train in (True, False)]
        except Exception as error:  # no network, a cut-off archive, no room, no permission: one line says what to do
            raise UserError(_cifar10_problem(CIFAR10, root, download, error)) from error
    pixels = [np.ascontiguousarray(source.data.transpose(0, 3, 1, 2)) for source in sources]  # (N, 3, 32, 32)
    targets = [np.asarray(source.targets, dtype=np.uint8) for source in sources]
    _checked(facts, pixels[0], targets[0], pixels[1], targets[1])

    parts = []
    for c in range(len(facts.classes)):
        train, test = (np.flatnonzero(target == c) for target in targets)
        parts.append((train[:-CIFAR10_VALIDATION], train[-CIFAR10_VALIDATION:], len(targets[0]) + test))
    return _splits(facts, np.concatenate(pixels), np.concatenate(targets), parts)


def _cifar10_problem(source: type, root: Path, download: bool, error: Exception) -> str:
    """One line on why CIFAR-10 could not be read: what is missing or damaged, and what to do."""
    from torchvision.datasets.utils import check_integrity

    archive, folder = root / source.filename, root / source.base_folder
    files = [*source.train_list, *source.test_list, [source.meta["filename"], source.meta["md5"]]]
    bad = next((folder / name for name, md5 in files if not check_integrity(folder / name, md5)), None)
    reason = " ".join(str(error).split()) or type(error).__name__
    remedy = f"or put {source.filename} from {source.url} into {root} yourself"
    if bad is None:
        return f"CIFAR-10: {folder} could not be read ({reason}); delete it and run again"
    if archive.exists() and not check_integrity(archive, source.tgz_md5):
        return f"CIFAR-10: {archive} is incomplete or damaged; delete it and run again, {remedy}"
    if bad.exists():
        return f"CIFAR-10: {bad} is incomplete or damaged; delete {folder} and run again, {remedy}"
    if not download:
        return f"CIFAR-10: {bad} is missing and downloading is off; allow it, {remedy}"
    return f"CIFAR-10: {bad} is missing and the download failed ({reason}); run again with a network, {remedy}"


def image_folder(
    path: str | Path,
    *,
    size: int,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    augment: str = "crop_flip",
) -> Splits:
    """Read a folder with one directory of images per class, as RGB cut to `size` x `size` pixels, and split it.

    Classes are the directories in the order of their names. Every image is scaled until it covers the square and
    then cropped about its centre. `validation` and `test` are shares of every class, drawn with `seed`.
    Raises UserError, naming the file or directory, for fewer than two classes, a class with too few images for three
    splits, and a file that cannot be read as an image.
    """
    path = Path(path)
    if size < 1:
        raise UserError(f"size must be a positive number of pixels, not {size}")
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise UserError(f"validation and test must be positive shares below 1 in sum, not {validation} and {test}")
    if augment not in AUGMENTS:
        raise UserError(f'unknown augmentation "{augment}"; choose one of: {", ".join(AUGMENTS)}')
    if not path.is_dir():
        raise UserError(f"no image folder at {path}; it must hold one directory of images per class")
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not 2 <= len(folders) <= 256:
        raise UserError(f"{path} must hold between 2 and 256 directories of images, one per class, not {len(folders)}")

    from PIL import Image

    suffixes = set(Image.registered_extensions())
    pixels: list[np.ndarray] = []
    counts: list[int] = []
    for folder in folders:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
        held_out = _share(validation, len(files)) + _share(test, len(files))
        if len(files) <= held_out:
            raise UserError(f"{folder} holds {len(files)} images, too few for a training, validation and test split")
        pixels.extend(_read(file, size) for file in files)
        counts.append(len(files))
    images = np.stack(pixels)
    labels = np.repeat(np.arange(len(folders), dtype=np.uint8), counts)

    parts = []
    for order in _shuffled_classes(labels, seed):
        a = _share(test, len(order))
        b = a + _share(validation, len(order))
        parts.append((order[b:], order[a:b], order[:a]))
    facts = DataInfo(
        name=path.resolve().name,
        classes=tuple(folder.name for folder in folders),
        shape=(3, size, size),
        scale=255,
        augment=augment,
        digest=digest(images, labels),
    )
    return _splits(facts, images, labels, parts)


def _share(fraction: float, count: int) -> int:
    return max(1, round(fraction * count))


def _read(file: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise UserError(f"{file} has more than 8 bits a channel; convert it to an 8-bit image")
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    except UserError:
        raise
    except Exception as error:  # image decoders raise many kinds
        raise UserError(f"{file} cannot be read as an image; remove it or replace it") from error


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
