"""A browser that visits every page of a built book once, from disk and without a network; the tests ask what it saw.

The book is the one that FRL_BOOK names (a folder with `index.html`); without it, or without a browser, the tests skip.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accessibility
import pytest
from visit import Visit

from frlcore.repro.book.pdf import BROWSERS

sync_api = pytest.importorskip("playwright.sync_api", reason="browser tests need the package playwright")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOK = """() => ({
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  anchors: [...document.querySelectorAll("[id], a[name]")].map(e => e.id || e.name),
  broken: [...document.images].filter(i => i.complete && !i.naturalWidth && i.getAttribute("src")).map(i => i.src),
  bare: [...document.images].filter(i => !i.hasAttribute("alt")).map(i => i.src),
  formulas: document.querySelectorAll(".math").length,
  typeset: document.querySelectorAll("mjx-container").length,
  folded: [...document.querySelectorAll("div.cell > .cell_output")]
    .map(made => [made, made.parentElement.querySelector(":scope > details.hide")]).filter(([made, code]) => code)
    .map(([made, code]) => code.getBoundingClientRect().top >= made.getBoundingClientRect().bottom),
})"""
CARDS = """() => [...document.querySelectorAll("table.frl-cards td:not(:first-child)")]
  .filter(cell => cell.checkVisibility() && cell.textContent.trim())
  .map(cell => ({
    text: cell.textContent.trim(),
    whole: cell.getBoundingClientRect().left >= 0 && cell.getBoundingClientRect().right <= window.innerWidth,
    headed: getComputedStyle(cell, "::before").content === JSON.stringify(cell.dataset.head + ": "),
  }))"""


@pytest.fixture(scope="session")
def book() -> Path:
    if not (named := os.environ.get("FRL_BOOK")):
        pytest.skip("no book to look at: build one and set FRL_BOOK to its html folder, as .ci/run does")
    folder = Path(named).resolve()
    assert (folder / "index.html").exists(), f"FRL_BOOK is {folder}, and no index.html is there"
    return folder


@pytest.fixture(scope="session")
def program(book: Path) -> str:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser; install one of: {', '.join(BROWSERS)}")
    return program


@pytest.fixture(scope="module")
def browser(program: str) -> Iterator[Any]:
    with _chromium(program) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def visits(book: Path, program: str) -> list[Visit]:
    """A visit to every page. As many browsers as cores share them: most of the time is axe's, one core a page."""
    pages = iter([path for path in sorted(book.rglob("*.html")) if not {"_static", "_sources"} & set(path.parts)])

    def walk(_: int) -> list[Visit]:
        with _chromium(program) as chromium:
            return [_visit(chromium, path) for path in pages]  # the others take theirs from the same iterator

    with ThreadPoolExecutor() as readers:
        return [visit for share in readers.map(walk, range(os.cpu_count() or 1)) for visit in share]


@contextmanager
def _chromium(program: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def _visit(browser: Any, path: Path) -> Visit:
    visit = Visit(path)
    context = browser.new_context(viewport=WIDE, offline=True, reduced_motion="reduce")
    page = context.new_page()
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")  # formulas are there, or the promise fails
    visit.seen = page.evaluate(LOOK)
    visit.findings = accessibility.findings(page)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        visit.findings += [f"{theme}: {finding}" for finding in accessibility.contrast(page)]
    page.set_viewport_size(NARROW)
    visit.cards = page.evaluate(CARDS)
    visit.sideways = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    context.close()
    return visit
