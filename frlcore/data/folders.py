"""A folder of your own images as a data set: one directory per class, or one per part of the split with classes inside.

Three steps, for whoever wants to keep what lies between them: `scan` lists the files, `pictures.decode` reads them, and
`divide` splits them. `image_folder` is all three.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from frlcore.data.pictures import HEIC, decode, readable
from frlcore.data.splits import Splits, assemble, digest, shuffled_classes
from frlcore.errors import UserError, plain
from frlcore.settings import AUGMENTS, DataInfo, counted, seeded

PARTS = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}
MOST_CLASSES = 1000
DIM = 64  # of 255: pictures whose brightest pixel is below look like a mistake in reading them
TURNING = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"  # would show what follows in another order
# what file managers, archives and notebooks leave behind, beside all names that begin with a dot
LEFTOVERS = {"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found", "ehthumbs.db"}


@dataclass(frozen=True)
class Listing:
    """The image files of a folder: class and part of each (part "" where it is still to be split), and what to say."""

    root: Path
    classes: tuple[str, ...]
    files: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def image_folder(
    path: str | Path,
    *,
    size: int,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    augment: str = "crop_flip",
    say: Callable[[str], None] = warnings.warn,
) -> Splits:
    """Read a folder with one directory of images per class, as RGB cut to `size` x `size` pixels, and split it.

    Classes are the directories in the order of their names. Every image is scaled until it covers the square and
    then cropped about its centre. Identical pictures stay in one part.

    Arguments:
    - `path`: the folder; one that holds train/, val/ and test/ directories of classes is split as they say
    - `size`: pixels a side
    - `validation`, `test`: shares of every class, drawn with `seed`
    - `augment`: "crop_flip", "crop" or "none", for training on them
    - `say`: hears in a line each what was left out and which pictures stand twice

    Returns: three splits of images `(N, 3, size, size) uint8` and labels `(N,) int64`.

    Raises: UserError, naming the files or directories, for fewer than two classes, a class with too few images for
    three splits, and files that cannot be read.

    Source: this project.

    >>> from frlcore import image_folder
    >>> image_folder("my-images", size=32)
    Traceback (most recent call last):
    frlcore.errors.UserError: no image folder at my-images; it must hold one directory of images per class
    """
    size, seed = counted("size", size), seeded(seed)
    listing = scan(path)
    images = decode(listing.files, size, root=listing.root)
    splits, notes = divide(listing, images, validation=validation, test=test, seed=seed, augment=augment)
    for line in (*listing.notes, *notes):
        say(line)
    return splits


def scan(path: str | Path) -> Listing:
    """List the images of a folder without reading them; raises UserError for a folder that has no classes."""
    try:
        return _scan(Path(path))
    except (OSError, ValueError) as error:  # no permission, or a name that cannot be one
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot look into {path}: {getattr(error, 'strerror', None) or error}") from error


def _scan(path: Path) -> Listing:
    if not path.is_dir():
        raise UserError(f"no image folder at {plain(path)}; it must hold one directory of images per class")
    entries = _directories(path)
    known = {name: entry for entry in entries for name, words in PARTS.items() if entry.name.lower() in words}
    split = len(known) == len(entries) and "train" in known and all(_directories(entry) for entry in entries)
    places = known if split else {"": path}
    names = {part: [entry.name for entry in _directories(place)] for part, place in places.items()}
    classes = next(iter(names.values()))
    for part, found in names.items():
        if found != classes:
            apart = ", ".join(plain(name) for name in sorted(set(found) ^ set(classes)))
            raise UserError(f"the classes in {plain(places[part])} are not those of the other parts: {apart}")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"{plain(path)} must hold between 2 and {MOST_CLASSES} directories of images, one per class, "
            f"not {len(classes)}"
        )
    for name in classes:
        if any(unicodedata.category(c) in ("Cc", "Cs") or c in TURNING for c in name):  # control characters, raw bytes
            raise UserError(f"the directory '{plain(name)}' has a name that is no plain text; rename it")
    listing, left = Listing(path, tuple(classes)), {name: Counter[str]() for name in classes}
    suffixes, _ = readable()
    for part, place in places.items():
        for label, name in enumerate(classes):
            _list(place / name, part, label, listing, left[name], suffixes)
    for label, name in enumerate(classes):
        counts = +left[name]  # without the zeros
        if label not in listing.labels:
            beside = f" (left out: {_words(counts)})" if counts else ""
            raise UserError(f"class '{name}' in {plain(path)} has no image that is read{beside}")
        if counts:
            listing.notes.append(f"left out of class '{name}': {_words(counts)}")
    return listing


def divide(
    listing: Listing,
    images: np.ndarray,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    augment: str = "crop_flip",
) -> tuple[Splits, list[str]]:
    """Split decoded pictures `(N, 3, H, W) uint8` into parts of which no two share a picture, and what to say of it.

    A picture that stands several times in a class counts once and keeps its copies beside it. One that stands in
    several classes is in no validation and no test part; where the folder is split already, what validation or test
    holds, too, is left out of training. Raises UserError for shares out of range and a class that is too small.
    """
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise UserError(f"validation and test must be positive shares below 1 in sum, not {validation} and {test}")
    if augment not in AUGMENTS:
        raise UserError(f'unknown augmentation "{augment}"; choose one of: {", ".join(AUGMENTS)}')
    labels, given = np.array(listing.labels), np.array(listing.parts)
    original = _originals(images)
    torn = _in_two_classes(original, labels)
    notes = []
    copies = int((original != np.arange(len(images))).sum())
    if copies and not any(listing.parts):
        notes.append(f"{copies} of {len(images)} images are copies of others; identical pictures stay in one part")
    if torn.any():
        both = len(np.unique(original[torn]))
        notes.append(f"pictures that stand in more than one class: {both}; none is in validation or test")
    if (brightest := int(images.max())) < DIM:
        notes.append(
            f"no pixel of any image is brighter than {brightest} of 255; should these be 16-bit files that use few of "
            "their bits, scale them first"
        )
    drawn = {name: share for name, share in (("test", test), ("validation", validation)) if name not in given}
    orders = list(shuffled_classes(labels, seed))
    parts = [_split_class(order, given[order], original[order], torn[order], drawn) for order in orders]
    held_out = original[np.concatenate([positions for part in parts for positions in part[1:]])]
    leaks = [np.isin(original[part[0]], held_out) for part in parts]
    if leaked := int(sum(leak.sum() for leak in leaks)):
        notes.append(f"{leaked} training images stand in validation or test, too; training goes without them")
        parts = [(part[0][~leak], *part[1:]) for part, leak in zip(parts, leaks, strict=True)]
    for name, order, part in zip(listing.classes, orders, parts, strict=True):
        if not all(len(positions) for positions in part):
            raise UserError(
                f"class '{name}' in {plain(listing.root)} has {len(order)} images, of which "
                f"{len(np.unique(original[order][~torn[order]]))} differ from each other and from the other classes, "
                "too few for a training, validation and test split"
            )
    facts = DataInfo(
        name=listing.root.resolve().name,
        classes=listing.classes,
        shape=images.shape[1:],
        scale=255,
        augment=augment,
        digest=digest(images, labels.astype(np.uint8 if len(listing.classes) <= 256 else "<u2").view(np.uint8)),
    )
    return assemble(facts, images, labels, parts), notes


def _directories(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not _leftover(entry.name))


def _leftover(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFTOVERS


def _list(folder: Path, part: str, label: int, listing: Listing, left: Counter[str], suffixes: set[str]) -> None:
    """Take up the images of one class's folder, and count what is left out."""
    for entry in sorted(folder.iterdir()):
        suffix = entry.suffix.lower()
        if _leftover(entry.name):
            continue
        if entry.is_dir():
            below = (file for file in entry.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
            left[f"in the subfolder {plain(entry.name)}"] += sum(not _leftover(file.name) for file in below)
        elif suffix in suffixes:
            listing.files.append(entry)
            listing.labels.append(label)
            listing.parts.append(part)
        elif suffix in HEIC:
            left[f"with the suffix {suffix} (install pillow-heif to read them)"] += 1
        else:
            left[f"with the suffix {plain(suffix)}" if suffix else "without a suffix"] += 1


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {'file' if count == 1 else 'files'} {what}" for what, count in sorted(counts.items()))


def _originals(images: np.ndarray) -> np.ndarray:
    """For every picture where it stands first `(N,)`; its own position where no other is the same."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(sha256(np.ascontiguousarray(x).data).digest(), i) for i, x in enumerate(images)])


def _in_two_classes(original: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which pictures `(N,)` stand in more than one class."""
    apart = labels != labels[original]
    return np.isin(original, original[apart])


def _split_class(
    order: np.ndarray, given: np.ndarray, original: np.ndarray, torn: np.ndarray, drawn: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training, validation and test positions of one class, whose pictures stand in a random `order`.

    The parts in `drawn` take their share of the pictures that are not held out already, copies along with them.
    """
    found = {name: order[(given == name) & ~torn] for name in PARTS}
    pool = (given == "") | (given == "train")
    at = np.sort(np.unique(original[pool & ~torn], return_index=True)[1])
    pictures = original[pool & ~torn][at]  # each once, in the random order
    count = len(pictures)
    for name, share in drawn.items():
        n = max(1, round(share * count))
        found[name], pictures = order[pool & np.isin(original, pictures[:n])], pictures[n:]
    taken = np.concatenate([found["validation"], found["test"]])
    return order[pool & ~np.isin(order, taken)], found["validation"], found["test"]
