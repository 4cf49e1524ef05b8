"""A plan carried out before somebody's eyes: by which engine, and what is said before, meanwhile and after."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from rich.console import Console

from frlcore.errors import UserError
from frlcore.repro.bar import clock
from frlcore.repro.runs.progress import Report
from frlcore.repro.runs.store import default_store
from frlcore.repro.runs.task import Run, Task


def conduct(
    runs: Sequence[Task],
    titles: Mapping[str, str],
    console: Console,
    *,
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    deadline: float | None = None,
    engine: str = "local",
    address: str | None = None,
) -> None:
    """Carry out what is missing of `runs` in the store and tell on `console` how it goes; `titles` by the runs' keys.

    `deadline` is in seconds since the epoch. Raises UserError for an unknown engine, an address that no engine asked
    for, and what the engine raises.
    """
    from frlcore.repro.runs.cluster import run_cluster
    from frlcore.repro.runs.engines import places, run_local, unfinished, usual
    from frlcore.repro.runs.pace import recorded

    if engine not in ("local", "ray"):
        raise UserError(f"unknown engine '{engine}'; known: local, ray")
    if address and engine != "ray":
        raise UserError("--address is that of a Ray cluster: add --engine ray")
    store = default_store()
    todo = unfinished(runs, store)
    if not todo:
        console.print(f"All {len(runs)} runs are in the store.")
        return
    console.print(f"{len(runs) - len(todo)} of {len(runs)} runs are in the store, {len(todo)} to go.")
    side = (workers or 1) if engine == "ray" else len(places(usual(todo, device), workers))  # Ray says later
    begun = {one.key: epochs for one in todo if isinstance(one, Run) and (epochs := store.epochs(one.key))}
    report = Report(todo, titles, console, side, begun)
    if pace := recorded([one for one in runs if isinstance(one, Run)], store):
        whole = clock(report.rest() * pace.seconds / report.workers)
        line = f"About {whole} if each goes as the newest record of its network ({pace.device})."
        console.print(line, soft_wrap=True, markup=False)
    begin = time.monotonic()
    carry_out = partial(run_cluster, address=address) if engine == "ray" else run_local
    with report:
        left = carry_out(
            todo, store, workers=workers, threads=threads, device=device, deadline=deadline, on_progress=report.see
        )
    spent = clock(time.monotonic() - begin)
    if left:
        limit = "" if deadline is None else " at the time limit"
        console.print(f"Stopped{limit} after {spent}: {left} of {len(runs)} runs to go. Run again to go on.")
    else:
        console.print(f"Trained and tested {len(todo)} runs in {spent}.")
