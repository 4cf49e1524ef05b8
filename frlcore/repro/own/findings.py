"""What `frl audit` leaves of an audit: a page, its numbers, and what the model took every image for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from frlcore.auditing import Audit
from frlcore.auditing.result import STATISTICS
from frlcore.classwise import KINDS
from frlcore.intervals import brackets, selection_bias
from frlcore.saving import put


def write(
    out: Path, this: Audit, against: Audit | None, *, names: tuple[str, str | None], data: str, images: np.ndarray,
    notes: list[str], facts: dict[str, Any],
) -> None:  # fmt: skip
    """Write the report and its files into `out`; `names` are those of the two models.

    `images` are the positions of the given images in the data; `facts` stand in report.json, the text among them on the
    page.
    """
    frame = this.frame().assign(model=names[0])
    compared = {}
    if against is not None:
        frame = pd.concat([frame, against.frame().assign(model=names[1])])
        compared = {kind: this.compare(against, kind) for kind in KINDS}
        tests = pd.concat([table.assign(error=kind) for kind, table in compared.items()])
        put(out / "comparison.csv", tests.to_csv(index=False, lineterminator="\n").encode(errors="backslashreplace"))
    at = images if this.index is None else images[this.index]
    answers = {"image": at, "label": this.found.label, "clean": this.found.clean, "attacked": this.found.adversarial}
    if against is not None:
        answers |= {"other_clean": against.found.clean, "other_attacked": against.found.adversarial}
    put(out / "predictions.csv", pd.DataFrame(answers).to_csv(index=False, lineterminator="\n").encode())
    put(out / "report.csv", frame.to_csv(index=False, lineterminator="\n").encode(errors="backslashreplace"))
    content: dict[str, Any] = {
        **facts, "model": names[0], "against": names[1], "model_sha256": this.model, "data": data,
        "images": len(this.found.label), "sha256": this.digest, "attack": this.attack, "eps": this.eps,
        "norm": this.norm, "level": this.level, "classes": this.classes, "seconds": round(this.seconds, 1),
        "notes": [*this.notes, *notes],
        "selection_bias": 100 * selection_bias(this.found.label, this.wrong("robust")),
        "confusion": this.confusion().to_numpy().tolist(), "percent": frame.to_dict("records"),
        "compared": {kind: table.to_dict("records") for kind, table in compared.items()},
    }  # fmt: skip
    text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n"
    put(out / "report.json", text.encode(errors="backslashreplace"))  # a raw byte of a name as JSON's own escape
    shown = {name: value for name, value in facts.items() if isinstance(value, str)} | {
        "model": names[0], "the other model": names[1] or "none", "data": data,
        "on the data": " ".join(notes) or "nothing to say",
    }  # fmt: skip
    this.to_html(out / "report.html", title=f"{names[0]} on {data}", against=against, settings=shown)


def _plain(value: Any) -> Any:
    """A number of numpy as JSON knows it."""
    return value.item()


def terminal(this: Audit) -> Table:
    """The summary for a terminal of 80 columns."""
    frame = this.frame()
    title = f"Error on {len(this.found.label)} images, {this.attack}, % [95%]"
    table = Table("error", title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = ("average", "worst", "range")
    for name in shown:
        table.add_column(STATISTICS[name], justify="right", no_wrap=True)
    for kind in KINDS:
        rows = frame[frame.error == kind].set_index("statistic")
        table.add_row(kind, *(f"{row.value:.1f} \\{brackets(row.low, row.high)}" for row in rows.loc[list(shown)]
                              .itertuples()))  # fmt: skip
    return table
