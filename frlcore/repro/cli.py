"""The command `frl`: make, look at and publish the runs behind the book."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from frlcore.errors import UserError, plain
from frlcore.repro.bar import clock
from frlcore.repro.own import commands as own
from frlcore.repro.own.commands import DeviceOption
from frlcore.repro.paper import plan as plans
from frlcore.repro.places import checkout
from frlcore.repro.runs.conduct import conduct
from frlcore.repro.runs.store import default_store
from frlcore.repro.runs.task import Run
from frlcore.repro.surroundings import OutputError, a_home, complain, watched_output
from frlcore.repro.terminal import Commands, Terminal

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Regenerate the figures and tables of *To be Robust or to be Fair* (Xu et al., ICML 2021). "
    "`frl run` trains what a figure or table needs, `frl show` prints it, `frl book` builds the pages. "
    "Results are kept by content: what was made once is never made again, and a run that was interrupted goes on "
    "from its last whole epoch.",
)
out = Terminal()

PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help=f"A figure or table: {', '.join(plans.NAMES)}.")]
EditionOption = Annotated[str, typer.Option(help=f"Data set and size: {', '.join(plans.EDITIONS)}.")]
SeedsOption = Annotated[int, typer.Option(help="How many seeds of every run, counted from 0.")]
WorkersOption = Annotated[int | None, typer.Option(help="Runs side by side; default: one a core, or two on a GPU.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads of each run; more than 1 when runs are few.")]


@app.command()
def run(
    plan: PlanArgument = "all",
    edition: EditionOption = "digits",
    seeds: SeedsOption = 1,
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    device: DeviceOption = "auto",
    time_limit: Annotated[
        str | None, typer.Option(help="Stop cleanly at an epoch's end after this long, as in 90s, 9m or 2h; status 0.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: on a Ray cluster or a Ray started here.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster that this machine is a node of, host:port or auto.")
    ] = None,
) -> None:
    """Train and test every run that PLAN needs and that is not done yet."""
    needed, titles = plans.runs(plan, edition, seeds), plans.titles(plan, edition, seeds)
    deadline = None if time_limit is None else time.time() + seconds(time_limit)
    conduct(needed, titles, out, workers=workers, threads=threads, device=device, deadline=deadline, engine=engine,
            address=address)  # fmt: skip


@app.command(name="device-plan")
def device_plan(
    minutes: Annotated[float, typer.Option(help="For how long the GPU is there.")] = 27.0,
) -> None:
    """Say which commands fill the CIFAR-10 edition on a GPU that is there for a limited time, and what they finish.

    It names the files to copy there and back, the command with its time limit, and the runs that are done by then at
    two speeds. Finished runs in the store are left out.
    """
    from frlcore.repro.paper import device_plan as lent

    out.print_lines(lent.text(minutes, default_store()))


@app.command()
def cost(
    plan: PlanArgument = "all",
    edition: EditionOption = "cifar10",
    seeds: SeedsOption = 1,
    gpus: Annotated[int | None, typer.Option(help="How many GPUs; default: 1, 8 and 64.")] = None,
) -> None:
    """Say what PLAN costs: images, FLOPs, hours on this machine (measured, ten seconds) and on GPUs (assumed)."""
    from frlcore.repro.paper import cost as costs

    out.print_lines(costs.text(plan, edition, seeds, gpus))


@app.command()
def status(edition: EditionOption = "digits", seeds: SeedsOption = 1) -> None:
    """Say how much of every plan is done, and the command for the rest."""
    store = default_store()
    names = plans.plans(edition)
    for plan in names:
        needed = plans.runs(plan, edition, seeds)
        done = sum(store.done(one.key) for one in needed)
        rest = "" if done == len(needed) else f"   frl run {plan} --edition {edition} --seeds {seeds}"
        out.print(f"{plan:<{max(map(len, names))}} {done:>4} of {len(needed):>4} runs done{rest}", soft_wrap=True)


@app.command()
def publish(
    plan: PlanArgument = "all",
    edition: EditionOption = "laptop",
    seeds: SeedsOption = 1,
    unfinished: Annotated[bool, typer.Option(help="Checkpoints of unfinished runs, too, to go on elsewhere.")] = False,
) -> None:
    """Copy PLAN's finished records to data/runs, where they are part of the book, and weights that others need.

    Those are the weights that other runs of the edition start from, and those that a stronger attack is yet to try.
    """
    checkout("frl publish")
    store, needed = default_store(), plans.runs(plan, edition, seeds)
    every = plans.runs(plans.ALL, edition, seeds)
    starts = {one.start.key for one in every if one.start and (isinstance(one, Run) or not store.done(one.key))}
    finished = [one for one in needed if store.done(one.key)]
    for one in finished:
        store.publish(one.key, weights=one.key in starts)
    out.print(f"Published {len(finished)} of {len(needed)} runs in {store.published}", soft_wrap=True, markup=False)
    if unfinished:
        handed = sum(store.hand_on(one.key) for one in needed if not store.done(one.key))
        out.print(f"Handed on {handed} unfinished runs: `frl run` goes on with them from here")


@app.command()
def export(
    key: Annotated[str, typer.Argument(metavar="RUN", help="The first digits of a run's key, as the book prints it.")],
    target: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("model.safetensors"),
) -> None:
    """Write the network of one of the book's runs to a file, for `frl audit`, `frl fit --start` and Python."""
    checkout("frl export")
    from frlcore.repro.runs.export import export as write

    said = write(key, target, default_store())
    out.print(f"Wrote {target}: {said}", soft_wrap=True, markup=False)


@app.command()
def show(
    plan: PlanArgument = "table2",
    edition: EditionOption = "digits",
    checkpoint: Annotated[str, typer.Option(help="Weights after the last epoch, or selected on validation.")] = "last",
    verdict: Annotated[str, typer.Option(help="Broken at any point of the attack, or only at its last.")] = "any",
    csv: Annotated[Path | None, typer.Option(help="Write every number to this CSV file as well.")] = None,
) -> None:
    """Print PLAN's errors in percent with 95% intervals, beside the paper's, from all finished seeds."""
    from frlcore.repro.paper import records, terminal

    checkout("frl show")
    found = records.results(plan, edition, checkpoint=checkpoint, broken=verdict)
    frame = terminal.tidy(found)
    out.print(terminal.terminal(found, frame))
    out.print(f"Weights {records.CHECKPOINTS[checkpoint]}; broken: {records.BROKEN[verdict]}.", soft_wrap=True)
    if found.missing:
        out.print(f"Missing runs are made by: {found.command}", soft_wrap=True)
    if csv:
        if frame.empty:
            raise UserError(f"no finished run to write to {csv}; make them with: {found.command}")
        try:
            frame.to_csv(csv, index=False)
        except (OSError, ImportError, ValueError) as error:  # a suffix may ask for a compression that is not there
            raise UserError(f"cannot write {csv}: {getattr(error, 'strerror', None) or error}") from error
        out.print(f"Wrote {csv}", soft_wrap=True, markup=False)


@app.command()
def book(
    edition: Annotated[
        list[str] | None, typer.Option(help="Editions to build, repeatable; default: cifar10, laptop and digits.")
    ] = None,
    seeds: SeedsOption = 1,
    workers: WorkersOption = None,
    smoke: Annotated[bool, typer.Option(help="A tiny digits edition into _build/smoke: does it all work?")] = False,
    pdf: Annotated[bool, typer.Option(help="Also print the whole book to _build/book.pdf, with a browser.")] = False,
) -> None:
    """Train the digits edition, execute the notebooks and build the HTML book.

    CIFAR-10 is never trained here: its pages show the records there are, and say what makes the others.
    """
    project = checkout("frl book")
    from frlcore.repro.book import pages
    from frlcore.repro.book.pdf import make as print_book
    from frlcore.repro.paper import headline, records, terminal

    begin = time.monotonic()
    if smoke and edition:
        raise UserError("--smoke builds an edition of its own: leave out --edition")
    editions = edition or ["cifar10", "laptop", "smoke" if smoke else "digits"]
    pages.pages(editions)  # what is wrong with the editions or the notebooks is said before minutes of training
    if not {"digits", "smoke"} & set(editions):
        raise UserError("the book's prose refers to the digits edition: add --edition digits")
    for name in editions:
        if headline.small(name):
            needed, titles = plans.runs(plans.ALL, name, seeds), plans.titles(plans.ALL, name, seeds)
            conduct(needed, titles, out, workers=workers, device="cpu")
    target = project / "_build" / "smoke" if smoke else project
    with a_home():
        index = pages.build(editions, target, records_fingerprint=records.fingerprint(editions))
        printed = print_book(index.parent, index.parent.parent / "book.pdf") if pdf else None
    for name in editions:
        found = records.results("table2", name)
        if found.present:
            out.print(terminal.methods(found, records.tidy(found), kinds=("robust",)))
    for line in [one for part in headline.answers(editions) for one in part]:
        out.print(line.replace("**", ""), soft_wrap=True, markup=False)
    out.print(f"The book is ready after {clock(time.monotonic() - begin)}: {index}", soft_wrap=True, markup=False)
    if printed:
        out.print(f"All of it on paper: {printed}", soft_wrap=True, markup=False)


app.command()(own.fit)
app.command()(own.audit)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def notebook(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A notebook's name or its beginning, as in 05 or 05_experiments.")
    ],
    output: Annotated[Path | None, typer.Option(help="Where to write the executed notebook.")] = None,
) -> None:
    """Execute one notebook with other parameters: `frl notebook 05 -p edition cifar10 -p verdict last`.

    Every `-p KEY VALUE` sets a parameter; names and types are checked before anything runs.
    """
    project = checkout("frl notebook")
    from frlcore.repro.book import pages

    source = pages.find(name)
    parameters = pages.parse_parameters(source, words(context.args))
    target = output or project / "_build" / "notebooks" / f"{source.stem}.ipynb"
    with a_home():
        executed = pages.execute(source, target, parameters)
    out.print(f"Executed notebook: {executed}", soft_wrap=True, markup=False)


def words(arguments: list[str]) -> list[str]:
    """KEY VALUE KEY VALUE ... from the `-p KEY VALUE` groups of a command line; UserError for anything else."""
    groups = [arguments[i : i + 3] for i in range(0, len(arguments), 3)]
    if any(len(group) != 3 or group[0] != "-p" for group in groups):
        raise UserError(f"parameters look like -p KEY VALUE, not '{' '.join(arguments)}'")
    return [word for group in groups for word in group[1:]]


def seconds(text: str) -> float:
    """Seconds of a time such as 90s, 9m or 2h; raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match:
        raise UserError(f"a time limit looks like 90s, 9m or 2h, not '{text}'")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def main() -> None:
    """Run the command; a UserError becomes one line on stderr and exit status 2, Ctrl-C or SIGTERM one and 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    part = {"run": "epoch", "book": "epoch", "fit": "epoch", "audit": "batch of images"}.get("".join(sys.argv[1:2]))
    again = f"run the same command again to go on from the last whole {part}"
    try:
        with watched_output():
            app()
    except OutputError as error:
        complain(f"frl: {error}; {again}" if part else f"frl: {error}")
        sys.exit(2)
    except UserError as error:
        complain(f"frl: {error}")
        sys.exit(2)
    except OSError as error:  # of a name that the system refuses: too long, in a folder that may not be looked into
        complain(f"frl: cannot use {plain(error.filename or 'a file')}: {error.strerror or error}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:  # Typer turns the first into the second, with status 130
        if isinstance(end, SystemExit) and end.code != 130:
            raise
        complain(f"frl: stopped; {again}" if part else "frl: stopped")
        os._exit(130)  # a plain exit would wait for the threads that execute notebooks
