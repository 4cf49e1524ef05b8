"""What the paper claims, as statements of one or more tests on our records.

Tests, thresholds and numbers stand here as data, to be read before the records they judge. A threshold is the lower
end of a range that the paper names ("10 to 15 points"), else half the number it gives; the tests ask for the direction.
What the paper gives in numbers is set beside ours as well: near is at most `claims.NEAR` points off, or within the
range that the paper itself allows ("7 ± 5%").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from frlcore.repro.paper.claims import FAIR, Claim, Number
from frlcore.repro.paper.methods import names

RW, RM, BOTH = FAIR
EVERY = names("frl")
WORST = ("worst", "standard"), ("worst", "robust")
NOT_BY = ("higher", -5)  # "does not lower it", read as: not by 5 points


@dataclass(frozen=True)
class Statement:
    """One claim: where the paper makes it, in our words, and the tests on the records of `plan` that decide it.

    `numbers` are those that the claim gives. `added` are tests of what it takes for granted, written when its records
    had been seen: only those that do not hold count, so that they can take a verdict away but not give one. Without a
    plan, `page` says in MyST where the theory settles it. `group` names the half of Section 5.3's ablation whose tests
    `ablation.effects` makes.
    """

    section: str
    text: str
    plan: str = ""
    tests: tuple[Claim, ...] = ()
    numbers: tuple[Number, ...] = ()
    page: str = ""
    group: str = ""
    added: tuple[Claim, ...] = ()


def _tests(
    first: str | Iterable[str], second: str | Iterable[str], statistic: str, error: str, direction: str = "lower",
    beyond: float = 0.0,
) -> tuple[Claim, ...]:  # fmt: skip
    """A test for every pair of a first and a second method."""
    firsts, seconds = ([m] if isinstance(m, str) else list(m) for m in (first, second))
    return tuple(Claim("", "", a, b, statistic, error, direction, beyond) for a in firsts for b in seconds)


def _disparity(method: str = "pgd") -> tuple[Claim, ...]:
    return tuple(_tests(method, "natural", "gap", kind, "higher")[0] for kind in ("standard", "robust"))


def _unequal() -> tuple[Claim, ...]:
    return tuple(_tests("pgd", "natural", "hard", kind, "higher")[0] for kind in ("standard", "robust"))


def _wrn(section: str, table: str, data: str) -> list[Statement]:
    return [
        Statement(section, f"On {data}, WRN-28: FRL improves the worst class's standard and robust error.", table,
                  tuple(t for s, e in WORST for t in _tests(FAIR, "pgd", s, e))),
        Statement(section, f"On {data}, WRN-28: FRL(Reweight) equalizes the standard error best, but does not suffice "
                  "for boundary and robust errors.", table,
                  _tests(RW, ("pgd", RM, BOTH), "worst", "standard")
                  + tuple(_tests(RW, "pgd", "worst", e, *NOT_BY)[0] for e in ("boundary", "robust"))),
        Statement(section, f"On {data}, WRN-28: FRL(Reweight+Remargin) is the best for the worst class's robustness.",
                  table, _tests(BOTH, ("pgd", RW, RM), "worst", "robust")),
    ]  # fmt: skip


STATEMENTS = (
    Statement("Abstract", "PGD training on CIFAR-10: 93% clean and 67% robust accuracy for “automobile”, 65% and 17% "
              "for “cat”.", "figure1",
              _tests("pgd", "", "spread", "standard", "higher", 14)
              + _tests("pgd", "", "spread", "robust", "higher", 25),
              tuple(Number("pgd", "", which, kind, (error, error)) for which, kind, error in (
                  ("easiest", "standard", 7), ("easiest", "robust", 33), ("hardest", "standard", 35),
                  ("hardest", "robust", 83)))),
    Statement("Abstract", "Natural training shows no such disparity on clean images.", "figure1",
              _tests("natural", "", "hard", "standard", "lower", -10)
              + _tests("pgd", "natural", "spread", "standard", "higher")),
    Statement("Abstract", "FRL mitigates the disparity.", "table2",
              tuple(_tests(BOTH, "pgd", "gap", kind)[0] for kind in ("standard", "robust")),
              added=_tests(BOTH, "pgd", "worst", "robust")
              + tuple(_tests(BOTH, "control", "gap", kind)[0] for kind in ("standard", "robust"))),
    Statement("2", "PGD training sets the worst class apart from the average, in standard and in robust error.",
              "figure1", _disparity(),
              tuple(Number("pgd", "", which, kind, (error, error)) for which, kind, error in (
                  ("worst", "standard", 32.8), ("worst", "robust", 82.4),
                  ("average", "standard", 15.5), ("average", "robust", 56.4)))),
    Statement("2", "TRADES does so, too.", "figure1", _disparity("trades-6")),
    Statement("2", "After natural training every class has about 7 ± 5% standard and 100% robust error.", "figure1",
              _tests("natural", "", "hard", "standard", "lower", -10)
              + _tests("natural", "", "average", "robust", "higher", 99),
              tuple(Number("natural", "", which, "standard", (2, 12), 0) for which in ("average", "worst"))
              + (Number("natural", "", "average", "robust", (100, 100)),)),
    Statement("2", "PGD training raises the standard error of the hard classes (“cat”, “dog”) by more than that of the "
              "easy ones (“car”, “ship”).", "figure1", _unequal()[:1]),
    Statement("2", "It lowers the robust error of the hard classes by less.", "figure1", _unequal()[1:]),
    Statement("3.1", "Theorem 1: the class of larger variance has the larger error under the best linear classifier.",
              page="{ref}`Theorem 1 <theorem-1>`"),
    Statement("3.2", "Theorem 2, Corollary 1: the best robust classifier hurts the hard class and helps the easy one.",
              page="{ref}`Corollary 1 <corollary-1>`"),
    Statement("3", "In this task adversarial training hardly degrades the average standard error.",
              page="{numref}`tbl-average`"),
    Statement("3.2", "Figure 2: logistic regression and an MLP trained on samples behave alike.",
              page="{ref}`Figure 2 <figure-2>`"),
    Statement("A.3", "Theorem 3: with non-robust features the hard class's error rises by more.",
              page="{ref}`Theorem 3 <theorem-3>`"),
    Statement("5.2", "All FRL methods lower the worst class's standard and robust error.", "table2",
              tuple(t for s, e in WORST for t in _tests(EVERY, "pgd", s, e))),
    Statement("5.2", "FRL(Reweight) has the smallest worst standard error, about 10 points below the vanilla methods.",
              "table2", _tests(RW, (RM, BOTH), "worst", "standard") + _tests(RW, "pgd", "worst", "standard", beyond=5),
              (Number(RW, "pgd", "worst", "standard", (-10, -10)),)),
    Statement("5.2", "FRL(Reweight) does not equalize boundary errors adequately (not by 5 points).", "table2",
              _tests(RW, "pgd", "worst", "boundary", *NOT_BY)),
    Statement("5.2", "FRL(Remargin) lowers the worst boundary error more than FRL(Reweight).", "table2",
              _tests(RM, RW, "worst", "boundary"), added=_tests(RM, "pgd", "worst", "boundary")),
    Statement("5.2", "FRL(Reweight+Remargin) is the best for the worst boundary and robust error.", "table2",
              _tests(BOTH, (RW, RM), "worst", "boundary") + _tests(BOTH, (RW, RM), "worst", "robust"),
              added=_tests(BOTH, "pgd", "worst", "boundary") + _tests(BOTH, "pgd", "worst", "robust")),
    Statement("5.2", "Its worst robust error is around 70%, 10 to 15 points below vanilla adversarial training.",
              "table2",
              _tests(BOTH, ("pgd", "trades-6"), "worst", "robust", beyond=10),
              (Number(BOTH, "", "worst", "robust", (70, 70)),
               *(Number(BOTH, name, "worst", "robust", (-15, -10)) for name in ("pgd", "trades-6")))),
    Statement("5.2", "FRL's worst robust error is below that of TRADES(1/λ = 6) as well (Table 2).", "table2",
              _tests(FAIR, "trades-6", "worst", "robust")),
    Statement("5.2", "Baseline Reweight lowers the worst standard error, but not (by 5 points) the boundary or "
              "robust one.", "table2", _tests("baseline-reweight", "pgd", "worst", "standard")
              + tuple(_tests("baseline-reweight", "pgd", "worst", e, *NOT_BY)[0] for e in ("boundary", "robust"))),
    Statement("5.2", "Remargin costs 1 to 2 points of average standard error.", "table2",
              _tests((RM, BOTH), "pgd", "average", "standard", "higher", 1),
              tuple(Number(name, "pgd", "average", "standard", (1, 2)) for name in (RM, BOTH))),
    Statement("5.2", "Remargin makes the average boundary error smaller.", "table2",
              _tests((RM, BOTH), "pgd", "average", "boundary")),
    Statement("5.2", "With Remargin the average robust error is comparable (at most 1 point higher), or 2 to 3 points "
              "better.", "table2", _tests((RM, BOTH), "pgd", "average", "robust", beyond=-1),
              tuple(Number(name, "pgd", "average", "robust", (-3, 0)) for name in (RM, BOTH))),
    Statement("5.2", "SVHN: FRL(Reweight) has the smallest worst standard, FRL(Reweight+Remargin) the smallest worst "
              "robust error.", "table3",
              _tests(RW, ("pgd", RM, BOTH), "worst", "standard") + _tests(BOTH, ("pgd", RW, RM), "worst", "robust")),
    Statement("5.2", "SVHN: every FRL method lowers the average standard error by 1 to 2 points.", "table3",
              _tests(EVERY, "pgd", "average", "standard", beyond=1),
              tuple(Number(name, "pgd", "average", "standard", (-2, -1)) for name in EVERY)),
    Statement("5.3", "Upweighting a class's boundary loss trades its boundary against its standard error.", "figure3",
              group="weight"),
    Statement("5.3", "Enlarging its margin makes the class more robust without raising its standard error.", "figure3",
              group="margin"),
    Statement("A.1.1", "The same disparity with WRN-28.", "figure5", _disparity()),
    Statement("A.1.1", "With WRN-28, too, the hard classes lose more standard and gain less robust accuracy.", "table5",
              _unequal()),
    Statement("A.1.2", "The same disparity in adversarial training against l2 attacks.", "figure6",
              _disparity() + _disparity("trades-6")),
    Statement("A.1.3", "Randomized smoothing has the same disparity, and on the same classes.", "figure4",
              tuple(_tests(f"{name}+certify", "", "hard", f"certified {radius}", "higher")[0]
                    for name in names("noise") for radius in (0, 0.5))),
    Statement("A.1.4", "The same disparity on SVHN.", "figure7", _disparity()),
    Statement("A.1.4", "On SVHN “3” and “8” are hardest, lose most standard and gain least robust accuracy.", "table6",
              _tests("natural", "", "hard", "standard", "higher") + _unequal()),
    *_wrn("A.4", "table7", "CIFAR-10"),
    *_wrn("A.4", "table8", "SVHN"),
    Statement("ours", "FRL lowers the worst robust error by more than the control does.", "table2",
              _tests(FAIR, "control", "worst", "robust")),
    Statement("ours", "Under AutoAttack, too, FRL lowers the worst class's error, against PGD and the control.",
              "autoattack", tuple(t for name in ("pgd", "control") for t in _tests(
                  tuple(f"{m}+autoattack" for m in FAIR), f"{name}+autoattack", "worst", "autoattack"))),
)  # fmt: skip
