"""Run descriptions: the key says everything that decides a result and nothing else."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from frlcore import data
from frlcore.errors import UserError
from frlcore.evaluate import Attack
from frlcore.repro.paper import plan
from frlcore.repro.runs import task
from frlcore.repro.runs.task import Check, Run, canonical
from frlcore.training import Training

Make = Callable[..., Run]
ROOT = Path(task.__file__).parents[3]

TRAINING_CHANGES: dict[str, Any] = {
    "objective": "natural", "epochs": 2, "lr": 0.06, "milestones": (1,), "batch_size": 64, "momentum": 0.8,
    "weight_decay": 1e-4, "eps": 0.2, "step_size": 0.1, "steps": 2, "norm": "l2", "beta": 2.0,
    "batch_normalised": True, "validation_steps": 2, "select": "worst robust", "schedule": "warm-up",
    "largest_step": True, "rates_early": 1, "average": 2.0, "gate": 0.2,
}  # fmt: skip
TEST_CHANGES: dict[str, Any] = {"eps": 0.2, "step_size": 0.1, "steps": 2, "norm": "l2"}
RUN_CHANGES: dict[str, Any] = {
    "dataset": "cifar10", "model": "preact_resnet18", "seed": 1, "fold": 1, "folds": 5, "policy": "frl",
    "training": None, "test": None, "policy_settings": None, "start": None,  # each has a test of its own
}  # fmt: skip


def test_the_canonical_description_is_pinned(tiny_run: Make) -> None:
    """Every record ever published rests on these bytes: a change here makes all of them unreachable."""
    run = tiny_run(policy="frl", policy_settings={"tau": 0.07, "variant": "remargin"}, start=tiny_run())
    assert canonical(run.description).decode() == (
        '{"dataset":"digits","digest":"87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826","fold":[0,4],'
        '"model":"preact_small","policy":{"alpha":0.05,"alpha_margin":0.05,"max_margin":2.0,"name":"frl","rule":"paper",'
        '"tau":0.07,"variant":"remargin"},"protocol":1,"seed":0,'
        f'"start":"{tiny_run().key}","test":{{"eps":0.3,"norm":"linf","step_size":0.15,"steps":1}},'
        '"training":{"batch_normalised":false,"batch_size":128,"beta":1.0,"epochs":1,"eps":0.3,"lr":0.05,'
        '"milestones":[],"momentum":0.9,"norm":"linf","objective":"pgd","select":"average robust","step_size":0.15,'
        '"steps":1,"validation_steps":1,"weight_decay":0.0005}}'
    )
    assert run.key == hashlib.sha256(canonical(run.description)).hexdigest()
    assert tiny_run().key.startswith("bd80bbb24d930fc0")


def test_the_key_is_the_same_in_another_process_and_after_a_round_trip() -> None:
    run = plan.run("smoke", "frl-remargin-0.07", fold=1, seed=3)
    code = "from frlcore.repro.paper import plan; print(plan.run('smoke', 'frl-remargin-0.07', fold=1, seed=3).key)"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert elsewhere.stdout.strip() == run.key == pickle.loads(pickle.dumps(run)).key


@pytest.mark.parametrize("name", [field.name for field in fields(Training) if field.name != "sigma"])
def test_every_setting_of_the_training_changes_the_key(tiny_run: Make, name: str) -> None:
    run = tiny_run(training={"average": 1.0} if name == "gate" else {})  # which a gate needs
    changed = replace(run, training=replace(run.training, **{name: TRAINING_CHANGES[name]}))
    assert changed.key != run.key


def test_the_noise_changes_the_key_and_only_noise_has_it(tiny_run: Make) -> None:
    runs = [tiny_run(training={"objective": "noise", "sigma": sigma}) for sigma in (0.25, 0.5)]
    assert runs[0].key != runs[1].key
    assert runs[0].description["training"]["sigma"] == 0.25
    assert "sigma" not in tiny_run().description["training"]  # or every older record would be another experiment
    for wrong in ({"objective": "noise"}, {"sigma": 0.25}, {"objective": "noise", "sigma": 0.0}):
        with pytest.raises(UserError, match="sigma"):
            tiny_run(training=wrong)


def test_what_changes_a_check(tiny_run: Make) -> None:
    check = Check(tiny_run(), "autoattack", {"eps": 0.3})
    others = [replace(check, start=tiny_run(seed=1)), replace(check, kind="certify"), replace(check, settings={})]
    assert len({check.key, *(other.key for other in others)}) == 4
    with pytest.raises(UserError, match="unknown check 'look'; known: autoattack, certify"):
        replace(check, kind="look")


@pytest.mark.parametrize("name", [field.name for field in fields(Attack)])
def test_every_setting_of_the_test_attack_changes_the_key(tiny_run: Make, name: str) -> None:
    run = tiny_run()
    assert replace(run, test=replace(run.test, **{name: TEST_CHANGES[name]})).key != run.key


@pytest.mark.parametrize("name", [field.name for field in fields(Run) if RUN_CHANGES[field.name] is not None])
def test_every_field_of_a_run_changes_the_key(tiny_run: Make, name: str) -> None:
    run = tiny_run()
    assert replace(run, **{name: RUN_CHANGES[name]}).key != run.key


def test_policy_settings_and_the_parents_key_change_the_key(tiny_run: Make) -> None:
    parent, other = tiny_run(), tiny_run(seed=1)
    child = tiny_run(policy="frl", policy_settings={"tau": 0.05}, start=parent)
    keys = {
        child.key,
        replace(child, policy_settings={"tau": 0.07}).key,
        replace(child, start=None).key,
        replace(child, start=other).key,
        replace(child, start=replace(parent, training=replace(parent.training, lr=0.06))).key,
    }
    assert len(keys) == 5


def test_the_digest_of_the_data_and_the_protocol_change_the_key(
    tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny_run().key
    with monkeypatch.context() as patch:
        patch.setattr(task, "PROTOCOL", 2)
        assert tiny_run().key != before
    facts = replace(data.info("digits"), digest="0" * 64)
    monkeypatch.setattr("frlcore.repro.runs.task.info", lambda name: facts)
    assert tiny_run().key != before


def test_nothing_else_changes_the_key(tiny_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"tau": 0.05, "variant": "remargin"}
    run = tiny_run(policy="frl", policy_settings=settings)
    turned = tiny_run(policy="frl", policy_settings=dict(reversed(settings.items())))
    monkeypatch.setenv("FRL_STORE", "/elsewhere")
    monkeypatch.setattr("torch.__version__", "99.0")
    assert run.key == turned.key == replace(run).key
    assert replace(run, start=tiny_run()).key == replace(run, start=replace(tiny_run())).key


def test_canonical_json_is_the_same_for_equal_values_and_holds_no_nan() -> None:
    expected = b'{"a":"\\u03bb","b":[1,2.5]}'
    assert canonical({"b": (1, 2.5), "a": "λ"}) == canonical({"a": "λ", "b": [1, 2.5]}) == expected
    numbers = [0.1 + 0.2, 1e-300, 8 / 255]
    assert json.loads(canonical(numbers)) == numbers
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            canonical({"x": bad})


@pytest.mark.parametrize(
    "change, words",
    [
        ({"dataset": "mnist"}, ["mnist", "digits"]),
        ({"model": "vgg"}, ["vgg", "preact_small"]),
        ({"policy": "fair"}, ["fair", "uniform"]),
        ({"policy": "frl", "policy_settings": {"variant": "both"}}, ["both", "reweight+remargin"]),
        ({"policy": "frl", "policy_settings": {"rule": "mine"}}, ["mine", "paper"]),
        ({"policy": "frl", "policy_settings": {"tau": 0.0}}, ["tau", "positive"]),
        ({"policy": "frl", "policy_settings": {"taw": 0.05}}, ["taw"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"training": {"objective": "trade"}}, ["trade", "pgd"]),
        ({"training": {"norm": "l1"}}, ["l1", "linf"]),
        ({"training": {"select": "best"}}, ["best", "worst robust"]),
        *(({"training": {name: 0}}, [name, "positive", "0"]) for name in ("eps", "step_size", "steps", "epochs", "lr")),
        *(({"training": {name: 0}}, [name, "positive", "0"]) for name in ("largest_step", "rates_early")),
        ({"training": {"eps": -0.1}}, ["eps", "-0.1"]),
        ({"training": {"lr": float("nan")}}, ["lr", "nan"]),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(tiny_run: Make, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        tiny_run(**change)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"eps": 0.0}, {"eps": -1.0}, {"step_size": 0.0}, {"steps": 0}, {"norm": "l7"}])
def test_an_attack_that_cannot_be_is_refused_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        Attack(**{"eps": 0.3, "step_size": 0.1, "steps": 2} | change)
    assert next(iter(change)) in str(caught.value) and "\n" not in str(caught.value)


def test_the_estimate_of_a_run_grows_with_its_work(tiny_run: Make) -> None:
    def cost(**training: Any) -> float:
        return tiny_run(training=training).cost

    assert cost(epochs=2) == 2 * cost() > 0
    assert cost(objective="natural", steps=10) < cost(steps=10) < cost(objective="trades", steps=10)
    assert cost(steps=2) > cost(steps=1)
