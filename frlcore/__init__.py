"""Fair Robust Learning: attacks, models, class-wise errors and the training loop of Xu et al. (ICML 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frlcore.fitting import fit, load_model

__version__ = "0.1.0"
__all__ = ["fit", "load_model"]


def __getattr__(name: str) -> Any:
    """`frlcore.fit` and `frlcore.load_model`, imported at their first use: `import frlcore` alone loads no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'frlcore' has no attribute '{name}'")
    from frlcore import fitting

    return getattr(fitting, name)
