"""The page of an audit with more classes than anybody reads a square of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from frlcore.auditing import Audit
from frlcore.auditing.report import in_words
from frlcore.classwise import Outcomes


def made(classes: int, broken: list[int]) -> Audit:
    """Three images of every class; of class c the first `broken[c]` are taken for the class before it."""
    labels = np.repeat(np.arange(classes, dtype=np.uint8), 3)
    wrong = np.tile(np.arange(3), classes) < np.repeat(broken, 3)
    attacked = np.where(wrong, (labels.astype(int) - 1) % classes, labels).astype(np.uint8)
    names = tuple(f"class {i}" for i in range(classes))
    return Audit(names, Outcomes(labels, labels, attacked), 0.1, "linf", "PGD-20", 1.0, "same")


def mistakes(audit: Audit, path: Path) -> list[list[str]] | None:
    """The rows of the list of mistakes, None where the whole square stands."""
    audit.to_html(path, title="many")
    page = path.read_text().partition("What attacked images are taken for</h2>")[2].partition("<h2>")[0]
    if "The most frequent mistakes" not in page:
        return None
    rows = re.findall("<tr><td>(.*?)</td></tr>", page.partition("<tbody>")[2])
    return [row.split("</td><td>") for row in rows]


def test_of_many_classes_the_most_frequent_mistakes_stand_in_place_of_the_square(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert mistakes(made(100, [1] * 100), path) is None and path.read_text().count("rgb(0 114 178") == 100 * 100
    few = mistakes(made(101, [0, 1, 3, 2] + [0] * 97), path)
    assert few == [["class 2", "class 1", "3 of 3"], ["class 3", "class 2", "2 of 3"], ["class 1", "class 0", "1 of 3"]]
    all_wrong = mistakes(made(101, [1] * 100 + [2]), path)
    assert all_wrong is not None and len(all_wrong) == 100 and all_wrong[0] == ["class 100", "class 99", "2 of 3"]


def test_a_sentence_names_ten_classes_at_most() -> None:
    table = made(12, [0] * 12).compare(made(12, [3] * 12))
    ten, eleven = (table.assign(verdict=["better"] * n + ["not distinguishable"] * (len(table) - n)) for n in (10, 11))
    assert "better on “class 0”" in in_words(ten) and "more" not in in_words(ten)
    assert "“class 9” and 1 more; not distinguishable from the other on 1 of 12" in in_words(eleven)
