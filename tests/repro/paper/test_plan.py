"""Which runs a figure or table needs, in which order, and what they are called."""

from __future__ import annotations

from collections import Counter

import pytest

from frlcore.errors import UserError
from frlcore.repro.paper import plan
from frlcore.repro.paper import printed as paper
from frlcore.repro.paper.methods import names
from frlcore.repro.runs.task import Check

OVERVIEW = plan.methods("overview")
FINE_TUNES = [method for method in OVERVIEW if plan.METHODS[method].start]


def test_the_methods_of_the_paper_in_its_order() -> None:
    assert OVERVIEW == (
        "natural", "pgd", "trades-1", "trades-6", "baseline-reweight", "control",
        "frl-reweight-0.05", "frl-remargin-0.05", "frl-reweight+remargin-0.05",
        "frl-reweight-0.07", "frl-remargin-0.07", "frl-reweight+remargin-0.07",
        "frl-reweight+remargin-0.05-code", "frl-reweight+remargin-0.07-code",
    )  # fmt: skip
    assert plan.methods("table2") == OVERVIEW[1:]
    assert plan.methods("table1") == plan.methods("table4") == ("natural", "pgd")
    assert plan.methods("figure1") == ("natural", "pgd", "trades-1", "trades-6")
    assert set(plan.methods("algorithm1")) == {"control", *(m for m in OVERVIEW if m.startswith("frl") and "0.05" in m)}
    assert plan.methods("table3") == plan.methods("table7") == plan.methods("table8")
    ours_alone = {"control"}
    for number in (3, 7, 8):
        printed = {plan.label(m) for m in plan.methods(f"table{number}") if m not in ours_alone}
        assert printed == set(paper.table(number).method)


def test_every_figure_and_table_that_rests_on_runs_is_a_plan() -> None:
    figures, tables = {f"figure{n}" for n in (1, 3, 4, 5, 6, 7)}, {f"table{n}" for n in range(1, 9)}
    ours = {"overview", "algorithm1", "autoattack", "successors", "successors-autoattack"}
    assert set(plan.PLANS) == figures | tables | ours
    assert plan.plans("digits") == plan.plans("cifar10") == list(plan.PLANS)
    assert set(plan.PLANS) - set(plan.plans("laptop")) == set(plan.VARIANT)


@pytest.mark.parametrize("name", ["digits", "smoke", "cifar10"])
def test_the_appendix_runs_on_variants(name: str) -> None:
    def of(plan_name: str) -> plan.Edition:
        return plan.place(plan_name, name)

    assert of("table2").name == of("figure4").name == name
    assert of("figure5") == of("table5") == of("table7") and of("table7").model != of("table2").model
    assert of("table7").dataset == of("table2").dataset != of("table3").dataset == of("table8").dataset
    assert of("figure7") == of("table6") == of("table3") and of("table8").model == of("table7").model
    assert of("figure6").test.norm == of("figure6").base.norm == of("figure6").fine_tune.norm == "l2"
    assert (of("table7").fairness_table, of("table3").fairness_table, of("table8").fairness_table) == (7, 3, 8)


def test_everything_is_what_the_plans_need_together() -> None:
    every = {task.key for task in plan.runs("all", "smoke")}
    assert every == {task.key for name in plan.PLANS for task in plan.runs(name, "smoke")}
    assert set(plan.titles("all", "smoke")) == every and len(set(plan.titles("all", "smoke").values())) == len(every)


def test_runs_come_by_importance_seed_by_seed_and_the_appendix_last() -> None:
    order = [task.key for task in plan.runs("all", "cifar10", seeds=2)]

    def place(method: str, seed: int = 0, edition: str = "cifar10") -> int:
        return order.index(plan.run(edition, method, seed=seed).key)

    both = "frl-reweight+remargin-0.05"
    listed = [
        "pgd", "control", both, "frl-reweight-0.05", "frl-remargin-0.05", "natural", "trades-6", "baseline-reweight",
        f"{both}-code", "frl-reweight+remargin-0.07-code", "trades-1", "frl-reweight-0.07", "weight-1.5",
        "pgd+autoattack", "noise-0.25+certify",
    ]  # fmt: skip
    assert [place(method) for method in listed] == sorted(place(method) for method in listed)
    assert place("pgd") == 0 and place("noise-0.25+certify") < place("pgd", edition="cifar10-wrn28") < place("pgd", 1)
    for plan_name, edition in (("all", "laptop"), ("all", "smoke"), ("figure3:cat", "cifar10")):
        seen: set[str] = set()
        for task in plan.runs(plan_name, edition, seeds=2):
            assert task.start is None or task.start.key in seen
            seen.add(task.key)


def test_a_check_comes_after_the_run_it_tests() -> None:
    tasks = plan.runs("figure4", "digits")
    checks = [task for task in tasks if isinstance(task, Check)]
    assert [check.settings["sigma"] for check in checks] == [0.25] * 2 + [0.5] * 2
    for check in checks:
        assert check.start.training.objective == "noise"
        assert check.start.training.sigma == check.settings["sigma"]
        assert [t.key for t in tasks].index(check.start.key) < [t.key for t in tasks].index(check.key)
    attacked = plan.run("digits", "frl-reweight+remargin-0.05+autoattack")
    assert isinstance(attacked, Check) and attacked.start.key == plan.run("digits", "frl-reweight+remargin-0.05").key
    assert attacked.settings["eps"] == plan.edition("digits").test.eps


def test_on_two_cores_adversarial_training_goes_on_from_the_natural_model() -> None:
    natural = plan.run("laptop", "natural")
    assert natural.start is None and plan.run("digits", "pgd").start is None
    for method in ("pgd", "trades-1", "trades-6"):
        assert plan.run("laptop", method).start == natural
    assert plan.run("laptop", "control").start == plan.run("laptop", "pgd")
    titles = [title.partition(": ")[2] for title in plan.titles("algorithm1", "laptop").values()]
    assert [title.partition(",")[0] for title in titles[:3]] == [
        "Natural Training", "PGD Adv. Training", "Control (multipliers 0)",
    ]  # fmt: skip


def test_the_ablation_treats_one_class_and_names_it() -> None:
    for method in names("weight", "margin"):
        run, settings = plan.run("cifar10", method), plan.METHODS[method].settings
        assert run.policy_settings == {**settings, "index": 4}  # "deer"
        assert run.training == plan.run("cifar10", "control").training
        assert plan.run("cifar10", f"{method}:cat").policy_settings["index"] == 3


def test_labels_are_the_papers_and_differ() -> None:
    labels = {plan.label(method): method for method in OVERVIEW}
    assert len(labels) == len(OVERVIEW)
    printed = set(paper.table(2).method)
    ours_alone = {"natural", "control", *(m for m in OVERVIEW if m.endswith("-code"))}
    assert printed == {plan.label(method) for method in plan.methods("table2") if method not in ours_alone}
    assert not printed & {plan.label(method) for method in ours_alone}


@pytest.mark.parametrize("name", plan.EDITIONS)
@pytest.mark.parametrize("name_of_plan", plan.PLANS)
def test_parents_come_before_their_children_and_every_run_once(name_of_plan: str, name: str) -> None:
    seen: set[str] = set()
    if name_of_plan not in plan.plans(name):
        with pytest.raises(UserError, match="has no"):
            plan.runs(name_of_plan, name)
        return
    for run in plan.runs(name_of_plan, name, seeds=2):
        assert run.key not in seen
        assert run.start is None or run.start.key in seen
        seen.add(run.key)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_run_a_method_fold_and_seed(seeds: int) -> None:
    runs = plan.runs("overview", "digits", seeds)
    assert len(runs) == len(OVERVIEW) * 5 * seeds
    assert set(Counter((run.fold, run.seed) for run in runs).values()) == {len(OVERVIEW)}
    assert {run.fold for run in runs} == set(range(5)) and {run.seed for run in runs} == set(range(seeds))
    assert {run.key for run in plan.runs("overview", "digits")} <= {run.key for run in runs}


@pytest.mark.parametrize("name", plan.EDITIONS)
@pytest.mark.parametrize("method", FINE_TUNES)
def test_a_fine_tune_starts_from_pgd_of_the_same_fold_and_seed(method: str, name: str) -> None:
    fold = plan.edition(name).folds - 1
    run = plan.run(name, method, fold, seed=2)
    assert run.start is not None
    assert run.start.key == plan.run(name, "pgd", fold, seed=2).key
    assert run.training.objective == "trades" and run.start.training.objective == "pgd"
    assert (run.start.fold, run.start.seed, run.start.folds) == (run.fold, run.seed, run.folds) == (
        fold, 2, plan.edition(name).folds
    )  # fmt: skip


def test_what_sets_the_methods_apart() -> None:
    runs = {method: plan.run("digits", method) for method in OVERVIEW}
    assert [runs[m].training.objective for m in OVERVIEW[:4]] == ["natural", "pgd", "trades", "trades"]
    assert (runs["trades-1"].training.beta, runs["trades-6"].training.beta) == (1.0, 6.0)
    assert runs["control"].policy == "uniform" and runs["baseline-reweight"].policy == "baseline_reweight"
    assert runs["control"].training == runs["baseline-reweight"].training == runs["frl-reweight-0.05"].training
    for method in names("frl", "ours"):
        variant, tau, *code = method.removeprefix("frl-").split("-")
        settings = runs[method].policy_settings
        assert (settings["variant"], str(settings["tau"])) == (variant, tau)
        assert settings["rule"] == ("code" if code else "paper")
        how = runs[method].training
        beside = (how.batch_normalised, how.largest_step, how.rates_early)
        assert beside == ((True, True, 1) if code else (False, None, None))
        cap = 3.0 if code else plan.edition("digits").max_margin
        assert runs[method].description["policy"]["max_margin"] == cap
    assert all(run.test == runs["pgd"].test for run in runs.values())


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda: plan.runs("table9", "digits"), ["table9", "table2", "all"]),
        (lambda: plan.runs("table2", "mnist"), ["mnist", "digits", "cifar10"]),
        (lambda: plan.run("mnist", "pgd"), ["mnist", "digits"]),
        (lambda: plan.run("digits", "frl-reweight-0.06"), ["frl-reweight-0.06", "frl-reweight-0.05"]),
        (lambda: plan.runs("table7", "laptop"), ["laptop", "table7", "digits", "cifar10"]),
        (lambda: plan.run("cifar10", "weight-3.0:8"), ["CIFAR-10", "'8'", "deer"]),
        (lambda: plan.runs("all", "digits", seeds=0), ["seeds", "0"]),
        (lambda: plan.runs("all", "digits", seeds=-1), ["seeds", "-1"]),
    ],
)
def test_what_does_not_exist_is_named_in_one_line(ask: object, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        ask()  # type: ignore[operator]
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
