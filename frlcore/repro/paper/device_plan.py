"""What to do with a GPU for a limited time: the commands in their order, and what of CIFAR-10 they finish.

No GPU has been measured yet. So the plan is worked out for two speeds of PGD-10 training, and for a minute a run beside
its epochs, which is an assumption; once records of a GPU exist, `frl run` says itself how long the rest takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from frlcore.errors import UserError
from frlcore.repro.paper import plan
from frlcore.repro.runs.engines import unfinished
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Task

EDITION = "cifar10"
TRAINING_IMAGES = 47_000  # of 50,000, the others validate
RATES = (5_000, 10_000)  # images a second of PGD-10 training
PASSES = 23  # forward passes that such an image takes, see `Run.passes`
BESIDE = 60.0  # seconds a run takes beside its epochs: start, compilation, and tests in true float32
RESERVE = 2.0  # minutes at the end: the epochs under way, and taking the records along
RAW = "data/raw/cifar-10-batches-py"


def fitting(tasks: Sequence[Task], seconds: float, rate: float) -> tuple[list[Task], float]:
    """Those of `tasks` that are finished in this time, one after the other in their order, and the seconds of all.

    `rate` are images of PGD-10 training a second.
    """
    spent, done = 0.0, []
    for task in tasks:
        spent += task.cost * TRAINING_IMAGES / (PASSES * rate) + BESIDE
        if spent <= seconds:
            done.append(task)
    return done, spent


def text(minutes: float, store: Store) -> str:
    """Commands and what they finish, for a terminal; UserError where the time is too short for anything."""
    if not math.isfinite(minutes):
        raise UserError(f"minutes are a number, not {minutes:g}")
    if minutes <= RESERVE + BESIDE / 60:
        raise UserError(f"{minutes:g} minutes are too short: {RESERVE + BESIDE / 60:g} go by without training")
    todo = [task for task in unfinished(plan.runs(plan.ALL, EDITION), store) if _of_the_paper(task)]
    titles = plan.titles(plan.ALL, EDITION)
    limit = f"{(minutes - RESERVE) * 60:.0f}s"
    lines = [
        "Before the time begins, on the machine with the GPU (Python 3.11, this project):",
        f"    copy the five training batches, the test batch and batches.meta to {RAW}",
        "    copy data/cache there, if an earlier time left one: finished runs stay finished",
        "    make setup",
        f"When it begins (seconds are those of {minutes:g} minutes less {RESERVE:g} to stop in):",
        f"    .venv/bin/frl run all --edition {EDITION} --device cuda --time-limit {limit}",
        "When it has stopped:",
        f"    .venv/bin/frl publish all --edition {EDITION}",
        "    copy data/runs and data/cache back; run the same again for the rest",
        "",
    ]
    for rate in RATES:
        done, whole = fitting(todo, (minutes - RESERVE) * 60, rate)
        lines.append(
            f"At {rate:,} images a second of PGD-10 training it finishes {len(done)} of the {len(todo)} runs of "
            f"{plan.edition(EDITION).model} that are to be made; all of them take {whole / 3600:.1f} hours:"
        )
        lines += [f"    {titles[task.key]}" for task in done]
    lines.append(f"Assumed: {BESIDE:.0f} s a run beside its epochs, one run at a time. No GPU has been measured yet.")
    return "\n".join(lines)


def _of_the_paper(task: Task) -> bool:
    """Whether a task is of the edition's own data and network, as the rates are."""
    run = task.trained
    return (run.dataset, run.model) == (plan.edition(EDITION).dataset, plan.edition(EDITION).model)
