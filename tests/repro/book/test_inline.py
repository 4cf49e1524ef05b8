"""Figures become part of their page, and pages leave behind what they do not need."""

from __future__ import annotations

import re
from functools import cache
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt

from frlcore.repro.book.inline import figure, inline_figures
from frlcore.repro.book.light import lighten
from frlcore.repro.style import BLUE, PANEL, RC, panels, tips


@cache
def drawn(columns: int = 2) -> str:
    """An SVG of panels with two blue marks each, whose texts hold what XML and HTML would stumble over."""
    with plt.rc_context(RC):
        fig, axes = plt.subplots(1, columns, figsize=(columns * PANEL, 2), squeeze=False)
        panels(fig, columns)
        for name, ax in enumerate(axes[0]):
            (line,) = ax.plot([0, 1], [2, 3], "o", color=BLUE)
            tips(line, [f"{name}: 2% <a & b>", f"{name}: 3% “c” | d"])
        text = StringIO()
        fig.savefig(text, format="svg")
        plt.close(fig)
    return text.getvalue()


def test_each_panel_is_a_drawing_of_its_own_side_by_side_in_the_whole() -> None:
    group = ElementTree.fromstring(figure(drawn(), "two panels", "f1-"))
    assert (group.get("role"), group.get("aria-label")) == ("group", "two panels")
    boxes = [panel.get("viewBox", "").split() for panel in group]
    assert [float(box[0]) for box in boxes] == [0, 244.8] and {float(box[2]) for box in boxes} == {244.8}
    assert [len(panel.findall(".//g[@class='axes']")) for panel in group] == [1, 1]


def test_marks_say_what_they_stand_for_and_one_is_a_stop_of_the_tab_key() -> None:
    group = ElementTree.fromstring(figure(drawn(), "", "f1-"))
    marks = group.findall(".//g[@class='frl-mark']")
    texts = ["0: 2% <a & b>", "0: 3% “c” / d", "1: 2% <a & b>", "1: 3% “c” / d"]
    assert [mark.get("aria-label") for mark in marks] == texts
    assert [mark.get("tabindex") for mark in marks] == ["0", "-1", "-1", "-1"]
    heights = [float(mark[0].get("y", "nan")) for mark in marks[:2]]
    assert heights[0] > heights[1]  # 2 is drawn below 3


def test_colours_and_letters_are_the_pages() -> None:
    shown = figure(drawn(), "", "f1-")
    assert "var(--frl-blue, #0072b2)" in shown and "currentColor" in shown
    assert "#000000" not in shown and "DejaVu" not in shown and "#ffffff" not in shown.replace("paper, #ffffff", "")


def test_ids_are_those_referred_to_and_differ_from_the_next_figures() -> None:
    one, two = (figure(drawn(), "", prefix) for prefix in ("f1-", "f2-"))
    ids = re.findall(r'\bid="([^"]+)"', one)
    assert len(ids) == len(set(ids)) and not set(ids) & set(re.findall(r'\bid="([^"]+)"', two))
    refers = set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)\)", one))
    assert refers == set(ids)


def test_pages_hold_their_figures_and_other_pictures_stay(tmp_path: Path) -> None:
    (tmp_path / "_images").mkdir()
    (tmp_path / "sections").mkdir()
    (tmp_path / "_images" / "a.svg").write_text(drawn(1))
    page, photo = tmp_path / "sections" / "page.html", '<img alt="p" src="../_images/p.png" />'
    page.write_text(f'<figure><img alt="one &quot;alt&quot;" src="../_images/a.svg" /></figure>{photo}')
    inline_figures(tmp_path)
    shown = page.read_text()
    assert 'aria-label="one &quot;alt&quot;"' in shown and photo in shown and ".svg" not in shown
    assert not (tmp_path / "_images" / "a.svg").exists()
    inline_figures(tmp_path)
    assert page.read_text() == shown


def test_a_page_without_formulas_loads_no_mathjax_and_none_loads_icons_twice(tmp_path: Path) -> None:
    icons = '<script defer src="_static/scripts/fontawesome.js?digest=5"></script>'
    setting, mathjax = "<script>window.MathJax = {}</script>", '<script src="_static/mathjax/tex-svg-full.js"></script>'
    for name, body in (("words", '<p class="mathematics">'), ("formulas", '<div class="math notranslate">')):
        (tmp_path / f"{name}.html").write_text(icons + setting + mathjax + body)
    (tmp_path / "references.html").write_text('<div role="list" class="citation-list">')
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "theme.css.map").write_text("{}")
    lighten(tmp_path)
    assert (tmp_path / "words.html").read_text() == '<p class="mathematics">'
    assert (tmp_path / "formulas.html").read_text() == setting + mathjax + '<div class="math notranslate">'
    assert (tmp_path / "references.html").read_text() == '<div class="citation-list">'
    assert not list(tmp_path.rglob("*.map"))
