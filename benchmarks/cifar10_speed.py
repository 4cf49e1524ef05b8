"""Training and evaluation at the size of CIFAR-10: ours against a straightforward loop, in one process and alternating.

    python benchmarks/cifar10_speed.py [--tiny] [--rounds N] [--batches N] [--batch-size N] [--out FOLDER]

Runs on a CUDA device, or with `--tiny` on a CPU at a size that says little of speed but carries everything out. The
images are random, so no data set is needed: the time of a step does not depend on what the pixels show. Timed are a
PGD-10 training epoch, a TRADES-10 training epoch (that of FRL, whose policy costs nothing), and PGD-20 in true float32.

The straightforward loop does what the paper and its released code describe: float32, the network as it is, noise and
crops made on the host, all weight gradients in the attack on the cross-entropy, and for TRADES the clean prediction
anew at every step and the clean batch twice in the loss. Training keeps PyTorch's default for convolutions on a GPU,
TF32; both evaluations run in true float32 and answer for every image, at every point of the attack.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from frlcore import models, policies
from frlcore.acceleration import accelerate
from frlcore.data import Split, to_float
from frlcore.device import arithmetic
from frlcore.evaluate import outcomes
from frlcore.settings import Attack, Training, info
from frlcore.training import generator_for, train_epoch

INFO = info("cifar10")
TEST = Attack(eps=8 / 255, step_size=2 / 255, steps=20)
HOW = {
    "PGD-10 training": Training("pgd", 1, lr=0.01, eps=8 / 255, step_size=2 / 255, steps=10),
    "TRADES-10 training": Training("trades", 1, lr=0.01, eps=8 / 255, step_size=2 / 255, steps=10, beta=6.0),
}
EVALUATION = "PGD-20 evaluation"
OURS, THEIRS = "ours", "straightforward"
# Forward passes an image needs, ours and theirs; a gradient by the input alone is one more, by all two more.
PASSES = {"PGD-10 training": (23, 33), "TRADES-10 training": (27, 39), EVALUATION: (42, 62)}


def pixels(count: int, device: torch.device) -> Split:
    """Random uint8 images whose labels a network could learn: a bright patch at the class's place."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 160, (count, *INFO.shape), generator=random, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    for c in range(10):
        images[labels == c, :, 6 * (c // 5) : 6 * (c // 5) + 6, 6 * (c % 5) : 6 * (c % 5) + 6] += 90
    return Split(images.to(device), labels.to(device), torch.arange(count).to(device))


class Straightforward:
    """The loop of the paper's released code, at our attack's radius and number of steps."""

    def __init__(self, start: nn.Module, training: Training) -> None:
        self.model, self.training = copy.deepcopy(start).to(memory_format=torch.contiguous_format), training
        self.optimizer = torch.optim.SGD(self.model.parameters(), training.lr, momentum=0.9, weight_decay=5e-4)
        self.noise = np.random.default_rng(0)

    def epoch(self, split: Split) -> None:
        how, device = self.training, split.images.device
        images, labels = split.images.cpu(), split.labels.cpu()
        for index in torch.randperm(len(labels)).split(how.batch_size):
            y = labels[index].to(device)
            x = torch.stack([self.crop(images[i]) for i in index]).to(device)
            x_adv = self.attack(x, y)
            self.model.train()
            self.optimizer.zero_grad()
            if how.objective == "pgd":
                loss = F.cross_entropy(self.model(x_adv), y)
            else:
                natural = F.cross_entropy(self.model(x), y)
                target = F.softmax(self.model(x), dim=1)
                kl = F.kl_div(F.log_softmax(self.model(x_adv), dim=1), target, reduction="batchmean")
                loss = natural + how.beta * kl
            loss.backward()
            self.optimizer.step()

    def crop(self, image: Tensor) -> Tensor:
        top, left, mirror = (int(self.noise.integers(n)) for n in (9, 9, 2))
        cut = F.pad(image.float() / INFO.scale, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
        return cut.flip(-1) if mirror else cut

    def attack(self, x: Tensor, y: Tensor) -> Tensor:
        how = self.training
        self.model.eval()
        if how.objective == "pgd":
            start = x.cpu().numpy() + self.noise.uniform(-how.eps, how.eps, x.shape)
        else:
            start = x.cpu().numpy() + 0.001 * self.noise.standard_normal(x.shape)
        x_adv = torch.tensor(start).to(x.device).float().clamp(0, 1)
        for _ in range(how.steps):
            x_adv.requires_grad_()
            self.model.zero_grad()
            if how.objective == "pgd":
                F.cross_entropy(self.model(x_adv), y).backward()
                gradient = x_adv.grad
            else:
                target = F.softmax(self.model(x), dim=1)
                loss = F.kl_div(F.log_softmax(self.model(x_adv), dim=1), target, reduction="sum")
                gradient = torch.autograd.grad(loss, [x_adv])[0]
            x_adv = climb(x_adv, gradient, x, how.eps, how.step_size)
        return x_adv


def climb(x_adv: Tensor, gradient: Tensor | None, x: Tensor, eps: float, step: float) -> Tensor:
    assert gradient is not None
    moved = x_adv.detach() + step * gradient.sign()
    return torch.clamp(torch.min(torch.max(moved, x - eps), x + eps), 0, 1)


def plain_evaluation(model: nn.Module, split: Split, batch_size: int) -> tuple[Tensor, Tensor]:
    """Wrong without and at any point of the attack `(N,) bool`, in float32, from the same random starts as ours."""
    generator = generator_for("benchmark", 0, 0, split.images.device)
    model.eval()
    clean, broken = [], []
    for images, y in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        x = to_float(images, INFO.scale)
        u = torch.rand(x.shape, generator=generator, device=x.device)
        x_adv = torch.clamp(torch.clamp(x + (2 * u - 1) * TEST.eps, x - TEST.eps, x + TEST.eps), 0, 1)
        clean.append(model(x).argmax(1).detach() != y)
        wrong = clean[-1].clone()
        for _ in range(TEST.steps):
            x_adv.requires_grad_()
            model.zero_grad()
            logits = model(x_adv)
            wrong |= logits.argmax(1) != y
            F.cross_entropy(logits, y, reduction="sum").backward()
            x_adv = climb(x_adv, x_adv.grad, x, TEST.eps, TEST.step_size)
        broken.append(wrong | (model(x_adv).argmax(1).detach() != y))
    return torch.cat(clean), torch.cat(broken)


def our_evaluation(model: nn.Module, split: Split, batch_size: int) -> tuple[Tensor, Tensor]:
    generator = generator_for("benchmark", 0, 0, split.images.device)
    found = outcomes(
        model, split, scale=INFO.scale, attack=TEST, generator=generator, batch_size=batch_size, last_iterate=True
    )
    return torch.from_numpy(found.clean != found.label), torch.from_numpy(found.adversarial != found.label)


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of one large matrix product, best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(seconds(lambda: a @ b, device) for _ in range(6))
    return 2 * size**3 / best


def forward_flop(model: nn.Module, device: torch.device) -> float:
    """Floating-point operations of one forward pass of one image, two per multiply-add."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).eval()(torch.zeros(1, *INFO.shape, device=device))
    return counter.get_total_flops()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds on the clock; on a CPU those of processor time, which other programs hardly lengthen."""
    if device.type != "cuda":
        begin = time.process_time()
        work()
        return time.process_time() - begin
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Row:
    """One loop at one task; ratios compare its rounds with ours, round by round."""

    task: str
    loop: str
    images_per_second: float
    share_of_peak: float  # of the measured matrix product: bfloat16 for training on a GPU, else float32
    first_seconds: float  # the warm-up, with what is compiled
    ratio: float  # seconds over ours: median, smallest, largest
    ratio_low: float
    ratio_high: float
    peak_memory_gb: float | None


def measure(
    task: str, works: dict[str, Callable[[], object]], images: int, rounds: int, device: torch.device, peak: float
) -> list[Row]:
    """Let the loops take turns; the first turn does not count. `peak`: forward passes a second at the device's best."""
    times: dict[str, list[float]] = {name: [] for name in works}
    memory: dict[str, float] = {}
    for _ in range(rounds + 1):
        for name, work in works.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            times[name].append(seconds(work, device))
            if device.type == "cuda":
                memory[name] = torch.cuda.max_memory_allocated(device) / 1e9
    rows = []
    for side, (name, (first, *rest)) in enumerate(times.items()):
        ratios = [value / ours for value, ours in zip(rest, times[OURS][1:], strict=True)]
        rate = images / statistics.median(rest)
        share = rate * PASSES[task][side] / peak
        spread = statistics.median(ratios), min(ratios), max(ratios)
        rows.append(Row(task, name, rate, share, first, *spread, memory.get(name)))
    return rows


def run(
    device: torch.device,
    *,
    batch_size: int,
    batches: int,
    test_images: int,
    rounds: int,
    matrix: int,
    model: str = "preact_resnet18",
) -> Report:
    """Measure every task on `batches` training batches and `test_images` test images."""
    start = models.build(model, num_classes=10, in_channels=3, seed=0).to(device)
    flop = forward_flop(start, device)
    train_split, test_split = pixels(batch_size * batches, device), pixels(test_images, device)
    settings = policies.build("uniform", 10).settings()
    peaks = {
        str(kind).removeprefix("torch."): matrix_peak(device, kind, matrix) for kind in (torch.bfloat16, torch.float32)
    }
    rows: list[Row] = []
    usual = "bfloat16" if device.type == "cuda" else "float32"  # what ours trains in
    for task, how in HOW.items():
        how = replace(how, batch_size=batch_size)
        net = copy.deepcopy(start)
        network, plain = accelerate(net), Straightforward(start, how)
        optimizer = torch.optim.SGD(net.parameters(), how.lr, momentum=0.9, weight_decay=5e-4, fused=True)

        def ours(network=network, how=how, optimizer=optimizer) -> None:  # type: ignore[no-untyped-def]
            train_epoch(network, train_split, INFO, how, settings, optimizer, epoch=0, seed=0)

        works = {OURS: ours, THEIRS: lambda plain=plain: plain.epoch(train_split)}
        rows += measure(task, works, len(train_split.labels), rounds, device, peaks[usual] / flop)
        start = net if task == "PGD-10 training" else start  # the evaluation's network has seen some training
    plain_model = copy.deepcopy(start).to(memory_format=torch.contiguous_format)
    size = min(1000, test_images)
    verdicts: dict[str, tuple[Tensor, Tensor]] = {}
    works = {
        OURS: lambda: verdicts.update({OURS: our_evaluation(start, test_split, size)}),
        THEIRS: lambda: verdicts.update({THEIRS: plain_evaluation(plain_model, test_split, size)}),
    }
    with arithmetic(device, tf32=False, benchmark=False):
        rows += measure(EVALUATION, works, test_images, rounds, device, peaks["float32"] / flop)
    pairs = zip(verdicts[OURS], verdicts[THEIRS], strict=True)
    agreement = [float((a == b.cpu()).float().mean()) for a, b in pairs]
    return Report(name_of(device), torch.__version__, batch_size, peaks, rows, *agreement)


@dataclass(frozen=True)
class Report:
    """What one call measured; agreements are shares of test images with the same verdict from both evaluations."""

    device: str
    torch: str
    batch_size: int
    matrix_peak: dict[str, float]
    rows: list[Row]
    clean_agreement: float
    robust_agreement: float

    def print(self) -> None:
        peaks = ", ".join(f"{name} {value / 1e12:.2f}" for name, value in self.matrix_peak.items())
        print(f"{self.device}, torch {self.torch}, batches of {self.batch_size}\nmatrix product, TFLOP/s: {peaks}\n")
        print(
            f"{'task':20}{'loop':17}{'images/s':>10}{'of peak':>9}{'first s':>9}{'memory GB':>11}"
            f"{'seconds over ours':>26}"
        )
        for r in self.rows:
            memory = f"{r.peak_memory_gb:.1f}" if r.peak_memory_gb is not None else "-"
            spread = "" if r.loop == OURS else f"{r.ratio:.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f})"
            print(
                f"{r.task:20}{r.loop:17}{r.images_per_second:10.1f}{r.share_of_peak:9.1%}{r.first_seconds:9.1f}"
                f"{memory:>11}{spread:>26}"
            )
        print(
            f"\nequal verdicts of both evaluations: clean {self.clean_agreement:.2%}, "
            f"attacked {self.robust_agreement:.2%}"
        )

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cifar10_speed.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        with open(folder / "cifar10_speed.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(self.rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)


def name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Images a second at the size of CIFAR-10, against a plain loop.")
    parser.add_argument("--tiny", action="store_true", help="on the CPU: one batch of 8 images, no statement of speed")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each loop (default 5)")
    parser.add_argument("--batches", type=int, default=60, help="training batches a turn (default 60)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a training batch (default 128)")
    parser.add_argument("--test-images", type=int, default=10_000, help="images the evaluation attacks (default 10000)")
    parser.add_argument("--out", type=Path, help="folder for cifar10_speed.json and cifar10_speed.csv")
    given = parser.parse_args(arguments)
    if min(given.rounds, given.batches, given.batch_size, given.test_images) < 1:
        parser.error("--rounds, --batches, --batch-size and --test-images must be at least 1")
    if not given.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device here; --tiny runs on the CPU")
    if given.tiny:
        torch.set_num_threads(1)
        report = run(torch.device("cpu"), batch_size=8, batches=1, test_images=8, rounds=given.rounds, matrix=512)
    else:
        report = run(
            torch.device("cuda"), batch_size=given.batch_size, batches=given.batches, test_images=given.test_images,
            rounds=given.rounds, matrix=8192,
        )  # fmt: skip
    report.print()
    if given.out:
        report.write(given.out)


if __name__ == "__main__":
    main()
