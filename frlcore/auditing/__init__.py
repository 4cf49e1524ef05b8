"""Audit any classifier class by class: which classes it deserts, how sure that is, and whether another one is better.

    found = frlcore.audit(model, images, labels, classes=names, eps=8 / 255)
    found.worst("robust")  # (class, error)
    found.compare(other)  # class by class on the same images: better, worse, or not distinguishable
    found.to_html("report.html")

The model need not come from here: any function from images in [0, 1] to logits will do.

    probe report kept quick < result order < run
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from frlcore.auditing.result import Audit

if TYPE_CHECKING:
    from frlcore.auditing.run import audit

__all__ = ["Audit", "audit"]


def __getattr__(name: str) -> Any:
    if name == "audit":  # with it torch, which reading an audit does without
        from frlcore.auditing.run import audit

        return audit
    raise AttributeError(f"module 'frlcore.auditing' has no attribute '{name}'")
