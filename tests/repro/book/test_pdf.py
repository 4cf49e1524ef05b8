"""The book on a single page: order, ids, links and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from frlcore.errors import UserError
from frlcore.repro.book import pdf

TOC = """
root: index
parts:
  - chapters:
      - file: sections/digits/05
      - file: sections/theory/11_explorer
"""
FIRST = """<link rel="stylesheet" href="_static/a.css"><article class="bd-article" role="main"><h1 id="top">One</h1>
<a href="sections/digits/05.html#tbl">a</a> <a href="#top">b</a> <a href="other.html">c</a></article>"""
SECOND = """<script defer="defer" src="../../_static/mathjax/tex-svg-full.js"></script>
<article class="bd-article"><h1 id="top">Two</h1><p id="tbl" style="clip-path: url(#c)"><img src="../../_images/i.png">
<a href="../../index.html">d</a> <a href="data:text/csv;base64,AAAA">e</a> <a href="https://x.org/#y">f</a></article>"""


@pytest.fixture
def html(tmp_path: Path) -> Path:
    (tmp_path / "sections" / "digits").mkdir(parents=True)
    (tmp_path / "index.html").write_text(FIRST)
    (tmp_path / "sections" / "digits" / "05.html").write_text(SECOND)
    (tmp_path / "_toc.yml").write_text(TOC)
    return tmp_path


def test_pages_follow_the_contents_and_the_explorer_stays_out(html: Path) -> None:
    assert pdf.order(html / "_toc.yml") == ["index", "sections/digits/05"]


def test_links_lead_inside_and_ids_stand_once(html: Path) -> None:
    text = pdf.one_page(html, ["index", "sections/digits/05"])
    for part in ('href="#p1-tbl">a', 'href="#p0-top">b', "<a >c", 'href="#p0">d', "<a >e", 'href="https://x.org/#y">f',
                 'id="p0-top"', 'id="p1-top"', "url(#p1-c)", 'src="_images/i.png"', 'href="_static/a.css"',
                 'src="_static/mathjax/tex-svg-full.js"'):  # fmt: skip
        assert part in text


def test_without_a_browser_one_line_says_what_to_install(html: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install one of: chromium"):
        pdf.make(html, html / "book.pdf")
