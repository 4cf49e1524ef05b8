"""The list of every figure and table: complete, linked to labels that exist, and counted from the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frlcore.repro import places
from frlcore.repro.book import notebook
from frlcore.repro.book import pages as book
from frlcore.repro.book.page import labels
from frlcore.repro.paper import coverage, plan
from frlcore.repro.paper.methods import names
from frlcore.repro.runs.pace import Recorded
from frlcore.repro.runs.store import Store

EDITIONS = ["digits", "laptop", "cifar10"]
PARTS = {"digits": "digits", "smoke": "digits", "cifar10": "cifar10", "laptop": "laptop"}
PAGE = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# A page

```{code-cell} ipython3
:tags: [parameters]
PARAMETER
```
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", tmp_path / "published")


def test_every_figure_and_table_is_there_and_no_cell_is_empty(store: Store) -> None:
    names = [f"Figure {n}" for n in range(1, 8)] + [f"Table {n}" for n in range(1, 9)]
    assert [item.name for item in coverage.ITEMS] == names
    frame = coverage.shown(coverage.counts(EDITIONS, store=store), PARTS)
    assert len(frame) == 15 and not frame.isna().any().any() and (frame != "").all().all()
    assert list(frame.columns)[2:-1] == [plan.edition(name).title for name in EDITIONS]
    for item, command in zip(coverage.ITEMS, frame.Runs, strict=True):
        assert item.plan == "" or command.endswith(f"`frl run {item.plan}`")


def test_every_link_leads_to_a_label_of_its_notebook() -> None:
    for item in coverage.ITEMS:
        assert item.label in labels(notebook.find(item.page)), item.name


def test_finished_runs_are_counted(store: Store) -> None:
    run = plan.run("digits", "pgd", 0)
    store.finish(run.key, {"description": run.description, "outcomes": {}, "history": []}, {}, {})
    counted = coverage.counts(EDITIONS, store=store).set_index(["item", "edition"])
    row = counted.loc["Figure 1", "digits"]
    assert (row.finished, row.needed) == (1, 20) and row["made on"] == "Handwritten digits"
    assert counted.loc["Figure 5", "digits"]["made on"] == "Digits, wider and deeper network"
    assert counted.loc["Figure 5", "laptop"].needed == 0 and counted.loc["Figure 2", "cifar10"].needed == 0
    shown = coverage.shown(counted.reset_index(), PARTS).set_index("In the paper")
    cell = shown.loc["**Figure 1**"]
    assert cell["Handwritten digits"] == (
        "<a href='../digits/02_preliminary_studies.html'>1 of 20 runs</a>"  # no anchor that the page may not have yet
    )
    whole = coverage.shown(counted.reset_index().assign(finished=counted.needed.to_numpy()), PARTS)
    assert "02_preliminary_studies.html#fig-1-digits'>20 of 20 runs" in whole["Handwritten digits"].iloc[0]
    assert shown.loc["**Figure 5**", "CIFAR-10 on two cores"] == "not in this edition"
    assert "../theory/03_theoretical_analysis.html#fig-2'" in shown.loc["**Figure 2**", "CIFAR-10"]
    words = coverage.counts_in_words(counted.reset_index())
    assert words.splitlines()[0].startswith("* **Handwritten digits**: 0 of 14 complete, 5 begun, 9 not yet run.")


def test_a_page_ends_with_what_makes_it_again(store: Store) -> None:
    run = plan.run("digits", "pgd", 0)
    store.finish(run.key, {"description": run.description, "outcomes": {}, "history": []}, {"seconds": 1800.0}, {})
    lines = coverage.rerun("02_preliminary_studies", "digits", store=store).splitlines()
    assert lines[:4] == ["## Rerun this page", "", "```bash", "frl notebook 02 -p edition digits"]
    assert lines[4] == "frl run figure1 --edition digits  # 0.5 h taken so far"
    assert lines[5] == "frl run table1 --edition digits"  # its run is counted above
    assert "autoattack" in coverage.rerun("05_experiments", "digits", store=store)
    assert coverage.rerun("03_theoretical_analysis", explained=False).count("\n") == 6
    assert coverage.rerun(coverage.FRONT) == coverage.rerun(coverage.MISSING, "laptop") == ""


def finish(store: Store, edition: str, *methods: str) -> None:
    for method in methods:
        run = plan.run(edition, method)
        store.finish(run.key, {"description": run.description, "outcomes": {}, "history": []}, {}, {})


def opened(edition: str, store: Store) -> list[str]:
    pages = [path.stem for path in sorted((places.PROJECT / "notebooks").glob("*.md"))]
    having = [page for page in pages if "edition" in notebook.declared(notebook.find(page))]
    return [page for page in having if coverage.is_open(page, edition, store)]


def test_pages_unfold_with_the_first_records_that_fill_them(store: Store) -> None:
    assert opened("cifar10", store) == opened("laptop", store) == [coverage.MISSING]
    finish(store, "laptop", "pgd")
    assert opened("laptop", store) == ["01_introduction", "05_experiments", coverage.MISSING]
    assert opened("cifar10", store) == [coverage.MISSING]
    finish(store, "laptop", "natural", "control", "frl-reweight+remargin-0.05")
    more = ["01_introduction", "02_preliminary_studies", "04_fair_robust_learning", "05_experiments"]
    assert opened("laptop", store) == [*more, "12_see_the_attack", coverage.MISSING]
    finish(store, "laptop", *names("weight", "margin"), *plan.methods("figure4"), "cfa")
    whole = [*more, "06_ablation", "09_successors", "12_see_the_attack", "A1_more_preliminary_studies"]
    assert opened("laptop", store) == whole  # it has no A.4, and no page waits
    assert set(opened("digits", store)) == {*whole, "A4_wrn28"}  # trained where the book is made: always whole


def test_every_page_of_an_edition_has_what_opens_it() -> None:
    pages = [path.stem for path in (places.PROJECT / "notebooks").glob("*.md")]
    having = {page for page in pages if "edition" in notebook.declared(notebook.find(page))}
    assert having == {*coverage.OPENED_BY, coverage.MISSING}
    for page, plans in coverage.OPENED_BY.items():
        text = notebook.find(page).read_text(encoding="utf-8")
        assert all(set(methods) <= set(plan.methods(name)) for name, methods in plans.items())
        assert all(f'"{name}"' in text for name in plans if name != "figure3")  # that one through `ablation.gather`


def test_what_is_missing_is_counted_once_with_its_hours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = coverage.missing("cifar10", store).set_index("command")
    first = frame.loc["frl run figure1 --edition cifar10"]
    assert (first["items"], first.runs) == ("Figure 1, Table 1, Table 4", 4)
    assert frame.runs.sum() == len(plan.runs(plan.ALL, "cifar10"))
    work = sum(run.cost for run in plan.runs("figure1", "cifar10"))
    assert (first.passes, first.on) == (round(work), "") and np.isnan(first.hours)
    monkeypatch.setattr(coverage, "recorded", lambda runs, store: Recorded(7.2, "one GPU"))
    first = coverage.missing("cifar10", store).set_index("command").loc["frl run figure1 --edition cifar10"]
    assert first.on == "one GPU" and first.hours == pytest.approx(work * 0.002)
    finish(store, "cifar10", "natural", "pgd")
    after = coverage.missing("cifar10", store).set_index("command")
    assert (after["items"].iloc[0], after.runs.iloc[0]) == ("Figure 1", 2)  # both tables are done
    assert after.runs.sum() == frame.runs.sum() - 2


def test_links_to_pages_that_a_book_lacks_become_words() -> None:
    text = coverage.link("2 of 3 runs", "cifar10", "05_experiments", "tbl-2") + coverage.link("x", "theory", "03")
    assert book._linked(text, {"theory/03"}) == "2 of 3 runs<a href='../theory/03.html'>x</a>"
    assert book._linked(text, {"theory/03", "cifar10/05_experiments"}) == text


def test_a_page_over_all_editions_follows_their_records(tmp_path: Path) -> None:
    for folder in ("notebooks", "frlcore", "data/paper"):
        (tmp_path / folder).mkdir(parents=True)
    lines = {"1_all": "editions: list[str] = []", "2_one": 'edition: str = "x"', "3_none": "n: int = 1"}
    for name, line in lines.items():
        (tmp_path / "notebooks" / f"{name}.md").write_text(PAGE.replace("PARAMETER", line), encoding="utf-8")

    def made(records: str) -> dict[str, book.Page]:
        found = book.pages(["digits", "cifar10"], root=tmp_path, records_fingerprint=records)
        return {page.name: page for page in found}

    before, after = made("a"), made("b")
    assert list(before) == ["theory/1_all", "digits/2_one", "cifar10/2_one", "theory/3_none"]
    assert before["theory/1_all"].parameters == {"editions": ["digits", "cifar10"]}
    changed = [name for name in before if before[name].fingerprint != after[name].fingerprint]
    assert changed == ["theory/1_all", "digits/2_one", "cifar10/2_one"]
