"""One epoch of Fair Robust Learning: ours against a straightforward loop, in one process and alternating.

    python benchmarks/frl_epoch.py [--rounds N] [--seeds N] [--threads N]

An epoch is EVAL on the validation split, the policy's update and TRAIN on the training split (steps 5 to 9 of
Algorithm 1), of the digits edition's FRL(Reweight+Remargin), from a PGD-trained network. The straightforward loop does
what the released code does: a DataLoader over float images; a validation attack by `loss.backward()`, which computes
all weight gradients, from noise made by numpy, on every example for 20 steps; a training attack that asks the network
for its clean prediction at every step; a loss that forwards the clean batch twice; the plain eager network throughout.
Three of it are timed: as released; with our number of validation steps; and with all weight gradients in the training
attack, too. Both sides then fine-tune from the same start with several seeds, and their validation errors are compared.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from frlcore import data, models, policies
from frlcore.classwise import ClassErrors
from frlcore.evaluate import Attack, outcomes
from frlcore.repro.paper.plan import EDITIONS
from frlcore.training import Training, generator_for, train, train_epoch

EDITION = EDITIONS["digits"]
OURS = "ours"


def frl() -> policies.Policy:
    return policies.build("frl", 10, variant="reweight+remargin", max_margin=EDITION.max_margin)


def sgd(model: nn.Module, training: Training, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay, fused=fused
    )


class Loop(Protocol):
    """A network in training; `epoch(k)` is the k-th epoch of FRL."""

    model: nn.Module

    def epoch(self, k: int) -> None: ...


class Ours:
    def __init__(self, start: nn.Module, splits: data.Splits, training: Training, seed: int) -> None:
        self.model, self.policy = copy.deepcopy(start), frl()
        self.splits, self.training, self.seed = splits, training, seed
        self.optimizer = sgd(self.model, training, fused=True)

    def epoch(self, k: int) -> None:
        splits, how = self.splits, self.training
        generator = generator_for("validation", self.seed, k, "cpu")
        found = outcomes(
            self.model, splits.validation, scale=splits.info.scale, attack=how.validation_attack, generator=generator
        )
        errors = ClassErrors.from_predictions(found.label, found.clean, found.adversarial, len(splits.info.classes))
        self.policy.update(errors, how.decay(k))
        train_epoch(
            self.model, splits.train, splits.info, how, self.policy.settings(), self.optimizer, epoch=k, seed=self.seed
        )


class Straightforward:
    def __init__(
        self,
        start: nn.Module,
        splits: data.Splits,
        training: Training,
        seed: int,
        *,
        validation_steps: int,
        all_gradients: bool = False,
    ) -> None:
        self.model, self.policy = copy.deepcopy(start).to(memory_format=torch.contiguous_format), frl()
        self.training, self.validation_steps, self.all_gradients = training, validation_steps, all_gradients
        self.optimizer = sgd(self.model, training, fused=False)
        self.noise = np.random.default_rng(seed)
        torch.manual_seed(seed)  # the order of the batches

        def loader(split: data.Split, shuffle: bool) -> DataLoader:
            images = split.images.float() / splits.info.scale
            return DataLoader(  # drop_last: as many updates as ours
                TensorDataset(images, split.labels), training.batch_size, shuffle=shuffle, drop_last=shuffle
            )

        self.train_loader, self.validation_loader = loader(splits.train, True), loader(splits.validation, False)

    def epoch(self, k: int) -> None:
        self.policy.update(self.evaluate(), self.training.decay(k))
        settings = self.policy.settings()
        w_nat, w_bndy, margin = (
            torch.tensor(v, dtype=torch.float32) for v in (settings.w_nat, settings.w_bndy, settings.margin)
        )
        for x, y in self.train_loader:
            x_adv = self.train_attack(x, margin[y].view(-1, 1, 1, 1))
            self.model.train()
            self.optimizer.zero_grad()
            natural = F.cross_entropy(self.model(x), y, reduction="none")
            kl = F.kl_div(
                F.log_softmax(self.model(x_adv), dim=1), F.softmax(self.model(x), dim=1), reduction="none"
            ).sum(dim=1)
            loss = torch.mean(w_nat[y] * natural + self.training.beta * w_bndy[y] * kl)
            loss.backward()
            self.optimizer.step()

    def evaluate(self) -> ClassErrors:
        labels, clean, adversarial = [], [], []
        self.model.eval()
        for x, y in self.validation_loader:
            labels.append(y)
            clean.append(self.model(x).argmax(dim=1))
            adversarial.append(self.model(self.validation_attack(x, y)).argmax(dim=1))
        found = (torch.cat(part).numpy() for part in (labels, clean, adversarial))
        errors = ClassErrors.from_predictions(*found, num_classes=10)
        return replace(errors, boundary=errors.boundary_difference)  # as the released code measures it

    def validation_attack(self, x: Tensor, y: Tensor) -> Tensor:
        eps = self.training.eps
        start = np.clip(x.numpy() + self.noise.uniform(-eps, eps, x.shape), 0, 1)
        x_adv = torch.tensor(start).to(x.device).float()
        for _ in range(self.validation_steps):
            x_adv.requires_grad_()
            self.model.zero_grad()
            F.cross_entropy(self.model(x_adv), y).backward()
            x_adv = x_adv.detach() + self.training.step_size * x_adv.grad.sign()
            x_adv = torch.clamp(torch.clamp(x_adv, x - eps, x + eps), 0, 1)
        return x_adv

    def train_attack(self, x: Tensor, margin: Tensor) -> Tensor:
        self.model.eval()
        eps, step_size = self.training.eps * margin, self.training.step_size * margin
        noise = torch.tensor(self.noise.standard_normal(x.shape)).to(x.device).float()
        x_adv = x + 0.001 * noise
        for _ in range(self.training.steps):
            x_adv.requires_grad_()
            loss = F.kl_div(F.log_softmax(self.model(x_adv), dim=1), F.softmax(self.model(x), dim=1), reduction="sum")
            if self.all_gradients:
                self.model.zero_grad()
                loss.backward()
                gradient = x_adv.grad
            else:
                gradient = torch.autograd.grad(loss, [x_adv])[0]
            x_adv = x_adv.detach() + step_size * gradient.sign()
            x_adv = torch.clamp(torch.min(torch.max(x_adv, x - eps), x + eps), 0, 1)
        return x_adv.detach()


Make = Callable[[int], Loop]  # from a seed


def contestants(start: nn.Module, splits: data.Splits, training: Training) -> dict[str, Make]:
    steps = training.validation_steps

    def straightforward(validation_steps: int, all_gradients: bool = False) -> Make:
        return lambda seed: Straightforward(
            start, splits, training, seed, validation_steps=validation_steps, all_gradients=all_gradients
        )

    return {
        OURS: lambda seed: Ours(start, splits, training, seed),
        "as released (validation PGD-20)": straightforward(20),
        f"validation PGD-{steps} as ours": straightforward(steps),
        "as released, all gradients": straightforward(20, all_gradients=True),
    }


def timings(makes: dict[str, Make], rounds: int) -> dict[str, list[float]]:
    """Seconds of a first epoch, from the same start each time; the contestants take turns, one round is a warm-up.

    With one thread these are seconds of processor time, which other programs on the machine hardly lengthen.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in makes}
    for turn in range(rounds + 1):
        for name, make in makes.items():
            loop = make(turn)
            begin = clock()
            loop.epoch(0)
            if turn:
                seconds[name].append(clock() - begin)
    return seconds


@dataclass(frozen=True)
class Comparison:
    """Validation errors (averages over classes, fractions) of two loops, one value a seed."""

    kind: str
    ours: list[float]
    other: list[float]

    @property
    def difference(self) -> float:
        return statistics.mean(self.ours) - statistics.mean(self.other)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference between the means (Welch)."""
        variances = [statistics.variance(side) / len(side) for side in (self.ours, self.other)]
        total = sum(variances)
        if total == 0:
            return self.difference, self.difference
        freedom = total**2 / sum(v**2 / (len(self.ours) - 1) for v in variances)
        half = float(stats.t.ppf(0.975, freedom)) * total**0.5
        return self.difference - half, self.difference + half


def comparisons(
    ours: Make, other: Make, splits: data.Splits, attack: Attack, seeds: int, epochs: int
) -> list[Comparison]:
    """Fine-tune both from the same start, seed by seed, and judge both by the same attack on the validation split."""
    found: dict[str, tuple[list[float], list[float]]] = {"standard": ([], []), "robust": ([], [])}
    for seed in range(seeds):
        for side, make in enumerate((ours, other)):
            loop = make(seed)
            for k in range(epochs):
                loop.epoch(k)
            o = outcomes(
                loop.model, splits.validation, scale=splits.info.scale, attack=attack,
                generator=generator_for("benchmark", 0, 0, "cpu"),
            )  # fmt: skip
            errors = ClassErrors.from_predictions(o.label, o.clean, o.adversarial, len(splits.info.classes))
            for kind, sides in found.items():
                sides[side].append(errors.average(kind))
    return [Comparison(kind, *sides) for kind, sides in found.items()]


def print_timings(seconds: dict[str, list[float]]) -> None:
    ours = seconds[OURS]
    print(f"{'one FRL epoch':34}{'median s':>9}{'ratio to ours: median (min to max)':>38}")
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, ours, strict=True)]
        spread = "" if name == OURS else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:34}{statistics.median(values):9.3f}{spread:>38}")


def print_comparisons(found: list[Comparison], epochs: int) -> None:
    seeds = len(found[0].ours)
    print(f"\nvalidation errors in % after {epochs} epochs, mean (sd) of {seeds} seeds; the other side as released")
    print(f"{'average error':14}{'ours':>14}{'other':>14}{'difference, 95% interval':>30}")
    for c in found:
        ours, other = (f"{100 * statistics.mean(v):.1f} ({100 * statistics.stdev(v):.1f})" for v in (c.ours, c.other))
        low, high = c.interval
        change = f"{100 * c.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        verdict = "ours lower" if high < 0 else "ours HIGHER" if low > 0 else "agree"
        print(f"{c.kind:14}{ours:>14}{other:>14}{change:>30}  {verdict}")


def run(
    splits: data.Splits, base: Training, fine_tune: Training, *, rounds: int, seeds: int, epochs: int
) -> tuple[dict[str, list[float]], list[Comparison]]:
    """Train the start, time the contestants, compare the errors, and print both tables."""
    start = models.build(EDITION.model, num_classes=10, in_channels=1, seed=0)
    train(start, splits, base, policies.build("uniform", 10), seed=0)
    makes = contestants(start, splits, fine_tune)
    seconds = timings(makes, rounds)
    print_timings(seconds)
    ours, released = list(makes.values())[:2]
    found = comparisons(ours, released, splits, EDITION.test, seeds, epochs)
    print_comparisons(found, epochs)
    return seconds, found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time one FRL epoch against a straightforward loop.")
    parser.add_argument("--rounds", type=int, default=9, help="timed epochs of each contestant (default 9)")
    parser.add_argument("--seeds", type=int, default=8, help="fine-tunes a side for the errors, at least 2 (default 8)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seeds < 2 or given.threads < 1:
        parser.error("--rounds and --threads must be at least 1 and --seeds at least 2")
    torch.set_num_threads(given.threads)
    processor = f"{os.cpu_count()}-core {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{processor}, {given.threads} thread(s), torch {torch.__version__}, python {platform.python_version()}\n")
    run(data.load("digits"), EDITION.base, EDITION.fine_tune, rounds=given.rounds, seeds=given.seeds, epochs=3)


if __name__ == "__main__":
    main()
