"""What every loader hands over: a data set in three parts, and the digest that names its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from frlcore.errors import UserError
from frlcore.settings import DataInfo


@dataclass(frozen=True)
class Split:
    """Some of the examples of a data set, with where each one stands in it."""

    images: torch.Tensor  # uint8 (N, C, H, W)
    labels: torch.Tensor  # int64 (N,)
    index: torch.Tensor  # int64 (N,), position in the source data; a test set of its own follows the training images

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same examples on a device."""
        return Split(*(t.to(device) for t in vars(self).values()))


@dataclass(frozen=True)
class Splits:
    """The parts of a data set; no example is in two of them. Training does without the test split."""

    info: DataInfo
    train: Split
    validation: Split
    test: Split | None = None

    def tested(self) -> Split:
        """The test split; raises UserError where there is none."""
        if self.test is None:
            raise UserError(f"the data set {self.info.name} has no test split")
        return self.test


def digest(*arrays: np.ndarray) -> str:
    """sha256 over the bytes of uint8 arrays, one after the other."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array, dtype=np.uint8).data)
    return sha.hexdigest()


def assemble(
    facts: DataInfo, images: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, ...]]
) -> Splits:
    """Put together the (train, validation, test) positions of every class; images (N, C, H, W), labels (N,), uint8."""
    return Splits(facts, *(_split(images, labels, np.concatenate(part)) for part in zip(*parts, strict=True)))


def shuffled_classes(labels: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """For every class the positions of its examples in a random order of its own (numpy's frozen generator)."""
    for c in range(int(labels.max()) + 1):
        yield np.random.RandomState(seed + c).permutation(np.flatnonzero(labels == c))


def _split(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    index = np.sort(index)
    return Split(
        images=torch.from_numpy(np.ascontiguousarray(images[index])),
        labels=torch.from_numpy(labels[index].astype(np.int64)),
        index=torch.from_numpy(index.astype(np.int64)),
    )
