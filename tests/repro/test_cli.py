"""The command `frl`: what it prints, and one line and a status for everything that goes wrong."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from frlcore.errors import UserError
from frlcore.repro import cli
from frlcore.repro.paper import cost, plan
from frlcore.repro.places import PROJECT
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Check, Run
from frlcore.repro.runs.worker import carry_out

OPTIONS = {
    "run": [
        "PLAN", "--edition", "--seeds", "--workers", "--threads", "--device", "--time-limit", "table2", "90s",
    ],
    "status": ["--edition", "--seeds"],
    "cost": ["PLAN", "--edition", "--seeds", "--gpus", "FLOPs"],
    "device-plan": ["--minutes", "CIFAR-10", "copy"],
    "publish": ["PLAN", "--edition", "--seeds", "--unfinished", "data/runs"],
    "export": ["RUN", "--out", "frl audit"],
    "show": ["PLAN", "--edition", "--csv", "figure1"],
    "book": ["--edition", "--seeds", "--workers", "--smoke"],
    "fit": ["PATH", "--eps", "--tau", "--size", "--variant", "--out"],
    "audit": ["MODEL", "--data", "--against", "--eps", "--norm", "--attack", "--per-class", "--out", "robustbench"],
    "notebook": ["NAME", "--output", "-p KEY VALUE"],
}


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def frl(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`frl(*arguments)` in this process, on an empty store."""
    monkeypatch.setenv("COLUMNS", "100")

    def command(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["frl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, *capsys.readouterr())

    return command


@pytest.fixture
def filled(undisturbed: Store, tiny_plan: list[Run], monkeypatch: pytest.MonkeyPatch, frl: Command) -> Command:
    """`frl`, on a store in which the plan "tiny" is done."""
    monkeypatch.setenv("FRL_STORE", str(undisturbed.root))
    return frl


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (["cost", "tiny", "--edition", "smoke"], "tiny, edition smoke: 4 runs and checks", "One run on a GPU"),
        (["device-plan"], "Before the time begins", ""),
    ],
)
def test_what_has_several_lines_is_printed_in_lines(
    tiny_plan: list[Run], frl: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], first: str, last: str
) -> None:
    monkeypatch.setattr(cost, "pace", lambda *_: 1e-5)
    ended = frl(*words)
    lines = ended.out.splitlines()
    assert ended.status == 0 and len(lines) > 5 and "\\n" not in ended.out
    assert lines[0].startswith(first) and lines[-1].startswith(last)


# ------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", OPTIONS)
def test_help_reads_like_a_manual_page(frl: Command, command: str) -> None:
    ended = frl(command, "--help")
    assert ended.status == 0 and ended.err == ""
    text = " ".join(ended.out.replace("│", " ").split())
    for word in OPTIONS[command]:
        assert word in text, word
    assert len(text) > 300


def test_the_first_help_names_every_command(frl: Command) -> None:
    ended = frl("--help")
    assert ended.status == 0
    assert set(re.findall(r"^│ ([\w-]+)", ended.out.partition("Commands")[2], re.M)) == set(OPTIONS)
    assert "Usage" in frl().out


# ------------------------------------------------------------------------------------------------- run, status, show


def test_run_says_that_all_is_there(filled: Command) -> None:
    ended = filled("run", "tiny", "--edition", "smoke")
    assert (ended.status, ended.out, ended.err) == (0, "All 4 runs are in the store.\n", "")


def test_run_stops_at_the_time_limit(frl: Command, tiny_plan: list[Run]) -> None:
    ended = frl("run", "tiny", "--edition", "smoke", "--device", "cpu", "--time-limit", "0s")
    assert ended.status == 0 and ended.err == ""
    assert "0 of 4 runs are in the store, 4 to go" in ended.out
    assert "Stopped at the time limit" in ended.out and "4 of 4 runs to go" in ended.out


def test_what_names_everything_or_asks_for_too_much_is_one_line(frl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, said in (
        (["show", "all"], "'all' is every plan at once; name one of: "),
        (["run", "table2", "--seeds", "1000000000"], "seeds must be from 1 to 1000"),
    ):
        ended = frl(*words)
        assert ended.status == 2 and said in ended.err and ended.err.count("\n") == 1
    monkeypatch.setenv("COLUMNS", "0")  # no width at all
    assert "table2" in frl("status", "--edition", "smoke").out


def test_run_tells_what_it_did(frl: Command, tiny_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    cli.conduct([tiny_run()], {tiny_run().key: "tiny"}, cli.out, device="cpu", deadline=time.time() + 540)
    assert "Trained and tested 1 runs in" in capsys.readouterr().out


def test_status_counts_and_names_the_command_for_the_rest(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    ended = filled("status", "--edition", "smoke")
    lines = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert ended.status == 0 and list(lines) == list(plan.PLANS)  # a line each, none wrapped
    assert len({line.index(" of ") for line in ended.out.splitlines()}) == 1  # one column
    assert lines["tiny"].split() == ["4", "of", "4", "runs", "done"]
    assert lines["table1"].split(maxsplit=5)[:3] == ["2", "of", "4"]
    assert lines["algorithm1"].endswith("frl run algorithm1 --edition smoke --seeds 1")


def test_show_prints_the_table_and_writes_its_numbers(
    filled: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    target = tmp_path / "numbers [1].csv"
    ended = filled("show", "tiny", "--edition", "smoke", "--csv", str(tmp_path / "no" / "t.csv"))
    assert ended.status == 2 and "cannot write" in ended.err and ended.err.count("\n") == 1
    ended = filled("show", "tiny", "--edition", "smoke", "--csv", str(target))
    assert ended.status == 0 and ended.err == ""
    for method in ("pgd", "frl-reweight+remargin-0.05"):
        assert plan.label(method) in ended.out
    assert str(target) in ended.out
    with open(target) as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"pgd", "frl-reweight+remargin-0.05"}
    assert all(0 <= float(row["low"]) <= float(row["value"]) <= float(row["high"]) <= 100 for row in rows
               if row["statistic"] != "worst")  # fmt: skip


def test_show_names_the_command_that_makes_what_is_missing(frl: Command) -> None:
    ended = frl("show", "table1", "--edition", "smoke")
    assert "frl run table1 --edition smoke" in ended.out + ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("check", ["to come", "done", "none"])
def test_publishing_copies_finished_records_and_the_weights_others_need(
    frl: Command, store: Store, tiny_plan: list[Run], undisturbed: Store, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    for name in ("autoattack", "successors-autoattack"):
        monkeypatch.setitem(plan.PLANS, name, () if check == "none" else plan.PLANS[name])
    checks = {one.key for one in plan.runs(plan.ALL, "smoke") if isinstance(one, Check)} if check == "done" else set()
    monkeypatch.setattr(store, "done", lambda key: key in checks or Store.done(store, key))
    parent, child = tiny_plan[0], tiny_plan[2]
    assert child.start is not None and child.start.key == parent.key
    shutil.copytree(undisturbed.root, store.root)
    shutil.rmtree(store.folder(tiny_plan[3].key))
    monkeypatch.setattr(cli, "default_store", lambda: store)
    ended = frl("publish", "tiny", "--edition", "smoke")
    assert ended.status == 0 and "Published 3 of 4 runs" in ended.out
    fresh = Store(store.root.parent / "elsewhere", store.published)
    assert fresh.done(parent.key) and fresh.done(child.key) and not fresh.done(tiny_plan[3].key)
    before, made = fresh.provenance(parent.key), store.folder(parent.key) / "provenance.json"
    made.write_text(json.dumps(before | {"finished": "later, to the same bytes"}))
    assert frl("publish", "tiny", "--edition", "smoke").status == 0 and fresh.provenance(parent.key) == before
    assert fresh.trained(parent.key)  # the others start from it
    assert fresh.trained(child.key) is (check == "to come")  # AutoAttack needs it
    other = store.published / parent.key[:20] / "result.json"
    other.write_bytes(b"of a machine that rounds otherwise")
    ended = frl("publish", "tiny", "--edition", "smoke")
    assert ended.status == 2 and f"run {parent.key[:12]} is published already and came out otherwise here" in ended.err
    assert other.read_bytes() == b"of a machine that rounds otherwise"
    shutil.rmtree(other.parent)  # as the line says, to replace it
    assert frl("publish", "tiny", "--edition", "smoke").status == 0 and fresh.result(parent.key) is not None
    made = store.folder(child.key) / "provenance.json"
    made.write_text(json.dumps(store.provenance(child.key) | {"start": "0" * 64}))  # as if the parent had been another
    ended = frl("publish", "tiny", "--edition", "smoke")
    assert ended.status == 2 and f"weights of run {parent.key[:12]} that are not those of its published" in ended.err
    path = store.folder(child.key) / "result.json"
    path.write_bytes(path.read_bytes().replace(b"digits", b"digitz"))
    ended = frl("publish", "tiny", "--edition", "smoke")
    assert ended.status == 2 and "was changed after it was written" in ended.err
    assert fresh.result(child.key) is not None  # what was published stays as it was


def test_an_unfinished_run_handed_on_ends_elsewhere_as_if_it_had_never_moved(
    frl: Command, store: Store, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.run("smoke", "pgd")
    monkeypatch.setitem(plan.PLANS, "tiny", ("pgd",))
    monkeypatch.setattr(cli, "default_store", lambda: store)
    assert not carry_out(run, store, device="cpu", after_step=lambda epoch: True)
    ended = frl("publish", "tiny", "--edition", "smoke", "--unfinished")
    assert ended.status == 0 and "Published 0 of 2" in ended.out and "Handed on 1 unfinished runs" in ended.out
    elsewhere = Store(store.root.parent / "elsewhere", store.published)
    state = elsewhere.load_state(run.key)
    assert state is not None and state.epoch == 1 and not elsewhere.done(run.key)
    assert carry_out(run, elsewhere, device="cpu")
    assert (elsewhere.folder(run.key) / "result.json").read_bytes() == (
        undisturbed.folder(run.key) / "result.json"
    ).read_bytes()
    elsewhere.publish(run.key, weights=True)
    assert {path.name for path in (store.published / run.key[:20]).iterdir()} == {
        "result.json", "provenance.json", "last.safetensors",
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "table9"], ["table9", "table2"]),
        (["run", "table2", "--edition", "mnist"], ["mnist", "digits"]),
        (["run", "table2", "--seeds", "0"], ["seeds", "0"]),
        (["run", "table1", "--edition", "smoke", "--workers", "0"], ["workers", "0"]),
        (["run", "table1", "--edition", "smoke", "--workers", "-2"], ["workers", "-2"]),
        *(
            (["run", "table1", "--edition", "smoke", "--time-limit", text], ["9m", f"'{text}'"])
            for text in ("soon", "10", "5d", "-5m", "")
        ),
        (["run", "table1", "--edition", "smoke", "--device", "cuda:99"], ["cuda:99", "such as cpu"]),
        (["run", "table1", "--edition", "smoke", "--device", "abacus"], ["abacus", "such as cpu"]),
        (["status", "--edition", "mnist"], ["mnist", "digits"]),
        (["status", "--seeds", "-1"], ["seeds", "-1"]),
        (["show", "table9"], ["table9", "table2"]),
        (["show", "table2", "--edition", "mnist"], ["mnist", "digits"]),
        (["book", "--edition", "mnist"], ["mnist", "digits"]),
        (["book", "--edition", "digits", "--edition", "mnist"], ["mnist", "digits"]),
        (["book", "--edition", "digits", "--edition", "smoke"], ["digits", "smoke"]),
        (["notebook", "99_nothing"], ["99_nothing", "05_experiments"]),
        (["notebook", "05", "-p", "edition"], ["-p KEY VALUE"]),
        (["notebook", "05", "edition", "digits", "-p"], ["-p KEY VALUE"]),
        (["notebook", "05", "--edition", "digits"], ["-p KEY VALUE"]),
        (["notebook", "05", "-p", "sedes", "1"], ["sedes", "edition (str, default"]),
        (["notebook", "05", "-p", "edition", "smoke", "-p", "sedes", "1"], ["sedes", "edition (str, default"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    frl: Command, store: Store, arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments[0] == "book":
        monkeypatch.setattr(cli, "conduct", lambda *_, **__: pytest.fail("it trains before it has looked"))
    ended = frl(*arguments)
    assert ended.status == 2
    assert ended.err.startswith("frl: ") and ended.err.count("\n") == 1 and ended.err.endswith("\n")
    assert all(word in ended.err for word in words), ended.err
    assert not [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["run", "table1", "--sedes", "2"], "--sedes"),
        (["trian"], "trian"),
        (["run", "table1", "--seeds", "two"], "--seeds"),
        (["run", "table1", "table2"], "table2"),
        (["notebook"], "NAME"),
        (["show", "table1", "--csv"], "--csv"),
    ],
)
def test_usage_errors_name_the_word_and_end_with_status_2(frl: Command, arguments: list[str], word: str) -> None:
    ended = frl(*arguments)
    assert ended.status == 2 and word in ended.err and "Traceback" not in ended.err


def test_a_csv_that_cannot_be_written_is_one_line(filled: Command, tmp_path: Path) -> None:
    ended = filled("show", "tiny", "--edition", "smoke", "--csv", str(tmp_path))
    assert ended.status == 2 and ended.err.startswith(f"frl: cannot write {tmp_path}") and ended.err.count("\n") == 1


def test_an_impossible_store_is_one_line(frl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("FRL_STORE", str(tmp_path / "file" / "store"))
    ended = frl("run", "table1", "--edition", "smoke", "--device", "cpu")
    assert ended.status == 2 and ended.err.startswith("frl: ") and ended.err.count("\n") == 1
    assert str(tmp_path / "file") in ended.err and "FRL_STORE" in ended.err
    monkeypatch.setenv("FRL_STORE", str(tmp_path / ("x" * 300)))
    ended = frl("status")
    assert ended.status == 2 and ended.err.startswith("frl: ") and ended.err.count("\n") == 1


@pytest.mark.parametrize("command", [["show", "tiny"], ["run", "tiny"]])
def test_a_damaged_record_is_one_line(
    frl: Command, undisturbed: Store, store: Store, tiny_plan: list[Run], command: list[str]
) -> None:
    for run in tiny_plan:
        store.folder(run.key).mkdir(parents=True)
        for path in undisturbed.folder(run.key).glob("*.*"):
            (store.folder(run.key) / path.name).write_bytes(path.read_bytes())
    damaged = store.folder(tiny_plan[0].key) / ("result.json" if command[0] == "show" else "last.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    (store.folder(tiny_plan[2].key) / "result.json").unlink()  # its child is to be made again
    if command[0] == "show":
        (store.folder(tiny_plan[2].key) / "result.json").write_bytes(
            (undisturbed.folder(tiny_plan[2].key) / "result.json").read_bytes()
        )
    ended = frl(*command, "--edition", "smoke")
    assert ended.status == 2 and ended.err.startswith(f"frl: {damaged} ") and ended.err.count("\n") == 1
    assert damaged.stat().st_size == 1000


# ------------------------------------------------------------------------------------------------------- small parts


@pytest.mark.parametrize("text, expected", [("90s", 90), ("9m", 540), ("2h", 7200), ("1.5m", 90), (" 0s ", 0)])
def test_a_time_limit_in_seconds(text: str, expected: float) -> None:
    assert cli.seconds(text) == expected


def test_words_of_a_parameter_list() -> None:
    assert cli.words([]) == []
    assert cli.words(["-p", "edition", "smoke", "-p", "level", "-0.5"]) == ["edition", "smoke", "level", "-0.5"]
    with pytest.raises(UserError):
        cli.words(["-p", "edition", "smoke", "level", "-p", "1"])


def test_notebook_parameters_reach_the_notebook(
    frl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        "frlcore.repro.book.pages.execute", lambda source, target, values: calls.append((source.stem, values)) or target
    )
    target = tmp_path / "a name [with] brackets that is long enough to be wrapped on a narrow terminal.ipynb"
    ended = frl("notebook", "05", "-p", "edition", "smoke", "--output", str(target))
    assert (ended.status, ended.err) == (0, "")
    assert calls == [("05_experiments", {"edition": "smoke"})]
    assert ended.out == f"Executed notebook: {target}\n"


# -------------------------------------------------------------------------------------------------- in a process alone


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=PROJECT)


def test_training_needs_none_of_the_books_packages() -> None:
    """A machine with a GPU often has no more than torch, torchvision and the usual numerical packages."""
    code = """
import sys
for name in ("papermill", "jupytext", "nbformat", "pydantic", "IPython", "matplotlib", "seaborn", "yaml"):
    sys.modules[name] = None  # an import of it fails
import frlcore.repro.cli
import frlcore.repro.runs.worker
import frlcore.repro.runs.engines
import frlcore.repro.paper.records
import frlcore.repro.paper.tables
assert "torch" in sys.modules
"""
    ended = python(code)
    assert ended.returncode == 0, ended.stderr


def test_reading_records_needs_no_torch() -> None:
    """So that `frl --help`, `frl show` and every page that only reads them start at once; nor SciPy's slow parts."""
    code = """
import sys
import frlcore.repro.cli
from frlcore.repro.paper import audits, claims, explorer, figures, headline, inequality, outside, records, successors
from frlcore.repro.paper import tables, verdict_pages
assert not {"torch", "scipy.stats", "scipy.optimize"} & set(sys.modules)
"""
    ended = python(code)
    assert ended.returncode == 0, ended.stderr


def test_control_c_does_not_wait_for_running_notebooks() -> None:
    code = """
import sys, threading, time
from frlcore.repro import cli

def interrupted(*_, **__):
    threading.Thread(target=time.sleep, args=(300,)).start()  # as the threads that wait for a kernel
    raise KeyboardInterrupt

cli.conduct = interrupted
sys.argv = ["frl", "run", "table1"]
cli.main()
"""
    begin = time.monotonic()
    ended = python(code)
    assert ended.returncode == 130 and time.monotonic() - begin < 50
    assert ended.stderr == "frl: stopped; run the same command again to go on from the last whole epoch\n"


def test_a_notebook_that_cannot_be_written_is_refused_before_it_runs(
    frl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    ended = frl("notebook", "A2", "--output", str(tmp_path))
    assert ended.status == 2
    assert ended.err == f"frl: cannot write {tmp_path}: it is a folder; choose another place\n"
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))
