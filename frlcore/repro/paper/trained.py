"""The models that runs left, by edition and method: `trained("laptop", "pgd")` is the published hot start."""

from __future__ import annotations

from torch import nn

from frlcore import data, models
from frlcore.device import pick_device
from frlcore.repro.paper import plan
from frlcore.repro.runs.store import Store, default_store


def trained(
    edition: str, method: str = "pgd", *, fold: int = 0, seed: int = 0, device: str = "cpu", store: Store | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model of a finished run after its last epoch, in eval mode, and the names of its classes.

    It takes images `(N, C, H, W)` in [0, 1] and gives logits `(N, classes)`. Weights are those at hand, from `frl run`
    or published in `data/runs`; large ones are published in half precision. Raises UserError for an unknown edition or
    method, and when there are no weights.
    """
    run = plan.run(edition, method, fold, seed).trained
    info = data.info(run.dataset)
    model = models.build(run.model, num_classes=len(info.classes), in_channels=info.shape[0], seed=0)
    model.load_state_dict((store or default_store()).any_weights(run.key))
    return model.to(pick_device(device)).eval(), info.classes
