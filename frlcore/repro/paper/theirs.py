"""What the paper prints for a comparison that we test, from its tables of methods and of classes."""

from __future__ import annotations

from frlcore.repro.paper import plan, printed
from frlcore.repro.paper.editions import Edition
from frlcore.settings import info

CLASSWISE = {2: ("cifar10", 4), 7: ("cifar10", 5), 3: ("svhn", 6)}  # by table of methods: its data and table of classes
# Where the paper names the classes: the hard ones, the easy ones. Of SVHN it names only the two hard ones (A.1.4);
# which of them is harder, and the easy ones, follow from its Table 6.
NAMED = {
    ("cifar10", "spread"): (("cat",), ("automobile",)),
    ("cifar10", "hard"): (("cat", "dog"), ("automobile", "ship")),
    ("svhn", "spread"): (("8",), ("1",)),
    ("svhn", "hard"): (("3", "8"), ("1", "2")),
}
NONE = float("nan")


def difference(edition: Edition, first: str, second: str, statistic: str, error: str) -> float:
    """The statistic of `first` minus that of `second` (alone without one) in points, NaN where the paper has no number.

    Statistics and errors are those of `claims.Claim`. Both methods are read off the same table: the one of methods
    if it has both, else the one of classes. On digits it is the table that the digits stand in for.
    """
    methods = [method for method in (first, second) if method]
    for read in (_summary, _of_classes):
        values = [read(edition, method, statistic, error) for method in methods]
        if all(value == value for value in values):
            return values[0] - sum(values[1:])
    return NONE


def _summary(edition: Edition, method: str, statistic: str, error: str) -> float:
    if statistic == "gap":
        return _summary(edition, method, "worst", error) - _summary(edition, method, "average", error)
    if not edition.fairness_table or (statistic, error) not in printed.COLUMNS:
        return NONE
    row = printed.row(edition.fairness_table, plan.label(method))
    return row.get(printed.COLUMNS[statistic, error], NONE)


def _of_classes(edition: Edition, method: str, statistic: str, error: str) -> float:
    if edition.fairness_table not in CLASSWISE or error not in printed.BLOCKS:
        return NONE
    data, number = CLASSWISE[edition.fairness_table]
    values = list(printed.row(number, plan.label(method), printed.BLOCKS[error]).values())
    if not values or statistic not in ("worst", "average", "gap", "spread", "hard"):
        return NONE
    average = sum(values) / len(values)
    if statistic in ("worst", "average", "gap"):
        return {"worst": max(values), "average": average, "gap": max(values) - average}[statistic]
    by_class = dict(zip(info(data).classes, values, strict=True))  # both in the data's order
    hard, easy = ([by_class[name] for name in names] for names in NAMED[data, statistic])
    return sum(hard) / len(hard) - sum(easy) / len(easy)
