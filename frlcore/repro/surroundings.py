"""What a command finds around it: an output that may fail, a home, a folder for sockets, a share of the processors."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from frlcore.errors import UserError

SOCKET_ROOM = 64  # bytes of a folder's name that leave enough of the 104 (Linux: 108) that a socket's may have
CGROUPS = Path("/sys/fs/cgroup")


class OutputError(UserError):
    """Standard output is closed or full."""


class _Output:
    """Standard output that shows "?" for what its encoding lacks and says in one line when nobody takes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):  # or the interpreter would fail once more at its end, on what is still buffered
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise OutputError(f"the output cannot be written: {error.strerror}") from error


@contextmanager
def watched_output() -> Iterator[None]:
    """Print through `_Output` inside, whatever prints; raises OutputError when it is closed or full."""
    if sys.stdout is None:  # closed before we began: Python and rich print nothing
        yield
        return
    with redirect_stdout(_Output(sys.stdout)):
        try:
            yield
        finally:
            sys.stdout.flush()


def complain(line: str) -> None:
    """One line on standard error, if that can be written."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def socket_folder() -> str | None:
    """A folder for temporary files whose name is short enough for a socket in it; None if there is none."""
    try:
        usual = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError("no folder for temporary files can be written; make room, or set TMPDIR to one") from error
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if len(os.fsencode(folder)) <= SOCKET_ROOM and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


@contextmanager
def a_home() -> Iterator[None]:
    """A home inside, for programs that keep their settings in one: a temporary folder if this user has none."""
    try:
        there = Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know this user
        there = None
    if there and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="frl-home-", ignore_cleanup_errors=True) as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before


def processors() -> int:
    """How many processors this process may use: its affinity, and the quota of its control groups (v2), rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, -int(-quota // 1)))


def cpu_quota(groups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors that the control groups (v2) of this process grant, the least on the way up; None without a limit."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
        path = next(line[3:] for line in lines if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    quotas = []
    folder = groups / path.strip("/")
    for level in (folder, *folder.parents):
        with suppress(OSError, ValueError, IndexError, ZeroDivisionError):  # no such file, or "max 100000"
            quota, period = (level / "cpu.max").read_text(encoding="ascii").split()[:2]
            quotas.append(int(quota) / int(period))
        if level == groups:
            break
    return min(quotas, default=None)
