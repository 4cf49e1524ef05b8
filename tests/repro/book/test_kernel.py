"""Notebooks run in the Python that asks for it, whatever other environments call "python3"."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client import connect
from jupyter_client.kernelspec import KernelSpecManager

from frlcore.errors import UserError
from frlcore.repro.book import kernels, notebook


@pytest.fixture
def in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A "python3" of another environment, found before ours."""
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "other", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert KernelSpecManager().get_kernel_spec("python3").display_name == "other"
    return tmp_path


def test_the_kernel_is_this_python(in_front: Path) -> None:
    spec = kernels.OwnKernel(kernel_name="python3").kernel_spec
    assert spec.argv[:3] == [sys.executable, "-m", "ipykernel_launcher"]


def test_a_notebook_runs_in_it(in_front: Path) -> None:
    source = in_front / "01_one.md"
    head = "---\nkernelspec: {name: python3, display_name: Python 3, language: python}\n---\n\n"
    source.write_text(head + "```{code-cell} python3\nimport sys\nsys.executable\n```\n", encoding="utf-8")
    done = notebook.execute(source, in_front / "out.ipynb", {}, cwd=in_front)
    assert repr(sys.executable) in done.read_text(encoding="utf-8")


def test_a_kernel_that_does_not_start_is_one_line(in_front: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = in_front / "01_one.md"
    source.write_text("```{code-cell} python3\n1\n```\n", encoding="utf-8")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="its kernel died or hung"):
        notebook.execute(source, in_front / "out.ipynb", {}, cwd=in_front)


def test_a_forked_kernel_is_this_python_with_the_same_answers(in_front: Path) -> None:
    source = in_front / "01_one.md"
    head = "---\nkernelspec: {name: python3, display_name: Python 3, language: python}\n---\n\n"
    lines = ["import os, subprocess, sys", "print(sys.executable, os.getcwd())", "subprocess.run(['true']).returncode"]
    source.write_text(head + "```{code-cell} python3\n" + "\n".join(lines) + "\n```\n", encoding="utf-8")
    with kernels.nursery(in_front) as forked:
        assert forked is not kernels.OwnKernel
        done = [
            nbformat.read(notebook.execute(source, in_front / f"{n}.ipynb", {}, cwd=in_front, kernel=kernel), 4)
            for n, kernel in enumerate((kernels.OwnKernel, forked))
        ]
    outputs = [one.cells[-1].outputs for one in done]
    assert outputs[0] == outputs[1] and outputs[0][0].text == f"{sys.executable} {in_front}\n"


def test_a_forked_kernel_ends_with_the_one_who_asked_for_it(in_front: Path) -> None:
    with kernels.nursery(in_front) as forked:
        place, file = forked.command[-1], in_front / "connection.json"
        connect.write_connection_file(str(file))
        asker = subprocess.Popen([sys.executable, *forked.command, str(file)])
        server = _who_serves(place)
        wait_for(server.children, "a kernel")
        asker.kill()
        asker.wait()
        wait_for(lambda: not server.children(), "its end")
    assert not server.is_running() and not Path(place).exists()


@pytest.mark.parametrize("missing", ["a Python that imports", "a folder for the socket", "Linux"])
def test_without_a_nursery_each_kernel_imports_for_itself(
    in_front: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(**_: str) -> None:
        raise OSError(30, "Read-only file system")

    if missing == "a Python that imports":
        monkeypatch.setattr(sys, "executable", "/bin/false")
    elif missing == "Linux":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(kernels, "TemporaryDirectory", refuse)
    with kernels.nursery(in_front) as kernel:
        assert kernel is kernels.OwnKernel


def _who_serves(place: str) -> psutil.Process:
    (server,) = [child for child in psutil.Process().children() if child.cmdline()[-1] == place]
    return server


def wait_for(there: Callable[[], object], what: str) -> None:
    for _ in range(200):
        if there():
            return
        time.sleep(0.05)
    pytest.fail(f"waited for {what}")
