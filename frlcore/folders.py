"""A folder of your own images, one directory per class, as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frlcore.errors import UserError
from frlcore.settings import AUGMENTS, DataInfo
from frlcore.splits import Splits, assemble, digest, shuffled_classes


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
    for order in shuffled_classes(labels, seed):
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
    return assemble(facts, images, labels, parts)


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
