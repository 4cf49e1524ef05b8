"""The whole book as one PDF: its pages one after the other on a single page, which a browser prints.

Links between pages become links inside the PDF. The explorer stays out: on paper nothing can be explored.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

from frlcore.errors import UserError
from frlcore.repro.book.light import MATHJAX

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEFT_OUT = {"sections/theory/11_explorer"}
ARTICLE = re.compile(r'<article class="bd-article"[^>]*>(.*?)</article>', re.S)
HEAD = re.compile(r"<link\b[^>]*stylesheet[^>]*>")
UPWARDS = re.compile(r'"(?:\.\./)+')  # pages stand in folders, the single page above them
ADDRESS = re.compile(r'\b(href|src)="([^"]*)"')
PAPER = """<style>
@page { size: A4; margin: 16mm 14mm; }
body { font-size: 10pt; }
section.page { break-before: page; }
figure, .frl-figure, .admonition, tr { break-inside: avoid; }
.headerlink, .copybtn, .toggle-button, .frl-csv { display: none; }
.frl-scroll, .pst-scrollable-table-container, div.math, .output { overflow: visible !important; }
table { font-size: 0.75em; }
</style>"""
PATIENCE = 600  # seconds for the browser, which typesets every formula of the book at once


def make(html: Path, out: Path) -> Path:
    """Print the built pages in `html` to `out`. Raises UserError without a browser, or when it prints nothing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(f"a PDF needs a browser to print with; install one of: {', '.join(BROWSERS)}")
    whole = html / "whole-book.html"
    whole.write_text(one_page(html, order(html.parent / "source" / "_toc.yml")), encoding="utf-8")
    command = [browser, "--headless=new", "--disable-gpu", "--no-pdf-header-footer"]
    command += ["--no-sandbox"] * (os.getuid() == 0)  # which chromium refuses to root, in a container for one
    command += [f"--virtual-time-budget={1000 * PATIENCE}", f"--print-to-pdf={out}", whole.as_uri()]
    out.unlink(missing_ok=True)
    try:
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{browser} printed no book within {PATIENCE} s; try again on an idle machine") from error
    finally:
        whole.unlink()
    if not out.exists():
        raise UserError(f"{browser} printed nothing to {out}; try: {' '.join(command)}")
    return out


def order(toc: Path) -> list[str]:
    """The pages of a table of contents in their order, without their suffix."""
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in contents.get("parts", []) for chapter in part["chapters"]]
    return [name for name in [contents["root"], *chapters] if name not in LEFT_OUT]


def one_page(html: Path, names: Sequence[str]) -> str:
    """These pages as one: an id begins with the number of its page, so that none stands twice."""
    texts = {name: (html / f"{name}.html").read_text(encoding="utf-8") for name in names}
    numbers = {name: f"p{number}" for number, name in enumerate(names)}
    styles = "".join(HEAD.findall(texts[names[0]]))
    script = next(("".join(MATHJAX.findall(text)) for text in texts.values() if MATHJAX.search(text)), "")
    head = '<meta charset="utf-8">' + styles + PAPER + UPWARDS.sub('"', script)
    body = "".join(_part(text, name, numbers) for name, text in texts.items())
    body = f'<main class="bd-content"><div class="bd-article">{body}</div></main>'
    return f'<!DOCTYPE html><html lang="en" data-theme="light"><head>{head}</head><body>{body}</body></html>'


def _part(text: str, name: str, numbers: dict[str, str]) -> str:
    """A page's own text, its ids and addresses as the single page needs them."""
    found = ARTICLE.search(text)
    if found is None:
        raise UserError(f"{name}.html holds no article: build the book again")
    mine = numbers[name]

    def moved(address: re.Match[str]) -> str:
        kind, to = address[1], address[2]
        if kind == "src" or re.match(r"(https?|mailto):", to):
            return UPWARDS.sub('"', address[0])
        path, _, anchor = to.partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else f"{name}.html"
        number = numbers.get(page.removesuffix(".html"))
        return f'href="#{number}{"-" * bool(anchor)}{anchor}"' if number else ""  # no bytes of a CSV in a PDF

    inner = re.sub(r'\bid="', f'id="{mine}-', found[1])
    inner = inner.replace("url(#", f"url(#{mine}-")
    return f'<section class="page" id="{mine}">{ADDRESS.sub(moved, inner)}</section>'
