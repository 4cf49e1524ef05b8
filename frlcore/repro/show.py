"""What the notebooks display with: named tables, and the footer that offers the data behind them."""

from __future__ import annotations

import base64
import html
import math
import numbers
import re

import pandas as pd
from IPython.display import HTML, Markdown

from frlcore import errors
from frlcore.errors import UserError
from frlcore.page import text

MISSING = "–"  # en dash: a number that does not exist
_INTERVAL = re.compile(r"\[([+−-]?[\d.]+), ([+−-]?[\d.]+)\]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$",
                                                "\\": r"\textbackslash{}", "±": r"$\pm$", "σ": r"$\sigma$",
                                                "λ": r"$\lambda$", "×": r"$\times$", "τ": r"$\tau$"}  # fmt: skip
_LATEX = re.compile("|".join(map(re.escape, _SPECIAL)))
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.csv")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, numbers.Real) and math.isnan(value))


def cell(value: object, digits: int = 1) -> str:
    """One value as a table shows it: NaN as an en dash, whole numbers whole, other numbers with `digits` decimals."""
    if _is_missing(value):
        return MISSING
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        text = f"{float(value):.{digits}f}"
        return text.removeprefix("-") if float(text) == 0 else text  # no "-0.0"
    return str(value)


def _escape(words: str) -> str:
    """Keep words in their cell: no line breaks, no bare pipe; an interval or a small p-value stays in one piece."""
    words = re.sub(r"(\d)e-(\d)", "\\1e\u2011\\2", _INTERVAL.sub("[\\1,\u00a0\\2]", " ".join(words.split())))
    return re.sub(r"(?<!\\)\|", r"\\|", words)


def literal(name: object) -> str:
    """A name that somebody chose, for a sentence or a table in Markdown: neither Markdown, mathematics nor HTML."""
    return re.sub(r"[^\w\s.,:;%“”-]|_", lambda match: f"&#{ord(match[0])};", errors.plain(name))


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as leading columns; a plain 0, 1, 2, ... index without a name is dropped."""
    if isinstance(frame.columns, pd.MultiIndex):
        heads = [", ".join(str(part) for part in column if part != "") for column in frame.columns]
        frame = frame.set_axis(heads, axis=1)
    if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None:
        return frame.reset_index(drop=True)
    names = [str(name) if name is not None else " " * position for position, name in enumerate(frame.index.names)]
    return frame.reset_index(names=names)


def table(frame: pd.DataFrame, *, caption: str, name: str, digits: int = 1, folded: str = "") -> Markdown:
    """A table in MyST Markdown with a caption, its name in the book; with `folded` it opens behind these words.

    Numbers are right-aligned with `digits` decimals, strings pass through as Markdown, missing values are an en dash.
    Refer to it by `{numref}` and `name`. Raises UserError for an empty frame or an unusable name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"table name {name!r}: use letters, digits, '-' and '_', starting with a letter")
    shown = with_index(frame)
    if shown.empty:
        raise UserError(f"table {name!r} has no rows or no columns: there is nothing to show")
    heads, rules, columns = [], [], []
    for position, head in enumerate(shown.columns):
        values = shown.iloc[:, position].tolist()
        filled = [value for value in values if not _is_missing(value)]
        right = all(_is_number(value) for value in filled)
        heads.append(_escape(str(head)))
        rules.append("---:" if right else ":---")
        columns.append([_escape(cell(value, digits)) for value in values])
    lines = [heads, rules, *map(list, zip(*columns, strict=True))]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = f":::{{table}} {' '.join(caption.split())}\n:name: {name}\n:class: frl-table\n\n{body}\n:::\n"
    return Markdown(f"::::{{dropdown}} {folded}\n{text}::::\n" if folded else text)


def csv_uri(frame: pd.DataFrame) -> str:
    """The frame as a `data:` address that holds its whole CSV, numbers in full precision."""
    content = with_index(frame).to_csv(index=False, lineterminator="\n").encode(errors="backslashreplace")
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(content).decode()


def latex_uri(frame: pd.DataFrame) -> str:
    """The frame as a `data:` address of a LaTeX table (package booktabs), its cells as text without markup."""
    shown = with_index(frame).map(lambda value: plain(cell(value)))
    rows = [shown.columns.map(plain).tolist(), *shown.to_numpy().tolist()]
    lines = [" & ".join(_LATEX.sub(lambda found: _SPECIAL[found[0]], text) for text in row) + r" \\" for row in rows]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    text = f"\\begin{{tabular}}{{l{'r' * (shown.shape[1] - 1)}}}\n{body}\n\\end{{tabular}}\n"
    return "data:text/plain;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def plain(text: str) -> str:
    """A cell without its markup: no HTML tags, no marks of bold."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text).replace("**", "").replace("\u200b", "")).strip()


def source(
    frame: pd.DataFrame, filename: str, *, runs: pd.DataFrame | None = None, shown: pd.DataFrame | None = None
) -> HTML:
    """The footer of a figure or table: its data as a CSV download inside the page and, if given, the runs it rests on.

    With `shown`, the table as it stands on the page, that is offered for LaTeX. Needs no network and no files. Raises
    UserError when `filename` is not a plain name that ends in .csv.
    """
    if not _FILENAME.fullmatch(filename):
        raise UserError(f"file name {filename!r}: use a plain name that ends in .csv, such as 'errors.csv'")
    link = f'<a class="frl-csv" download="{filename}" href="{csv_uri(frame)}">Data (CSV)</a>'
    if shown is not None:
        link += f'<a download="{filename[:-4]}.tex" href="{latex_uri(shown)}">Table (LaTeX)</a>'
    if runs is None or runs.empty:
        return HTML(f'<div class="frl-source">{link}</div>')
    made = with_index(runs)
    heads = "".join(f"<th>{text(head)}</th>" for head in made.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{text(cell(value))}</td>" for value in row) + "</tr>"
        for row in made.itertuples(index=False, name=None)
    )
    count = f"{len(made)} run{'s' if len(made) != 1 else ''}"
    return HTML(
        f'<div class="frl-source">{link}<details><summary>Provenance: {count}</summary>'
        f'<div class="frl-scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></div>"
    )
