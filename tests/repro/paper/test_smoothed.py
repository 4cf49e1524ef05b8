"""Figure 4 on invented certificates: who is certified to which radius, who abstains, and what the page says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from frlcore.intervals import interval
from frlcore.repro.paper import claims, plan, records
from frlcore.repro.paper import smoothed as appendix
from frlcore.repro.paper.methods import names
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store

CLASSES, PER_CLASS, FOLDS = 10, 20, 5
N = PER_CLASS * FOLDS
LABEL = np.repeat(np.arange(CLASSES), PER_CLASS)
CERTIFIED = plan.edition("digits").certification.folds
PLACE = np.tile(np.arange(PER_CLASS), CLASSES)


def keep(store: Store, task: object, arrays: dict[str, np.ndarray]) -> None:
    kinds = {"index": np.uint32, "certified": np.int16, "radius": np.float64}
    one = {name: pack(np.asarray(values, kinds.get(name, np.uint8))) for name, values in arrays.items()}
    body = {"description": task.description, "classes": [str(c) for c in range(CLASSES)],  # type: ignore[attr-defined]
            "history": [], "outcomes": {"last": one, "selected": one}}  # fmt: skip
    store.finish(task.key, body, {"seconds": 1.0}, {})  # type: ignore[attr-defined]


def write(store: Store, every: int = 1) -> None:
    """Certificates and their models: of class c, of 20 images a fold, the first abstains and c more are wrong.

    Images at places below 15 that are right reach radius 0.4, the others 0.6. The natural model is wrong on the first
    of each class; after PGD training c + 2 images of class c break.
    """
    for fold in range(FOLDS):
        index = np.arange(len(LABEL)) * FOLDS + fold
        other = (LABEL + 1) % CLASSES
        certified = np.where(PLACE <= LABEL, other, LABEL)
        certified[PLACE == 0] = -1
        radius = np.where(PLACE == 0, 0.0, np.where(PLACE < 15, 0.4, 0.6))
        seen = slice(None, None, every)
        for name in names("noise"):
            arrays = {"label": LABEL, "index": index, "certified": certified, "radius": radius}
            check = plan.run("digits", f"{name}+certify", fold)
            keep(store, check, {kind: values[seen] for kind, values in arrays.items()})
        clean = np.where(PLACE == 0, other, LABEL)
        attacked = np.where(PLACE < LABEL + 2, other, LABEL)
        for method in ("natural", "pgd"):
            keep(store, plan.run("digits", method, fold), {
                "label": LABEL, "index": index, "clean": clean, "any": attacked, "last": attacked})  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", tmp_path / "published")


@pytest.fixture
def both(store: Store) -> tuple[records.Results, records.Results]:
    write(store)
    return records.results("figure4", "digits", store), records.results("figure1", "digits", store)


def test_errors_count_wrong_answers_abstentions_and_short_radii(both: tuple[records.Results, ...]) -> None:
    found, _ = both
    errors = appendix.errors_at(found, "noise-0.25+certify", [0.0, 0.4, 0.5, 0.7])
    c = np.arange(CLASSES)
    assert errors[:, 0] == pytest.approx((c + 1) / PER_CLASS)  # one abstains, c are wrong
    assert errors[:, 1] == pytest.approx(errors[:, 0])  # 0.4 is still certified at 0.4
    assert errors[:, 2] == pytest.approx(15 / PER_CLASS) and errors[:, 3] == pytest.approx(1)
    for at, column in zip((0.0, 0.5), (0, 2), strict=True):
        wrong = appendix.uncertified(found, "noise-0.25+certify", at)[0]
        assert [wrong[found.labels == k].mean() for k in c] == pytest.approx(errors[:, column])


def test_numbers_have_intervals_and_show_abstention_apart(both: tuple[records.Results, ...]) -> None:
    frame = appendix.numbers(both[0], 0.5)
    assert len(frame) == 2 * 3 * (CLASSES + 1)
    three = frame[(frame["class"] == "3") & (frame.sigma == 0.5)].set_index("error")
    low, high = interval(4 * CERTIFIED, PER_CLASS * CERTIFIED)
    row = three.loc["certified standard"]
    assert (row.value, row.low, row.high) == pytest.approx((20, 100 * low, 100 * high))
    assert three.value["abstained"] == pytest.approx(5) and three.value["certified robust at 0.5"] == pytest.approx(75)
    mean = frame[(frame["class"] == "average") & (frame.sigma == 0.25)].set_index("error")
    assert mean.value["certified standard"] == pytest.approx(27.5)
    assert mean.low["certified standard"] < 27.5 < mean.high["certified standard"]
    shown = appendix.shown(frame)
    assert shown.index.tolist() == [*map(str, range(CLASSES)), "average"] and shown.shape[1] == 6
    assert shown.loc["3", "σ = 0.5: abstained"].startswith("5.0 <small>[")


def test_no_radius_beyond_the_draws_reach(both: tuple[records.Results, ...]) -> None:
    found, how = both[0], plan.edition("digits").certification
    for name in names("noise"):
        sigma = plan.METHODS[name].training["sigma"]
        assert appendix.reach(found, f"{name}+certify") == pytest.approx(sigma * norm.ppf(how.alpha ** (1 / how.n)))
    words = appendix.how_certified(found)
    assert "every test image of 2 of the 5 folds" in words and f"N = {how.n:,}" in words
    assert "0.62 at σ = 0.25 and 1.23 at σ = 0.5" in words


def test_the_disparity_is_judged_on_the_same_images(both: tuple[records.Results, ...]) -> None:
    judged = appendix.gaps(*both, radius=0.5)
    gap = 50 - 27.5  # certified standard error: worst class 10 of 20; the natural model errs on 1 of 20 of each class
    assert judged.difference.tolist() == pytest.approx([gap, 0, gap, 0])
    assert judged.verdict[0] == judged.verdict[2] == "holds"
    assert "certified robust error at 0.5" in judged.claim[1]
    assert len(claims.shown({"Difference of gaps": judged})) == 4  # as the page shows it
    ranks = appendix.ranks(*both, radius=0.0)
    assert ranks["Rank correlation"].tolist() == pytest.approx([1, 1])


def test_certificates_of_a_part_of_the_images_meet_the_same_images(store: Store) -> None:
    write(store, every=2)
    found, first = records.results("figure4", "digits", store), records.results("figure1", "digits", store)
    assert len(found.labels) == CERTIFIED * PER_CLASS * CLASSES / 2
    judged = appendix.gaps(found, first)
    # images of even places, natural mistakes at place 0 among them: 1 of 10; class 8 and 9 have 5 wrong of 10
    errors = appendix.errors_at(found, "noise-0.25+certify", [0.0])[:, 0]
    assert judged.difference[0] == pytest.approx(100 * (errors.max() - errors.mean()))


def test_figure_4_has_lines_for_all_classes_and_bars_that_add_up(both: tuple[records.Results, ...]) -> None:
    fig = appendix.certified(both[0])
    assert isinstance(fig, Figure) and len(fig.axes) == 4
    above, below = fig.axes[0], fig.axes[2]
    assert len(above.lines) == CLASSES + 1 and len(above.texts) == 4
    wrong, silent = below.containers
    heights = [a.get_height() + b.get_height() for a, b in zip(wrong, silent, strict=True)]
    assert heights == pytest.approx([5 * (c + 1) for c in range(CLASSES)])
    assert [bar.get_height() for bar in silent] == pytest.approx([5] * CLASSES)
    names = {text.get_text() for text in appendix.certified(both[0], 0.0).axes[0].texts}
    assert names == {"0", "1", "8", "9"}  # at radius 0 the easiest and the hardest classes


def test_one_noise_level_alone_is_drawn(store: Store) -> None:
    write(store)
    for fold in range(FOLDS):
        (store.folder(plan.run("digits", "noise-0.5+certify", fold).key) / "result.json").unlink()
    found = records.results("figure4", "digits", store)
    assert found.missing == ["noise-0.5+certify"] and len(appendix.certified(found).axes) == 2
