"""What `frl fit` says of a model: its class-wise errors before and after the method, as numbers, picture and page."""

from __future__ import annotations

import copy
import html
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from frlcore import page as pages
from frlcore.auditing.report import SPREAD, cell
from frlcore.auditing.result import STATISTICS, numbers
from frlcore.classwise import KINDS, ClassErrors, Outcomes
from frlcore.data import Split
from frlcore.device import arithmetic
from frlcore.evaluate import outcomes
from frlcore.fitting import Fitted
from frlcore.intervals import Difference, paired_bootstrap
from frlcore.repro.style import BLUE, GREY, RC, VERMILLION, panels
from frlcore.settings import Attack, DataInfo
from frlcore.training import generator_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("before", "after")
SHORT = ("average", "worst")  # of STATISTICS, where there is little room
SHOWN = 30  # classes in the picture
LONGEST = 24  # of a class's name in the picture, in places of a line

NOTE = (
    "Errors in percent on test images that took no part in training or in any choice. Standard: wrong without an "
    "attack. Boundary: right without, wrong under the attack. Robust: wrong at any point of the attack's path. "
    "Brackets hold 95% intervals: exact ones for a class and for the worst one, bootstrap for the average and for "
    "changes. The worst of several noisy classes looks worse than it is; its interval reaches further down for that."
)
ALT = "Standard and robust error of every class before and after {}, with 95% intervals."
LOAD = """import frlcore
from frlcore import data
from frlcore.evaluate import predict

model, classes = frlcore.load_model("model.safetensors")
pixels = data.picture("new.png", size={size})  # uint8 (1, 3, {size}, {size})
print(classes[predict(model, pixels, scale=255)[0]])"""


@dataclass(frozen=True)
class Comparison:
    """Predictions on the same test images before and after the fine-tuning."""

    classes: tuple[str, ...]
    before: Outcomes
    after: Outcomes
    method: str = "FRL"

    def errors(self, model: str) -> ClassErrors:
        """Class-wise errors of the model "before" or "after"; broken means wrong at any point of the attack's path."""
        found: Outcomes = getattr(self, model)
        return ClassErrors.from_predictions(found.label, found.clean, found.adversarial, len(self.classes))

    def wrong(self, model: str, kind: str) -> np.ndarray:
        """Which test images count as an error of this kind, `(N,) bool`."""
        found: Outcomes = getattr(self, model)
        return found.wrong(kind)

    def change(self, kind: str, statistic: str) -> Difference:
        """After minus before, a fraction, with a paired bootstrap interval over the test images."""
        return paired_bootstrap(self.before.label, self.wrong("after", kind), self.wrong("before", kind), statistic)

    def frame(self) -> pd.DataFrame:
        """Every error in percent with a 95% interval: see `intervals` for those of a class and of STATISTICS."""
        parts = {model: numbers(self.classes, getattr(self, model)) for model in MODELS}
        return pd.concat(parts, names=["model"]).reset_index("model").reset_index(drop=True)


def compare(
    fitted: Fitted, test: Split, *, info: DataInfo, attack: Attack, method: str = "FRL", seed: int = 0
) -> Comparison:
    """Attack the weights before and after the fine-tuning on test images that the training has not seen."""
    device = next(fitted.model.parameters()).device
    there = test.to(device)
    start = copy.deepcopy(fitted.model)
    start.load_state_dict(fitted.start)
    with arithmetic(device, tf32=False, benchmark=False):  # true float32 on a GPU, too
        found = [
            outcomes(
                model, there, scale=info.scale, attack=attack, generator=generator_for("test", seed, 0, device)
            )
            for model in (start, fitted.model)
        ]
    return Comparison(info.classes, found[0], found[1], method)


def summary(found: Comparison, frame: pd.DataFrame, statistics: Iterable[str] = SHORT) -> list[list[str]]:
    """A row a kind of error and statistic over the classes: before, after, and the change."""
    rows = []
    for kind in KINDS:
        for statistic in statistics:
            words = STATISTICS[statistic]
            part = frame[(frame.error == kind) & (frame.statistic == statistic)].set_index("model")
            cells = [cell(part.loc[model]) for model in MODELS]
            change = found.change(kind, statistic)
            span = f"{100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
            rows.append([f"{kind}, {words}", *cells, span])
    return rows


def terminal(found: Comparison, frame: pd.DataFrame) -> Table:
    """The summary for a terminal of 80 columns."""
    title = f"Error on {len(found.before.label)} test images, % [95%]"
    table = Table("error", title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in (*_heads(found), "change"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in summary(found, frame):
        table.add_row(*(text.replace("[", "\\[") for text in row))
    return table


def classwise(found: Comparison, frame: pd.DataFrame) -> pd.DataFrame:
    """One row per class and for average and worst, one column per kind and model, "value [low, high]" in percent."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}  # a class may be called "worst"
    for row in frame[frame.statistic.isin(["class", *SHORT])].to_dict("records"):
        statistic = row["statistic"]
        name = row["class"] if statistic == "class" else STATISTICS[statistic]
        cells = rows.setdefault((statistic, name), {"images": row["n"]})
        cells[f"{row['error']}, {row['model']}"] = cell(row)
    columns = ["images", *(f"{kind}, {model}" for kind in KINDS for model in MODELS)]
    return pd.DataFrame(list(rows.values()), index=pd.Index([name for _, name in rows], name="class"))[columns]


def picture(found: Comparison) -> Figure:
    """Standard and robust error of every class before (hollow) and after (filled), with exact 95% intervals."""
    from matplotlib import pyplot as plt

    order = np.argsort(found.errors("before").robust, kind="stable")[-SHOWN:]
    y, names = np.arange(len(order)), [_short(found.classes[c]).replace("$", r"\$") for c in order]
    with plt.rc_context(RC):
        fig, axes = plt.subplots(1, 2, figsize=(8.4, 0.42 * len(order) + 1.5))
        panels(fig, 2)
        for ax, kind, color in zip(axes, ("standard", "robust"), (BLUE, VERMILLION), strict=True):
            for model, shift, face, marker in (("before", 0.14, "white", "o"), ("after", -0.14, color, "D")):
                errors = found.errors(model)
                values = getattr(errors, kind)[order]
                spread = 100 * np.abs(np.stack(errors.interval(kind))[:, order] - values)
                ink = GREY if model == "before" else color
                ax.errorbar(100 * values, y + shift, xerr=spread, fmt=marker, ms=5, color=ink, mfc=face, lw=1)
            ax.set(title=f"{kind} error, %", xlim=(-3, 103), yticks=y, yticklabels=names)
            ax.set_xlabel(f"○ before {found.method}, ◆ after it")
        plt.close(fig)
    return fig


def svg(found: Comparison) -> bytes:
    """The picture as an SVG file; raises ModuleNotFoundError where matplotlib is missing."""
    from matplotlib import rc_context

    figure, content = picture(found), io.BytesIO()
    with rc_context(RC | {"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's fonts know more scripts than matplotlib's
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def page(
    found: Comparison, frame: pd.DataFrame, image: bytes | None, *, title: str, size: int, settings: dict[str, str]
) -> str:
    """The report: one HTML page that needs no other file and no network."""
    table = classwise(found, frame)
    cells = pages.grid(["class", *table.columns], table.reset_index().to_numpy().tolist(), bold=2)
    return pages.page(
        f"{title}: a fair robust classifier",
        f"<p>{pages.text(verdict(found, frame))} {pages.text(price(found))}</p>",
        pages.grid(["error", *_heads(found), "change, points"], summary(found, frame, STATISTICS)),
        f"<p><small>{SPREAD}</small></p>",
        "<h2>Class by class</h2>",
        "" if image is None else pages.picture(image, ALT.format(found.method)),
        f'<div class="wide">{cells}</div>',
        f"<p><small>{NOTE}</small></p>",
        f"<h2>Use the model</h2>\n<pre>{html.escape(LOAD.format(size=size))}</pre>",
        "<h2>Settings</h2>",
        f'<div class="settings">{pages.grid(["setting", "value"], [list(item) for item in settings.items()])}</div>',
    )


def verdict(found: Comparison, frame: pd.DataFrame) -> str:
    """One sentence on the robust error of the worst class."""
    rows = frame[(frame.error == "robust") & (frame.statistic == "worst")].set_index("model")
    change = found.change("robust", "worst")
    clear = "a clear change" if change.low > 0 or change.high < 0 else "no clear change"
    words = [f"{rows.value[model]:.1f}% (class “{rows['class'][model]}”)" for model in MODELS]
    span = f"from {100 * change.low:+.1f} to {100 * change.high:+.1f}"
    method = {"FRL": "Fair Robust Learning"}.get(found.method, found.method)
    return (
        f"The robust error of the worst class is {words[0]} before {method} and {words[1]} after it: "
        f"{clear}, {100 * change.difference:+.1f} points with a 95% interval {span}."
    )


def price(found: Comparison) -> str:
    """What the worst class's gain cost the others, in one sentence or two."""
    gain = -found.change("robust", "worst").difference
    cost = {kind: found.change(kind, "average") for kind in ("standard", "robust")}
    standard, robust = (f"{100 * c.difference:+.1f}" for c in cost.values())
    said = f"On average over the classes the standard error changed by {standard} points, the robust by {robust}."
    kind, most = max(cost.items(), key=lambda item: item[1].difference)
    if most.low > 0 and most.difference > gain:
        fell = f"fell by {100 * gain:.1f}" if gain > 0 else "did not fall"
        said += (
            f" It cost more than it gave: the average {kind} error rose by {100 * most.difference:.1f} points, and the "
            f"robust error of the worst class {fell}."
        )
    return said


def _heads(found: Comparison) -> list[str]:
    return [f"{model} {found.method}" for model in MODELS]


def _short(name: str) -> str:
    text = Text(name)
    text.truncate(LONGEST, overflow="ellipsis")  # by what a letter takes on a line: some take two places
    return text.plain
