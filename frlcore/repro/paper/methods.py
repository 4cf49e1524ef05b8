"""The methods: one entry for every way of training that plans, tables, figures and claims speak of.

A plan names a method as `METHOD`, as `METHOD:CLASS` for the ablation of a class other than the edition's own, and as
`METHOD+CHECK` for a stronger test of its finished run ("pgd+autoattack"); "cfa+average" is the run itself, with its
averaged weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from frlcore.errors import UserError
from frlcore.repro.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION
from frlcore.settings import RELEASED

AVERAGE = "average"  # no test of its own: the run's averaged weights are looked at
CHECKS = {"autoattack": "AutoAttack", "certify": "certified", AVERAGE: "averaged"}  # what a table calls a stronger test
FAIR = ("baseline", "frl", "ours", "successor")  # families that treat classes differently

@dataclass(frozen=True)
class Method:
    """One way of training, as data.

    Without `start` it trains as the edition's base does, with it as the edition's fine-tune, from that method's last
    weights; `training` is what differs. `settings` are its policy's, and `of_edition` names the edition's fields that
    give it more; a successor's are as published (`successors.scaled`). An `averaged` one keeps a weight average beside
    its weights. `checks` are the stronger tests of it that the book shows.
    """

    name: str
    label: str  # the paper's words where its tables have the method
    family: str  # "ours": fair methods that the paper has no numbers for
    policy: str = "uniform"
    settings: Mapping[str, Any] = field(default_factory=dict)
    of_edition: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    averaged: bool = False
    start: str | None = None
    checks: tuple[str, ...] = ()
    mark: tuple[str, str] | None = None  # colour and marker in the overview; None: not drawn there

    @property
    def fair(self) -> bool:
        return self.family in FAIR


def _frl(variant: str, tau: float, code: bool = False, mark: tuple[str, str] | None = None) -> Method:
    words = "+".join(word.capitalize() for word in variant.split("+"))
    return Method(
        f"frl-{variant}-{tau}" + "-code" * code, f"FRL({words}, {tau})" + " code" * code, "ours" if code else "frl",
        policy="frl", settings={"variant": variant, "tau": tau, "rule": "code" if code else "paper"},
        of_edition={"alpha": "rate", "alpha_margin": "rate"} | ({} if code else {"max_margin": "max_margin"}),
        training=RELEASED if code else {}, start="pgd", checks=("autoattack",) if mark else (), mark=mark,
    )  # fmt: skip


def _one_class(what: str, ratio: float) -> Method:
    """One class's boundary loss weighed, or its radius enlarged, everything else fixed (Sec. 5.3)."""
    name, label = f"{what}-{ratio}", f"{what} × {ratio:g}"
    return Method(name, label, what, policy="one_class", settings={what: ratio}, start="pgd")


def _noise(sigma: float) -> Method:
    """Gaussian-noise training; the paper does not state its sigma."""
    how = {"objective": "noise", "sigma": sigma, "select": "average standard"}
    return Method(f"noise-{sigma}", f"Gaussian noise, σ = {sigma}", "noise", training=how, checks=("certify",))


def _successor(name: str, mark: tuple[str, str], **training: Any) -> Method:
    """A method that came after FRL, with the loss of the edition."""
    return Method(
        name, name.upper(), "successor", policy=name, training=training, averaged=True, start="pgd", mark=mark
    )


BOTH = "reweight+remargin"
_TABLE = (
    Method("natural", "Natural Training", "natural", training={"objective": "natural", "select": "average standard"}),
    Method("pgd", "PGD Adv. Training", "vanilla", checks=("autoattack",), mark=(GREY, "s")),
    Method("trades-1", "TRADES(1/λ = 1)", "vanilla", training={"objective": "trades", "beta": 1.0}, mark=(GREY, "^")),
    Method("trades-6", "TRADES(1/λ = 6)", "vanilla", training={"objective": "trades", "beta": 6.0}, mark=(GREY, "v")),
    Method("baseline-reweight", "Baseline Reweight", "baseline", policy="baseline_reweight",
           of_edition={"alpha": "rate"}, start="pgd", mark=(ORANGE, "X")),
    Method("control", "Control (multipliers 0)", "control", start="pgd", checks=("autoattack",), mark=("black", "P")),
    _frl("reweight", 0.05, mark=(BLUE, "o")),
    _frl("remargin", 0.05, mark=(GREEN, "D")),
    _frl(BOTH, 0.05, mark=(VERMILLION, "*")),
    *(_frl(variant, 0.07) for variant in ("reweight", "remargin", BOTH)),
    *(_frl(BOTH, tau, code=True) for tau in (0.05, 0.07)),
    *(_noise(sigma) for sigma in (0.25, 0.5)),
    *(_one_class("weight", ratio) for ratio in (1.5, 3.0, 4.5)),
    *(_one_class("margin", ratio) for ratio in (1.5, 2.0, 2.5)),
    Method("control-average", "Control, averaged", AVERAGE, averaged=True, start="pgd", mark=("black", "P")),
    replace(_frl(BOTH, 0.05, mark=(VERMILLION, "*")), name=f"frl-{BOTH}-0.05-average", checks=(), family=AVERAGE,
            label="FRL(Reweight+Remargin, 0.05), averaged", averaged=True),
    _successor("cfa", (PURPLE, "p"), gate=0.2),
    _successor("dafa", (SKY, ">")),
    _successor("wat", (ORANGE, "<")),
    _successor("faal", (GREY, "H")),
)  # fmt: skip
METHODS = {method.name: method for method in _TABLE}


def names(*families: str, **settings: Any) -> tuple[str, ...]:
    """The methods of some families, in the order of the table; with settings only those that have them."""
    return tuple(
        name for name, one in METHODS.items() if one.family in families and settings.items() <= one.settings.items()
    )


def checked(check: str) -> tuple[str, ...]:
    """`METHOD+CHECK` of every method that has this check."""
    return tuple(f"{name}+{check}" for name, one in METHODS.items() if check in one.checks)


def parse(text: str) -> tuple[Method, str, str]:
    """The method, the class ("" for the edition's own) and the check ("" for none) that a plan names.

    Raises UserError for an unknown method.
    """
    base, _, check = text.rpartition("+")
    base, check = (base, check) if check in CHECKS else (text, "")
    name, _, target = base.partition(":")
    if name not in METHODS:
        raise UserError(f"unknown method '{base}'; known: {', '.join(METHODS)}")
    if check == AVERAGE and not METHODS[name].averaged:
        keeping = ", ".join(one.name for one in METHODS.values() if one.averaged)
        raise UserError(f"'{name}' keeps no average; these do: {keeping}")
    return METHODS[name], target, check


def averaged(text: str) -> bool:
    """Whether a run's averaged weights are meant, not those of its last epoch."""
    method, _, check = parse(text)
    return check == AVERAGE or method.family == AVERAGE


def label(text: str) -> str:
    """How tables call what a plan names."""
    method, target, check = parse(text)
    of_class = f" for {target}" if target else ""
    return method.label + of_class + (f", {CHECKS[check]}" if check else "")


def breakable(label: str) -> str:
    """The label with an invisible place to break the line, so that a table fits its page."""
    return label.replace("+", "+\u200b")
