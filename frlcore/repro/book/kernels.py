"""Kernels for the pages of a book, forked from one process that has imported what they import: seconds a page.

Jupyter starts what it takes for a kernel (`_ASK`): it asks the nursery for one and lives as long as that does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

SHARED = ("ipykernel.kernelapp", "matplotlib.pyplot", "pandas", "scipy.stats", "sympy", "torch._dynamo",
          "frlcore.repro.paper.figures", "frlcore.repro.paper.tables")  # fmt: skip
_ASK = """
import json, os, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX) as nursery:
    nursery.connect(sys.argv[1])
    nursery.sendall(json.dumps([sys.argv[2], os.getcwd()]).encode() + b"\\n")
    nursery.recv(1)
"""


class OwnKernel(AsyncKernelManager):
    """A kernel of the Python that runs this, whichever "python3" other environments have put before it."""

    command = ("-m", "ipykernel_launcher", "-f")

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, *self.command, "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


@contextmanager
def nursery(root: Path) -> Iterator[type[OwnKernel]]:
    """A kind of kernel that is there at once, while this is open; where that cannot be, the kind that is not.

    It has the environment that is set now, and `root` among the places to import from. Only on Linux: elsewhere what
    is imported does not survive a fork.
    """
    if sys.platform != "linux":
        yield OwnKernel
        return
    try:
        folder = TemporaryDirectory(prefix="frl-", dir="/tmp")  # a socket's path must be short
    except OSError:
        yield OwnKernel
        return
    with folder:
        place = f"{folder.name}/nursery"
        process = subprocess.Popen(
            [sys.executable, "-m", "frlcore.repro.book.kernels", place], cwd=root, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin and process.stdout
        with process, process.stdin:  # which ends it
            ready = process.stdout.readline()
            command = ("-I", "-S", "-c", _ASK, place)
            yield type("ForkedKernel", (OwnKernel,), {"command": command}) if ready else OwnKernel


def _serve(place: str) -> None:
    """Fork a kernel for everyone who asks at the socket `place`, until standard input is closed."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel ends when its parent does
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as a kernel has it
    for name in SHARED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        print("ready", flush=True)
        os.dup2(2, 1)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            asker = door.accept()[0]
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                door.close()
                _be_kernel(asker)
            asker.close()


def _be_kernel(asker: socket.socket) -> None:
    """Be the kernel of a connection file, as long as the one who asked for it is there."""
    file, folder = json.loads(asker.makefile().readline())
    os.chdir(folder)

    def end_with_asker() -> None:
        with suppress(OSError):
            asker.recv(1)
        os._exit(1)

    threading.Thread(target=end_with_asker, daemon=True).start()
    try:
        import_module("ipykernel.kernelapp").launch_new_instance(argv=["-f", file, "--log-level=CRITICAL"])
    finally:
        os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
