"""The page of FRL's successors from records whose errors are known class by class."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from rich.console import Console

from frlcore.repro.book import notebook
from frlcore.repro.paper import plan, records, successors, terminal, verdicts
from frlcore.repro.paper.successors import CONTROL, FRL
from frlcore.repro.style import BLUE
from frlcore.settings import info

N = 100  # images of a class
Errors = list[int]  # robust error of every class, in percent


def made(errors: dict[str, Errors], seconds: dict[str, float] | None = None) -> records.Results:
    """The plan's records: "cfa+average" is what the averaged weights of "cfa" do."""
    ed = plan.edition("digits")
    label, place = np.repeat(np.arange(10), N), np.tile(np.arange(N), 10)

    def arrays(robust: Errors) -> dict[str, np.ndarray]:
        broken = np.where(place < np.repeat(robust, N), (label + 1) % 10, label)
        return {"label": label, "index": np.arange(len(label)), "clean": label, "any": broken, "last": broken}

    found: dict[str, list[list[records.Record]]] = {}
    for method in plan.methods("successors"):
        if method not in errors:
            found[method] = []
            continue
        raw = errors.get(method.removesuffix("+average"), errors[method])
        result = {"classes": list(info(ed.dataset).classes), "history": [],
                  "outcomes": {"last": arrays(raw), "average": arrays(errors[method])}}  # fmt: skip
        epochs = [(seconds or {}).get(method, 0.0)] * 3
        found[method] = [[records.Record(plan.run("digits", method), result, {"epoch_seconds": epochs})]]
    return records.Results("successors", "digits", ed, found)


FLAT = [50] * 9
PLAIN = {CONTROL: [*FLAT, 90], FRL: [*FLAT, 75]}


def test_averaged_rows_are_read_from_the_averaged_weights() -> None:
    found = made({"cfa": [*FLAT, 80], "cfa+average": [*FLAT, 60], "control-average": [*FLAT, 70]})
    worst = {one: found.errors(one).worst("robust")[1] for one in found.present}
    assert worst == {"control-average": 0.7, "cfa": 0.8, "cfa+average": 0.6}


def test_differences_by_hand_and_bold_where_clear() -> None:
    tested = successors.differences(made(PLAIN | {"wat": [*FLAT, 89]}))
    rows = tested[tested.statistic.eq("worst") & tested.error.eq("robust")].set_index(["method", "reference"])
    assert rows.difference[FRL, CONTROL] == pytest.approx(-15) and rows.p_holm[FRL, CONTROL] < 0.05
    assert rows.difference["wat", CONTROL] == pytest.approx(-1) and rows.p_holm["wat", CONTROL] > 0.05
    assert rows.difference["wat", FRL] == pytest.approx(14) and set(tested.reference) == {CONTROL, FRL}
    shown = successors.shown(tested, CONTROL)
    assert shown.loc["WAT", "Worst robust"].startswith("-1.0 ")
    assert shown.iloc[0]["Worst robust"].startswith("**-15.0**") and len(shown) == 2


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({CONTROL: [*FLAT, 90]}, ["not there yet"]),
        ({CONTROL: [*FLAT, 90], FRL: [*FLAT, 91]}, ["these records speak for none"]),
        ({CONTROL: [*FLAT, 90], FRL: [*FLAT, 85]}, ["is not clear: these records speak for no method"]),
        (PLAIN, ["tells every other method apart", "75.0%, where the control has 90.0%"]),
        (PLAIN | {"dafa": [*FLAT, 55]}, [r"^\*\*DAFA\*\* has the lowest .*: 55.0%", "is clear after correction",
                                         "tells every other method apart", r"gains over .* \(-20\.0 points"]),
        (PLAIN | {"dafa": [40] * 9 + [76]}, ["not tell it apart from: DAFA", r"clear after correction \*\*DAFA\*\*"]),
    ],
)  # fmt: skip
def test_advice_follows_from_the_records_alone(errors: dict[str, Errors], words: list[str]) -> None:
    found = made(errors)
    text = successors.advice(found, successors.differences(found))
    assert all(re.search(one, text) for one in words), text


def test_seconds_are_medians_over_the_controls() -> None:
    times = {CONTROL: 2.0, "wat": 3.0, "cfa": 0.0}
    frame = successors.seconds(made(PLAIN | {"wat": FLAT + [80], "cfa+average": FLAT + [70]}, times))
    assert frame.loc["WAT", "Times the control's"] == 1.5 and frame.loc["WAT", "Seconds an epoch"] == "3.00"
    assert "CFA, averaged" not in frame.index
    found = made(PLAIN, {CONTROL: 2.0, FRL: 3.0})
    found.records[FRL][0][0].provenance["epoch_seconds"] = [3.0, 3.0, 30.0]
    assert successors.seconds(found)["Times the control's"].tolist()[-1] == 1.5


def test_a_gate_that_never_opened_is_told() -> None:
    found = made(PLAIN | {"cfa": [*FLAT, 80]})
    (record,) = found.records["cfa"][0]
    shut, twice = [0.1, 0.9, 0.81, 0.9], [0.99, 0.9, 0.8, 0.75]
    for worst, words in ((twice, "after 2 of 12 epochs."), (shut, "In 1 of 1 runs it never moved")):
        history = [{"epoch": e, "validation": {"robust": [0.3, error]}} for e, error in enumerate(worst)]
        record.result["history"] = history  # entry 0 is the start, which no epoch made
        assert words in successors.gate_in_words(found)
    assert successors.gate_in_words(made(PLAIN)) == ""


def test_claims_are_judged_on_the_plans_records(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = PLAIN | {"cfa+average": [40] * 9 + [70], "dafa": [60] * 9 + [70], "wat": [*FLAT, 98]}
    monkeypatch.setattr(verdicts, "results", lambda *args, **how: made(errors))
    frame, tests = verdicts.judge("digits", successors.STATEMENTS)
    by_claim = dict(zip(frame.claim.str[:30], frame.verdict, strict=True))
    assert by_claim["CFA with its average improves "[:30]] == "reproduced"
    assert by_claim["DAFA improves the worst class'"[:30]] == "mixed"  # its average is 7 points worse
    assert by_claim["WAT improves the worst class's"[:30]] == "not reproduced"
    assert frame.verdict.eq("not yet run").sum() == 5 and isinstance(tests, pd.DataFrame)


def test_figures_show_every_method_and_class() -> None:
    found = made(PLAIN | {"cfa": [*FLAT, 80], "cfa+average": [*FLAT, 60]})
    (ax,) = successors.overview(found).axes
    hollow = [line.get_markerfacecolor() == "#FFFFFF" for line in ax.lines]
    assert hollow == [False, False, False, True]
    assert [float(line.get_xdata()[0]) for line in ax.lines] == [90, 75, 80, 60]  # type: ignore[index]
    (ax,) = successors.heat(found).axes
    assert [text.get_text() for text in ax.texts[:10]] == ["−15", *["0"] * 9]  # the control's worst class first
    assert ax.get_xticklabels()[0].get_text() == "9\n90%" and len(ax.texts) == 30
    assert to_hex(ax.patches[0].get_facecolor()) == to_hex(BLUE)  # below the control


def test_the_page_has_its_plans() -> None:
    text = notebook.find("09_successors").read_text(encoding="utf-8")
    assert f'"{successors.PLAN}"' in text and '"successors-autoattack"' in text
    mentioned = {test.first for one in successors.STATEMENTS for test in one.tests}
    assert mentioned <= set(plan.methods("successors"))


def test_the_terminal_prints_averaged_weights_beside_the_others() -> None:
    found, console = made(PLAIN | {"cfa": [*FLAT, 80], "cfa+average": [*FLAT, 60]}), Console(width=100, record=True)
    console.print(terminal.terminal(found, terminal.tidy(found)))
    text = console.export_text()
    assert "CFA, averaged" in text and "60.0 [" in text and "80.0 [" in text
