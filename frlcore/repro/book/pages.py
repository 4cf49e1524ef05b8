"""The book: execute the notebooks once per edition, stage them beside the prose, and let Jupyter Book render it.

    notebooks/*.md --papermill--> _build/executed/ --labels--> _build/source/ --jupyter-book--> _build/html/

A page is executed again only when its fingerprint changes: the notebook's text, its parameters, the sources of
`frlcore`, the paper's tables, the pinned packages, or the records behind it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from frlcore.errors import UserError
from frlcore.repro.book import numbering, reference
from frlcore.repro.book.inline import inline_figures
from frlcore.repro.book.kernels import OwnKernel, nursery
from frlcore.repro.book.light import lighten
from frlcore.repro.book.notebook import check, declared, execute, find, parse_parameters
from frlcore.repro.book.offline import add_mathjax, check_offline
from frlcore.repro.book.page import heading, labels, page
from frlcore.repro.paper import coverage, remembered
from frlcore.repro.paper.editions import edition as edition_of
from frlcore.repro.places import checkout
from frlcore.repro.runs.locks import held

__all__ = ["EDITIONS", "build", "check_offline", "execute", "find", "parse_parameters"]

# edition -> its part of the book
EDITIONS = {"digits": "digits", "laptop": "laptop", "cifar10": "cifar10", "smoke": "digits"}
SHORT = {"digits": "digits", "laptop": "CIFAR-10 on two cores", "cifar10": "CIFAR-10"}  # part -> its name in captions
FRONT = coverage.FRONT
FEW = 3  # pages, for which a nursery takes longer to be there than it saves
LINK = re.compile(r"<a href='\.\./([\w-]+/[\w-]+)\.html[^']*'>([^<]*)</a>")


@dataclass(frozen=True)
class Page:
    """One page to make: a notebook with its parameters, its part of the book and the state of its inputs."""

    notebook: Path
    part: str
    parameters: dict[str, Any]
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.part}/{self.notebook.stem}"

    @property
    def file(self) -> str:
        """Where it stands in the book, without its suffix."""
        return "index" if self.notebook.stem == FRONT else f"sections/{self.name}"

    @property
    def suffix(self) -> str:
        """What the labels of its figures and tables end in: its part, where there is one page for each edition."""
        return self.part if "edition" in self.parameters else ""

    @property
    def title(self) -> str:
        """What its title adds to the notebook's own: the edition, where pages of several editions have the same one."""
        return edition_of(self.parameters["edition"]).title if "edition" in self.parameters else ""


def _say(line: str) -> None:
    print(line, flush=True)


def _digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def pages(editions: Sequence[str], *, root: Path | None = None, records_fingerprint: str = "") -> list[Page]:
    """Every page of these editions: notebooks with a parameter `edition` once per edition, the others once.

    A parameter `editions` gets all of them. Either parameter ties the page to their records. Of an edition that lacks
    records those pages are left out that would be empty (`coverage.is_open`).
    """
    root = root or checkout("the book")
    for edition in editions:
        if edition not in EDITIONS:
            raise UserError(f"unknown edition {edition!r}; there are: {', '.join(EDITIONS)}")
    if len({EDITIONS[edition] for edition in editions}) < len(editions):
        raise UserError(f"editions {', '.join(editions)} would share a part of the book; build them one by one")
    files = [*sorted((root / "frlcore").rglob("*.py")), *sorted((root / "data" / "paper").iterdir()),
             *sorted(path for path in (root / "data" / "outside").rglob("*") if path.is_file())]  # fmt: skip
    files += [path for path in [root / "requirements.lock"] if path.exists()]
    shared = _digest(*(part for path in files for part in (str(path.relative_to(root)).encode(), path.read_bytes())))
    found = []
    for notebook in sorted((root / "notebooks").glob("*.md")):
        known = declared(notebook)
        sets: list[dict[str, Any]] = [{"editions": list(editions)} if "editions" in known else {}]
        if "edition" in known:
            sets = [{"edition": name} for name in editions if coverage.is_open(notebook.stem, name)]
        for parameters in sets:
            check(notebook, parameters)
            records = records_fingerprint if parameters else ""
            state = (notebook.read_bytes(), json.dumps(parameters).encode(), records.encode())
            part = EDITIONS[parameters["edition"]] if "edition" in known else "theory"
            found.append(Page(notebook, part, parameters, _digest(shared.encode(), *state)))
    return found


def _load(executed: Path, fingerprint: str = "") -> nbformat.NotebookNode | None:
    """An executed notebook, or None when there is none, it is damaged, or it was made from other inputs."""
    try:
        notebook = nbformat.read(executed, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError):
        return None
    return notebook if notebook.metadata.get("frl", {}).get("fingerprint") == fingerprint else None


@contextmanager
def _for_kernels(bootstraps: Path) -> Iterator[None]:
    """Kernels started inside use one thread each, so that several share the machine, and share their bootstraps."""
    wanted = {"OMP_NUM_THREADS": "1", remembered.FOLDER: str(bootstraps.resolve())}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _execute_all(todo: Sequence[Page], folder: Path, *, root: Path, jobs: int, say: Callable[[str], None]) -> None:
    """Bring every executed notebook in `folder` up to date, `jobs` at a time; the first failure ends the rest."""

    def run(item: Page, kernel: type[OwnKernel]) -> float:
        begin, out = time.perf_counter(), folder / f"{item.name}.ipynb"
        execute(item.notebook, out, item.parameters, cwd=root, fingerprint=item.fingerprint, kernel=kernel)
        return time.perf_counter() - begin

    stale = [item for item in todo if _load(folder / f"{item.name}.ipynb", item.fingerprint) is None]
    if len(stale) < len(todo):
        say(f"pages: {len(todo) - len(stale)} of {len(todo)} unchanged")
    pool = ThreadPoolExecutor(max_workers=max(1, jobs))
    kernels = nursery(root) if len(stale) > FEW else nullcontext(OwnKernel)
    with _for_kernels(folder.parent / "bootstraps"), kernels as kernel:
        try:
            futures = {pool.submit(run, item, kernel): item for item in stale}
            for count, future in enumerate(as_completed(futures), start=1):
                say(f"page {count} of {len(stale)}: {futures[future].name} ({future.result():.1f} s)")
        except BaseException as error:  # a failed page lets its neighbour finish; an interrupt waits for nothing
            pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
            raise
        pool.shutdown()


def _toc(path: Path, pages_there: set[str], titles: dict[str, str]) -> dict[str, Any]:
    """The table of contents with these titles, without pages that do not exist (yet) and parts that are left empty."""
    toc = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = []
    for part in toc.get("parts", []):
        chapters = [chapter for chapter in part.get("chapters", []) if chapter["file"] in pages_there]
        chapters = [c | ({"title": titles[c["file"]]} if c["file"] in titles else {}) for c in chapters]
        if chapters:
            parts.append({**part, "chapters": chapters})
    return {**toc, "parts": parts}


def _put(path: Path, content: bytes) -> None:
    """Write only what differs: Sphinx reads a page again when its file's time changes."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _linked(text: str, there: set[str]) -> str:
    """The text with links to pages that this book does not have (`coverage.link`) turned into their words."""
    return LINK.sub(lambda match: match[0] if match[1] in there else match[2], text)


def _stage(todo: Sequence[Page], executed: Path, source: Path, *, root: Path) -> bool:
    """Lay out prose and pages as one source tree; True when pages came or went since the last time."""
    book = root / "book"
    if not (book / "_toc.yml").exists():
        raise UserError(f"{book / '_toc.yml'} is missing: run this from a checkout of the project")
    files = {path.relative_to(book).as_posix(): path.read_bytes() for path in sorted(book.rglob("*")) if path.is_file()}
    files["api.md"] = reference.page().encode()
    per_edition = {item.notebook for item in todo if "edition" in item.parameters}
    known, there = set().union(*map(labels, per_edition)), {item.name for item in todo}
    named = [item for item in todo if item.title and item.notebook.stem != coverage.MISSING]
    short = {item.file: heading(item.notebook) for item in named}  # below the edition's own part of the contents
    for item in todo:
        notebook = _load(executed / f"{item.name}.ipynb", item.fingerprint)
        if notebook is None:
            raise UserError(f"page {item.name} was changed or removed while the book was being made: run it again")
        ending = coverage.rerun(item.notebook.stem, item.parameters.get("edition", ""), "rerun.md" in files)
        shown = page(notebook, known if item.suffix else (), item.suffix, item.title, ending)
        files[f"{item.file}.ipynb"] = _linked(nbformat.writes(shown), there).encode()
    labelled = [(label, item.suffix) for item in todo for label in labels(item.notebook)]
    files[numbering.FILE] = json.dumps(numbering.names(labelled, SHORT)).encode()
    toc = _toc(book / "_toc.yml", {name.rpartition(".")[0] for name in files}, short)
    listed = {chapter["file"] for part in toc["parts"] for chapter in part["chapters"]} | {toc["root"]}
    for item in todo:
        if item.file not in listed:
            raise UserError(f"{item.file} is not in book/_toc.yml: add it there")
    files["_toc.yml"] = yaml.safe_dump(toc, sort_keys=False, allow_unicode=True).encode()
    before = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    for name in before - set(files):
        (source / name).unlink()
    for name, content in files.items():
        _put(source / name, content)
    return before != set(files)


def build(
    editions: Sequence[str],
    out: Path | None = None,
    *,
    jobs: int = 2,
    strict: bool = True,
    records_fingerprint: str = "",
    root: Path | None = None,
    say: Callable[[str], None] = _say,
) -> Path:
    """Make the book of these editions below `out`, and return the path of its first page, `_build/html/index.html`.

    Pages whose inputs did not change are kept. With `strict`, any warning of Jupyter Book and any part of a page
    that would be fetched from elsewhere is an error. Raises UserError when a notebook fails or the book does not build.
    """
    root = root or checkout("the book")
    out = out or root
    try:
        (out / "_build").mkdir(parents=True, exist_ok=True)
        with held(out / "_build" / "lock", timeout=0) as mine:
            if not mine:
                raise UserError(f"another build is at work in {out / '_build'}; wait for it")
            return _build(editions, out, jobs, strict, records_fingerprint, root, say)
    except OSError as error:
        raise UserError(f"cannot write below {out / '_build'}: {error.strerror or error}") from error


def _build(
    editions: Sequence[str],
    out: Path,
    jobs: int,
    strict: bool,
    records_fingerprint: str,
    root: Path,
    say: Callable[[str], None],
) -> Path:
    work, begin = out / "_build", time.perf_counter()
    executed, source, html = work / "executed", work / "source", work / "html"
    todo = pages(editions, root=root, records_fingerprint=records_fingerprint)
    _execute_all(todo, executed, root=root, jobs=jobs, say=say)
    whole = work / "whole"  # stands only after a strict build without a warning: Sphinx tells each warning just once
    if _stage(todo, executed, source, root=root) or (strict and not whole.exists()):
        for stale in (html, work / ".doctrees"):
            shutil.rmtree(stale, ignore_errors=True)  # or pages that are gone would stay readable
    whole.unlink(missing_ok=True)
    say(f"book: rendering {len(todo)} pages and the prose")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(source)]
    command += ["--config", str(root / "_config.yml"), "--path-output", str(out), "-n", "--keep-going"]
    command += ["-W"] if strict else []
    utf8 = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}  # its words do not fit every locale
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=utf8)
    if done.returncode:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()
        for line in [line for line in lines if "WARNING" in line or "ERROR" in line] or lines[-20:]:
            say(line.replace(f"{source}{os.sep}", ""))
        raise UserError("the book did not build: see the lines above")
    add_mathjax(html)
    lighten(html)
    inline_figures(html)
    problems = check_offline(html)
    for problem in problems:
        say(problem)
    if problems and strict:
        raise UserError("the book would not read whole without a network: see the lines above")
    if strict:
        whole.touch()
    say(f"book: done in {time.perf_counter() - begin:.0f} s")
    return html / "index.html"
