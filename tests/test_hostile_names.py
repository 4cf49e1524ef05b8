"""Names that somebody else chose, of classes, files and models, are shown everywhere and obeyed nowhere."""

from __future__ import annotations

import html.parser
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from rich.console import Console

from frlcore import models
from frlcore import page as pages
from frlcore.auditing import Audit
from frlcore.classwise import Outcomes
from frlcore.errors import UserError, plain
from frlcore.repro import cli
from frlcore.repro.own import audit, duration, report
from frlcore.repro.show import literal, source, table
from frlcore.saving import save_model
from frlcore.settings import DataInfo

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07", "\x9b31mred", "cat\u202egnp.exe", "\u2066\u200f\u061cmarks\u2069", "a\nfrl: all is well",
    "back\b\b\bspace\r", "zero\x00", os.fsdecode(b"raw\xff\xfe"), "\u2028line", "[red]bold[/red] [/]", ":skull:",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "&lt;b&gt;",
    "</title></style>",    "| a | b |", "[click](javascript:alert(1))", "$x$ `y` *z* _w_", "![](http://example.org/x.png)",
)  # fmt: skip
ALL = " ".join(HOSTILE)
IN_A_PATH = [name for name in HOSTILE if not {"/", "\0"} & set(name)]
WORST = (  # for what takes long
    "\x1b[2J\x1b]0;owned\x07 <b>", os.fsdecode(b"raw\xff [red] :skull:"), "a\nfrl: all is well\u202e",
)  # fmt: skip
FUNCTION = """
import torch
from torch import nn

class Two(nn.Module):
    def forward(self, x):
        level = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-level, level], 1)

def two(): return Two().eval()
"""
Frl = Callable[..., tuple[int, str, str]]


def harmless(text: str) -> bool:
    """Whether a terminal shows `text` without acting on it, line by line."""
    return all(plain(line) == line for line in text.split("\n"))


class Tags(html.parser.HTMLParser):
    """The elements and attributes of a page, and all that it shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.shown = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(f"@{name}" for name, _ in attrs)}
        self.shown += " ".join(value or "" for name, value in attrs if name in ("alt", "title"))

    def handle_data(self, data: str) -> None:
        self.shown += data


def is_safe(page: str, *names: str) -> None:
    """The page has no element and no address of anybody else's, and every name stands in it as `plain` shows it."""
    page.encode()  # lone surrogates could not be written
    assert harmless(page)
    tags = Tags(page)
    assert not {tag for tag in tags.found if tag in ("script", "a", "iframe", "b", "em", "code") or tag[:3] == "@on"}
    for name in names:
        assert plain(name) in tags.shown


@pytest.fixture
def frl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Frl:
    """The command line in `tmp_path`; whatever it prints is harmless."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(duration, "SECONDS", 0.0)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["frl", *words])
            cli.main()
        out, err = capsys.readouterr()
        assert harmless(out) and harmless(err), out + err
        return int(ended.value.code or 0), out, err

    return run


def pictures(folder: Path, *classes: str, each: int = 8) -> Path:
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(np.full((8, 8, 3), 60 + 120 * level + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


# ------------------------------------------------------------------------------------------------------------ by itself


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_is_one_line_that_no_terminal_obeys(name: str) -> None:
    said = str(UserError(f"no model at {name}"))
    assert plain(said) == said and "\n" not in said and said.startswith("no model at ")


def test_names_of_every_script_stay_as_they_are() -> None:
    for name in ("Katze und Hund", "größe", "猫 と 犬", "חתול", "قطّة", "می‌خواهم", "👩‍👧", "naïve\u00a0cat"):
        assert plain(name) == name and pages.text(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_markdown_is_its_characters_and_no_more(name: str) -> None:
    shown = Tags(MarkdownIt("commonmark").enable("table").render(f"The class “{literal(name)}” is the worst."))
    assert shown.found == {"p"} and shown.shown.strip() == f"The class “{plain(name)}” is the worst."


def test_tables_and_footers_of_the_book_show_names() -> None:
    frame = pd.DataFrame({"class": [*map(literal, HOSTILE)], "error": range(len(HOSTILE))})
    body = table(frame, caption="c", name="tbl-x").data.partition("frl-table")[2].removesuffix(":::\n")
    shown = Tags(MarkdownIt("commonmark").enable("table").render(body))
    assert shown.found <= {"table", "thead", "tbody", "tr", "th", "td", "@style"}
    assert all(" ".join(plain(name).split()) in shown.shown for name in HOSTILE)
    runs = pd.DataFrame({"device": HOSTILE, "commit": HOSTILE})
    found = Tags(source(frame, "x.csv", runs=runs).data)
    assert found.found <= {"div", "@class", "a", "@download", "@href", "details", "summary", "table", "thead", "tbody",
                           "tr", "th", "td"}  # fmt: skip
    assert all(plain(name) in found.shown for name in HOSTILE)


# ------------------------------------------------------------------------------------------------------------ the pages


def test_the_page_of_an_audit_shows_every_name(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(len(HOSTILE)), 4).astype(np.uint8)
    wrong = np.where(np.arange(len(labels)) % 4 == 0, (labels + 1) % len(HOSTILE), labels).astype(np.uint8)
    this, other = (Audit(HOSTILE, Outcomes(labels, labels, found), 0.1, "linf", "PGD-20", 1.0, "0", notes=HOSTILE)
                   for found in (wrong, labels))  # fmt: skip
    this.to_html(tmp_path / "report.html", title=ALL, against=other, settings={"model": ALL, ALL: "x"})
    is_safe((tmp_path / "report.html").read_text(encoding="utf-8"), ALL, *HOSTILE)


def test_the_page_of_a_fit_shows_every_name() -> None:
    labels = np.repeat(np.arange(len(HOSTILE)), 4).astype(np.uint8)
    found = report.Comparison(HOSTILE, *(Outcomes(labels, labels, labels),) * 2)
    page = report.page(found, found.frame(), None, title=ALL, size=8, settings={"model": ALL, ALL: "x"})
    is_safe(page, ALL, *HOSTILE)


# --------------------------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize("name", WORST)
def test_an_audit_of_a_model_and_images_with_such_names(frl: Frl, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(FUNCTION)
    pictures(tmp_path / name, "<b>dark", "light [x] :skull:")
    out = f"{name} out"
    status, said, err = frl("audit", f"{name}.py:two", "--data", name, "--device", "cpu", "--out", out, "--eps", "0.01")
    assert status == 0 and err == "" and plain(f"{out}/report.html") in said
    is_safe((tmp_path / out / "report.html").read_text(encoding="utf-8"), name, "<b>dark", "light [x] :skull:")
    content = json.loads((tmp_path / out / "report.json").read_text(encoding="utf-8"))
    assert content["data"] == name
    frame = pd.read_csv(tmp_path / out / "report.csv")
    assert set(frame["class"].dropna()) == {"<b>dark", "light [x] :skull:"}


@pytest.mark.parametrize("name", WORST)
def test_a_fit_of_images_in_a_folder_of_such_a_name(frl: Frl, tmp_path: Path, name: str) -> None:
    """It would be bitter to fail at the report, after the training."""
    pictures(tmp_path / name, "$dark$ \\", "<svg> &amp; [x]", each=20)
    for i in range(20):  # copies of one picture would stay in one part
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)).save(
            tmp_path / name / "$dark$ \\" / f"{i}.png"
        )
    brief = ["--size", "8", "--model", "preact_small", "--epochs", "1", "--fine-tune-epochs", "1", "--batch-size", "16",
             "--augment", "none", "--device", "cpu"]  # fmt: skip
    status, _, err = frl("fit", name, *brief, "--out", f"{name} out")
    assert status == 0 and err == ""
    page = (tmp_path / f"{name} out" / "report.html").read_text(encoding="utf-8")
    is_safe(page, name, "$dark$ \\", "<svg> &amp; [x]")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_models_own_class_names_do_nothing(frl: Frl, tmp_path: Path, name: str) -> None:
    """The file may come from anybody."""
    model = models.build("preact_small", num_classes=2, in_channels=3, seed=0)
    classes = (name.encode(errors="replace").decode(), "light")
    info = DataInfo("x", classes, (3, 8, 8), 255, "none", "")
    save_model(tmp_path / "m.safetensors", model, name="preact_small", info=info)
    pictures(tmp_path / "images", "dark", "light")
    for words in (["audit", "m.safetensors", "--data", "images"], ["fit", "images", "--start", "m.safetensors"]):
        status, _, err = frl(*words)
        assert status == 2 and err.count("\n") == 1 and plain(classes[0]) in err


@pytest.mark.parametrize("name", WORST)
def test_what_is_wrong_with_a_file_of_such_a_name_is_one_line(frl: Frl, tmp_path: Path, name: str) -> None:
    pictures(tmp_path / name, "dark", "light")
    (tmp_path / name / "dark" / f"{name}.png").write_bytes(b"no picture")
    (tmp_path / f"{name}.py").write_text("def two(): raise ValueError('\\x1b[2J\\u202e')")
    for words in (
        ["fit", name], ["audit", f"{name}.py:two", "--data", name], ["audit", f"{name}.safetensors", "--data", name],
        ["fit", name, "--start", f"{name}.safetensors"], ["fit", name, "--out", f"{name}/x"],
        ["audit", f"robustbench:{name}", "--data", name], ["fit", name, "--eps", name], ["run", name],
        ["notebook", name], ["run", "table1", "--edition", name], ["run", "table1", "--time-limit", name],
    ):  # fmt: skip
        status, _, err = frl(*words)
        assert status == 2 and err.startswith("frl: ") and err.count("\n") == 1, err


@pytest.mark.parametrize("name", HOSTILE)
def test_a_usage_error_repeats_such_a_word_as_text(frl: Frl, name: str) -> None:
    """As with a star of the shell, which puts names of files there."""
    option = f"--{name}"
    for words in (["fit", "images", name], [name], ["run", "table1", option], [option], ["run", "--seeds", name]):
        status, _, err = frl(*words)
        assert status == 2 and "Traceback" not in err


@pytest.mark.parametrize("name", IN_A_PATH)
def test_the_bar_of_an_audit_shows_such_a_name(name: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, legacy_windows=False)
    with audit._Bar(name, 2, console) as bar:
        bar.see(1)
    assert isinstance(console.file, io.StringIO)
    assert plain(name)[:20] in console.file.getvalue() and (plain(name) == name or name not in console.file.getvalue())


def test_a_name_that_the_system_refuses_is_one_line(frl: Frl, tmp_path: Path) -> None:
    for words in (["fit", "x" * 300], ["audit", "y" * 300, "--data", "z"], ["fit", "a/" * 3000]):
        status, _, err = frl(*words)
        assert status == 2 and err.startswith("frl: ") and err.count("\n") == 1
