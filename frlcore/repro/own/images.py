"""The images of `frl fit`: read once in parallel with a bar, kept beside the unfinished work, read no second time."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rich.console import Console
from rich.progress import Progress

from frlcore.data.folders import Listing
from frlcore.data.pictures import decode, gigabytes
from frlcore.errors import UserError, plain
from frlcore.repro.runs.task import canonical

KEPT = "images.npz"


def read(listing: Listing, size: int, state: Path, console: Console) -> np.ndarray:
    """The pictures `(N, 3, size, size) uint8`, from the folder `state` if an earlier call kept them there."""
    try:
        with np.load(state / KEPT, allow_pickle=False) as kept:
            if str(kept["files"]) == _fingerprint(listing, size):
                console.print(f"Going on with {len(kept['images'])} images that were read before.")
                return kept["images"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # not there, or cut off
    with suppress(OSError):  # or of other files: `keep` writes it anew
        (state / KEPT).unlink(missing_ok=True)
    count = len(listing.files)
    console.print(
        f"Reading {count} images at {size} x {size} pixels: {gigabytes(count * 3 * size**2)} of memory.", soft_wrap=True
    )
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=count)
        return decode(listing.files, size, root=listing.root, progress=lambda done: bar.update(task, completed=done))


def keep(images: np.ndarray, listing: Listing, size: int, state: Path) -> None:
    """Leave the pictures in `state` for the next call; UserError when they cannot be written."""
    if (state / KEPT).exists():
        return
    temporary = state / f".{KEPT}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            np.savez(file, files=_fingerprint(listing, size), images=images)
        os.replace(temporary, state / KEPT)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write into {state}: {error.strerror or error}; make room or choose another --out"
        ) from error


def _fingerprint(listing: Listing, size: int) -> str:
    """Tells whether the files are still those that were read: their names, sizes and times."""
    stats = [(plain(file.relative_to(listing.root)), file.stat()) for file in listing.files]
    return hashlib.sha256(canonical([size, [[name, s.st_size, s.st_mtime_ns] for name, s in stats]])).hexdigest()
