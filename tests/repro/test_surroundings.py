"""Outputs that cannot show a character, are closed or full; long folders, no home, a share of the processors."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from frlcore.repro import cli, surroundings
from frlcore.repro.places import checkout
from frlcore.repro.runs import engines
from frlcore.repro.surroundings import a_home, cpu_quota, processors, socket_folder, watched_output

SAY = r"""
from frlcore.repro import cli
def say():
    cli.out.print("1/\u03bb = 6 \udcff \u2500")
    print("1/\u03bb")
cli.app = say
cli.main()
"""
FRL = "import sys; from frlcore.repro import cli; sys.argv[1:] = [{!r}]; cli.main()"


def run(code: str, shell: str, **changes: str) -> subprocess.CompletedProcess[bytes]:
    """A Python program whose output goes where `shell` leads it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | changes
    command = ["sh", "-c", f'"$0" -c "$1" {shell}', sys.executable, code]
    return subprocess.run(command, capture_output=True, cwd=checkout(), env=environment, timeout=120)


@pytest.mark.parametrize(
    ("encoding", "words"), [("ascii", b"1/? = 6"), ("cp1252", b"1/? = 6"), ("utf-8", "1/\u03bb = 6".encode())]
)
def test_what_the_output_cannot_show_is_replaced(encoding: str, words: bytes) -> None:
    ended = run(SAY, "", PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert words in ended.stdout and ended.stdout.count(b"\n") == 2


@pytest.mark.parametrize(
    ("command", "shell", "line"),
    [
        ("status", ">/dev/full", b"frl: the output cannot be written: No space left on device\n"),
        ("--help", ">/dev/full", b"frl: the output cannot be written: No space left on device\n"),
        ("status", "| sleep 0", b"frl: the output cannot be written: Broken pipe\n"),
    ],
)
def test_an_output_that_fails_is_one_line(command: str, shell: str, line: bytes) -> None:
    code = (
        f"import sys, time; from frlcore.repro import cli; sys.argv = ['frl', '{command}']; time.sleep(0.5); cli.main()"
    )
    ended = run(code, shell)
    assert ended.stderr == line
    if "|" not in shell:
        assert ended.returncode == 2


def test_an_output_that_is_closed_from_the_start_is_none() -> None:
    ended = run(FRL.format("status"), ">&-")
    assert (ended.returncode, ended.stderr) == (0, b"")


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("command", "goes_on"), [("run", True), ("fit", True), ("status", False), ("show", False)])
def test_only_what_trains_promises_to_go_on(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["frl", command])
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(cli, "app", lambda: print("a line"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert ("run the same command again" in error) == goes_on


def test_other_errors_of_the_system_are_not_taken_for_the_output() -> None:
    with pytest.raises(FileNotFoundError), watched_output():
        open("/nowhere/at/all")  # noqa: SIM115


def test_workers_start_where_the_temporary_folder_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = socket_folder()
    assert folder is not None and len(folder) <= surroundings.SOCKET_ROOM and os.access(folder, os.W_OK)
    used = []
    monkeypatch.setattr(engines.forkserver, "ensure_running", lambda: used.append(tempfile.gettempdir()))
    assert engines._context().get_start_method() == "forkserver"
    assert used == [folder] and tempfile.gettempdir() == str(long)


def test_without_a_short_folder_workers_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "socket_folder", lambda: None)
    assert engines._context().get_start_method() == "spawn"


@pytest.mark.parametrize("home", ["/nowhere/at/all", None])
def test_a_home_for_those_who_have_none(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    if home:
        monkeypatch.setenv("HOME", home)
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(Path, "home", classmethod(nowhere))
    with a_home():
        folder = Path(os.environ["HOME"])
        assert folder.is_dir() and folder.name.startswith("frl-home-")
    assert not folder.exists() and os.environ.get("HOME") == home


def test_a_home_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with a_home():
        assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/a/b\n", {"a/b": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/b": "max 100000", "a": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/b": "200000 100000", "a": "300000 100000"}, 2.0),
        ("0::/\n", {"": "100000 100000"}, 1.0),  # in a container
        ("1:name=systemd:/\n0::/a\n", {"a": "max 100000"}, None),
        ("0::/a\n", {"a": "rubbish"}, None),
        ("4:cpu:/\n", {"": "100000 100000"}, None),  # no control groups of version 2
    ],
)
def test_the_quota_is_the_least_on_the_way_up(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "own").write_text(own)
    groups = tmp_path / "cgroup"
    for name, content in files.items():
        (groups / name).mkdir(parents=True, exist_ok=True)
        (groups / name / "cpu.max").write_text(content + "\n")
    assert cpu_quota(groups, tmp_path / "own") == quota
    assert cpu_quota(groups, tmp_path / "absent") is None


@pytest.mark.parametrize(("quota", "count"), [(None, 4), (0.2, 1), (1.0, 1), (1.5, 2), (2.0, 2), (64.0, 4)])
def test_workers_are_as_many_as_the_quota_feeds(
    quota: float | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(surroundings, "cpu_quota", lambda: quota)
    assert processors() == len(engines.places("cpu")) == count
