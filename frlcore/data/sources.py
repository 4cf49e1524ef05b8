"""The named data sets, each read from where it lies, checked against its digest and split: digits, CIFAR-10, SVHN."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from frlcore.data.splits import Splits, assemble, digest, shuffled_classes
from frlcore.errors import UserError
from frlcore.settings import DataInfo

DIGITS_VALIDATION = 0.25  # share of what a test fold leaves over
VALIDATION = 300  # images a class of CIFAR-10 and SVHN, the last ones in file order; for CIFAR-10 as the released code
SPLIT_SEED = 20210718  # fixed for good: every committed record rests on these splits
SVHN_TEST = (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)  # images of the classes 0 to 9 in its test set


def digits(facts: DataInfo, fold: int, folds: int, proportions: Sequence[int] | None = None) -> Splits:
    """scikit-learn's digits, stratified: test = `fold` of `folds`, a quarter of the rest for validation.

    `proportions` (C,) thins the classes to these ratios, as large as the digits allow: the first images of the
    random order that the folds are cut from stay. Raises UserError for a fold that does not exist.
    """
    if not 2 <= folds <= 20:
        raise UserError(f"folds must be between 2 and 20, not {folds}")
    if not 0 <= fold < folds:
        raise UserError(f"fold must be between 0 and {folds - 1}, not {fold}")
    from sklearn.datasets import load_digits  # slow to import, so only here

    source = load_digits()
    images = source.images.astype(np.uint8)[:, None]  # (1797, 1, 8, 8), values 0..16
    labels = source.target.astype(np.uint8)
    orders = list(shuffled_classes(labels, SPLIT_SEED))
    if proportions is not None:
        each = min(len(order) / share for order, share in zip(orders, proportions, strict=True))
        orders = [order[: round(each * share)] for order, share in zip(orders, proportions, strict=True)]
    kept = np.sort(np.concatenate(orders))
    _checked(facts, images[kept], labels[kept])

    parts = []
    for order in orders:
        start, stop = fold * len(order) // folds, (fold + 1) * len(order) // folds
        rest = np.concatenate([order[stop:], order[:start]])  # cyclic: validation moves on with the fold
        cut = round(DIGITS_VALIDATION * len(rest))
        parts.append((rest[cut:], rest[:cut], order[start:stop]))
    return assemble(facts, images, labels, parts)


def cifar10(facts: DataInfo, root: Path, download: bool) -> Splits:
    """CIFAR-10 as torchvision unpacks it below `root`; raises UserError for missing or damaged files."""
    from torchvision.datasets import CIFAR10  # slow to import, so only here

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old pickles make newer numpy releases complain
        try:
            halves = [CIFAR10(root, train=train, download=download) for train in (True, False)]
        except Exception as error:  # no network, a cut-off archive, no room, no permission: one line says what to do
            raise UserError(_cifar10_problem(CIFAR10, root, download, error)) from error
    pixels = [np.ascontiguousarray(half.data.transpose(0, 3, 1, 2)) for half in halves]  # (N, 3, 32, 32)
    labels = [np.asarray(half.targets, dtype=np.uint8) for half in halves]
    _checked(facts, pixels[0], labels[0], pixels[1], labels[1])
    return _own_test_set(facts, pixels, labels)


def svhn(facts: DataInfo, root: Path, download: bool) -> Splits:
    """SVHN's cropped digits from train_32x32.mat and test_32x32.mat in `root`, without the "extra" ones.

    torchvision compares both files with its md5 sums, which must be those of the digest, and calls the digit 0, the
    label 10 of the files, 0. Raises UserError for missing, damaged and other files.
    """
    from torchvision.datasets import SVHN  # slow to import, so only here

    known = "md5:" + "+".join(SVHN.split_list[part][2] for part in ("train", "test"))
    if known != facts.digest:
        raise UserError(f"SVHN: torchvision expects other files ({known}) than this code ({facts.digest})")
    try:
        halves = [SVHN(root, split=part, download=download) for part in ("train", "test")]
    except Exception as error:
        raise UserError(_svhn_problem(SVHN, root, download, error)) from error
    pixels = [np.ascontiguousarray(half.data) for half in halves]  # (N, 3, 32, 32)
    return _own_test_set(facts, pixels, [half.labels.astype(np.uint8) for half in halves])


class Loader(Protocol):
    """How a named data set is read: where downloads lie, and which of how many folds is the test split."""

    def __call__(self, facts: DataInfo, *, root: Path, fold: int, folds: int, download: bool) -> Splits: ...


def _in_folds(proportions: Sequence[int] | None = None) -> Loader:
    def load(facts: DataInfo, *, root: Path, fold: int, folds: int, download: bool) -> Splits:
        return digits(facts, fold, folds, proportions)

    return load


def _with_test_set(read: Callable[[DataInfo, Path, bool], Splits]) -> Loader:
    def load(facts: DataInfo, *, root: Path, fold: int, folds: int, download: bool) -> Splits:
        if fold != 0:
            raise UserError(f"{facts.name} comes with its own test set, so the only fold is 0, not {fold}")
        return read(facts, root, download)

    return load


LOADERS: dict[str, Loader] = {  # for every name in `settings.DATA`
    "digits": _in_folds(),
    "cifar10": _with_test_set(cifar10),
    "svhn": _with_test_set(svhn),
    "digits-uneven": _in_folds(SVHN_TEST),
}


def _checked(facts: DataInfo, *arrays: np.ndarray) -> None:
    found = digest(*arrays)
    if found != facts.digest:
        raise UserError(
            f"the data set {facts.name} is not the one this code knows (sha256 {found[:12]}..., expected "
            f"{facts.digest[:12]}...); reinstall or download it again"
        )


def _own_test_set(facts: DataInfo, pixels: list[np.ndarray], labels: list[np.ndarray]) -> Splits:
    """Splits of (training, test) files: the last images of every class in the training file are for validation."""
    parts = []
    for c in range(len(facts.classes)):
        train, test = (np.flatnonzero(part == c) for part in labels)
        parts.append((train[:-VALIDATION], train[-VALIDATION:], len(labels[0]) + test))
    return assemble(facts, np.concatenate(pixels), np.concatenate(labels), parts)


def _cifar10_problem(source: Any, root: Path, download: bool, error: Exception) -> str:
    """One line on why CIFAR-10 could not be read: what is missing or damaged, and what to do."""
    from torchvision.datasets.utils import check_integrity

    archive, folder = root / source.filename, root / source.base_folder
    files = [*source.train_list, *source.test_list, [source.meta["filename"], source.meta["md5"]]]
    bad = next((folder / name for name, md5 in files if not check_integrity(folder / name, md5)), None)
    remedy = f"or put {source.filename} from {source.url} into {root} yourself"
    if bad is None:
        return f"CIFAR-10: {folder} could not be read ({_reason(error)}); delete it and run again"
    if archive.exists() and not check_integrity(archive, source.tgz_md5):
        return f"CIFAR-10: {archive} is incomplete or damaged; delete it and run again, {remedy}"
    return f"CIFAR-10: {_fault(bad, folder, download, error)}, {remedy}"


def _svhn_problem(source: Any, root: Path, download: bool, error: Exception) -> str:
    """One line on why SVHN could not be read: what is missing or damaged, and what to do."""
    from torchvision.datasets.utils import check_integrity

    for part in ("train", "test"):
        url, name, md5 = source.split_list[part]
        if not check_integrity(root / name, md5):
            remedy = f"or put {name} from {url} into {root} yourself"
            return f"SVHN: {_fault(root / name, None, download, error)}, {remedy}"
    return f"SVHN: the files in {root} could not be read ({_reason(error)}); delete them and run again"


def _fault(file: Path, folder: Path | None, download: bool, error: Exception) -> str:
    """What is wrong with a file that is not the known one, and what to do; `folder` is what to delete with it."""
    if file.exists():
        return f"{file} is incomplete or damaged; delete {folder or 'it'} and run again"
    if not download:
        return f"{file} is missing and downloading is off; allow it"
    return f"{file} is missing and the download failed ({_reason(error)}); run again with a network"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
