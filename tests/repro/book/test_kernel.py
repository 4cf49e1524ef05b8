"""Notebooks run in the Python that asks for it, whatever other environments call "python3"."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from frlcore.errors import UserError
from frlcore.repro.book import notebook


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
    spec = notebook.OwnKernel(kernel_name="python3").kernel_spec
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
