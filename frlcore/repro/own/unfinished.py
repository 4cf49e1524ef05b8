"""The folder of results while the work is unfinished: which work it holds, so that the same command goes on with it."""

from __future__ import annotations

import json
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


def admit(out: Path, settings: Mapping[str, Any]) -> None:
    """Let `out` pass if it is new, empty, or holds the unfinished work of the same settings; UserError otherwise."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    path = out / STATE / SETTINGS
    if not path.is_file():
        if out.exists() and any(entry.name != STATE for entry in out.iterdir()):
            raise UserError(f"{out} is not empty; choose another --out, or empty it first")
        return
    try:
        before = json.loads(path.read_bytes())
        if not isinstance(before, dict):
            raise ValueError
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; delete {out} and run again") from error
    changed = [name for name, value in settings.items() if before.get(name) != value]
    if changed:
        was = ", ".join(f"--{name.replace('_', '-')} {before.get(name)}" for name in changed)
        raise UserError(f"{out} holds unfinished work with {was}; go on with that, or choose another --out")


@contextmanager
def at_work(out: Path, settings: Mapping[str, Any], command: str) -> Iterator[Path]:
    """The folder of unfinished work in `out`, this process's alone; it goes again where nothing has been left in it.

    Raises UserError for what `admit` does not let pass, and when another `command` is at work there.
    """
    admit(out, settings)
    state = out / STATE
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
            if not any(out.iterdir()):
                out.rmdir()
