"""The book as a reader has it: opened from disk, with no network, on a desk and on a phone, by eye and by ear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import accessibility
from visit import Visit

MEGABYTE = 1_000_000


def listed(visits: list[Visit], what: Callable[[Visit], list[str]]) -> list[str]:
    """Every problem of every page, one line each."""
    return [f"{visit.page.name}: {problem}" for visit in visits for problem in what(visit)]


def test_no_request_leaves_the_disk(visits: list[Visit]) -> None:
    assert listed(visits, lambda visit: [url for url in visit.requests if not url.startswith(("file:", "data:"))]) == []


def test_no_page_has_an_error_in_the_console(visits: list[Visit]) -> None:
    assert listed(visits, lambda visit: visit.errors) == []


def test_every_picture_is_there_and_says_what_it_shows(visits: list[Visit]) -> None:
    assert listed(visits, lambda visit: visit.seen["broken"] + visit.seen["bare"]) == []


def test_formulas_are_typeset_without_a_network(visits: list[Visit]) -> None:
    assert any(visit.seen["typeset"] for visit in visits)
    assert listed(visits, lambda visit: ["formulas are bare"] * (visit.seen["typeset"] < visit.seen["formulas"])) == []


def test_results_stand_above_their_folded_code(visits: list[Visit]) -> None:
    assert sum(len(visit.seen["folded"]) for visit in visits) > 100
    assert [visit.page.name for visit in visits if not all(visit.seen["folded"])] == []


def test_links_and_anchors_lead_somewhere(visits: list[Visit]) -> None:
    anchors = {visit.page: set(visit.seen["anchors"]) | {""} for visit in visits}

    def dead(visit: Visit) -> list[str]:
        lost = []
        for link in visit.seen["links"]:
            parts = urlsplit(link)
            target = Path(unquote(parts.path))
            if parts.scheme == "file" and (
                not target.exists() or unquote(parts.fragment) not in anchors.get(target, {unquote(parts.fragment)})
            ):
                lost.append(link)
        return lost

    assert listed(visits, dead) == []


def test_an_id_stands_once_on_a_page(visits: list[Visit]) -> None:
    def twice(visit: Visit) -> list[str]:
        ids = visit.seen["anchors"]
        return sorted({name for name in ids if ids.count(name) > 1})

    assert listed(visits, twice) == []


def test_axe_has_no_serious_finding_in_light_and_dark(visits: list[Visit]) -> None:
    assert listed(visits, lambda visit: visit.findings) == []


def test_axe_would_have_found_faint_text_and_an_unnamed_picture(book: Path, browser: Any) -> None:
    page = browser.new_page(reduced_motion="reduce")  # no colour on its way from one theme to the other
    page.goto((book / "glossary.html").as_uri())
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        assert accessibility.contrast(page) == []
    page.add_style_tag(content="main dd:last-of-type { color: #888; background: #999 }")
    page.evaluate("document.querySelector('main').append(new Image())")
    assert "color-contrast" in accessibility.contrast(page)[0]
    assert "image-alt" in accessibility.findings(page)[0]
    page.close()


def test_nothing_moves_sideways_on_a_phone(visits: list[Visit]) -> None:
    assert {visit.page.name: visit.sideways for visit in visits if visit.sideways > 0} == {}


def test_on_a_phone_every_row_of_a_table_is_a_card_with_its_heads(visits: list[Visit]) -> None:
    assert sum(len(visit.cards) for visit in visits) > 100
    assert listed(visits, lambda visit: [c["text"] for c in visit.cards if not (c["whole"] and c["headed"])]) == []


def test_the_first_page_and_the_whole_book_are_light(book: Path, visits: list[Visit]) -> None:
    (first,) = [visit for visit in visits if visit.page == book / "index.html"]
    assert first.weight() < 1.5 * MEGABYTE
    assert sum(path.stat().st_size for path in book.rglob("*") if path.is_file()) < 40 * MEGABYTE
