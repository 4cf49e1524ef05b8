"""One process at a time, also on file systems that know no locks (some network and FUSE mounts)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNKNOWN = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}  # what such file systems answer


@contextmanager
def held(path: Path, timeout: float) -> Iterator[bool]:
    """Hold the lock `path`: True, or False when another process still has it after `timeout` seconds (-1: wait).

    The lock dies with its process. Where the file system knows no locks, the file `path`.held stands for it; one that a
    killed process left is taken over when that process is gone from this machine. Raises OSError when `path` cannot be
    written.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock = FileLock(path) if _known(path) else SoftFileLock(f"{path}.held")
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _known(path: Path) -> bool:
    """Whether the file system of `path` knows locks; letting go of one that is not held disturbs nobody."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where filelock has another way
        return True
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_UN)
        except OSError as error:
            return error.errno not in UNKNOWN
    return True
