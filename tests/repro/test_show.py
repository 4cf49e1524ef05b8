"""Tables and source footers: the markup a page is made of."""

from __future__ import annotations

import base64
import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from frlcore.errors import UserError
from frlcore.repro import show

FRAME = pd.DataFrame({"Method": ["a|b", "FRL"], "Error (%)": [12.34, np.nan], "n": [180, 179]})


def test_table_is_a_numbered_myst_table_with_right_aligned_numbers() -> None:
    lines = show.table(FRAME, caption="Errors,\n  per class", name="tbl-errors").data.splitlines()
    assert lines[0] == ":::{table} Errors, per class"
    assert lines[1] == ":name: tbl-errors"
    assert lines[-1] == ":::"
    body = [line for line in lines if line.startswith("|")]
    assert body == [
        "| Method | Error (%) | n |",
        "| :--- | ---: | ---: |",
        r"| a\|b | 12.3 | 180 |",
        "| FRL | – | 179 |",
    ]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1.25, 2, "1.25"),
        (-0.04, 1, "0.0"),
        (-0.06, 1, "-0.1"),
        (np.float32(3), 1, "3.0"),
        (np.int64(7), 1, "7"),
        (True, 1, "True"),
        (np.nan, 1, "–"),
        (None, 1, "–"),
        (pd.NA, 1, "–"),
        ("12.3 ± 0.4", 1, "12.3 ± 0.4"),
    ],
)
def test_one_cell(value: object, digits: int, text: str) -> None:
    assert show.cell(value, digits) == text


def test_a_column_of_words_is_left_aligned_and_a_named_index_is_shown() -> None:
    frame = pd.DataFrame({"kind": ["x", None]}, index=pd.Index(["cat", "dog"], name="Class"))
    text = show.table(frame, caption="c", name="tbl-x").data
    assert "| Class | kind |\n| :--- | :--- |\n| cat | x |\n| dog | – |" in text


def test_an_interval_and_a_small_p_value_stay_in_one_piece() -> None:
    frame = pd.DataFrame({"change": ["-7.6 [-9, -6]", "x [see a, b]"], "p": ["2.5e-12", "one-sided"]})
    text = show.table(frame, caption="c", name="tbl-x").data
    assert "| -7.6 [-9,\u00a0-6] | 2.5e\u201112 |" in text and "| x [see a, b] | one-sided |" in text


def test_column_levels_are_joined() -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("ours", "avg"), ("paper", "avg")]))
    assert "| ours, avg | paper, avg |" in show.table(frame, caption="c", name="tbl-x").data


@pytest.mark.parametrize("name", ["", "two words", "1st", "a:b"])
def test_a_bad_table_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="table name"):
        show.table(FRAME, caption="c", name=name)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(UserError, match="no rows"):
        show.table(FRAME.iloc[:0], caption="c", name="tbl-x")


def test_the_csv_comes_back_whole_out_of_the_page() -> None:
    frame = pd.DataFrame({"name": ['say "a, b"', "é<&"], "value": [1 / 3, np.nan]})
    page = show.source(frame, "errors.csv").data
    address = re.search(r'download="errors.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    assert address is not None
    rows = list(csv.reader(io.StringIO(base64.b64decode(address[1]).decode())))
    assert rows == [["name", "value"], ['say "a, b"', "0.3333333333333333"], ["é<&", ""]]
    assert float(rows[1][1]) == frame["value"][0]


def test_provenance_is_folded_away_and_escaped() -> None:
    runs = pd.DataFrame({"run": ["<script>"], "seconds": [1.26]})
    page = show.source(FRAME, "errors.csv", runs=runs).data
    assert "<details><summary>Provenance: 1 run</summary>" in page
    assert "<td>&lt;script&gt;</td><td>1.3</td>" in page
    assert "<details>" not in show.source(FRAME, "errors.csv", runs=runs.iloc[:0]).data


def test_a_table_comes_as_latex_without_its_markup() -> None:
    frame = pd.DataFrame({"Robust": ["**47.3** <small>[45, 49] · paper 52.7</small>", 1 / 3]},
                         index=pd.Index(["FRL(Reweight+\u200bRemargin)", "A_1 & 5%"], name="Worst, %"))  # fmt: skip
    page = show.source(FRAME, "errors.csv", shown=frame).data
    address = re.search(r'download="errors.tex" href="data:text/plain;charset=utf-8;base64,([^"]+)"', page)
    assert address is not None
    assert base64.b64decode(address[1]).decode() == (
        "\\begin{tabular}{lr}\n\\toprule\nWorst, \\% & Robust \\\\\n\\midrule\n"
        "FRL(Reweight+Remargin) & 47.3  [45, 49] · paper 52.7 \\\\\nA\\_1 \\& 5\\% & 0.3 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_a_folded_table_opens_behind_its_words() -> None:
    lines = show.table(FRAME, caption="c", name="tbl-x", folded="The other checkpoint").data.splitlines()
    assert lines[:2] == ["::::{dropdown} The other checkpoint", ":::{table} c"] and lines[-2:] == [":::", "::::"]


@pytest.mark.parametrize("filename", ["errors", "../errors.csv", 'a".csv', ".csv"])
def test_a_bad_file_name_is_refused(filename: str) -> None:
    with pytest.raises(UserError, match="file name"):
        show.source(FRAME, filename)
