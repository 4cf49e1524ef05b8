"""Audits in the book: the published one and its command, records in the same form, and orders of classes by hand."""

from __future__ import annotations

import hashlib
import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from frlcore.auditing import report
from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.paper import audits
from frlcore.repro.runs.store import Store


def test_the_published_audit_is_whole_and_of_a_network_that_withstands_nothing() -> None:
    found, clean = audits.published(), audits.clean()
    assert found.errors.n.tolist() == [100] * 10 and clean.n.tolist() == [1000] * 10
    assert found.errors.robust.min() == 1 and 0.9 < 1 - clean.average("standard") < 0.96
    facts = json.loads(audits._text("report.json"))
    assert facts["attack"] == found.attack == "PGD-20" and facts["eps"] == 8 / 255 and len(facts["model_sha256"]) == 64
    assert "resnet18 --data cifar10 --per-class 100" in facts["command"] and facts["machine"]["torch"]
    rows, all_rows = audits._rows("predictions.csv"), audits._rows("clean.csv")
    same = all_rows.iloc[rows.image]  # both looked at the same images of the test set
    assert (same.label.to_numpy() == rows.label.to_numpy()).all()
    assert (same.clean.to_numpy() == rows.clean.to_numpy()).mean() > 0.995  # float noise may move a tie
    percent = pd.DataFrame(facts["percent"])
    for written in (percent, pd.read_csv(StringIO(audits._text("report.csv")))):
        pd.testing.assert_frame_equal(found.frame()[["value", "low", "high"]], written[["value", "low", "high"]])


def test_orders_of_the_classes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = audits.natural_errors()
    assert frame["the paper"].tolist() == [11.3, 10.0, 6.4, 6.1, 5.2, 5.1, 4.3, 4.0, 3.5, 1.8]
    assert frame.index[0] == "cat" and (frame.low < frame[audits.THEIRS]).all() and "ours" not in frame
    made = pd.DataFrame({"the paper": [3.0, 2, 1], "x": [2.0, 3, 1]}, index=["a", "b", "c"])
    # ranks 1 2 3 and 2 1 3: 1 - 6 * 2 / (3 * 8)
    assert "is 0.50 for x; the worst class is “a” for the paper, “b” for x." in audits.natural_in_words(made)
    order = list(frame.index)
    ours = SimpleNamespace(classes=order, present=["natural"],
                           errors=lambda method: SimpleNamespace(standard=np.linspace(0.3, 0.1, 10)))  # fmt: skip
    both = audits.natural_errors(ours)  # type: ignore[arg-type]
    assert both.ours.tolist() == pytest.approx(np.linspace(30, 10, 10).tolist())
    assert "1.00 for ours" in audits.natural_in_words(both)


def test_evidence_from_models_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = audits.evidence()
    assert "weakest classes in 17, the easy ones both among the four strongest in 15" in frame["Models of others"][0]
    assert "100% on 1,000" in frame["Models of others"][1] and frame.Verdict.tolist() == ["partly", "supports"]
    monkeypatch.setattr(audits, "HARD", ("cat", "ship"))
    assert audits.evidence().Verdict[0] == "does not support"
    monkeypatch.setattr(audits, "HARD", ("cat", "dog"))
    monkeypatch.setattr(audits, "EASY", ("ship", "ship"))
    assert audits.evidence().Verdict[0] == "supports"  # alone it is among the strongest in all


class Stub(SimpleNamespace):
    """Records of one method on four images, two of them tried by a stronger attack."""

    def predictions(self, method: str, name: str) -> np.ndarray:
        return np.array([self.rows[name]])

    def runs(self, method: str) -> pd.DataFrame:
        return pd.DataFrame({"seconds": [3.0]})


def test_records_as_an_audit() -> None:
    edition = SimpleNamespace(name="made", test=SimpleNamespace(eps=0.1, norm="linf", steps=20))
    shared = {"classes": ["a", "b"], "broken": "any", "edition": edition}
    rows = {"label": [0, 0, 1, 1], "clean": [0, 1, 1, 1], "any": [1, 1, 1, 1], "index": [4, 5, 7, 9]}
    found = Stub(**shared, rows=rows)
    audit = audits.recorded(found, "pgd")  # type: ignore[arg-type]
    assert audit.errors.standard.tolist() == [0.5, 0] and audit.errors.robust.tolist() == [1, 0]
    assert (audit.attack, audit.seconds, audit.worst()) == ("PGD-20", 3.0, ("a", 1.0))
    checks = Stub(rows={"index": [5, 7], "autoattack": [1, 0]})
    strong = audits.recorded(found, "pgd", checks)  # type: ignore[arg-type]
    assert strong.errors.n.tolist() == [1, 1] and strong.errors.robust.tolist() == [1, 1]
    assert strong.attack == "PGD-20 and AutoAttack"
    assert "not distinguishable" in report.in_words(audit.compare(audit))


def test_without_the_files_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    with pytest.raises(UserError, match="report.json is missing"):
        audits.published()


def test_no_edition_with_records_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path, published=None)
    assert audits.first("table2", ["laptop", "cifar10"], *audits.PAIR, store=store) is None
    assert audits.first("figure5", ["laptop"], store=store) is None  # which it does not have by design


def test_the_weights_are_those_that_the_package_ships() -> None:
    pyautoattack = pytest.importorskip("pyautoattack")
    path = Path(pyautoattack.__file__).parent / "examples" / "model_test.pt"
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (places.checkout() / "data/outside/README.md").read_text()
