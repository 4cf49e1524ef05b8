"""The folder of results while the work is unfinished: which work it holds, so that the same command goes on with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frlcore.errors import UserError
from frlcore.repro.runs.locks import held
from frlcore.repro.runs.task import canonical
from frlcore.saving import put

STATE = ".state"  # the folder inside; it is gone when the results are there
SETTINGS, LOCK = "settings.json", "lock"
PAGE = "report.html"  # the last that `frl fit` and `frl audit` write


def admit(out: Path, settings: Mapping[str, Any]) -> None:
    """Let `out` pass if it is new, empty, or holds the unfinished work of the same settings; UserError otherwise."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    path = out / STATE / SETTINGS
    if not path.is_file():
        if (out / PAGE).is_file():
            raise UserError(f"{out} holds finished work, see {out / PAGE}; choose another --out, or empty it first")
        if out.exists() and any(entry.name != STATE for entry in out.iterdir()):
            raise UserError(f"{out} is not empty; choose another --out, or empty it first")
        return
    try:
        before = json.loads(path.read_bytes())
        if not isinstance(before, dict):
            raise ValueError
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; delete {out} and run again") from error
    changed = [name for name in {**settings, **before} if before.get(name) != settings.get(name)]
    if changed:
        was = ", ".join(_option(name, before[name]) for name in changed if before.get(name) is not None)
        was = f"with {was}" if was else f"without {', '.join(map(_option, changed))}"
        raise UserError(f"{out} holds unfinished work {was}; go on with that, or choose another --out")


def finish(state: Path) -> None:
    """Take the unfinished work away, now that the results are there; a Ctrl-C meanwhile comes too late to stop it."""
    try:
        shutil.rmtree(state)
    except KeyboardInterrupt:
        shutil.rmtree(state, ignore_errors=True)


def _option(name: str, value: Any = "") -> str:
    """As it is written on the command line; a file that is known by its digest alone is called another one."""
    shown = "another file" if len(str(value)) == 64 else value
    return f"--{name.replace('_', '-')} {shown}".rstrip()


def apart(out: Path, folder: Path) -> None:
    """UserError where results would lie among the images, as one more class."""
    inner, outer = (Path(os.path.realpath(path)) for path in (out, folder))
    if inner.is_relative_to(outer):
        raise UserError(f"{out} lies inside {folder} and would be taken for a class; choose another --out")


@contextmanager
def at_work(out: Path, settings: Mapping[str, Any], command: str) -> Iterator[Path]:
    """The folder of unfinished work in `out`, this process's alone; it goes again where nothing has been left in it.

    Raises UserError for what `admit` does not let pass, and when another `command` is at work there.
    """
    admit(out, settings)
    state, created = out / STATE, not out.exists()
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {out}: {error.strerror or error}; choose another --out") from error
    with held(state / LOCK, timeout=0) as mine:
        if not mine:
            raise UserError(f"another {command} is at work in {out}; wait for it or choose another --out")
        try:
            admit(out, settings)  # once more: another one may have begun, and been stopped, in between
            put(state / SETTINGS, canonical(settings))
            yield state
        finally:
            own = (SETTINGS, LOCK, f"{LOCK}.held")
            if state.exists() and all(entry.name in own for entry in state.iterdir()):
                shutil.rmtree(state)
            if created and not any(out.iterdir()):
                out.rmdir()
