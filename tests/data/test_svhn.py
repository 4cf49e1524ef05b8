"""SVHN on a small stand-in in the original's format: labels, orientation, splits, and files that must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from frlcore import data, settings
from frlcore.data import sources
from frlcore.errors import UserError

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
COUNTS = {"train": 5, "test": 2}  # images a class


def pin(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let torchvision's checksums and ours be those of the files in `root`."""
    from torchvision.datasets import SVHN

    md5 = {part: hashlib.md5((root / name).read_bytes()).hexdigest() for part, name in FILES.items()}
    listed = {part: [f"http://example.org/{name}", name, md5[part]] for part, name in FILES.items()}
    monkeypatch.setattr(SVHN, "split_list", listed)
    digest = f"md5:{md5['train']}+{md5['test']}"
    monkeypatch.setitem(settings.DATA, "svhn", replace(data.info("svhn"), digest=digest))


@pytest.fixture
def svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random images (32, 32, 3, N) and labels 1 to 10 (N, 1) in no order."""
    rng = np.random.default_rng(0)
    root = tmp_path / "raw"
    root.mkdir()
    for part, name in FILES.items():
        labels = rng.permutation(np.repeat(np.arange(1, 11), COUNTS[part])).astype(np.uint8)[:, None]
        images = rng.integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        savemat(root / name, {"X": images, "y": labels}, do_compression=True)
    pin(monkeypatch, root)
    monkeypatch.setattr(sources, "VALIDATION", 2)
    return root


def offline(monkeypatch: pytest.MonkeyPatch, retrieve: Callable[[str, str], None]) -> None:
    """Let torchvision's download call `retrieve(url, file)` in place of the network."""
    from torchvision.datasets import utils

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, file, **_: retrieve(url, file))


def no_network(url: str, file: str) -> None:
    raise OSError("no route to host")


def test_what_is_known_without_the_files() -> None:
    from torchvision.datasets import SVHN

    facts = data.info("svhn")
    assert (facts.classes, facts.shape, facts.scale, facts.augment) == (tuple("0123456789"), (3, 32, 32), 255, "crop")
    assert facts.digest == f"md5:{SVHN.split_list['train'][2]}+{SVHN.split_list['test'][2]}"
    assert sources.VALIDATION == 300


def test_the_label_10_is_the_digit_0(svhn: Path) -> None:
    splits = data.load("svhn", root=svhn, download=False)
    written = loadmat(svhn / FILES["test"])["y"].ravel()
    assert set(written) == set(range(1, 11))
    expected = [0 if label == 10 else label for label in written.tolist()]
    assert splits.test.labels.tolist() == expected
    assert splits.test.labels.dtype == torch.int64 and splits.test.images.dtype == torch.uint8


def test_images_are_channels_rows_columns_to_the_pixel(svhn: Path) -> None:
    splits = data.load("svhn", root=svhn, download=False)
    test, train = (loadmat(svhn / FILES[part])["X"] for part in ("test", "train"))
    assert splits.test.images.shape == (20, 3, 32, 32)
    for n in range(20):
        for channel in range(3):
            assert np.array_equal(splits.test.images[n, channel].numpy(), test[:, :, channel, n])
    for split in (splits.train, splits.validation):
        for image, position in zip(split.images, split.index.tolist(), strict=True):
            assert image[2, 7, 30] == train[7, 30, 2, position]  # row 7, column 30, blue
            assert np.array_equal(image.permute(1, 2, 0).numpy(), train[..., position])


def test_validation_is_the_last_of_every_class_in_file_order(svhn: Path) -> None:
    splits = data.load("svhn", root=svhn, download=False)
    labels = loadmat(svhn / FILES["train"])["y"].ravel() % 10
    for c in range(10):
        positions = np.flatnonzero(labels == c).tolist()
        assert splits.train.index[splits.train.labels == c].tolist() == positions[:3]
        assert splits.validation.index[splits.validation.labels == c].tolist() == positions[3:]
    assert splits.test.index.tolist() == list(range(50, 70))
    assert splits.info == data.info("svhn")


def test_svhn_has_one_fold(svhn: Path) -> None:
    with pytest.raises(UserError, match="svhn comes with its own test set, so the only fold is 0, not 1"):
        data.load("svhn", root=svhn, fold=1)


@pytest.mark.parametrize("name", FILES.values())
def test_a_truncated_file_is_named(svhn: Path, name: str) -> None:
    file = svhn / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError) as raised:
        data.load("svhn", root=svhn, download=False)
    message = str(raised.value)
    assert message.startswith(f"SVHN: {file} is incomplete or damaged; delete it and run again, or put {name} from ")
    assert message.endswith(f"into {svhn} yourself") and "\n" not in message


def test_a_whole_file_with_a_wrong_checksum_is_refused(svhn: Path) -> None:
    file = svhn / FILES["test"]
    content = loadmat(file)
    content["X"][0, 0, 0, 0] ^= 1  # a bit
    savemat(file, {"X": content["X"], "y": content["y"]}, do_compression=True)
    with pytest.raises(UserError, match=r"test_32x32\.mat is incomplete or damaged"):
        data.load("svhn", root=svhn, download=False)


@pytest.mark.parametrize("name", FILES.values())
def test_a_missing_file_and_downloading_off(svhn: Path, name: str) -> None:
    (svhn / name).unlink()
    with pytest.raises(UserError, match="is missing and downloading is off; allow it, or put") as raised:
        data.load("svhn", root=svhn, download=False)
    assert str(svhn / name) in str(raised.value)


def test_a_missing_file_and_no_network(svhn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (svhn / FILES["test"]).unlink()
    offline(monkeypatch, no_network)
    with pytest.raises(UserError, match=r"missing and the download failed \(no route to host\); run again") as raised:
        data.load("svhn", root=svhn)
    assert str(svhn / FILES["test"]) in str(raised.value) and "\n" not in str(raised.value)


def test_an_interrupted_download_is_refused_and_can_be_repeated(svhn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = svhn / FILES["train"]
    complete = file.read_bytes()
    file.unlink()
    offline(monkeypatch, lambda url, path: Path(path).write_bytes(complete[:1000]))
    with pytest.raises(UserError, match=r"train_32x32\.mat is incomplete or damaged"):
        data.load("svhn", root=svhn)
    with pytest.raises(UserError, match=r"train_32x32\.mat is incomplete or damaged"):
        data.load("svhn", root=svhn, download=False)
    offline(monkeypatch, lambda url, path: Path(path).write_bytes(complete))
    assert len(data.load("svhn", root=svhn).train) == 30


def test_a_file_that_is_no_matlab_file(svhn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (svhn / FILES["test"]).write_bytes(b"neither pixels nor labels" * 20)
    pin(monkeypatch, svhn)
    with pytest.raises(UserError, match=f"SVHN: the files in {svhn} could not be read .*; delete them and run again"):
        data.load("svhn", root=svhn, download=False)


def test_other_files_than_those_of_our_digest_are_refused(svhn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATA, "svhn", replace(data.info("svhn"), digest="md5:" + "0" * 32 + "+" + "1" * 32))
    with pytest.raises(UserError, match="SVHN: torchvision expects other files"):
        data.load("svhn", root=svhn, download=False)
