"""Picture files as arrays: upright, RGB, cut to a square, with the true reason for each one that cannot be read.

Transparent pixels are laid over one mid-grey background, whatever colour hides under them; 16-bit grey is scaled to
8 bits. Formats are a closed list, so that no decoder is started that a folder of photos does not need.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frlcore.errors import UserError, plain

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".tga", ".jp2", ".avif",
    ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "TGA", "JPEG2000", "AVIF", "PPM")
HEIC = {".heic", ".heif"}  # what phones write; read where the package pillow-heif is installed
BACKGROUND = (128, 128, 128)  # under transparent pixels: black and white drawings both stay visible on it
NAMED = 10  # so many bad files are named


def readable() -> tuple[set[str], list[str]]:
    """Suffixes (lower case) and Pillow's names of the formats that are read on this machine."""
    from PIL import Image

    try:
        import pillow_heif
    except ImportError:
        suffixes = SUFFIXES
    else:
        pillow_heif.register_heif_opener()
        suffixes = SUFFIXES | HEIC
    Image.init()
    return suffixes, [name for name in (*FORMATS, "HEIF") if name in Image.OPEN]


def decode(
    files: Sequence[Path], size: int, *, root: Path, progress: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """Every file as RGB uint8 `(N, 3, size, size)`: scaled until it covers the square, cropped about its centre.

    Files are read in parallel; `progress` hears how many are done. Raises UserError naming all files that cannot be
    read, relative to `root`, each with its reason, and when the array does not fit into the memory that is free.
    """
    needed, free = len(files) * 3 * size**2, free_memory()
    if free is not None and needed > free:
        raise UserError(
            f"{len(files)} images of {size} x {size} pixels need {gigabytes(needed)} of memory and {gigabytes(free)} "
            "are free; choose a smaller size or fewer images"
        )
    _, formats = readable()
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    bad: dict[Path, str] = {}

    def read(position: int) -> None:
        try:
            images[position] = _read(files[position], size, formats)
        except Exception as error:  # decoders raise many kinds
            bad[files[position]] = reason(error, files[position])

    with _quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(read, range(len(files))), start=1):
            progress(done)
    if bad:
        lines = [f"{plain(file.relative_to(root))} ({bad[file]})" for file in files if file in bad]
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        one = "1 file cannot" if len(bad) == 1 else f"{len(bad)} files cannot"
        raise UserError(f"{one} be read in {plain(root)}: {', '.join(lines[:NAMED])}{more}")
    return images


def reason(error: Exception, file: Path) -> str:
    """Why a file could not be read, in a few words that are true."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        found, limit = (float(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
        return f"it has {found:.0f} megapixels, more than the {limit:.0f} that are read"
    if isinstance(error, MemoryError):
        return "the memory does not suffice for it"
    if isinstance(error, UnidentifiedImageError):
        return "it is empty" if file.stat().st_size == 0 else "its content is no image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return plain(str(error).partition("\n")[0])[:100] or type(error).__name__


def free_memory(report: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes of memory that programs can still have; None where the system does not say."""
    with suppress(OSError, StopIteration, ValueError):
        line = next(one for one in report.read_text().splitlines() if one.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return None


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _read(file: Path, size: int, formats: list[str]) -> np.ndarray:
    """One file as RGB uint8 `(3, size, size)`."""
    from PIL import Image, ImageOps

    if file.exists() and not file.is_file():
        raise UserError("it is no ordinary file")  # a pipe would be waited for without an end
    with Image.open(file, formats=formats) as image:
        image.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded no finer than needed
        image.load()
        rgb = _rgb(_upright(image))
        return np.asarray(ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def _upright(image: Image) -> Image:
    """The image turned as its metadata say; as it lies where they are damaged, for the pixels may be sound."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # parsers of metadata raise many kinds
        return image


def _rgb(image: Image) -> Image:
    """`image` as RGB: 16-bit grey scaled to 8 bits, transparent pixels over the background."""
    from PIL import Image as pil

    if image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise UserError("it has more than 16 bits a channel; convert it to an 8-bit image")
        image = pil.fromarray((values / 257).round().astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = pil.new("RGBA", image.size, (*BACKGROUND, 255))
    return pil.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what decoders warn of from the terminal, where it would stand without the name of a file."""
    log = logging.getLogger("PIL")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
