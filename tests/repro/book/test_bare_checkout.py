"""Every page that shows records can be executed in a new checkout, which has the published ones and no digits."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from frlcore.repro import places
from frlcore.repro.book.notebook import declared, read
from frlcore.repro.paper import figures, tables
from frlcore.repro.runs.store import Store

LIVE = {"10_audit"}  # attacks models before it shows a record
NOTEBOOKS = sorted((places.checkout() / "notebooks").glob("*.md"))
SHOWING = [path for path in NOTEBOOKS if {"edition", "editions"} & set(declared(path)) and path.stem not in LIVE]


@pytest.mark.parametrize("notebook", SHOWING, ids=lambda path: path.stem)
def test_a_page_with_what_a_checkout_brings(notebook: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "style", lambda: None)  # a page's, for its kernel
    monkeypatch.setattr(tables, "_TOLD", set())
    names: dict[str, object] = {}
    with matplotlib.rc_context():
        for cell in read(notebook).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, notebook.name, "exec"), names)
    assert not store.root.exists()
