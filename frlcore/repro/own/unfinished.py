"""The folder of results while the work is unfinished: which work it holds, so that the same command goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frlcore.errors import UserError

STATE = ".state"  # the folder inside; it is gone when the results are there


def admit(out: Path, settings: Mapping[str, Any]) -> None:
    """Let `out` pass if it is new, empty, or holds the unfinished work of the same settings; UserError otherwise."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    path = out / STATE / "settings.json"
    if not path.is_file():
        raise UserError(f"{out} is not empty; choose another --out, or empty it first")
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; delete {out} and run again") from error
    changed = [name for name, value in settings.items() if before.get(name) != value]
    if changed:
        was = ", ".join(f"--{name.replace('_', '-')} {before.get(name)}" for name in changed)
        raise UserError(f"{out} holds unfinished work with {was}; go on with that, or choose another --out")
