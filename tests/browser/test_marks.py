"""What a reader does with figures and with the explorer: point, focus, go on with the arrow keys, filter, compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def explorer(book: Path, browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((book / "sections" / "theory" / "11_explorer.html").as_uri())
    yield page
    page.close()


def field(page: Any, name: str) -> Any:
    return page.locator(f".frl-controls label:has-text('{name}') select")


def test_a_mark_says_what_it_stands_for_when_pointed_at_and_focused(explorer: Any) -> None:
    marks = explorer.locator(".frl-figure").first.locator(".frl-mark")
    note = explorer.locator(".frl-note")
    assert not note.is_visible()
    marks.first.focus()
    assert note.inner_text() == marks.first.get_attribute("aria-label") and "run " in note.inner_text()
    explorer.keyboard.press("ArrowRight")
    assert note.inner_text() == marks.nth(1).get_attribute("aria-label")
    explorer.keyboard.press("Escape")
    assert not note.is_visible()
    marks.last.locator("circle").last.dispatch_event("mouseover")
    assert note.inner_text() == marks.last.get_attribute("aria-label")
    left = note.evaluate("e => e.getBoundingClientRect().left")
    assert left >= 0 and left + note.evaluate("e => e.offsetWidth") <= 390


@pytest.mark.parametrize(
    ("name", "glyph", "said"),
    [
        ("A3_robust_nonrobust_features", "1D6FE", "γ: mean of every non-robust coordinate"),
        ("glossary", "1D70F", "τ: how far a class’s error may lie above the mean, a fraction"),
    ],
)
def test_a_symbol_says_what_it_stands_for_when_pointed_at(
    book: Path, browser: Any, name: str, glyph: str, said: str
) -> None:
    page = browser.new_page()
    page.goto(next(book.rglob(f"{name}.html")).as_uri())
    symbol = page.locator(f'.frl-symbol:has([data-c="{glyph}"])').first
    symbol.hover()
    assert page.locator(".frl-note").inner_text() == said
    page.mouse.move(0, 0)
    assert not page.locator(".frl-note").is_visible()
    page.close()


def test_filters_leave_as_many_marks_as_rows(explorer: Any) -> None:
    rows = explorer.locator(".frl-runs section").first.locator("tbody tr")
    marks = explorer.locator(".frl-figure").first.locator(".frl-mark")
    every = rows.count()
    assert marks.count() == every > 2
    field(explorer, "Tolerance").select_option("0.07")
    assert 0 < marks.count() == rows.count() < every
    assert all("0.07" in text for text in rows.locator("td:first-child").all_inner_texts())
    field(explorer, "Tolerance").select_option("")
    explorer.locator("button[data-by=label]").click()
    names = rows.locator("td:first-child").all_inner_texts()
    assert names == sorted(names) and explorer.evaluate("document.activeElement.dataset.by") == "label"


def test_two_methods_turned_round_are_the_same_test(explorer: Any) -> None:
    cells = explorer.locator(".frl-runs section").nth(1).locator("tbody tr")
    first, second = field(explorer, "First"), field(explorer, "Second")
    methods = first.input_value(), second.input_value()
    assert methods[0] != methods[1]
    before = [row.split("\t") for row in cells.all_inner_texts()]
    first.select_option(methods[1])
    second.select_option(methods[0])
    after = [row.split("\t") for row in cells.all_inner_texts()]
    assert before and after == [[name, b, a, p, clear] for name, a, b, p, clear in before]


def test_a_policy_is_followed_class_by_class(explorer: Any) -> None:
    lines = explorer.locator(".frl-runs section").nth(2)
    said = lines.locator(".frl-mark").first.get_attribute("aria-label")
    field(explorer, "Quantity").select_option(index=0)
    assert lines.locator(".frl-mark").first.get_attribute("aria-label") != said
    assert "epoch" in said
