"""A finished run's network as a file of its own, which `frl audit`, `frl fit --start` and `frlcore.load_model` take."""

from __future__ import annotations

import re
from pathlib import Path

from frlcore import models
from frlcore.errors import UserError
from frlcore.repro.runs.store import Store
from frlcore.saving import save_model
from frlcore.settings import info

NAME = re.compile("[0-9a-f]{6,64}")


def export(begin: str, path: Path, store: Store) -> str:
    """Write the last weights of the run whose key begins so to `path`, and say in words whose they are.

    Raises UserError when no single run is meant, when its weights are not at hand, and for a path that is taken.
    """
    if not NAME.fullmatch(begin):
        raise UserError(f"a run is named by its key's first digits, 6 or more, as the book prints them, not '{begin}'")
    keys = store.keys(begin)
    if len(keys) != 1:
        which = f"there are {', '.join(key[:20] for key in keys)}" if keys else "the book's tables name their runs"
        raise UserError(f"no single finished run has a key that begins with {begin}; {which}")
    if path.suffix != ".safetensors":
        raise UserError(f"{path} should end in .safetensors, as files of weights that can be read again do")
    if path.exists():
        raise UserError(f"{path} is there already; choose another --out")
    (key,) = keys
    run = (store.result(key) or {})["description"]
    if "of" in run:
        raise UserError(f"{begin} is a stronger test of run {run['of'][:12]}; ask for that one")
    half = not store.trained(key)
    if half and not store.find(key, "half.safetensors"):
        raise UserError(f"the weights of run {key[:12]} are not at hand: records are published without most weights")
    facts = info(run["dataset"])
    model = models.build(run["model"], num_classes=len(facts.classes), in_channels=facts.shape[0], seed=run["seed"])
    model.load_state_dict(store.any_weights(key))
    precision = "half precision" if half else "float32"
    save_model(path, model, name=run["model"], info=facts, notes={"run": key, "weights": f"last, {precision}"})
    how = f"{run['policy']['name']} policy, {run['training']['objective']} objective, seed {run['seed']}"
    return f"{run['model']} on {run['dataset']} ({how}; {precision})"
