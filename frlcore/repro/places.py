"""Where files stand: the paper's in a checkout of the project, results in it or, without one, in the user's cache.

Everything that is neither code nor a result (notebooks, prose, the paper's tables, published records) is in a checkout
only. Nothing is ever written beside an installed package.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import frlcore
from frlcore.errors import UserError


def _find(package: Path) -> Path | None:
    """The checkout that holds this package; None for one that was installed by itself."""
    folder = package.resolve().parent
    return folder if (folder / "notebooks").is_dir() and (folder / "data" / "paper").is_dir() else None


PROJECT = _find(Path(frlcore.__file__).parent)
PUBLISHED = PROJECT / "data" / "runs" if PROJECT else None


def checkout(what: str = "this") -> Path:
    """The checkout's folder. Raises UserError, saying that `what` needs one, when there is none."""
    if PROJECT is None:
        raise UserError(
            f"{what} needs the paper's files, which are in a checkout and not in the installed package: "
            "git clone the project, run make setup in it and use its .venv/bin/frl"
        )
    return PROJECT


def results() -> Path:
    """The folder of local results: FRL_STORE, else `data/cache` of the checkout or the user's cache folder.

    A relative FRL_STORE is taken from the checkout, so that commands and notebooks, which run in folders of their own,
    agree on it. Raises UserError when there is no home to look in.
    """
    if chosen := os.environ.get("FRL_STORE"):
        return (PROJECT or Path.cwd()) / _at_home(Path(chosen).expanduser)
    return PROJECT / "data" / "cache" if PROJECT else _users() / "runs"


def downloads() -> Path:
    """The folder of downloaded data sets. Raises UserError when there is no home to look in."""
    return PROJECT / "data" / "raw" if PROJECT else _users() / "raw"


def _users() -> Path:
    from platformdirs import user_cache_path  # a checkout does without

    _at_home(Path.home)  # or platformdirs would write into a folder called "~"
    return user_cache_path("frlcore", appauthor=False)


def _at_home(look: Callable[[], Path]) -> Path:
    try:
        return look()
    except RuntimeError as error:  # no HOME, and the system does not know this user
        raise UserError("there is no home folder to keep files in; set HOME, or FRL_STORE to a whole path") from error
