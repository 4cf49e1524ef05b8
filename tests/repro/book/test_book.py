"""The book builder on a book of one tiny notebook."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.book import notebook, numbering, offline, page, pages
from frlcore.repro.runs.store import Store

NOTEBOOK = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# A page

See {numref}`tbl-x` and {eq}`eq-x`; the word fig-y-old stays.

$$
a = b
$$ (eq-x)

```{code-cell} ipython3
:tags: [parameters]
edition: str = "digits"  # which edition's records to show
draws: int = 3  # how many draws
level: float = 0.5  # a level
exact: bool = False  # a switch
seeds: list[int] = [0]  # which seeds
```

```{code-cell} ipython3
from IPython.display import Markdown
if draws > 100:
    raise ValueError("first line\\nthe last line")
Markdown(":::{table} " + edition + "\\n:name: tbl-x\\n\\n| a |\\n| --- |\\n| 1 |\\n:::")
```

```{code-cell} ipython3
# the table's name stands here too, as in a call of the real notebooks: name="tbl-x"
import os
os.environ["OMP_NUM_THREADS"]
```
"""
TOC = """\
format: jb-book
root: index
parts:
  - caption: Digits
    chapters: [{file: sections/digits/01_page}, {file: sections/digits/02_not_there_yet}]
  - caption: Empty
    chapters: [{file: sections/theory/03_not_there_yet}]
  - caption: Using it
    chapters: [{file: api}]
"""


def make(root: Path) -> Path:
    for folder in ("notebooks", "book", "frlcore", "data/paper"):
        (root / folder).mkdir(parents=True)
    (root / "notebooks" / "01_page.md").write_text(NOTEBOOK, encoding="utf-8")
    (root / "book" / "_toc.yml").write_text(TOC, encoding="utf-8")
    start = "# Start\n\nSee {numref}`tbl-x-digits`.\n\n```{frl-names}\n```\n"
    (root / "book" / "index.md").write_text(start, encoding="utf-8")
    (root / "book" / "references.bib").write_text("", encoding="utf-8")
    (root / "frlcore" / "one.py").write_text("ONE = 1\n", encoding="utf-8")
    for folder in ("_static", "_templates"):
        shutil.copytree(places.checkout() / "book" / folder, root / "book" / folder)
    shutil.copy(places.checkout() / "_config.yml", root)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The one full build of this file: the smoke edition of the tiny book."""
    root, lines = make(tmp_path_factory.mktemp("book")), []
    pages.build(["smoke"], root / "out", root=root, say=lines.append)
    return root, lines


def test_the_book_is_built_in_the_place_of_the_digits_edition(built: tuple[Path, list[str]]) -> None:
    root, lines = built
    html = root / "out" / "_build" / "html"
    assert any(line.startswith("page 1 of 1: digits/01_page") for line in lines)
    page = (html / "sections" / "digits" / "01_page.html").read_text(encoding="utf-8")
    assert 'id="tbl-x-digits"' in page
    assert ">smoke" in page  # the parameter reached the notebook
    assert page.count("Parameters of this page") == 1 and '"smoke"' in page  # folded, with their values
    assert "Table R1 · digits" in page and '<meta content="See ' in page
    source = (html.parent / "source" / "sections" / "digits" / "01_page.ipynb").read_text(encoding="utf-8")
    assert "frl notebook 01 -p edition smoke" in source and "{doc}`/rerun`" not in source  # this book has no such page
    assert "fig-y-old" in page
    assert page.count("<h1>") == 1
    assert "<h1>A page · Handwritten digits (smoke size)" in page  # pages of several editions can be told apart
    assert "smoke size)" not in page.partition("</nav>")[0].partition("<nav")[2]  # and the contents stay short
    assert "'1'" in page  # one thread
    index = (html / "index.html").read_text(encoding="utf-8")
    assert 'href="sections/digits/01_page.html#tbl-x-digits"' in index and ">Table R1 · digits</span></a>" in index
    assert ">Table R1 · digits</a>. smoke" in index  # in the list of all of them, with its caption
    assert (html / "_static" / "mathjax" / offline.MATHJAX).stat().st_size > 1e6
    assert pages.check_offline(html) == []
    assert 'id="load-model"' in (html / "api.html").read_text(encoding="utf-8")  # made from the docstrings


def test_no_path_of_this_machine_is_published(built: tuple[Path, list[str]]) -> None:
    root, _ = built
    for path in [*(root / "out" / "_build" / "html").rglob("*.html"), *(root / "out" / "_build").rglob("*.ipynb")]:
        assert str(root) not in path.read_text(encoding="utf-8"), path


def test_a_second_build_executes_and_renders_nothing(built: tuple[Path, list[str]]) -> None:
    root, lines = built
    page = root / "out" / "_build" / "html" / "sections" / "digits" / "01_page.html"
    before, lines[:] = page.stat().st_mtime_ns, []
    pages.build(["smoke"], root / "out", root=root, say=lines.append)
    assert lines[0] == "pages: 1 of 1 unchanged"
    assert not any(line.startswith("page ") for line in lines)
    assert page.stat().st_mtime_ns == before


def test_a_broken_reference_fails_the_book_every_time(built: tuple[Path, list[str]]) -> None:
    root, lines = built
    index = root / "book" / "index.md"
    good = index.read_text(encoding="utf-8")
    index.write_text(good + "\nSee {numref}`tbl-none`.\n", encoding="utf-8")
    for _ in range(2):  # Sphinx itself warns only once
        lines[:] = []
        with pytest.raises(UserError, match="did not build"):
            pages.build(["smoke"], root / "out", root=root, say=lines.append)
        assert any("index.md" in line and "tbl-none" in line for line in lines)
    index.write_text(good, encoding="utf-8")


@pytest.mark.parametrize("change", ["notebook", "source", "paper", "outside", "records", "edition"])
def test_every_input_is_part_of_the_fingerprint(project: Path, change: str) -> None:
    first = pages.pages(["digits"], root=project, records_fingerprint="a")[0]
    assert pages.pages(["digits"], root=project, records_fingerprint="a")[0] == first
    if change == "notebook":
        (project / "notebooks" / "01_page.md").write_text(NOTEBOOK + "\nMore.\n", encoding="utf-8")
    if change == "source":
        (project / "frlcore" / "one.py").write_text("ONE = 2\n", encoding="utf-8")
    if change == "paper":
        (project / "data" / "paper" / "table1.csv").write_text("a\n1\n", encoding="utf-8")
    if change == "outside":
        (project / "data" / "outside" / "folder").mkdir(parents=True)
        (project / "data" / "outside" / "folder" / "others.csv").write_text("a\n1\n", encoding="utf-8")
    edition, records = "smoke" if change == "edition" else "digits", "b" if change == "records" else "a"
    assert pages.pages([edition], root=project, records_fingerprint=records)[0].fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("editions", "message"),
    [(["moon"], "unknown edition 'moon'; there are: digits, laptop, cifar10, smoke"), (["digits", "smoke"], "share")],
)
def test_bad_editions_are_refused(project: Path, editions: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pages.build(editions, project, root=project)


def test_a_failed_notebook_is_not_published(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    with pytest.raises(UserError, match=r"^01_page\.md, code cell 2: the last line$"):
        notebook.execute(project / "notebooks" / "01_page.md", out, {"draws": 101}, cwd=project)
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("text", ["", "{", json.dumps({"cells": []})])
def test_a_damaged_executed_notebook_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.ipynb"
    path.write_text(text, encoding="utf-8")
    assert pages._load(path, "f") is None
    assert pages._load(tmp_path / "absent.ipynb", "f") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["drawz", "3"], r"no parameter 'drawz'; it has: edition \(str, default \"digits\"\): which .*; draws "),
        (["draws", "8/255"], "takes int"),
        (["level", "8/0"], "takes float"),
        (["draws", "many"], "'draws' takes int, and 'many' is none"),
        (["draws", "1.5"], "takes int"),
        (["draws", "true"], "takes int"),
        (["level", "high"], "takes float"),
        (["exact", "1"], "takes bool"),
        (["seeds", "[0.5]"], r"takes list\[int\]"),
        (["draws"], "'draws' has no value"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(project: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        notebook.parse_parameters(project / "notebooks" / "01_page.md", words)


def test_execute_checks_names_and_types_itself(project: Path, tmp_path: Path) -> None:
    for parameters in ({"drawz": 3}, {"draws": "3"}):
        with pytest.raises(UserError, match="draw"):
            notebook.execute(project / "notebooks" / "01_page.md", tmp_path / "out.ipynb", parameters)


def test_parameters_of_a_command_line_are_typed(project: Path) -> None:
    words = ["edition", "1", "draws", "7", "level", "1", "exact", "TRUE", "seeds", "1,2"]
    values = notebook.parse_parameters(project / "notebooks" / "01_page.md", words)
    assert values == {"edition": "1", "draws": 7, "level": 1.0, "exact": True, "seeds": [1, 2]}
    assert isinstance(values["level"], float)
    assert notebook.parse_parameters(project / "notebooks" / "01_page.md", ["level", "8/255"]) == {"level": 8 / 255}


def test_a_notebook_is_found_by_its_beginning(project: Path) -> None:
    assert notebook.find("01", root=project).name == "01_page.md"
    for name in ("02", ""):
        with pytest.raises(UserError, match="there are: 01_page"):
            notebook.find(name, root=project)


def test_a_page_gets_the_edition_on_its_own_labels_only() -> None:
    cells = [
        nbformat.v4.new_markdown_cell(
            "(sec-x)=\n{numref}`fig-x`, {numref}`F %s <fig-x>`, [](#sec-x), {numref}`fig-x2`"
        ),
        nbformat.v4.new_code_cell("", metadata={"mystnb": {"figure": {"name": "fig-x", "caption": "{ref}`fig-x`"}}}),
        nbformat.v4.new_code_cell("", metadata={"mystnb": {"figure": {"name": "fig-none", "caption": "no run yet"}}}),
    ]
    cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"})]
    cells[2].outputs = [nbformat.v4.new_output("display_data", {"text/markdown": "Not yet run"})]
    shown = page.page(nbformat.v4.new_notebook(cells=cells), {"fig-x", "sec-x"}, "digits")
    assert shown.cells[0].source == (
        "(sec-x-digits)=\n{numref}`fig-x-digits`, {numref}`F %s <fig-x-digits>`, [](#sec-x-digits), {numref}`fig-x2`"
    )
    figure = shown.cells[1].metadata["mystnb"]["figure"]
    assert figure == {"name": "fig-x-digits", "caption": "{ref}`fig-x-digits`"}
    assert shown.cells[2].metadata["mystnb"] == {}  # no caption of a figure that is not there


def test_figures_and_tables_have_the_papers_numbers_or_r() -> None:
    labels = ["fig-1", "sec-x", "tbl-2", "tbl-2-selected", "tbl-2-paper", "tbl-other", "tbl-2-minus-pgd", "fig-11"]
    pairs = [(label, part) for part in ("digits", "cifar10") for label in labels] + [("tbl-theory", "")]
    found = numbering.names(pairs, {"digits": "digits", "cifar10": "CIFAR-10"})
    assert found == {
        "fig-1-digits": "Figure 1 · digits", "fig-1-cifar10": "Figure 1 · CIFAR-10",
        "tbl-2-digits": "Table 2 · digits", "tbl-2-cifar10": "Table 2 · CIFAR-10",
        "tbl-2-selected-digits": "Table 2, weights chosen on validation · digits",
        "tbl-2-selected-cifar10": "Table 2, weights chosen on validation · CIFAR-10",
        "tbl-2-paper-digits": "Table 2, as printed", "tbl-2-paper-cifar10": "Table 2, as printed",
        "tbl-other-digits": "Table R1 · digits", "tbl-other-cifar10": "Table R1 · CIFAR-10",
        "tbl-2-minus-pgd-digits": "Table R2 · digits", "tbl-2-minus-pgd-cifar10": "Table R2 · CIFAR-10",
        "fig-11-digits": "Figure R1 · digits", "fig-11-cifar10": "Figure R1 · CIFAR-10",
        "tbl-theory": "Table R3",
    }  # fmt: skip


def test_parameters_are_folded_with_their_values_and_code_without_a_result_joins_the_next() -> None:
    fold, quiet = {"tags": ["hide-input"]}, "markdown between"
    output = nbformat.v4.new_output("stream", text="x")
    footer = nbformat.v4.new_output("display_data", {"text/html": '<div class="frl-source">data</div>'})
    cells = [
        nbformat.v4.new_code_cell('a: str = "old"  # which\nb: int = 1', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell('a = "new"', metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("one", metadata=fold),
        nbformat.v4.new_markdown_cell(quiet),
        nbformat.v4.new_code_cell("two", metadata=fold),
        nbformat.v4.new_code_cell("three", metadata=fold, outputs=[output]),
        nbformat.v4.new_code_cell("footer", metadata=fold, outputs=[footer]),
        nbformat.v4.new_code_cell("seen"),  # not folded: stays where it is, without a result too
        nbformat.v4.new_code_cell("last", metadata=fold),
    ]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"parameters": {"a": 'n"ew'}}})
    shown = page.page(book, (), "digits", ending="## Rerun")
    assert [cell.source for cell in shown.cells] == [
        'a: str = "n\\"ew"  # which\nb: int = 1', quiet, "one\n\ntwo\n\nthree\n\nfooter", "footer", "seen", "last",
        "## Rerun",
    ]  # fmt: skip
    assert shown.cells[3].metadata.tags == ["remove-input"] and shown.cells[2].metadata.tags == ["hide-input"]
    assert shown.cells[0].metadata.tags == ["parameters", "hide-input"]


def test_the_front_page_is_a_notebook_at_the_root(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = built
    other = make(tmp_path / "other")
    front = other / "notebooks" / f"{pages.FRONT}.md"
    front.write_text(NOTEBOOK.replace('edition: str = "digits"', 'editions: list[str] = ["digits"]'), encoding="utf-8")
    (item,) = (page for page in pages.pages(["smoke"], root=other) if page.notebook == front)
    assert (item.file, item.title, item.parameters) == ("index", "", {"editions": ["smoke"]})
    with pytest.raises(UserError, match="has no title"):
        front.write_text("text", encoding="utf-8")
        page.heading(front)


def test_an_edition_without_records_is_one_page(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "frlcore.repro.paper.coverage.default_store", lambda: Store(tmp_path / "none", tmp_path / "none")
    )
    for name in ("05_experiments", "A6_missing"):
        shutil.copy(project / "notebooks" / "01_page.md", project / "notebooks" / f"{name}.md")
    names = [page.name for page in pages.pages(["cifar10", "digits"], root=project)]
    assert names == ["cifar10/01_page", "digits/01_page", "digits/05_experiments", "cifar10/A6_missing"]


def test_a_notebook_outside_the_table_of_contents_is_an_error(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, _ = built
    todo = pages.pages(["smoke"], root=root)
    other = make(tmp_path / "other")
    (other / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    with pytest.raises(UserError, match="sections/digits/01_page is not in book/_toc.yml"):
        pages._stage(todo, root / "out" / "_build" / "executed", tmp_path / "source", root=other)


@pytest.mark.parametrize(
    ("markup", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "fetches"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "fetches"),
        ('<img src="a.png" srcset="http://example/b.png 2x">', "fetches"),
        ('<script src="gone.js?v=1"></script>', "missing"),
        ('<a href="https://example.org">prose</a>', ""),
        ('<link rel="next" href="https://example.org">', ""),
        ('<img src="data:image/png;base64,AA"><img src="a.png?v=2">', ""),
    ],
)
def test_assets_from_elsewhere_are_found_and_links_are_not(tmp_path: Path, markup: str, fault: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "page.html").write_text(f"<html>{markup}</html>", encoding="utf-8")
    problems = pages.check_offline(tmp_path)
    assert len(problems) == bool(fault)
    assert not fault or fault in problems[0]


def test_a_style_sheet_that_imports_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("@font-face { src: url( 'https://fonts.example/f.woff' ) }", encoding="utf-8")
    assert pages.check_offline(tmp_path) == ["x.css: fetches url(https"]


def test_a_book_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "_build").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write below"):
        pages.build(["digits"], tmp_path)
