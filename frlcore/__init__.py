"""Fair Robust Learning: attacks, models, class-wise errors and the training loop of Xu et al. (ICML 2021).

Twelve names do the common work; `attacks`, `data`, `models` and `policies` hold the rest. `import frlcore` alone loads
no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frlcore.auditing import audit
    from frlcore.classwise import ClassErrors
    from frlcore.data import image_folder
    from frlcore.errors import UserError
    from frlcore.fitting import fit
    from frlcore.policies import FRL, Uniform
    from frlcore.saving import load_model, save_model
    from frlcore.seam import Policy
    from frlcore.settings import Attack, Training

__version__ = "0.1.0"
__all__ = [
    "FRL", "Attack", "ClassErrors", "Policy", "Training", "Uniform", "UserError", "audit", "fit", "image_folder",
    "load_model", "save_model",
]  # fmt: skip
_ROOMS = {  # where a name is imported from, at its first use
    "auditing": ["audit"], "classwise": ["ClassErrors"], "data": ["image_folder"], "errors": ["UserError"],
    "fitting": ["fit"], "policies": ["FRL", "Uniform"], "saving": ["load_model", "save_model"],
    "seam": ["Policy"], "settings": ["Attack", "Training"],
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"frlcore.{room}"), name)
    raise AttributeError(f"module 'frlcore' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
