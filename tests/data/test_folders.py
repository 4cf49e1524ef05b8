"""Folders of one's own images: what is read, what is left out and said so, and that no picture is on both sides."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frlcore import data
from frlcore.data import folders, pictures
from frlcore.errors import UserError


def parts(splits: data.Splits) -> tuple[data.Split, data.Split, data.Split]:
    return splits.train, splits.validation, splits.test


def picture(i: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)).convert(mode)


def fill(root: Path, counts: dict[str, int], first: int = 100) -> Path:
    """Folders of so many pictures each, no two alike."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(first := first + 1).save(root / name / f"{i:03d}.png")
    return root


def fill_parts(root: Path, counts: dict[str, int]) -> None:
    """A split of one's own: parts of so many pictures of a cat and of a dog each, no two alike."""
    for first, (part, count) in enumerate(counts.items()):
        fill(root / part, {"cat": count, "dog": count}, first=1000 * first)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name, count in (("dog", 20), ("cat", 10)):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for i in range(count):
            shape = (12 + i, 10) if i % 2 else (9, 14, 3)  # grey and upright, coloured and wide
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i:02d}.png")
    (tmp_path / "pets" / ".cache").mkdir()
    (tmp_path / "pets" / "dog" / "._00.png").write_text("a hidden file")
    return tmp_path / "pets"


def test_image_folder_splits_every_class(pets: Path) -> None:
    splits = data.image_folder(pets, size=8)
    assert (splits.info.name, splits.info.classes) == ("pets", ("cat", "dog"))
    assert (splits.info.shape, splits.info.scale, splits.info.augment) == ((3, 8, 8), 255, "crop_flip")
    assert splits.train.images.shape == (20, 3, 8, 8) and splits.train.images.dtype == torch.uint8
    assert [split.labels.bincount().tolist() for split in parts(splits)] == [[6, 14], [2, 3], [2, 3]]
    together = torch.cat([split.index for split in parts(splits)])
    assert torch.equal(together.sort().values, torch.arange(30))


def test_image_folder_depends_on_the_seed_and_its_digest_on_the_content(pets: Path) -> None:
    first, again, other = (data.image_folder(pets, size=8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.test.index, again.test.index) and not torch.equal(first.test.index, other.test.index)
    assert first.info == again.info and first.info.digest == other.info.digest
    Image.new("RGB", (8, 8)).save(pets / "dog" / "00.png")
    assert data.image_folder(pets, size=8).info.digest != first.info.digest


def test_image_folder_covers_the_square_and_crops_about_the_centre(pets: Path) -> None:
    stripes = np.zeros((8, 16, 3), dtype=np.uint8)
    stripes[:, 4:8, 0], stripes[:, 8:12, 2] = 255, 255  # black, red, blue, black: the middle is red and blue
    for i, file in enumerate((pets / "cat").iterdir()):
        stripes[0, 4, 0] = 255 - i  # no two alike
        Image.fromarray(stripes).save(file)
    splits = data.image_folder(pets, size=8)
    image = splits.train.images[splits.train.labels == 0][0]
    assert (image[0, 1:, :4] == 255).all() and (image[2, :, 4:] == 255).all() and image[1].sum() == 0


def test_image_folder_takes_the_augmentation_it_is_told(pets: Path) -> None:
    assert data.image_folder(pets, size=8, augment="none").info.augment == "none"
    with pytest.raises(UserError, match='unknown augmentation "rotate"'):
        data.image_folder(pets, size=8, augment="rotate")


def write_garbage(pets: Path) -> None:
    (pets / "dog" / "05.png").write_bytes(b"\x89PNG not really")


def truncate(pets: Path) -> None:
    file = pets / "cat" / "03.png"
    file.write_bytes(file.read_bytes()[:60])


def write_32_bit(pets: Path) -> None:
    Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32)).save(pets / "cat" / "01.png", format="TIFF")


def empty_class(pets: Path) -> None:
    (pets / "fish").mkdir()


def phone_class(pets: Path) -> None:
    (pets / "fish").mkdir()
    for name in ("a.heic", "b.HEIC"):
        (pets / "fish" / name).write_bytes(b"heic")


def odd_name(pets: Path) -> None:
    (pets / "cat").rename(pets / "a\nb")


def latin_name(pets: Path) -> None:
    os.rename(pets / "cat", os.fsencode(pets) + b"/caf\xe9")


def two_images(pets: Path) -> None:
    for i in range(2, 10):
        (pets / "cat" / f"{i:02d}.png").unlink()


def one_class(pets: Path) -> None:
    (pets / "cat").rename(pets / ".cat")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write_garbage, r"1 file cannot be read in .*pets: dog/05\.png \(its content is no image of a known format\)"),
        (truncate, r"cat/03\.png \(.*truncated"),
        (write_32_bit, r"cat/01\.png \(it has more than 16 bits a channel"),
        (empty_class, r"class 'fish' in .*pets has no image that is read$"),
        (phone_class, r"class 'fish' in .*pets has no image .*: 2 files with the suffix \.heic \(install pillow-heif"),
        (two_images, r"class 'cat' in .*pets has 2 images, .* too few"),
        (one_class, r"pets must hold between 2 and 1000 directories"),
        (odd_name, r"the directory 'a\\nb' has a name that is no plain text; rename it"),
        (latin_name, r"the directory 'caf\\udce9' has a name that is no plain text; rename it"),
    ],
)
def test_a_bad_image_folder_is_one_line_naming_the_culprit(
    pets: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(pets)
    with pytest.raises(UserError, match=message) as raised:
        data.image_folder(pets, size=8)
    assert "\n" not in str(raised.value)


def test_a_bad_call_of_image_folder(pets: Path) -> None:
    with pytest.raises(UserError, match="no image folder at"):
        data.image_folder(pets / "nowhere", size=8)
    for size in (0, 1.5):
        for read in (data.image_folder, data.picture):
            with pytest.raises(UserError, match=f"size must be at least 1, a whole number, got {size}"):
                read(pets, size=size)  # type: ignore[operator]
    for seed in (-1, 2**40, 0.5):
        with pytest.raises(UserError, match=f"a seed is a whole number from 0 .* got {seed}"):
            data.image_folder(pets, size=8, seed=seed)  # type: ignore[arg-type]
    for validation, test in ((0.0, 0.2), (0.5, 0.5), (0.2, -0.1)):
        with pytest.raises(UserError, match="positive shares"):
            data.image_folder(pets, size=8, validation=validation, test=test)


# ----------------------------------------------------------------------------------------------------- what is left out


def test_what_is_left_out_is_said_by_class_and_kind(pets: Path) -> None:
    (pets / "dog" / "notes.txt").write_text("not an image")
    (pets / "dog" / "scan").write_bytes((pets / "dog" / "00.png").read_bytes())
    (pets / "dog" / "film.mpg").write_bytes(b"\0\0\1\xba")
    (pets / "cat" / "IMG_1.HEIC").write_bytes(b"heic")
    (pets / "cat" / "kittens.png").mkdir()  # a directory, whatever it is called
    picture(0).save(pets / "cat" / "kittens.png" / "a.png")
    said: list[str] = []
    assert len(data.image_folder(pets, size=8, say=said.append).train) == 20
    assert said == [
        "left out of class 'cat': 1 file in the subfolder kittens.png, "
        "1 file with the suffix .heic (install pillow-heif to read them)",
        "left out of class 'dog': 1 file with the suffix .mpg, 1 file with the suffix .txt, 1 file without a suffix",
    ]


def test_leftovers_of_archives_and_file_managers_are_no_class_and_not_worth_a_word(pets: Path) -> None:
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", ".ipynb_checkpoints"):
        picture(0).save(((pets / name).mkdir() or pets / name) / "a.png")  # type: ignore[func-returns-value]
    for name in ("Thumbs.db", "desktop.ini", "Icon\r", ".DS_Store"):
        (pets / "cat" / name).write_bytes(b"")
    assert data.image_folder(pets, size=8).info.classes == ("cat", "dog")  # a word would be a warning, and fail here


def test_every_common_format_and_mode_is_read(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", {"cat": 1, "dog": 5})
    names = ["A.JPG", "b.Webp", "c.TIFF", "d.gif", "e.bmp", "f.jfif", "g.ppm", "h.tga", "i.jp2"]
    formats = ["JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG", "PPM", "TGA", "JPEG2000"]
    for i, (name, kind) in enumerate(zip(names, formats, strict=True)):
        picture(i).save(root / "cat" / name, format=kind)
    for i, mode in enumerate(("L", "LA", "1", "P", "RGBA")):
        picture(20 + i, mode).save(root / "cat" / f"{mode}.png")
    picture(30, "CMYK").save(root / "cat" / "cmyk.jpg")
    assert sum(map(len, parts(data.image_folder(root, size=8)))) == 21


def test_heic_is_read_where_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ".heic" not in pictures.readable()[0]
    stand_in = type("pillow_heif", (), {"register_heif_opener": staticmethod(lambda: None)})
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", stand_in)
    assert {".heic", ".heif"} <= pictures.readable()[0]


# ---------------------------------------------------------------------------------------------------------- the reasons


def test_all_bad_files_are_named_at_once_with_their_reasons(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "cat" / "00.png").write_bytes(b"")
    (pets / "dog" / "01.png").write_text("<!doctype html><title>404</title>")
    whole = (pets / "dog" / "02.png").read_bytes()
    (pets / "dog" / "02.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (20000, 10000)).save(pets / "cat" / "slide.png")  # 200 megapixels in 30 kB
    locked = pets / "dog" / "03.png"
    read = pictures._read

    def guarded(file: Path, *rest: object) -> np.ndarray:
        if file == locked:  # as for another user than root
            raise PermissionError(13, "Permission denied")
        return read(file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "_read", guarded)
    with pytest.raises(UserError) as raised:
        data.image_folder(pets, size=8)
    for words in (
        "5 files cannot be read in", "cat/00.png (it is empty)", "dog/03.png (Permission denied)",
        "cat/slide.png (it has 200 megapixels, more than the 179 that are read)",
        "dog/01.png (its content is no image of a known format)", "dog/02.png (", "truncated",
    ):  # fmt: skip
        assert words in str(raised.value)
    assert "remove" not in str(raised.value) and "delete" not in str(raised.value)


def test_of_many_bad_files_the_first_ten_and_a_count_are_said(pets: Path) -> None:
    for file in (pets / "dog").glob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"^20 files cannot .*dog/09\.png \(it is empty\) and 10 more$"):
        data.image_folder(pets, size=8)


def test_damaged_metadata_do_not_cost_a_sound_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageOps

    picture(1).save(tmp_path / "a.png")
    sound = data.picture(tmp_path / "a.png", size=9)

    def broken(image: Image.Image) -> None:
        raise SyntaxError("not a TIFF file (header b'....' not valid)")

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    assert torch.equal(data.picture(tmp_path / "a.png", size=9), sound)


def test_what_decoders_warn_of_does_not_reach_the_terminal(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read = pictures._read

    def noisy(*arguments: object) -> np.ndarray:
        warnings.warn("Truncated File Read", stacklevel=1)
        logging.getLogger("PIL.TiffImagePlugin").warning("More samples per pixel than can be decoded")
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "_read", noisy)
    data.image_folder(pets, size=8)
    assert capfd.readouterr() == ("", "")


def test_too_little_memory_is_said_before_it_is_taken(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "free_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"30 images of 9000 x 9000 pixels need 7\.3 GB of memory and 1\.0 GB are free"):
        data.image_folder(pets, size=9000)


# ------------------------------------------------------------------------------------------------- no silent wrong data


def test_hidden_colour_teaches_nothing(tmp_path: Path) -> None:
    for name, colour in (("red", (200, 60, 60, 0)), ("blue", (60, 60, 200, 0))):
        image = Image.new("RGBA", (8, 8), colour)
        image.paste((255, 255, 255, 255), (2, 2, 6, 6))
        image.save(tmp_path / f"{name}.png")
    red, blue = (data.picture(tmp_path / f"{name}.png", size=8) for name in ("red", "blue"))
    assert torch.equal(red, blue) and red[0, :, 0, 0].tolist() == list(pictures.BACKGROUND)
    assert (red[0, :, 3, 3] == 255).all()


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert data.picture(tmp_path / "deep.png", size=2)[0, 0].tolist() == [[0, 100], [200, 255]]


def test_pictures_that_are_nearly_black_are_told(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(8):
            values = np.random.default_rng([i, ord(name)]).integers(0, 4096, (9, 9)).astype(np.uint16)  # 12 bits
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    said: list[str] = []
    data.image_folder(tmp_path, size=8, say=said.append)
    assert len(said) == 1 and "no pixel of any image is brighter than 1" in said[0] and "scale them first" in said[0]


def test_identical_pictures_stay_in_one_part(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", {"cat": 8, "dog": 8})
    for k in range(6):
        for i in range(4):
            (root / "cat" / f"copy{k}_{i}.png").write_bytes((root / "cat" / f"{i:03d}.png").read_bytes())
    said: list[str] = []
    for seed in range(5):
        splits = data.image_folder(root, size=8, seed=seed, say=said.append)
        held = [{image.numpy().tobytes() for image in part.images} for part in parts(splits)]
        assert sum(map(len, held)) == 16 == len(set.union(*held))  # no picture in two parts
        assert sum(map(len, parts(splits))) == 40  # and none is lost
    assert said == ["24 of 40 images are copies of others; identical pictures stay in one part"] * 5


def test_a_picture_of_two_classes_is_for_training_alone_and_counted(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", {"cat": 12, "dog": 12})
    for i in range(6):
        (root / "dog" / f"also{i}.png").write_bytes((root / "cat" / f"{i:03d}.png").read_bytes())
    torn = {data.picture(root / "cat" / f"{i:03d}.png", size=8).numpy().tobytes() for i in range(6)}
    said: list[str] = []
    splits = data.image_folder(root, size=8, say=said.append)
    found = [[image.numpy().tobytes() in torn for image in part.images] for part in parts(splits)]
    assert [sum(part) for part in found] == [12, 0, 0] and len(splits.train) + len(splits.validation) > 12
    assert "pictures that stand in more than one class: 6; none is in validation or test" in said


def test_classes_that_look_the_same_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", {"cat": 9})
    (root / "dog").mkdir()
    for file in (root / "cat").iterdir():
        (root / "dog" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="'cat' .* 9 images, of which 0 differ from each other and from the other"):
        data.image_folder(root, size=8)


# ------------------------------------------------------------------------------------------------- a split of one's own


def test_a_folder_that_is_split_already_is_split_so(tmp_path: Path) -> None:
    fill_parts(tmp_path / "pets", {"Train": 10, "val": 4, "test": 5})
    splits = data.image_folder(tmp_path / "pets", size=8)
    assert splits.info.classes == ("cat", "dog")
    assert [split.labels.bincount().tolist() for split in parts(splits)] == [[10, 10], [4, 4], [5, 5]]


def test_a_part_that_is_missing_is_drawn_from_training(tmp_path: Path) -> None:
    fill_parts(tmp_path / "pets", {"train": 20, "test": 5})
    splits = data.image_folder(tmp_path / "pets", size=8, validation=0.25)
    assert [split.labels.bincount().tolist() for split in parts(splits)] == [[15, 15], [5, 5], [5, 5]]


def test_training_goes_without_what_its_split_holds_out(tmp_path: Path) -> None:
    fill_parts(tmp_path / "pets", {"train": 10, "val": 4, "test": 5})
    for i in range(3):
        (tmp_path / "pets/train/cat" / f"leak{i}.png").write_bytes((tmp_path / f"pets/test/cat/00{i}.png").read_bytes())
    said: list[str] = []
    splits = data.image_folder(tmp_path / "pets", size=8, say=said.append)
    assert [len(part) for part in parts(splits)] == [20, 8, 10]
    assert said == ["3 training images stand in validation or test, too; training goes without them"]


def test_a_split_of_ones_own_tests_no_picture_of_two_classes(tmp_path: Path) -> None:
    fill_parts(tmp_path / "pets", {"train": 10, "val": 4, "test": 5})
    for at in ("test/dog", "train/cat"):
        (tmp_path / "pets" / at / "torn.png").write_bytes((tmp_path / "pets/test/cat/000.png").read_bytes())
    said: list[str] = []
    splits = data.image_folder(tmp_path / "pets", size=8, say=said.append)
    assert [len(part) for part in parts(splits)] == [21, 8, 9]
    assert said == ["pictures that stand in more than one class: 1; none is in validation or test"]


def test_a_class_whose_training_is_its_test_is_one_line(tmp_path: Path) -> None:
    fill_parts(tmp_path / "pets", {"train": 2, "val": 2, "test": 2})
    for i in range(2):
        copied = (tmp_path / f"pets/test/dog/00{i}.png").read_bytes()
        (tmp_path / f"pets/train/dog/00{i}.png").write_bytes(copied)
    with pytest.raises(UserError, match="class 'dog' .* 6 images, of which 4 differ .*too few for a training"):
        data.image_folder(tmp_path / "pets", size=8)


def test_parts_with_other_classes_are_one_line(tmp_path: Path) -> None:
    fill(tmp_path / "pets" / "train", {"cat": 5, "dog": 5})
    fill(tmp_path / "pets" / "test", {"cat": 5, "fox": 5})
    with pytest.raises(UserError, match="the classes in .*train are not those of the other parts: dog, fox"):
        data.image_folder(tmp_path / "pets", size=8)


def test_classes_called_like_parts_are_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "vehicles", {"train": 5, "tram": 5})
    assert data.image_folder(root, size=8).info.classes == ("train", "tram")
    root = fill(tmp_path / "doubt", {"train": 5, "test": 5})  # no classes inside
    assert data.image_folder(root, size=8).info.classes == ("test", "train")


def test_up_to_a_thousand_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "many", {f"{c:03d}": 3 for c in range(300)})
    splits = data.image_folder(root, size=2)
    assert splits.train.labels.tolist() == list(range(300)) and splits.test.labels.max() == 299
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "MOST_CLASSES", 200)
        with pytest.raises(UserError, match="between 2 and 200 directories .* not 300"):
            data.image_folder(root, size=2)
