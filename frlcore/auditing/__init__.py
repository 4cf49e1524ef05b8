"""Audit any classifier class by class: which classes it deserts, how sure that is, and whether another one is better.

    found = frlcore.audit(model, images, labels, classes=names, eps=8 / 255)
    found.worst("robust")  # (class, error)
    found.compare(other)  # class by class on the same images: better, worse, or not distinguishable
    found.to_html("report.html")

The model need not come from here: any function from images in [0, 1] to logits will do.

    probe report kept quick < result order < run
"""

from frlcore.auditing.result import Audit
from frlcore.auditing.run import audit

__all__ = ["Audit", "audit"]
