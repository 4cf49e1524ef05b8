"""One loop for natural, Gaussian-noise, PGD, TRADES and Fair Robust Learning.

Algorithm 1 of the paper, with the symbols used here:

    f             <- start weights (FRL: a robust model)
    phi_nat, phi_bndy <- 0
    repeat
        R_nat,i, R_bndy,i <- EVAL(f, eps) on the validation split         steps 5-6   evaluate.walk
        phi_nat, phi_bndy, eps_i <- policy(R_nat, R_bndy, tau, alpha)     steps 7-8   policies
        f <- TRAIN(f, phi, eps)                                           step 9      train_epoch
    until the epochs are over (a fixed number; violations are logged)     step 10

With w_nat^i, w_bndy^i and eps^i from the policy (Eq. 9), TRAIN minimises, over batches of (x, y),

    natural   mean w_nat^y CE(f(x), y)
    noise     mean w_nat^y CE(f(x + sigma n), y)              n standard normal    (Cohen et al. 2019; App. A.1.3)
    pgd       mean w_nat^y CE(f(x'), y)                       x' climbs CE inside eps^y      (Eq. 1)
    trades    mean w_nat^y CE(f(x), y) + beta mean w_bndy^y KL(f(x) || f(x'))    x' climbs the KL

beta is TRADES' 1/lambda. FRL is "trades" under an FRL policy; under the Uniform policy it is TRADES itself. `evidence`
serves policies that ask for more than errors or weigh every batch, `averaging` follows the weights if asked to.
Everything random in an epoch, a network's dropout too, is a function of (seed, epoch), so a run that was interrupted
between two epochs ends with the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.acceleration import Accelerated, accelerate, arithmetic_in_words, attack_copy
from frlcore.attacks import Slope, perturb
from frlcore.averaging import Average
from frlcore.checkpoint import Checkpoint, restore, snapshot
from frlcore.classwise import ClassErrors
from frlcore.data import Split, Splits, augment, to_float
from frlcore.device import arithmetic, global_random, seed_for, within_memory
from frlcore.errors import Diverged, UserError
from frlcore.evaluate import walk
from frlcore.evidence import Tally, check_policy, on_validation
from frlcore.seam import ClassSettings, Policy, class_settings
from frlcore.settings import DataInfo, Training


def train(
    model: nn.Module,
    splits: Splits,
    training: Training,
    policy: Policy,
    *,
    seed: int,
    resume: Checkpoint | None = None,
    after_epoch: Callable[[Checkpoint], bool] = lambda checkpoint: False,
    after_batch: Callable[[], object] = lambda: None,
    slope: Slope | None = None,
) -> Checkpoint:
    """Train `model` in place and return the last checkpoint (Algorithm 1).

    `after_epoch` sees the checkpoint after every epoch and stops the training early by returning True; the
    result's `epoch` tells. After the last epoch it cannot: the last weights are validated in any case. The history's
    entry e holds the validation errors after e epochs and what the policy made of them for epoch e + 1. `slope` is what
    the validation climbs (`evaluate.walk`). Raises UserError when a batch is larger than the training split or than
    the device's memory, when the policy asks for what this training does not have or answers with what it cannot use,
    and (Diverged) when the loss is no longer finite.
    """
    check_policy(policy, len(splits.info.classes), training.objective)
    if (count := len(splits.train.labels)) < training.batch_size:
        raise UserError(f"a batch of {training.batch_size} is larger than the {count} training images")
    optimizer = torch.optim.SGD(
        model.parameters(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay, fused=True
    )
    if resume:
        restore(model, optimizer, policy, resume)
        state = replace(resume, history=resume.history[: resume.epoch])  # its own list: the caller's stays as it is
    else:
        state = snapshot(model, optimizer, policy, Checkpoint(0, {}, {}, {}))
    network, earlier = accelerate(model), state.arithmetic
    device, classes = splits.train.images.device, len(splits.info.classes)
    average = None
    if training.average is not None:
        steps = len(splits.train) // training.batch_size
        average = Average(model, training.average, steps, training.gate, state.average)

    def stepped() -> None:
        if average:
            average.after_step()
        after_batch()

    def validate() -> ClassErrors:
        errors = _validate(model, splits, training, state.epoch, seed, slope)
        _note(state, errors, model, training)
        if average and state.epoch:
            average.after_epoch(errors.worst("robust")[1])
        return errors

    def attempt(count: int) -> None:  # the memory that a batch of `count` images takes
        smaller = Accelerated(model, compiler=None) if isinstance(network, Accelerated) else model
        x, y = to_float(splits.train.images[:count], splits.info.scale), splits.train.labels[:count]
        ones = torch.ones(count, device=x.device)
        batch_loss(smaller, x, y, training, ones, ones, ones, generator=None).backward()

    for epoch in range(state.epoch, training.epochs):
        errors = validate()
        seen = generator_for("evidence", seed, epoch, device)
        on_validation(policy, model, splits.validation, splits.info.scale, training, seen)
        policy.update(errors, training.policy_decay(epoch))
        try:
            settings, tally = class_settings(policy, classes), Tally(policy, classes, device)
        except UserError as error:  # which is no fault of the policy where it was shown a network that has diverged
            if all(bool(p.isfinite().all()) for p in model.parameters()):
                raise
            raise Diverged(float("nan"), epoch + 1, training.lr) from error
        work = partial(
            train_epoch, network, splits.train, splits.info, training, settings, optimizer, epoch=epoch, seed=seed,
            after_batch=stepped, tally=tally if tally.wanted else None,
        )  # fmt: skip
        loss = within_memory(work, attempt, training.batch_size)
        if not np.isfinite(loss):
            raise Diverged(loss, epoch + 1, training.lr)
        state.history[-1] |= {"loss": loss, "policy": _lists(policy.state), "settings": _lists(vars(settings))}
        tally.show()
        state = snapshot(model, optimizer, policy, state, epoch + 1, average)
        state.arithmetic = list(dict.fromkeys([*earlier, arithmetic_in_words(network)]))
        if after_epoch(replace(state, history=list(state.history))) and state.epoch < training.epochs:
            return state
    validate()
    return replace(state, average=average.weights if average else {})


def train_epoch(
    model: nn.Module | Accelerated,
    split: Split,
    info: DataInfo,
    training: Training,
    settings: ClassSettings,
    optimizer: torch.optim.Optimizer,
    *,
    epoch: int,
    seed: int,
    after_batch: Callable[[], object] = lambda: None,
    tally: Tally | None = None,
) -> float:
    """One pass over `split` in random batches of constant size; returns the mean loss. Step 9 of Algorithm 1."""
    device = split.images.device
    generator = generator_for("train", seed, epoch, device)
    w_nat, w_bndy, margin = (
        torch.as_tensor(v, dtype=torch.float32, device=device)
        for v in (settings.w_nat, settings.w_bndy if settings.beta is None else settings.beta, settings.margin)
    )
    if settings.beta is not None:
        training = replace(training, beta=1.0)
    order = torch.randperm(len(split.labels), generator=generator, device=device)
    batches = order.split(training.batch_size)[: len(order) // training.batch_size]
    total = torch.zeros((), device=device)  # stays on the device: one copy to the host an epoch
    model.train()
    with arithmetic(device, tf32=True, benchmark=True), global_random(device, seed_for("model", seed, epoch)):
        for step, index in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = training.rate(epoch + (step + 0.5) / len(batches))
            y = split.labels[index]  # (B,)
            x = to_float(augment(split.images[index], info.augment, generator=generator), info.scale)  # (B, C, H, W)
            loss = batch_loss(model, x, y, training, w_nat[y], w_bndy[y], margin[y], generator, tally)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            after_batch()
    return float(total / len(batches))


def batch_loss(
    model: nn.Module | Accelerated,
    x: Tensor,
    y: Tensor,
    training: Training,
    w_nat: Tensor,
    w_bndy: Tensor,
    margin: Tensor,
    generator: torch.Generator | None,
    tally: Tally | None = None,
) -> Tensor:
    """The objective on one batch; weights and margins are per sample `(B,)`.

    The clean and the adversarial batch are forwarded separately, in this order, in train mode; as in TRADES and the
    released code the KL target carries a gradient. A `tally` sees the attacked logits and may answer with factors.
    """

    def mean(w: Tensor, loss: Tensor) -> Tensor:
        return (w * loss).sum() / (w.sum() if training.batch_normalised else len(loss))

    if training.objective == "natural":
        return mean(w_nat, F.cross_entropy(model(x), y, reduction="none"))
    if training.objective == "noise":
        assert training.sigma is not None  # `Training` has seen to it
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return mean(w_nat, F.cross_entropy(model(x + training.sigma * noise), y, reduction="none"))
    longest = margin.max().expand_as(margin) if training.largest_step else margin
    x_adv = perturb(
        attack_copy(model, *x.shape[2:]), x, y, eps=training.eps * margin, step_size=training.step_size * longest,
        steps=training.steps, norm=training.norm, loss="ce" if training.objective == "pgd" else "kl",
        generator=generator,
    )  # fmt: skip
    clean = model(x) if training.objective == "trades" else None  # (B, C)
    attacked = model(x_adv)
    if tally and (factors := tally(y, attacked)) is not None:
        w_nat, w_bndy = factors * w_nat, factors * w_bndy
    if clean is None:
        return mean(w_nat, F.cross_entropy(attacked, y, reduction="none"))
    log_clean, log_adv = F.log_softmax(clean, 1), F.log_softmax(attacked, 1)
    kl = F.kl_div(log_adv, log_clean, log_target=True, reduction="none").sum(1)  # (B,)
    return mean(w_nat, F.nll_loss(log_clean, y, reduction="none")) + training.beta * mean(w_bndy, kl)


def generator_for(purpose: str, seed: int, epoch: int, device: torch.device | str) -> torch.Generator:
    """The random numbers of one epoch's training, validation or test: a function of (purpose, seed, epoch)."""
    return torch.Generator(device).manual_seed(seed_for(purpose, seed, epoch))


def _validate(
    model: nn.Module, splits: Splits, training: Training, epoch: int, seed: int, slope: Slope | None
) -> ClassErrors:
    """Class-wise validation errors after `epoch` epochs."""
    generator = generator_for("validation", seed, epoch, splits.validation.images.device)
    with arithmetic(splits.validation.images.device, tf32=True, benchmark=True):  # as in training
        found, _ = walk(
            model, splits.validation, scale=splits.info.scale, attack=training.validation_attack, generator=generator,
            slope=slope,
        )  # fmt: skip
    return ClassErrors.from_predictions(found.label, found.clean, found.adversarial, len(splits.info.classes))


def _note(state: Checkpoint, errors: ClassErrors, model: nn.Module, training: Training) -> None:
    """Put validation errors on record, and keep the weights if validation has not seen better ones."""
    state.history.append({"epoch": state.epoch, "validation": errors.to_dict()})
    statistic, kind = training.select.split()
    error = errors.average(kind) if statistic == "average" else errors.worst(kind)[1]
    if state.epoch and error < state.selected_error:
        state.selected = {name: t.clone() for name, t in model.state_dict().items()}
        state.selected_epoch, state.selected_error = state.epoch, error


def _lists(arrays: Mapping[str, np.ndarray | None]) -> dict[str, list[float]]:
    return {name: [float(v) for v in values] for name, values in arrays.items() if values is not None}
