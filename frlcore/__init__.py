"""Fair Robust Learning: attacks, models, class-wise errors and the training loop of Xu et al. (ICML 2021)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frlcore.fitting import fit
    from frlcore.saving import load_model, save_model

__version__ = "0.1.0"
__all__ = ["fit", "load_model", "save_model"]
_HOMES = {"fit": "fitting", "load_model": "saving", "save_model": "saving"}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported at its first use: `import frlcore` alone loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'frlcore' has no attribute '{name}'")
    return getattr(import_module(f"frlcore.{_HOMES[name]}"), name)
