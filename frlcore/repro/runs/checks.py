"""Carry out one check of a finished run: AutoAttack, or certification by randomized smoothing.

The images are worked through in portions, and what is finished is kept: an interrupted check goes on where it was.
Every portion draws its random numbers from a generator of its own, so the result does not depend on interruptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frlcore import data
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Check
from frlcore.smoothing import certify
from frlcore.strong import autoattack
from frlcore.training import generator_for

DRAWS = 20_000  # noisy copies a portion of a certification has at least
ATTACKED = 500  # images a portion of AutoAttack has: small ones waste its many steps


def carry_out_check(
    check: Check, model: nn.Module, splits: data.Splits, store: Store, after_step: Callable[[int], bool]
) -> dict[str, np.ndarray] | None:
    """Outcomes by image of the test split, or None when `after_step` (it gets hundredths done) stopped the check."""
    settings = check.settings
    certifying = check.kind == "certify"
    size = max(1, -(-DRAWS // settings["n"])) if certifying else ATTACKED
    test = splits.tested()
    order = _chosen(test.labels.cpu(), settings)
    portions = order.split(size)
    parts = store.load_part(check.key)
    begin = int(parts.pop("portions", torch.tensor(0)))
    for number in range(begin, len(portions)):
        index = portions[number].to(test.images.device)
        x = data.to_float(test.images[index], splits.info.scale)
        new = _certify(check, model, x, number) if certifying else _attack(check, model, x, test.labels[index])
        parts = {name: torch.cat([parts[name], t]) if name in parts else t for name, t in new.items()}
        store.save_part(check.key, {**parts, "portions": torch.tensor(number + 1)})
        if after_step(100 * (number + 1) // len(portions)) and number + 1 < len(portions):
            return None
    found = {name: t.numpy() for name, t in parts.items()}
    found["label"] = test.labels[order].cpu().numpy().astype(np.uint8)
    found["index"] = test.index[order].cpu().numpy().astype(np.uint32)
    return found


def _chosen(labels: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Positions of the images that are checked: the first `per_class` of each class, or every k-th."""
    if "per_class" not in settings:
        return torch.arange(0, len(labels), settings["every"])
    first = [(labels == label).nonzero().squeeze(1)[: settings["per_class"]] for label in labels.unique()]
    return torch.cat(first).sort().values


def _certify(check: Check, model: nn.Module, x: Tensor, number: int) -> dict[str, Tensor]:
    generator = generator_for("certify", check.seed, number, x.device)
    s = check.settings
    found, radius = certify(model, x, sigma=s["sigma"], n0=s["n0"], n=s["n"], alpha=s["alpha"], generator=generator)
    return {"certified": found.to("cpu", torch.int16), "radius": radius.to("cpu", torch.float64)}


def _attack(check: Check, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    s = check.settings
    found = autoattack(model, x, y, eps=s["eps"], norm=s["norm"], seed=check.seed, queries=s["queries"])
    return {"autoattack": found.to("cpu", torch.uint8)}


def packed(found: dict[str, np.ndarray]) -> dict[str, str]:
    """The outcomes as a record holds them."""
    return {name: pack(values) for name, values in found.items()}
