"""What runs need of this machine, memory and disk, estimated and compared with what is free before the first begins.

On a CPU the largest moment of a run is an attacked batch of validation or test. Measured (x86-64, AVX2, private memory
of a worker): 0.15 to 0.19 GB for a run of the digits edition, where this estimate is 0.19; 2.4 GB for one of the
edition for two cores, where it is 2.4.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache

import torch

from frlcore import models
from frlcore.data.pictures import free_memory
from frlcore.errors import UserError
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run, Task
from frlcore.settings import info

PROCESS = 150_000_000  # bytes of a worker without a network, beside what all workers share
TESTED = 1000  # images of a batch of validation or test
COPIES = 7  # of the weights: training, gradient, momentum, selected, and those of a checkpoint that is written
KEPT = 2  # results and workspaces of a backward pass, in units of what its forward pass keeps
GB = 1e9


@cache
def network(model: str, dataset: str) -> tuple[int, int]:
    """Bytes of a network's parameters and buffers, and bytes that a forward pass of one image keeps."""
    facts = info(dataset)
    built = models.build(model, num_classes=len(facts.classes), in_channels=facts.shape[0], seed=0).train()
    weights = sum(t.nbytes for t in (*built.parameters(), *built.buffers()))
    own = {t.untyped_storage()._cdata for t in built.parameters()}
    kept: dict[int, int] = {}

    def keep(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return t

    two = torch.zeros(2, *facts.shape, requires_grad=True)  # real ones: what torch imports for others takes seconds
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = built(two)  # holds what is kept, so that no storage is counted under the address of another
    del out
    return weights, sum(kept.values()) // 2


def memory(run: Task) -> float:
    """Bytes that a run needs on a CPU."""
    weights, kept = network(run.trained.model, run.trained.dataset)
    return PROCESS + COPIES * weights + KEPT * TESTED * kept


def disk(runs: Sequence[Task], side: int) -> float:
    """Bytes that these runs leave in the store, and those of the checkpoints while `side` of them are under way."""
    sizes = sorted((network(run.model, run.dataset)[0] for run in runs if isinstance(run, Run)), reverse=True)
    return 2 * sum(sizes) + 6 * sum(sizes[:side])  # last and selected; a checkpoint has three, beside the one before


def check(runs: Sequence[Task], store: Store, side: int, device: str) -> None:
    """Raise UserError when what `runs` need, `side` of them at a time, is more than this machine has free."""
    place = next((path for path in (store.root.absolute(), *store.root.absolute().parents) if path.is_dir()), None)
    needed, free = disk(runs, side), shutil.disk_usage(place).free if place else 0
    if place and needed > free:
        raise UserError(
            f"these runs leave about {needed / GB:.1f} GB in {store.root}, where {free / GB:.1f} GB are free; "
            f"make room or choose {store.elsewhere}"
        )
    largest = sorted(map(memory, runs), reverse=True)[:side]
    have = free_memory()
    if device == "cpu" and have is not None and sum(largest) > have:
        fit = sum(sum(largest[: n + 1]) <= have for n in range(len(largest)))
        raise UserError(
            f"{len(largest)} runs at a time need about {sum(largest) / GB:.1f} GB of memory and {have / GB:.1f} GB are "
            f"free; " + (f"make room or ask for --workers {fit}" if fit else "make room")
        )
