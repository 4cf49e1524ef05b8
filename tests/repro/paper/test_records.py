"""From records to numbers, tables, figures and verdicts, on records whose outcomes are known."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.repro.paper import claims, figures, plan, records, tables, terminal
from frlcore.repro.paper import printed as paper
from frlcore.repro.paper.methods import names
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store

CLASSES = 10
PER_CLASS = 20


def outcomes(clean_wrong: int, broken: int, fold: int) -> dict[str, str]:
    """A fold of the digits in which the first images of every class are wrong, or right and then broken.

    Class c has `clean_wrong` clean mistakes, and c + `broken` more of them under attack.
    """
    label = np.repeat(np.arange(CLASSES), PER_CLASS).astype(np.uint8)
    place = np.tile(np.arange(PER_CLASS), CLASSES)
    other = (label + 1) % CLASSES
    clean = np.where(place < clean_wrong, other, label)
    attacked = np.where(place < clean_wrong + broken + label, other, label)
    back = np.where(place == 0, label, attacked)  # the last point of the attack is right again for one image a class
    order = np.arange(len(label), dtype=np.uint32) * 5 + fold
    arrays = {"label": label, "clean": clean, "any": attacked, "last": back, "index": order}
    return {name: pack(np.asarray(values, values.dtype)) for name, values in arrays.items()}


def write(store: Store, method: str, clean_wrong: int, broken: int, seed: int = 0) -> None:
    for fold in range(5):
        run = plan.run("digits", method, fold, seed)
        one = outcomes(clean_wrong, broken, fold)
        uniform = [1.0] * CLASSES
        validation = {"n": [4] * CLASSES} | {
            kind: [0.1 * c for c in range(CLASSES)] for kind in ("standard", "boundary", "robust")
        }
        validation["boundary_difference"] = [0.0] * CLASSES
        answer = {"w_nat": uniform, "w_bndy": uniform, "margin": uniform}
        policy = {"phi_nat": [0.0] * CLASSES, "phi_bndy": [0.0] * CLASSES, "log_margin": [0.0] * CLASSES}
        history = [{"epoch": e, "validation": validation, "settings": answer, "policy": policy} for e in range(3)]
        body = {
            "description": run.description, "classes": [str(c) for c in range(CLASSES)],
            "history": [*history[:2], {"epoch": 2, "validation": validation}],
            "selected_epoch": 1, "outcomes": {"last": one, "selected": one},
        }  # fmt: skip
        store.finish(run.key, body, {"seconds": 1.5, "torch": "9.9"}, {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Natural, PGD, the control and one FRL method are there; the other methods are not."""
    store = Store(tmp_path / "store", tmp_path / "published")
    write(store, "natural", clean_wrong=0, broken=PER_CLASS)
    write(store, "pgd", clean_wrong=2, broken=6)
    write(store, "pgd", clean_wrong=4, broken=6, seed=1)
    write(store, "control", clean_wrong=2, broken=5)
    write(store, "frl-reweight-0.05", clean_wrong=2, broken=0)
    return store


@pytest.fixture
def found(store: Store) -> records.Results:
    return records.results("overview", "digits", store)


def test_methods_without_a_whole_seed_are_missing(found: records.Results, store: Store) -> None:
    assert found.present == ["natural", "pgd", "control", "frl-reweight-0.05"]
    assert "trades-1" in found.missing
    assert found.seeds("pgd") == 2 and found.seeds("pgd", "control") == 1
    for run in (plan.run("digits", "pgd", fold, 1) for fold in range(1)):
        (store.folder(run.key) / "result.json").unlink()
    assert records.results("overview", "digits", store).seeds("pgd") == 1


def test_folds_are_pooled_and_seeds_averaged(found: records.Results) -> None:
    assert found.predictions("pgd", "clean").shape == (2, 5 * CLASSES * PER_CLASS)
    errors = found.errors("pgd")
    assert errors.n.tolist() == [5 * PER_CLASS] * CLASSES  # seeds do not add examples
    assert np.allclose(errors.standard, 3 / PER_CLASS)  # mean of 2 and 4 of 20
    assert np.allclose(errors.boundary, (6 + np.arange(CLASSES)).clip(max=PER_CLASS) / PER_CLASS)
    assert np.allclose(errors.robust, errors.standard + errors.boundary)
    last = found.under(broken="last").errors("pgd")
    assert np.allclose(errors.robust - last.robust, 1 / PER_CLASS)


def test_wrong_agrees_with_class_errors(found: records.Results) -> None:
    for kind in records.KINDS:
        wrong = found.wrong("pgd", kind)
        by_class = [wrong[:, found.labels == c].mean() for c in range(CLASSES)]
        assert np.allclose(by_class, getattr(found.errors("pgd"), kind))


def test_tidy_holds_every_number_in_percent_with_an_interval(found: records.Results) -> None:
    frame = records.tidy(found)
    assert len(frame) == 4 * 3 * (2 + CLASSES)
    sure = frame[frame.statistic != "worst"]  # resampling a maximum is biased upward
    assert (sure.low <= sure.value + 1e-9).all() and (sure.value <= sure.high + 1e-9).all()
    row = frame.query("method == 'pgd' and error == 'robust' and statistic == 'worst'").iloc[0]
    assert row["class"] == "9" and row.value == pytest.approx(100 * (3 + 15) / PER_CLASS) and row.paper == 82.7
    assert frame.query("statistic == 'class'").paper.isna().all()  # digits are not the paper's classes


def test_every_method_of_the_papers_table_2_finds_its_row() -> None:
    printed = set(paper.table(2).method)
    assert printed == {plan.label(m) for m in plan.PLANS["table2"] if m != "control" and not m.endswith("code")}


def test_fairness_table_marks_what_was_not_run(found: records.Results) -> None:
    frame = tables.fairness(found)
    assert list(frame.columns) == ["Standard", "Boundary", "Robust"]
    assert frame.loc["TRADES(1/λ = 1)"].tolist() == [tables.PENDING] * 3
    worst = frame.loc["PGD Adv. Training", "Robust"]
    assert re.fullmatch(r"90\.0 “9” <small>\[\d+, \d+\] · paper 82\.7</small>", worst)


def test_the_lowest_error_is_marked_with_those_that_a_test_cannot_tell_from_it(found: records.Results) -> None:
    # clean mistakes of each class: 3 of 20 (PGD), 2 (control), 1 (FRL); natural training makes next to none
    assert tables.lowest(found, "average", "standard") == {"natural"}
    assert tables.lowest(found, "average", "robust") == {"frl-reweight-0.05"}
    frame = tables.fairness(found, "average")
    assert frame.loc["FRL(Reweight, 0.05)", "Robust"].startswith("**")
    assert not frame.loc["PGD Adv. Training", "Robust"].startswith("**")
    alike = replace(found, records={name: found.records["pgd"] for name in ("pgd", "control")})
    assert tables.lowest(alike, "worst", "robust") == set()  # all are alike: none is marked


def test_classwise_table_and_extremes(found: records.Results) -> None:
    frame = tables.classwise(found, "standard")
    assert frame.loc["Natural Training", "3"].startswith("0.0 <small>[")
    assert frame.loc["Diff. (Adv. - Nat.)", "3"].startswith("+15.0 <small>[")
    assert len(set(tables.extremes(found))) == 4


def test_differences_are_paired_and_signed(found: records.Results) -> None:
    shown, numbers = tables.differences(found, "pgd")
    row = numbers.query("statistic == 'average' and error == 'robust'").iloc[0]
    ours = found.errors("frl-reweight-0.05").average("robust")
    theirs = ClassErrors.from_predictions(
        found.labels, found.predictions("pgd", "clean")[0], found.predictions("pgd", "any")[0], CLASSES
    ).average("robust")  # only the seed that both have
    assert row.difference == pytest.approx(100 * (ours - theirs)) and row.difference < 0 and row.p_holm < 0.05
    assert shown["worst"].index.tolist() == ["FRL(Reweight, 0.05)"]
    opposite = shown["average"].loc["FRL(Reweight, 0.05)", "Robust"]  # the paper: 57.6 - 56.4 = +1.2
    assert opposite.startswith("**-") and "†" in opposite and "paper +1.2" in opposite


def test_a_clear_difference_survives_the_correction_for_a_full_table() -> None:
    comparisons = (len(names("frl", "ours")) + 1) * len(tables.COLUMNS)
    assert comparisons * 2 / records.DRAWS < 0.05


def test_verdicts(found: records.Results) -> None:
    good = claims.Claim("x", "lower", "frl-reweight-0.05", "pgd", "worst", "robust")
    bad = claims.Claim("x", "higher", "frl-reweight-0.05", "pgd", "worst", "robust", "higher")
    far = claims.Claim("x", "by 99 points", "frl-reweight-0.05", "pgd", "worst", "robust", beyond=99)
    same = claims.Claim("x", "no difference", "pgd", "pgd", "average", "robust")
    nearly = claims.Claim("ours", "at most 99 points more", "pgd", "frl-reweight-0.05", "worst", "robust", beyond=-99)
    away = claims.Claim("x", "not there", "trades-1", "pgd", "average", "robust")
    assert claims.compare(found, [nearly]).verdict.tolist() == ["holds"]
    judged = claims.compare(found, [good, bad, far, same, away])
    assert judged.verdict.tolist() == [
        "holds", "contradicted", "contradicted", "cannot tell at this resolution", "not yet run",
    ]  # fmt: skip
    words = claims.tests_in_words(judged)
    assert words.startswith("5 claims of the paper: ") and "Contradicted here: higher" in words
    chosen = claims.compare(found.under("selected"), [good, bad, far, same, away])
    shown = claims.shown({"last": judged, "selected": chosen})
    assert shown["last"].iloc[-1] == "not yet run" and shown["last"].iloc[0].endswith("<br>holds")


def test_history_has_a_row_per_epoch_and_class(found: records.Results) -> None:
    history = found.history("pgd")
    assert len(history) == 2 * 5 * 3 * CLASSES
    assert history[history.epoch == 2].w_nat.isna().all()  # nothing is trained after the last validation


def test_the_last_epochs_moves_are_those_of_validation(found: records.Results) -> None:
    fold = found.records["control"][0][2]
    fold.result["history"][-1]["validation"]["standard"][3] -= 0.2
    moves = tables.last_moves(found)
    assert moves.loc["Control (multipliers 0)"].tolist() == ["0.4", "20.0 “3”"]  # one class of ten, one fold of five
    assert moves.loc["PGD Adv. Training"].tolist() == ["0.0", "0.0 “0”"]


def test_missing_runs_show_the_command_once(
    found: records.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_TOLD", set())
    empty = records.results("table2", "cifar10", Store(tmp_path / "none", tmp_path / "none"))
    shown = tables.when_run(empty, ["pgd"], lambda: 1 / 0)
    assert isinstance(shown, Markdown) and "frl run table2 --edition cifar10" in shown.data
    assert tables.when_run(empty, ["control"], lambda: 1 / 0) is None  # the page has said it
    assert "frl run table2 --edition cifar10" in tables.banner(empty).data
    with pytest.raises(UserError, match="frl run table2"):
        _ = empty.classes
    assert tables.when_run(found, ["pgd"], lambda: 5) == 5


@pytest.mark.parametrize("ask", [{"broken": "nope"}, {"checkpoint": "best"}])
def test_unknown_verdicts_and_checkpoints(found: records.Results, store: Store, ask: dict[str, str]) -> None:
    for call in (found.under, lambda **ask: records.results("table2", "smoke", store, **ask)):
        with pytest.raises(UserError, match="unknown (verdict|checkpoint)"):
            call(**ask)


def test_fingerprint_follows_the_records(store: Store) -> None:
    before = records.fingerprint(["digits"], store)
    assert before == records.fingerprint(["digits"], store)
    write(store, "trades-1", 2, 6)
    more = records.fingerprint(["digits"], store)
    write(store, "trades-1", 3, 6)  # the same keys, other outcomes
    assert len({before, more, records.fingerprint(["digits"], store)}) == 3


def test_runs_name_their_provenance(found: records.Results) -> None:
    runs = found.runs("control")
    assert len(runs) == 5 and set(runs.torch) == {"9.9"} and set(runs.seconds) == {1.5} and "threads" in runs


@pytest.mark.parametrize("draw", [figures.overview, figures.classwise, figures.worst_classes])
def test_figures_draw_what_there_is(found: records.Results, draw: object) -> None:
    assert isinstance(draw(found), Figure)  # type: ignore[operator]


def test_discordant_images_are_counted(found: records.Results) -> None:
    frame = tables.discordant(found, "control")
    row = frame.loc["FRL(Reweight, 0.05)"]
    ours, theirs = (found.wrong(m, "robust")[0] for m in ("frl-reweight-0.05", "control"))
    assert row["broken only under this method"] == 0 and row.iloc[1] == theirs.sum() - ours.sum() > 0
    assert float(row["p (Holm)"]) < 1e-6


def test_confusion_draws_every_method(found: records.Results) -> None:
    fig = figures.confusion(found, ("pgd", "control"))
    shown = {text.get_text() for text in fig.axes[1].texts}
    assert len(fig.axes) == 2 and "65" in shown  # class 0 under the control: 2 + 5 of 20 wrong


def test_the_terminal_shows_classes_where_the_paper_does(store: Store) -> None:
    from rich.console import Console

    console = Console(width=100, record=True)
    found = records.results("figure1", "digits", store)
    console.print(terminal.classwise(found, records.tidy(found)))
    text = console.export_text()
    assert "15.0 [9, 24]" in text and "not yet run" in text and "class" in text


def test_trajectories_draw(found: records.Results) -> None:
    assert isinstance(figures.trajectories(found, "frl-reweight-0.05"), Figure)


class Uneven(records.Results):
    """The same records with half as many images of class 0: those of the first ten places."""

    def _pooled(self, method: str, name: str, checkpoint: str) -> np.ndarray:
        label = super()._pooled(method, "label", checkpoint)[0]
        keep = (label != 0) | (np.arange(len(label)) < 5 * PER_CLASS / 2)
        return super()._pooled(method, name, checkpoint)[:, keep]


@pytest.fixture
def uneven(found: records.Results) -> Uneven:
    return Uneven(**{field.name: getattr(found, field.name) for field in fields(found)})


def test_tidy_averages_over_images_too_where_classes_differ_in_size(found: records.Results, uneven: Uneven) -> None:
    assert set(records.tidy(found).statistic) == {"average", "worst", "class"}
    assert np.bincount(uneven.labels).tolist() == [50, *[100] * 9]
    frame = records.tidy(uneven)
    assert len(frame) == 4 * 3 * (3 + CLASSES)
    row = frame.query("method == 'control' and error == 'standard' and statistic == 'average_examples'").iloc[0]
    assert row.value == pytest.approx(100 * (10 + 9 * 10) / 950) and row["class"] == "" and row.n == 950
    assert row.low <= row.value <= row.high and np.isnan(row.paper)
    by_class = frame.query("method == 'control' and error == 'standard' and statistic == 'average'").iloc[0]
    assert by_class.value == pytest.approx(100 * (0.2 + 9 * 0.1) / CLASSES)
    assert by_class.paper != by_class.paper  # the control is ours


def test_readers_of_tidy_do_not_take_one_average_for_the_other(uneven: Uneven) -> None:
    from rich.console import Console

    frame = records.tidy(uneven)
    console = Console(width=100, record=True)
    console.print(terminal.methods(uneven, frame), terminal.classwise(uneven, frame))
    without = Console(width=100, record=True)
    plain = frame[frame.statistic != "average_examples"]
    without.print(terminal.methods(uneven, plain), terminal.classwise(uneven, plain))
    assert console.export_text() == without.export_text()
    assert tables.fairness(uneven, "average").loc["PGD Adv. Training", "Standard"].startswith("16.5 <small>[")
    assert len(tables.classwise(uneven, "robust")) == 3


def test_both_averages_stand_side_by_side(found: records.Results, uneven: Uneven) -> None:
    frame = tables.averages(uneven)
    assert list(frame.columns) == [
        f"{kind}, over {what}" for kind in ("Standard", "Boundary", "Robust") for what in ("classes", "images")
    ]
    row = frame.loc["PGD Adv. Training"]  # clean mistakes: 6 of 20 of class 0 (2 and 4 of its first 10), 3 of 20
    assert row["Standard, over classes"].startswith("16.5 <small>[")
    assert row["Standard, over images"].startswith(f"{100 * (15 + 9 * 15) / 950:.1f} <small>[")
    assert set(frame.loc["TRADES(1/λ = 1)"]) == {tables.PENDING}
    even = tables.averages(found)
    for kind in ("Standard", "Boundary", "Robust"):
        values = [even.loc["PGD Adv. Training", f"{kind}, over {what}"].split()[0] for what in ("classes", "images")]
        assert values[0] == values[1]
    last = tables.averages(uneven.under(broken="last")).loc["PGD Adv. Training", "Robust, over images"]
    assert last != row["Robust, over images"]
