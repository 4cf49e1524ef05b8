"""Models of finished runs, by name: they answer as recorded, also from weights published in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from frlcore import data
from frlcore.errors import UserError
from frlcore.evaluate import predict
from frlcore.repro.paper import plan
from frlcore.repro.paper.trained import trained
from frlcore.repro.runs import store as stores
from frlcore.repro.runs.store import Store


def test_a_model_answers_as_its_run_recorded(undisturbed: Store) -> None:
    model, names = trained("smoke", "pgd", fold=1, store=undisturbed)
    recorded = (undisturbed.result(plan.run("smoke", "pgd", 1).key) or {})["outcomes"]["last"]
    images = data.load("digits", fold=1, folds=2).test.images
    assert names == tuple("0123456789") and not model.training
    np.testing.assert_array_equal(predict(model, images, scale=16).numpy(), recorded["clean"])


def test_the_published_natural_model_is_there() -> None:
    model, names = trained("laptop", "natural", store=Store(Path("nowhere")))
    assert names[3] == "cat" and model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("limit", "published"), [(60_000, True), (20_000, False)])
def test_large_weights_that_were_published_answer_as_the_run_does_and_are_not_gone_on_from(
    undisturbed: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, published: bool
) -> None:
    key = plan.run("smoke", "pgd").key
    assert (undisturbed.folder(key) / "last.safetensors").stat().st_size > 60_000
    monkeypatch.setattr(stores, "LARGE", limit)
    Store(undisturbed.root, tmp_path).publish(key, weights=True)
    fresh = Store(tmp_path / "fresh", tmp_path)
    assert fresh.done(key) and not fresh.trained(key)  # a fine-tune starts from what its key names, or not at all
    assert (tmp_path / key[:20] / "half.safetensors").exists() is published
    if published:
        mine, theirs = trained("smoke", store=fresh)[0].state_dict(), undisturbed.weights(key)
        assert all(t.dtype == theirs[name].dtype for name, t in mine.items())
        assert all(torch.allclose(t, theirs[name], rtol=1e-3, atol=1e-6) for name, t in mine.items())
    else:
        with pytest.raises(UserError, match="weights of run .* are missing"):
            trained("smoke", store=fresh)


def test_a_run_without_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        trained("smoke", "control", store=Store(tmp_path))
    with pytest.raises(UserError, match="unknown method"):
        trained("smoke", "fgsm", store=Store(tmp_path))
