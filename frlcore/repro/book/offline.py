"""Pages that read whole with no network: MathJax beside them, and a check that nothing is fetched from elsewhere."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from frlcore.errors import UserError

MATHJAX = "tex-svg-full.js"  # one file, no fonts to load: works from disk in every browser


def add_mathjax(html: Path) -> None:
    """Put MathJax beside the pages in `html`. Not by way of `book/_static/`: its scripts load on every page.

    Raises UserError when the package that carries MathJax is missing.
    """
    try:
        package = distribution("sphinx-mathjax-offline")
    except PackageNotFoundError as error:
        raise UserError("the package sphinx-mathjax-offline is missing: run pip install -e '.[book]'") from error
    for file in package.files or []:
        if file.name == MATHJAX:
            (html / "_static" / "mathjax").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(package.locate_file(file)), html / "_static" / "mathjax" / MATHJAX)
            return
    raise UserError(f"sphinx-mathjax-offline holds no {MATHJAX}: install the version of requirements.lock")


class _Assets(HTMLParser):
    """Collects what a browser fetches by itself to show a page; links for the reader do not count."""

    LINKS = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "shortcut"}

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in {"script", "img", "source", "iframe", "video", "audio", "embed", "track"} and "src" in values:
            self.found.append(values["src"])
        if tag == "object" and "data" in values:
            self.found.append(values["data"])
        if tag == "link" and self.LINKS & set(values.get("rel", "").lower().split()):
            self.found.append(values.get("href", ""))
        self.found += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]


def check_offline(html: Path) -> list[str]:
    """What the built pages would fetch from another machine, or miss on this one: one line each."""
    problems = []
    for path in sorted(html.rglob("*.html")):
        if "_static" in path.relative_to(html).parts:
            continue
        parser = _Assets()
        parser.feed(path.read_text(encoding="utf-8"))
        for address in parser.found:
            parts = urlsplit(address)
            if parts.scheme in {"http", "https"} or parts.netloc:
                problems.append(f"{path.relative_to(html)}: fetches {address}")
            elif not parts.scheme and parts.path and not (path.parent / unquote(parts.path)).exists():
                problems.append(f"{path.relative_to(html)}: {address} is missing")
    for path in sorted(html.rglob("*.css")):
        text = path.read_text(encoding="utf-8").replace('"', "").replace("'", "").replace(" ", "").lower()
        for mark in ("url(http:", "url(https:", "url(//", "@importhttp:", "@importhttps:"):
            if mark in text:
                problems.append(f"{path.relative_to(html)}: fetches {mark[:-1]}")
    return problems
