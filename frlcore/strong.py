"""AutoAttack, so that no claim rests on PGD alone (Croce and Hein 2020, "Reliable evaluation").

Four attacks without settings to tune, one after the other on what the earlier ones left standing: APGD on the
cross-entropy, APGD on the targeted DLR loss, FAB on nine target classes, and Square, which uses no gradient. Their
code is the package pyautoattack, which nothing else needs, so it comes with the extra [eval].
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frlcore.answers import Model, check_images, check_labels, check_model, reason
from frlcore.errors import UserError
from frlcore.frozen import freeze
from frlcore.settings import NORMS, STANDARD_QUERIES, counted, radius

LOG = logging.getLogger(__name__)
# What AutoAttack takes of an image that nothing changes, counted: gradients of a run of APGD; gradients, and as many
# plain passes, of a run of FAB; and plain passes besides, without Square's queries.
CLIMB, FAB, LOOKS = 101, 100, 80
MISSING = "AutoAttack needs the package pyautoattack: pip install -e '.[eval]'"


def autoattack(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    seed: int = 0,
    batch_size: int = 500,
    queries: int = STANDARD_QUERIES,
    progress: Callable[[float], object] = lambda share: None,
) -> Tensor:
    """Predictions `(N,) int64` under standard AutoAttack within `eps` of `x: (N, C, H, W) float in [0, 1]`.

    The clean prediction where it is wrong already, the wrong one where an attack succeeded, otherwise the right label
    `y: (N,) int64`. `queries` is Square's share of the work: the standard is 5000, and a smaller number has to be told
    beside the result. Two more departures, for networks of fewer than ten classes: all other classes are targets
    instead of nine, and below four classes, where the targeted DLR loss does not exist, APGD climbs the untargeted one
    for three classes, and the cross-entropy alone for two, whose margin it follows.
    Random numbers follow from `seed` and the order of the images; the global generators stay as they are.
    `progress` hears at every question to the model how much of the work is behind it, from 0 to 1, if none of the
    images gives way, which is the longest that it can take.
    What the package warns of is said in one line. Raises UserError without the package, for images, labels and a model
    that are not as in `answers`, and for settings out of range.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise UserError(MISSING) from error
    _check(x, norm)
    eps, batch_size, queries = radius(eps, norm), counted("batch_size", batch_size), counted("queries", queries)
    x = x.detach().float().contiguous()  # the package takes views of it
    targets = check_model(model, x, batch_size=batch_size) - 1
    y = check_labels(y, len(x), targets + 1)
    targeted = min(9, targets)
    climbs = 1 + (targeted if targets > 2 else targets - 1)  # runs of APGD
    work = len(x) * (LOOKS + 2 * CLIMB * climbs + 3 * FAB * targeted + queries)
    predict = _counted(_closed(model, *x.shape[2:]), lambda passes: progress(min(1.0, passes / work)))
    with _undisturbed(x.device):
        attack = AutoAttack(predict, norm=norm.capitalize(), eps=eps, seed=seed, device=x.device, version="standard")
        attack.verbose = False
        attack.square.n_queries = queries
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targeted
        if targets < 3:
            instead = ["apgd-dlr"] if targets == 2 else []
            attack.attacks_to_run = ["apgd-ce", *instead, "fab-t", "square"]
        _, predictions = attack.run_standard_evaluation(x, y, batch_size=batch_size)
    return predictions


def _closed(model: Model, height: int, width: int) -> Model:
    """`model` in eval mode as a function that no attack can leave a trace on, and whose gradients are contiguous."""
    frozen = freeze(model, height, width)
    if isinstance(frozen, nn.Module):  # FAB calls backward, which would fill the weights' gradients
        try:
            frozen = copy.deepcopy(frozen).eval().requires_grad_(False)
        except Exception as error:
            raise UserError("AutoAttack works on a copy, and the model cannot be copied; detach the tensors that it "
                            f"keeps ({reason(error)})") from error  # fmt: skip

    def predict(x: Tensor) -> Tensor:
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(lambda gradient: gradient.contiguous())
        return frozen(x)

    return predict


def _counted(model: Model, tell: Callable[[int], object]) -> Model:
    """`model`, which tells after each answer how many passes of one image it has made, backward ones too."""
    passes = 0

    def predict(x: Tensor) -> Tensor:
        nonlocal passes
        answer = model(x)
        passes += len(x) * (2 if x.requires_grad else 1)
        tell(passes)
        return answer

    return predict


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Give back what the package takes, the global random numbers and the trace function; repeat what it warns of."""
    log, trace, heard = logging.getLogger("auto-attack"), sys.gettrace(), Heard(logging.WARNING)
    before = log.level, log.propagate
    log.addHandler(heard)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        log.removeHandler(heard)
        log.level, log.propagate = before
        sys.settrace(trace)
    if heard.sentences:
        LOG.warning("AutoAttack warns: %s", " ".join(heard.sentences.values()))


class Heard(logging.Handler):
    """Keeps one warning of each kind, the last; they differ in their numbers."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.sentences: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        sentence = record.getMessage().partition(" See ")[0]
        if "use the targeted DLR loss" in sentence:  # said of three classes whichever DLR loss is used
            return
        self.sentences[re.sub(r"[\d.]+", "", sentence)] = sentence


def _check(x: Tensor, norm: str) -> None:
    check_images(x)
    if x.dim() != 4:
        raise UserError(f"AutoAttack takes float images (N, C, H, W) in [0, 1], got {tuple(x.shape)}")
    if norm not in NORMS:
        raise UserError(f"unknown norm '{norm}'; known: {', '.join(NORMS)}")
    if norm == "l2" and min(x.shape[2:]) < 5:
        raise UserError(f"AutoAttack's l2 Square attack needs at least 5 pixels a side, got {tuple(x.shape[2:])}")
