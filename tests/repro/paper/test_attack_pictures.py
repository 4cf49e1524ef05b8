"""Attacked images stay in the ball, come from the classes asked for, and missing weights are named."""

from __future__ import annotations

import numpy as np
import pytest

from frlcore.errors import UserError
from frlcore.repro.paper import attack_pictures, figures
from frlcore.repro.paper.records import Results, results
from frlcore.repro.runs.store import Store


@pytest.fixture(scope="module")
def found(undisturbed: Store) -> Results:
    return results("overview", "smoke", undisturbed)


def test_images_of_both_classes_are_attacked_within_the_radius(found: Results, undisturbed: Store) -> None:
    one = attack_pictures.attack(found, "pgd", (3, 1), each=2, store=undisturbed)
    assert one.labels.tolist() == [3, 3, 1, 1] and one.before.shape == (4, 1, 8, 8)
    assert 0 < np.abs(one.after - one.before).max() <= 0.3 + 1e-6
    assert one.after.min() >= 0 and one.after.max() <= 1
    for surety in one.surety:  # of ten classes the likeliest has a tenth at least
        assert ((surety >= 0.1) & (surety <= 1)).all()


def test_what_has_no_weights_is_said(found: Results, undisturbed: Store) -> None:
    shown, reasons = attack_pictures.attacks(found, undisturbed)
    assert [one.method for one in shown] == ["pgd", "frl-reweight+remargin-0.05"]
    made_by = "`frl run overview --edition smoke` makes them"
    assert reasons == [f"Natural Training: its weights are not at hand; {made_by}"]


def test_missing_images_are_said_without_a_folder(
    found: Results, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise UserError("/some/folder/data_batch_1 is missing")

    monkeypatch.setattr(attack_pictures.data, "load", missing)
    shown, reasons = attack_pictures.attacks(found, undisturbed)
    assert shown == [] and len(reasons) == 3 and not any("/some" in reason for reason in reasons)
    assert reasons[1].startswith("PGD Adv. Training: the images of Handwritten digits")


def test_the_gallery_has_a_panel_a_model_and_names_the_amplification(found: Results, undisturbed: Store) -> None:
    shown, _ = attack_pictures.attacks(found, undisturbed)
    fig = attack_pictures.gallery(found, shown)
    words = [text.get_text() for text in fig.axes[0].texts]
    assert len(fig.axes) == 2 and len(fig.axes[0].images) == 12 and words.count("× 1.67") == 4  # 0.5 / 0.3


def test_words_say_where_a_class_goes(found: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = np.where(found.labels == 3, 8, found.labels)[None]  # every 3 for an 8, all others right
    monkeypatch.setattr(Results, "predictions", lambda self, method, name: taken)
    assert "“3” for “8” (100%)" in attack_pictures.where_they_go(found, "pgd")
    shares = {text.get_text() for text in figures.confusion(found, ("pgd",)).axes[0].texts}
    assert shares == {"100"}
