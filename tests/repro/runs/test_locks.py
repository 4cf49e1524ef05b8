"""Locks where the file system knows them and where it does not."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from frlcore.repro.runs.locks import UNKNOWN, held

HOLD = """
import fcntl, sys, time
from pathlib import Path
def refuse(*_):
    raise OSError(38, "Function not implemented")
fcntl.flock = refuse
from frlcore.repro.runs.locks import held
with held(Path(sys.argv[1]), -1):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("code", [None, *sorted(UNKNOWN)])
def test_one_at_a_time(code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "not here")

    (tmp_path / "lock").touch()  # one that a copy brought along
    if code:
        monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with held(tmp_path / "lock", -1) as first, held(tmp_path / "lock", 0) as second:
            assert first and not second


def test_without_locks_a_killed_holder_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with held(tmp_path / "lock", 0) as mine:
        assert not mine
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with held(tmp_path / "lock", 10) as mine:
        assert mine


def test_another_error_is_not_taken_for_a_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), held(tmp_path / "nowhere" / "lock", 0):
        pass
