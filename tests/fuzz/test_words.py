"""Words of the command line and descriptions of runs: a valid value, or one line that says what is wrong."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome import NUMBERS, SCALARS, outcome

from frlcore.fitting import recipe
from frlcore.policies import FRL, POLICIES, VARIANTS
from frlcore.repro import cli
from frlcore.repro.own import audit, fit
from frlcore.repro.paper import plan
from frlcore.repro.paper.editions import EDITIONS
from frlcore.repro.runs.task import Check, Run
from frlcore.settings import AUGMENTS, DATA, MODELS, NORMS, OBJECTIVES, SELECT, Attack, Training

GOOD = {"objective": "pgd", "epochs": 2, "lr": 0.1, "batch_size": 16, "eps": 0.1, "step_size": 0.05, "steps": 3}
NAMES = st.sampled_from([*OBJECTIVES, *NORMS, *SELECT, *AUGMENTS, *DATA, *MODELS, *POLICIES, *VARIANTS])
VALUES = SCALARS | NAMES | st.lists(st.integers(0, 30), max_size=3).map(tuple) | st.floats(0, 2) | st.integers(0, 40)


def some(cls: type, *but: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values of any kind for some fields of a dataclass."""
    names = st.sampled_from([one.name for one in fields(cls) if one.name not in but])
    return st.dictionaries(names, VALUES, max_size=3)


@given(NUMBERS)
def test_a_radius(text: str) -> None:
    value = outcome(lambda: fit.radius(text))
    assert value is None or 0 < value <= 1
    length = outcome(lambda: audit.Job("m", "d", eps=text, norm="l2").radius)
    assert length is None or 0 < length < 100


@given(NUMBERS, st.sampled_from(["", "s", "m", "h", "d", " h"]))
def test_a_time_limit(text: str, unit: str) -> None:
    value = outcome(lambda: cli.seconds(text + unit))
    assert value is None or (value >= 0 and math.isfinite(value))


@given(st.lists(st.text(max_size=5) | st.just("-p"), max_size=7))
def test_the_words_of_notebook_parameters(words: list[str]) -> None:
    found = outcome(lambda: cli.words(words))
    assert found is None or words == [w for pair in zip(found[::2], found[1::2], strict=True) for w in ("-p", *pair)]


@given(st.text(max_size=12) | st.sampled_from([*plan.NAMES, "figure3:cat", "figure3:9"]),
       st.sampled_from([*EDITIONS, "x"]), st.integers(-2, 2) | st.just(10**9))  # fmt: skip
def test_a_plan(name: str, edition: str, seeds: int) -> None:
    found = outcome(lambda: plan.runs(name, edition, seeds) if name != plan.ALL else [])
    assert found is None or (name in plan.NAMES or name.startswith("figure3:"))
    outcome(lambda: plan.run(edition, name))


@given(st.fixed_dictionaries({}, optional={
    "eps": NUMBERS, "tau": st.floats(), "size": st.integers(), "model": NAMES | st.text(max_size=5),
    "variant": NAMES | st.text(max_size=5), "epochs": st.integers() | st.integers(10**300, 10**310),
    "fine_tune_epochs": st.integers(), "batch_size": st.integers(), "lr": st.floats(), "augment": NAMES,
    "seed": st.integers(),
}))  # fmt: skip
def test_what_fit_is_asked_for(how: dict[str, Any]) -> None:
    def asked() -> Any:
        job = fit.Job(Path("images"), **how)
        stages = recipe(fit.radius(job.eps), epochs=job.epochs, fine_tune_epochs=job.fine_tune_epochs,
                        batch_size=job.batch_size, lr=job.lr)  # fmt: skip
        FRL(3, job.variant, job.tau)
        json.dumps(job.settings(), allow_nan=False)
        return stages

    outcome(asked)


@given(st.fixed_dictionaries({}, optional={
    "eps": NUMBERS, "norm": NAMES | st.text(max_size=4), "attack": NAMES | st.just("autoattack"),
    "per_class": st.none() | st.integers(), "size": st.none() | st.integers(), "seed": st.integers(),
}))  # fmt: skip
def test_what_an_audit_is_asked_for(how: dict[str, Any]) -> None:
    outcome(lambda: audit.Job("model", "data", **how))


SETTINGS = st.sampled_from(["tau", "alpha", "variant", "rule", "max_margin", "index", "weight", "bound", "x"])


@given(some(Training), some(Attack), some(Run, "training", "test", "start", "policy_settings"),
       st.dictionaries(SETTINGS, VALUES, max_size=2))  # fmt: skip
def test_the_description_of_a_run(
    training: dict[str, Any], test: dict[str, Any], run: dict[str, Any], policy: dict[str, Any]
) -> None:
    """What is accepted has a key, and a cost by which the time left is said."""
    def described() -> Run:
        how = Training(**GOOD | training)
        attack = Attack(**{"eps": 0.1, "step_size": 0.1, "steps": 2} | test)
        whole = {"dataset": "digits", "model": "preact_small", "policy_settings": policy} | run
        return Run(training=how, test=attack, **whole)

    found = outcome(described)
    if found is not None:
        assert len(found.key) == 64 and found.cost > 0 and found.steps >= 1
        assert type(found)(**vars_of(found)).key == found.key
        outcome(lambda: found.training.validation_attack)


def vars_of(run: Run) -> dict[str, Any]:
    return {one.name: getattr(run, one.name) for one in fields(run)}


@given(st.sampled_from(["autoattack", "certify"]) | st.text(max_size=5))
def test_the_description_of_a_check(kind: str) -> None:
    start = plan.run("smoke", "pgd")
    found = outcome(lambda: Check(start, kind, {"every": 10, "queries": 5, "n": 10}))
    assert found is None or len(found.key) == 64


@pytest.mark.parametrize("text", ["8/255", " 8/255 ", "0.03", "1", "1e-3"])
def test_what_people_write_is_taken(text: str) -> None:
    assert 0 < fit.radius(text) <= 1
