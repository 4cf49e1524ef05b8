"""Splits are fixed, disjoint and stratified; damaged data never pass for data; augmentation does what a loop does."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frlcore import data, settings
from frlcore.data import sources
from frlcore.errors import UserError


def parts(splits: data.Splits) -> tuple[data.Split, data.Split, data.Split]:
    return splits.train, splits.validation, splits.test


# ---------------------------------------------------------------------------------------------------- named data sets


def test_every_data_set_has_a_loader() -> None:
    assert list(sources.LOADERS) == list(settings.DATA)


def test_info_is_known_without_the_data_and_lists_the_names() -> None:
    digits, cifar10 = data.info("digits"), data.info("cifar10")
    assert (digits.shape, digits.scale, digits.augment, len(digits.classes)) == ((1, 8, 8), 16, "none", 10)
    assert (cifar10.shape, cifar10.scale, cifar10.augment, len(cifar10.classes)) == ((3, 32, 32), 255, "crop_flip", 10)
    assert len(digits.digest) == len(cifar10.digest) == 64
    with pytest.raises(UserError, match='"mnist".*digits, cifar10, svhn, digits-uneven'):
        data.info("mnist")
    with pytest.raises(UserError, match='"mnist"'):
        data.load("mnist")


@pytest.fixture(scope="module")
def five() -> list[data.Splits]:
    return [data.load("digits", fold=fold) for fold in range(5)]


def test_digits_are_bytes_from_0_to_16(five: list[data.Splits]) -> None:
    for split in parts(five[0]):
        assert split.images.dtype == torch.uint8 and split.images.shape[1:] == (1, 8, 8)
        assert split.labels.dtype == split.index.dtype == torch.int64
        assert len(split) == len(split.images) == len(split.labels) == len(split.index)
        assert split.images.max() == 16


def test_every_digit_is_tested_exactly_once(five: list[data.Splits]) -> None:
    tested = torch.cat([splits.test.index for splits in five])
    assert torch.equal(tested.sort().values, torch.arange(1797))


def test_digits_splits_are_disjoint_and_cover_everything(five: list[data.Splits]) -> None:
    for splits in five:
        together = torch.cat([split.index for split in parts(splits)])
        assert torch.equal(together.sort().values, torch.arange(1797))


def test_digits_splits_are_stratified(five: list[data.Splits]) -> None:
    total = torch.stack([split.labels.bincount(minlength=10) for split in parts(five[0])]).sum(0)
    for splits in five:
        for split, share in zip(parts(splits), (0.6, 0.2, 0.2), strict=True):
            assert ((split.labels.bincount(minlength=10) - share * total).abs() <= 1.5).all()


def test_an_index_leads_back_to_the_source(five: list[data.Splits]) -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    for split in parts(five[3]):
        assert np.array_equal(split.images[:, 0].numpy(), source.images[split.index.numpy()])
        assert np.array_equal(split.labels.numpy(), source.target[split.index.numpy()])


def test_digits_splits_never_change(five: list[data.Splits]) -> None:
    again = data.load("digits", fold=2)
    for first, second in zip(parts(five[2]), parts(again), strict=True):
        assert torch.equal(first.index, second.index) and torch.equal(first.images, second.images)
    # pinned: committed records rest on this very split
    pinned = hashlib.sha256(b"".join(split.index.numpy().tobytes() for split in parts(again))).hexdigest()
    assert pinned == "9d3cc0af216b59866a9525f0fff81a343b2a5dbae02a628f6c79378a803bdbe6"


def test_what_one_fold_of_the_digits_validates_the_next_one_tests(five: list[data.Splits]) -> None:
    """So classes that validation of all folds ranks are ranked on the images that all folds test, as 08_claims says."""
    for one, following in zip(five, [*five[1:], five[0]], strict=True):
        validated = set(one.validation.index.tolist())
        assert len(validated & set(following.tested().index.tolist())) > 0.98 * len(validated)


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (-1, 5), (0, 1), (0, 0)])
def test_a_fold_that_does_not_exist(fold: int, folds: int) -> None:
    with pytest.raises(UserError, match="must be between"):
        data.load("digits", fold=fold, folds=folds)


def test_other_pixels_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATA, "digits", replace(data.info("digits"), digest="0" * 64))
    with pytest.raises(UserError, match="digits is not the one this code knows.*expected 000000000000"):
        data.load("digits")


# ------------------------------------------------------------------- digits with classes as unequal in size as SVHN's

KEPT = [62, 182, 148, 103, 90, 85, 71, 72, 59, 57]  # 182 ones, and of the others 182 / 5099 of SVHN's test images


@pytest.fixture(scope="module")
def uneven() -> list[data.Splits]:
    return [data.load("digits-uneven", fold=fold) for fold in range(5)]


def test_uneven_digits_have_the_proportions_of_svhn(uneven: list[data.Splits]) -> None:
    for splits in uneven:
        labels = torch.cat([split.labels for split in parts(splits)])
        assert labels.bincount().tolist() == KEPT
    ratios = np.array(KEPT) / np.array([1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595])
    assert np.abs(ratios / ratios[1] - 1).max() < 0.5 / min(KEPT)  # no class is off by more than half an image


def test_uneven_digits_are_tested_once_and_split_like_the_digits(uneven: list[data.Splits]) -> None:
    everything = torch.cat([split.index for split in parts(uneven[0])]).sort().values
    assert len(everything.unique()) == sum(KEPT)
    assert torch.equal(torch.cat([splits.test.index for splits in uneven]).sort().values, everything)
    for splits in uneven:
        assert torch.equal(torch.cat([split.index for split in parts(splits)]).sort().values, everything)
        for split, share in zip(parts(splits), (0.6, 0.2, 0.2), strict=True):
            assert ((split.labels.bincount(minlength=10) - share * torch.tensor(KEPT)).abs() <= 1.5).all()


def test_an_uneven_digit_is_the_digit_at_its_index(uneven: list[data.Splits]) -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    for split in parts(uneven[1]):
        assert np.array_equal(split.images[:, 0].numpy(), source.images[split.index.numpy()])
        assert np.array_equal(split.labels.numpy(), source.target[split.index.numpy()])


def test_uneven_digits_splits_never_change() -> None:
    again = data.load("digits-uneven", fold=2)
    pinned = hashlib.sha256(b"".join(split.index.numpy().tobytes() for split in parts(again))).hexdigest()
    assert pinned == "23b0a79ce0827da3791d105c72b137a326b75d7802aa1a75e40b1d4a53e44929"
    facts = data.info("digits-uneven")
    assert (facts.shape, facts.scale, facts.augment) == ((1, 8, 8), 16, "none")
    assert facts.digest != data.info("digits").digest


def test_other_proportions_than_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.LOADERS, "digits-uneven", sources._in_folds((1800, *sources.SVHN_TEST[1:])))
    with pytest.raises(UserError, match="digits-uneven is not the one this code knows"):
        data.load("digits-uneven")


def test_uneven_digits_have_no_other_folds_than_asked_for() -> None:
    with pytest.raises(UserError, match="must be between"):
        data.load("digits-uneven", fold=5)


# ------------------------------------------------------------- CIFAR-10, with a tiny stand-in in the original's format

CLASSES = data.info("cifar10").classes


def stand_in(root: Path) -> dict[str, str]:
    """Write batches of 10 random images, and their archive, as the real data set has them; file name -> md5."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        entry = {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": rng.permutation(10).tolist()}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in (*folder.iterdir(), root / archive.name)}


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds a complete stand-in, with torchvision's checksums and ours set to it."""
    from torchvision.datasets import CIFAR10

    root = tmp_path / "raw"
    md5 = stand_in(root)
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, attribute, [[name, md5[name]] for name, _ in getattr(CIFAR10, attribute)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5["cifar-10-python.tar.gz"])
    halves = [CIFAR10(root, train=train) for train in (True, False)]
    arrays = [x for s in halves for x in (s.data.transpose(0, 3, 1, 2), np.array(s.targets))]
    monkeypatch.setitem(settings.DATA, "cifar10", replace(data.info("cifar10"), digest=data.digest(*arrays)))
    monkeypatch.setattr(sources, "VALIDATION", 2)
    return root


def offline(monkeypatch: pytest.MonkeyPatch, retrieve: Callable[[str, str], None]) -> None:
    """Let torchvision's download call `retrieve(url, file)` in place of the network."""
    from torchvision.datasets import utils

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, file, **_: retrieve(url, file))


def no_network(url: str, file: str) -> None:
    raise OSError("no route to host")


def remove_batches(root: Path) -> None:
    for file in (root / "cifar-10-batches-py").iterdir():
        file.unlink()


def test_cifar10_validation_is_the_last_of_every_class_in_file_order(cifar: Path) -> None:
    splits = data.load("cifar10", root=cifar, download=False)
    batches = [cifar / f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)]
    labels = np.concatenate([pickle.loads(batch.read_bytes())["labels"] for batch in batches])
    for c in range(10):
        positions = np.flatnonzero(labels == c)
        assert splits.train.index[splits.train.labels == c].tolist() == positions[:3].tolist()
        assert splits.validation.index[splits.validation.labels == c].tolist() == positions[3:].tolist()
    assert splits.test.index.tolist() == list(range(50, 60))


def test_cifar10_images_are_read_as_channels_rows_columns(cifar: Path) -> None:
    splits = data.load("cifar10", root=cifar, download=False)
    entry = pickle.loads((cifar / "cifar-10-batches-py/test_batch").read_bytes())
    assert np.array_equal(splits.test.images.numpy(), entry["data"].reshape(10, 3, 32, 32))
    assert splits.test.labels.tolist() == entry["labels"]
    first = pickle.loads((cifar / "cifar-10-batches-py/data_batch_1").read_bytes())
    where = int((splits.train.index == 7).nonzero())
    assert np.array_equal(splits.train.images[where].numpy(), first["data"][7].reshape(3, 32, 32))


def test_cifar10_has_one_fold(cifar: Path) -> None:
    with pytest.raises(UserError, match="only fold is 0, not 1"):
        data.load("cifar10", root=cifar, fold=1)


def test_cifar10_absent_and_downloading_off(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_batch_1 is missing and downloading is off; .*cifar-10-python\.tar\.gz"):
        data.load("cifar10", root=tmp_path / "empty", download=False)


def test_cifar10_absent_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, no_network)
    with pytest.raises(UserError, match=r"batches-py/data_batch_1 is missing .* \(no route to host\)") as raised:
        data.load("cifar10", root=tmp_path / "raw")
    assert "\n" not in str(raised.value)


def test_cifar10_is_unpacked_from_a_complete_archive(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_batches(cifar)
    offline(monkeypatch, no_network)
    assert len(data.load("cifar10", root=cifar).train) == 30


def test_an_interrupted_download_is_refused_and_can_be_repeated(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = cifar / "cifar-10-python.tar.gz"
    complete = archive.read_bytes()
    remove_batches(cifar)
    archive.unlink()
    offline(monkeypatch, lambda url, file: Path(file).write_bytes(complete[: len(complete) // 2]))
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is incomplete or damaged; delete it and run again"):
        data.load("cifar10", root=cifar)
    assert not any((cifar / "cifar-10-batches-py").iterdir())  # nothing was unpacked from the half
    with pytest.raises(UserError, match="incomplete or damaged"):
        data.load("cifar10", root=cifar, download=False)
    offline(monkeypatch, lambda url, file: Path(file).write_bytes(complete))
    assert len(data.load("cifar10", root=cifar).train) == 30


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_batch_is_named(cifar: Path, name: str) -> None:
    file = cifar / "cifar-10-batches-py" / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{name} is incomplete or damaged; delete"):
        data.load("cifar10", root=cifar, download=False)


def test_cifar10_with_other_pixels_is_refused(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATA, "cifar10", replace(data.info("cifar10"), digest="f" * 64))
    with pytest.raises(UserError, match="cifar10 is not the one this code knows"):
        data.load("cifar10", root=cifar)


# --------------------------------------------------------------------------------------------- tensors on their device


@pytest.mark.parametrize(("shape", "scale"), [((4, 1, 8, 8), 16), ((4, 3, 6, 5), 255)])
def test_to_float_maps_the_scale_to_one(shape: tuple[int, ...], scale: int) -> None:
    images = torch.randint(scale + 1, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[0, 0, 0, :2] = torch.tensor([0, scale])
    floats = data.to_float(images, scale)
    assert floats.dtype == torch.float32 and floats.is_contiguous(memory_format=torch.channels_last)
    assert floats.min() == 0 and floats.max() == 1
    assert torch.equal(floats, images.float() / scale)


def by_loop(images: torch.Tensor, kind: str, generator: torch.Generator, padding: int) -> torch.Tensor:
    """The same, pixel by pixel: all row shifts are drawn first, then all column shifts, then all flips."""
    batch, channels, height, width = images.shape
    top = torch.randint(2 * padding + 1, (batch,), generator=generator)
    left = torch.randint(2 * padding + 1, (batch,), generator=generator)
    flip = torch.randint(2, (batch,), generator=generator) if kind == "crop_flip" else torch.zeros(batch)
    out = torch.zeros_like(images)
    for b in range(batch):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    row = i + int(top[b]) - padding
                    column = (width - 1 - j if flip[b] else j) + int(left[b]) - padding
                    if 0 <= row < height and 0 <= column < width:
                        out[b, c, i, j] = images[b, c, row, column]
    return out


@pytest.mark.parametrize("kind", ["crop", "crop_flip"])
@pytest.mark.parametrize(("shape", "padding"), [((12, 1, 8, 8), 1), ((9, 3, 6, 7), 4)])
def test_augment_is_the_plain_loop(kind: str, shape: tuple[int, ...], padding: int) -> None:
    images = torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    before = images.clone()
    fast = data.augment(images, kind, generator=torch.Generator().manual_seed(7), padding=padding)
    slow = by_loop(images, kind, torch.Generator().manual_seed(7), padding)
    assert fast.dtype == torch.uint8 and torch.equal(fast, slow)
    assert torch.equal(images, before) and not torch.equal(fast, images)


def test_augment_draws_every_shift_and_flip_for_each_sample() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    generator = torch.Generator().manual_seed(0)
    out = data.augment(image.expand(2000, -1, -1, -1), "crop_flip", generator=generator, padding=1)
    variants, counts = out.flatten(1).unique(dim=0, return_counts=True)
    assert len(variants) == 3 * 3 * 2  # 111 of each on average
    assert counts.min() > 60 and counts.max() < 170


def test_augment_uses_its_generator_alone() -> None:
    images = torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    a, b, c = (data.augment(images, "crop", generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)


def test_augment_none_and_unknown() -> None:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    generator = torch.Generator()
    state = generator.get_state()
    assert data.augment(images, "none", generator=generator) is images
    assert torch.equal(generator.get_state(), state)
    with pytest.raises(UserError, match='unknown augmentation "mixup"'):
        data.augment(images, "mixup", generator=generator)
