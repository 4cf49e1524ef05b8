"""The answers in sentences, from records: is adversarial training unequal, does FRL mend it, at what price, and why.

Every sentence begins with what the tests allow to say, in bold, and then gives the numbers, with 95% intervals and the
paper's own where its tables have them. Outcomes are those of `claims.compare`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from frlcore.intervals import brackets, summary_interval
from frlcore.repro.paper import claims, plan, remembered
from frlcore.repro.paper.claims import AGAINST, FAIR, HOLDS, Claim
from frlcore.repro.paper.records import Results
from frlcore.repro.paper.stronger import broken
from frlcore.settings import info
from frlcore.significance import holm


def best(found: Results) -> str | None:
    """The fair method that the sentences speak of: the fullest one that has been run, None where none has."""
    return next((method for method in FAIR[::-1] if method in found.present), None)


def complete(found: Results) -> bool:
    """Whether these records can hold a fair method against PGD training and against the control."""
    return best(found) is not None and {"pgd", "control"} <= set(found.present)


def where(found: Results) -> str:
    """Which data a sentence speaks of."""
    return f"On {found.edition.named}" + (", not the paper's data," * (not info(found.edition.dataset).paper))


def disparity(found: Results) -> str:
    """Whether PGD training sets the worst class apart from the average; needs its runs."""
    errors = found.errors("pgd")
    worst = found.classes[errors.worst("robust")[0]]
    said = (
        f"{where(found)} the attack breaks {_level(found, 'pgd', 'average')} of the images of a PGD-trained model, and "
        f"{_level(found, 'pgd', 'worst')} of its worst class (“{worst}”)"
    )
    if "natural" not in found.present:
        return f"**After adversarial training the classes are unequal.** {said}."
    tests = [Claim("", "", "pgd", "natural", "gap", kind, "higher") for kind in ("robust", "standard")]
    robust, standard = claims.compare(found, tests).to_dict("records")
    lead = {HOLDS: "Adversarial training leaves classes behind.",
            AGAINST: "Adversarial training does not leave classes behind here."}.get(robust["verdict"], "")  # fmt: skip
    if robust["verdict"] != standard["verdict"] or not lead:
        lead = "Whether adversarial training leaves classes behind depends on the error, or cannot be told."
    return (
        f"**{lead}** {said}; against natural training the distance from the worst class to the average changes by "
        f"{points(robust)} in robust and by {points(standard)} in standard error."
    )


def remedy(found: Results, strong: Results | None = None) -> str:
    """What the fair method does to the worst class's robust error; `strong` are the runs of the plan "autoattack"."""
    fair = best(found) or ""
    pgd, last = (_change(found, fair, other, "worst", "robust") for other in ("pgd", "control"))
    beyond, ways = [last], [f"by {points(last)}"]
    if any(_chosen_differ(found, method) for method in (fair, "control")):
        beyond.append(_change(found.under("selected"), fair, "control", "worst", "robust"))
        ways.append(f"with weights chosen on validation by {points(beyond[-1])}")
    attacked = strong is not None and {f"{name}+autoattack" for name in (fair, "control")} <= set(strong.present)
    if strong and attacked:
        beyond.append(_change(strong, f"{fair}+autoattack", "control+autoattack", "worst", "autoattack"))
        ways.append(f"under AutoAttack by {points(beyond[-1])}{_on_fewer(found, strong, fair)}")
    lead = _remedied(pgd["verdict"], [row["verdict"] for row in beyond], attacked)
    return (
        f"**{lead}** {where(found)} {plan.label(fair)} changes the worst class's robust error by {points(pgd)} against "
        f"PGD training. Against the *control*, the same fine-tuning with all classes alike, it changes that error "
        f"{', '.join(ways)} ({_networks(found, fair)} each)."
    )


def _on_fewer(found: Results, strong: Results, fair: str) -> str:
    """Where AutoAttack looked at few of the images: what PGD-20 says of these, so that few is not taken for strong."""
    if len(strong.labels) == len(found.labels):
        return ""
    labels, ours, _ = broken(found, strong, fair)
    change = remembered.paired(labels, ours, broken(found, strong, "control")[1], "worst")
    row = {"difference": 100 * change.difference, "low": 100 * change.low, "high": 100 * change.high, "paper": np.nan}
    return f" on {len(labels):,} of the images, where PGD-20 changes it by {points(row)}"


def _chosen_differ(found: Results, method: str) -> bool:
    """Whether validation chose other weights than the last ones, as far as an attack on the test images can tell."""
    last, chosen = (some.predictions(method, "any") for some in (found, found.under("selected")))
    return not np.array_equal(last, chosen)


def _networks(found: Results, method: str) -> str:
    count = len(found.records[method][0]) * found.seeds(method)
    return f"{count} trained network{'s' * (count > 1)}"


def _remedied(pgd: str, control: list[str], attacked: bool) -> str:
    """The lead of `remedy` from its outcomes: against PGD training, and against the control in every way tested.

    `attacked` says whether AutoAttack, on both, is one of these ways.
    """
    if (pgd, control[0]) == (HOLDS, AGAINST):
        return "Fair Robust Learning helps the worst class, but by less than its own fine-tuning does."
    if (pgd, control[0]) == (AGAINST, HOLDS):
        return "Fair Robust Learning harms the worst class here, but by less than its own fine-tuning does."
    if AGAINST in (pgd, control[0]):
        return "Fair Robust Learning harms the worst class here."
    under = "" if attacked else " under the attack of these tests"
    if control[0] == HOLDS and pgd != HOLDS:
        return f"Fair Robust Learning adds to its fine-tuning{under}; whether it helps the worst class cannot be told."
    if set(control) == {HOLDS}:
        return f"Fair Robust Learning helps the worst class{under}, by more than its own fine-tuning does."
    if control[0] == HOLDS:
        return "Fair Robust Learning helps the worst class, but not surely with every choice of weights and attack."
    if pgd == HOLDS:
        return "Fair Robust Learning helps the worst class, but no more, as far as can be told, than its fine-tuning."
    return "Whether Fair Robust Learning helps the worst class cannot be told here."


def price(found: Results) -> str:
    """What the fair method costs on average, in standard and in robust error."""
    fair, kinds = best(found) or "", ("standard", "robust")
    asked = [(kind, other) for kind in kinds for other in ("pgd", "control")]
    rows = {(kind, other): _change(found, fair, other, "average", kind) for kind, other in asked}
    rises = {other: [kind for kind in kinds if rows[kind, other]["verdict"] == AGAINST] for other in ("pgd", "control")}
    lead = "Whether there is a price on average cannot be told."
    if rises["pgd"]:
        alone = {_change(found, "control", "pgd", "average", kind)["verdict"] for kind in rises["pgd"]}
        shared = alone == {AGAINST} and not set(rises["pgd"]) & set(rises["control"])
        more = [kind for kind in rises["control"] if kind not in rises["pgd"]]
        lead = (
            f"The price is {' and '.join(rises['pgd'])} error on average{', and the control pays it, too' * shared}"
            f"{f'; beyond the control, perhaps {more[0]} error' if more else ''}."
        )
    elif {row["verdict"] for row in rows.values()} == {HOLDS}:
        lead = "There is no price on average: both errors fall."
    elif rises["control"]:
        lead = f"Against the control, the price is {' and '.join(rises['control'])} error on average."
    each = " and ".join(
        f"{kind} error changes by {points(rows[kind, 'pgd'])} against PGD training, {points(rows[kind, 'control'])} "
        "against the control"
        for kind in kinds
    )
    return f"**{lead}** On average over the classes, {each}."


def turns(found: Results) -> str:
    """Which class is the worst with the fair method and with the control, and where the two differ."""
    fair = best(found) or ""
    shared = found.seeds(fair, "control")
    ours, control = (found.wrong(method, "robust")[:shared] for method in (fair, "control"))
    masks = [found.labels == c for c in range(len(found.classes))]
    changes = [remembered.paired(found.labels[of], ours[:, of], control[:, of], "average") for of in masks]
    clear = holm([change.p for change in changes]) < 0.05
    moved = {name: 100 * c.difference for name, c, sure in zip(found.classes, changes, clear, strict=True) if sure}
    after, before = (found.classes[found.errors(method).worst("robust")[0]] for method in (fair, "control"))
    lead = f"“{after}” is the worst class of both." if after == before else "The worst class is another one then."
    apart = "" if after == before else f"It is “{after}”, and the control's is “{before}”. "
    below, above = (_named({name: v for name, v in moved.items() if sign * v > 0}) for sign in (-1, 1))
    return (
        f"**{lead}** {apart}In points, the robust error of {plan.label(fair)} lies clearly below the control's in "
        f"{below} and clearly above it in {above} (all classes, tested image by image; Holm, 5%)."
    )


def _named(changes: dict[str, float]) -> str:
    """Classes with their changes, the largest first."""
    order = sorted(changes, key=lambda name: -abs(changes[name]))
    return ", ".join(f"“{name}” ({changes[name]:+.1f})" for name in order).replace("-", "−") or "no class"


def reasons(found: Results) -> list[str]:
    """Where the changes come from: the fine-tuning, weights or radii. One sentence each, for what has been run."""
    boundary = _change(found, "control", "pgd", "average", "boundary")
    worst = _change(found, "control", "pgd", "worst", "robust")
    said = [
        "**What the fine-tuning does by itself.** The control changes the average boundary error by "
        f"{points(boundary)} and the worst robust error by {points(worst)} against the PGD model that it starts from."
    ]
    reweight, remargin, _ = FAIR
    if remargin in found.present:
        alone, total = (_change(found, remargin, other, "average", "boundary") for other in ("control", "pgd"))
        lead = "What the larger radii do to the average boundary error."
        if boundary["verdict"] == AGAINST and alone["verdict"] == HOLDS:
            lead = "The fine-tuning raises the average boundary error, the larger radii lower it."
        said.append(
            f"**{lead}** Remargin changes it by {points(alone)} against the control; fine-tuning and Remargin together "
            f"by {points(total)} against PGD training."
        )
    if set(FAIR) <= set(found.present):
        one, two, both = (_change(found, method, "control", "worst", "robust") for method in FAIR)
        said.append(
            f"**Weights, radii or both?** The worst robust error changes by {points(one)} with Reweight, by "
            f"{points(two)} with Remargin and by {points(both)} with both, each against the control."
        )
    return said


def sureness(found: Results, again: Results | None = None) -> str:
    """How many images, networks and seeds the sentences rest on, and what their intervals leave out.

    `again` are the same records with a second training of the control in place of its first.
    """
    method = best(found) or found.present[0]
    said = (
        f"**How sure is that?** It rests on {len(found.labels):,} test images and {_networks(found, method)} a method. "
        "The 95% intervals cover what other test images could change, but not what another training run would."
    )
    if again is None:
        return said
    threads, before = (one.records["control"][0][0].provenance["threads"] for one in (again, found))
    return (
        f"{said} Trained again from the same seed, with {threads} thread{'s' * (threads > 1)} in place of {before}, so "
        f"that sums round otherwise, the control has {_level(again, 'control', 'worst')} in its worst class under "
        f"attack in place of {_level(found, 'control', 'worst')}, and {plan.label(method)} changes that error by "
        f"{points(_change(again, method, 'control', 'worst', 'robust'))} against it in place of "
        f"{points(_change(found, method, 'control', 'worst', 'robust'))}."
    )


def _change(found: Results, first: str, second: str, statistic: str, kind: str) -> dict[str, Any]:
    row: dict[str, Any] = claims.compare(found, [Claim("", "", first, second, statistic, kind)]).to_dict("records")[0]
    return row


def _level(found: Results, method: str, statistic: str, kind: str = "robust") -> str:
    errors = found.errors(method)
    value = errors.average(kind) if statistic == "average" else errors.worst(kind)[1]
    low, high = summary_interval(found.labels, found.wrong(method, kind), statistic)
    return f"{100 * value:.1f}% {brackets(100 * low, 100 * high)}"


def points(row: dict[str, Any]) -> str:
    """A difference with its interval, and the paper's where its tables have it."""
    theirs = "" if row["paper"] != row["paper"] else f"; paper {row['paper']:+.1f}"
    return f"{row['difference']:+.1f} points [{row['low']:+.1f}, {row['high']:+.1f}{theirs}]".replace("-", "−")


def so_far(found: Results) -> str:
    """What an edition's few records say before they can compare anything: standard errors of the base models."""
    said = []
    for method in [name for name in ("natural", "pgd") if name in found.present]:
        worst = found.classes[found.errors(method).worst("standard")[0]]
        said.append(
            f"after {plan.label(method)} {_level(found, method, 'average', 'standard')} of the test images are wrong "
            f"without any attack and {_level(found, method, 'average')} under it, in the worst class "
            f"{_level(found, method, 'worst', 'standard')} (“{worst}”) and {_level(found, method, 'worst')}"
        )
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."
