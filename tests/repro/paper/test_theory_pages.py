"""The explorable figure and the trained classifiers of the theory chapter."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from frlcore.errors import UserError
from frlcore.repro.paper.theory_figures import Toy, attack, predict, train_toy
from frlcore.repro.paper.theory_pages import explorer
from frlcore.theory.features import linear_errors
from frlcore.theory.mixture import GaussianMixture

MIXTURE = GaussianMixture(1, 2.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def html() -> str:
    return explorer(MIXTURE, ratio=2.0, eps=0.5).data


def test_every_frame_is_the_closed_form(html):
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html).group(1))
    frames = np.array(data["frames"])
    assert frames.shape == (len(data["K"]), len(data["eps"]), 5)
    assert data["eps"][0] == 0 and data["K"][0] == 1 and max(data["eps"]) < 2.0
    for i, K in enumerate(data["K"]):
        for j, eps in enumerate(data["eps"]):
            world = GaussianMixture(1, 2.0, 1.0, K)
            expected = [world.theorem2(eps, -1), world.theorem2(eps, 1)]
            expected += [world.robust_error(world.b_rob(eps), eps, y) for y in (-1, 1)]
            np.testing.assert_allclose(frames[i, j, 1:], 100 * np.array(expected), atol=1e-4)
            assert frames[i, j, 0] == pytest.approx(-world.b_rob(eps), abs=1e-4)


def test_the_page_shows_one_setting_without_scripts(html):
    still = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    natural, robust = (100 * MIXTURE.theorem1(1), 100 * MIXTURE.theorem2(0.5, 1))
    assert f'data-part="error3">{natural:.1f} %' in still and f'data-part="error4">{robust:.1f} %' in still
    assert "<noscript>" in still and "@media print" in still
    assert still.count('d="M') == 4 and "nan" not in still


def test_the_page_is_self_contained_and_labelled(html):
    assert not re.search(r"https?:|src=|@import|url\(", html)
    for part in ("eps", "K"):
        label = rf'<label><span>[^<]+<output data-part="{part}-value">[^<]+</output></span><input type="range"'
        assert re.search(label, html)
    assert 'role="img" aria-label="Densities' in html and "viewBox" in html
    named = set(re.findall(r'data-part="([\w-]+)"', html))
    used = set(re.findall(r'part\("([\w-]+)"\)', html)) | {f"error{k}" for k in range(6)}
    assert used <= named  # the script asks only for parts that exist


def test_settings_outside_the_sliders_are_refused():
    with pytest.raises(UserError, match="ratio"):
        explorer(MIXTURE, ratio=5.0, eps=0.5)
    with pytest.raises(UserError, match="eps"):
        explorer(MIXTURE, ratio=2.0, eps=2.0)


def test_figure_2_adversarial_training_moves_the_boundary():
    theta, K, eps = np.full(2, 2.0), 2.0, 1.0  # stronger than the paper's, so that few samples show it
    train, test = (Toy.draw(theta, 1.0, K, n, seed=seed) for seed, n in ((0, 1000), (1, 20_000)))
    errors = {}
    for radius in (0.0, eps):
        model = train_toy("logistic", train, eps=radius, seed=0)
        w = (model.weight[1] - model.weight[0]).detach().numpy()
        b = float((model.bias[1] - model.bias[0]).detach())
        errors[radius] = linear_errors(theta, 1.0, K, w, b)
        attacked = attack(model, test, eps, steps=5, seed=0)
        wrong = predict(model, attacked) != test.y.numpy()
        simulated = [wrong[test.y.numpy() == label].mean() for label in (0, 1)]
        np.testing.assert_allclose(simulated, linear_errors(theta, 1.0, K, w, b, eps), atol=0.015)
    assert errors[eps][0] < errors[0.0][0] and errors[eps][1] > errors[0.0][1]


def test_toy_training_repeats_itself_and_refuses_unknown_models():
    data = Toy.draw(np.full(2, 2.0), 1.0, 2.0, 100, seed=0)
    one, two = (train_toy("mlp", data, eps=0.5, seed=3, rounds=5) for _ in range(2))
    assert all(np.array_equal(a.detach(), b.detach()) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(UserError, match="logistic, mlp"):
        train_toy("forest", data, eps=0.0, seed=0)
