"""PGD-20 and AutoAttack on the same images, from records whose outcomes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frlcore.repro.paper import plan, records, stronger
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store

CLASSES, PER_CLASS, FOLDS = 10, 20, 2  # AutoAttack sees every second image of the first two folds


def write(store: Store, method: str, pgd: int, auto: int) -> None:
    """PGD breaks the first `pgd` images of every class and AutoAttack the last `auto`; all are right when clean."""
    for fold in range(5):
        label = np.repeat(np.arange(CLASSES), PER_CLASS).astype(np.uint8)
        place = np.tile(np.arange(PER_CLASS), CLASSES)
        index = (np.arange(len(label)) * 5 + fold).astype(np.uint32)
        other = ((label + 1) % CLASSES).astype(np.uint8)
        broken = np.where(place < pgd, other, label)
        run, check = plan.run("digits", method, fold), plan.run("digits", f"{method}+autoattack", fold)
        arrays = {"label": label, "clean": label, "any": broken, "last": broken, "index": index}
        text = {name: pack(values) for name, values in arrays.items()}
        classes = [str(c) for c in range(CLASSES)]
        body = {"description": run.description, "classes": classes, "outcomes": {"last": text, "selected": text}}
        store.finish(run.key, body, {}, {})
        if fold >= FOLDS:
            continue
        attacked = np.where(place >= PER_CLASS - auto, other, label)
        text = {n: pack(v[::2]) for n, v in {"label": label, "index": index, "autoattack": attacked}.items()}
        body = {"description": check.description, "classes": classes, "outcomes": {"last": text}}
        store.finish(check.key, body, {"seconds": 2.0}, {})


@pytest.fixture
def both(tmp_path: Path) -> tuple[records.Results, records.Results]:
    store = Store(tmp_path / "store", tmp_path / "published")
    write(store, "pgd", pgd=10, auto=4)
    write(store, "control", pgd=10, auto=0)
    write(store, "frl-reweight-0.05", pgd=4, auto=2)
    return records.results("table2", "digits", store), records.results("autoattack", "digits", store)


def test_the_attacks_are_set_side_by_side_on_the_same_images(both: tuple[records.Results, records.Results]) -> None:
    labels, pgd, union = stronger.broken(*both, "pgd")
    assert len(labels) == FOLDS * CLASSES * PER_CLASS // 2
    assert pgd.mean() == 0.5 and union.mean() == pytest.approx(0.7)  # 5 of 10 images, and 2 more
    frame = stronger.attacked(*both)
    assert list(frame.index) == [plan.label(m) for m in ("pgd", "control", "frl-reweight-0.05")]
    first = frame.loc[plan.label("pgd")]
    assert first["Average, PGD-20"].startswith("50.0 <small>[")
    assert first["Worst, with AutoAttack"].startswith("70.0 <small>[")
    numbers = stronger.numbers(*both).query("attack == 'PGD-20 and AutoAttack' and statistic == 'average'")
    assert numbers.value.tolist() == pytest.approx([70, 50, 30]) and (numbers.low <= numbers.value).all()
    assert frame.loc[plan.label("control"), "Average, with AutoAttack"].startswith("50.0 <small>[")


def test_what_autoattack_adds_is_said(both: tuple[records.Results, records.Results]) -> None:
    text = stronger.added_in_words(*both)
    assert "between 0.0 (Control (multipliers 0)) and 20.0 points (PGD Adv. Training)" in text


def test_the_fairest_under_both_attacks_is_said(both: tuple[records.Results, records.Results]) -> None:
    text = stronger.lowest_in_words(*both, "control")
    assert "on 200 of these images, FRL(Reweight, 0.05) has the lowest error of the worst class, 30.0% [" in text
    assert "that of Control (multipliers 0) is 50.0% [" in text
    assert text.endswith("], an interval that takes no account of its being the best of 2.")
    assert stronger.lowest_in_words(*both, "trades-1") == ""  # AutoAttack never looked at it
    assert "no method has a lower" in stronger.lowest_in_words(*both, "frl-reweight-0.05")


def test_differences_are_those_of_the_union(both: tuple[records.Results, records.Results]) -> None:
    frame = stronger.differences(*both, "pgd")
    assert list(frame.index) == [plan.label("frl-reweight-0.05")]
    assert frame.iloc[0]["Average robust"].startswith("**-40.0**")  # 30% against 70%
    control = stronger.differences(*both, "control").iloc[0]
    assert control["Average robust"].startswith("**-20.0**")
    assert control["Worst robust"].startswith("-20.0 <small>[-40.0, +0.0]")  # of ten equal classes either way


def test_the_records_of_checks_have_their_provenance(both: tuple[records.Results, records.Results]) -> None:
    runs = both[1].runs()
    assert len(runs) == 6 and set(runs.seconds) == {2.0} and runs["images/s"].isna().all()
    assert both[1].command == "frl run autoattack --edition digits"
