"""How fast `frlcore.audit` attacks, beside foolbox and pyautoattack: the same networks and images, one run, in turns.

    OMP_NUM_THREADS=1 PYTHONPATH=. .venv/bin/python benchmarks/audit_speed.py

Three networks on handwritten digits, trained here: one of ten lines that knows nothing of frlcore, robust and natural,
and a PreActResNet. All tools take 20 steps from a random point on the same batches. Ours drops an image once it is
broken and judges every point of the path; foolbox's LinfPGD walks to the end and judges the last point; pyautoattack's
APGD, on the cross-entropy, keeps the best point of its path.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import foolbox
import numpy as np
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

import frlcore
from frlcore import data, models
from frlcore.data import to_float
from frlcore.fitting import recipe
from frlcore.policies import Uniform
from frlcore.settings import Training
from frlcore.training import train

EPS, STEPS, BATCH = 0.12, 20, 100


def ten_lines() -> nn.Module:
    """A network as anybody writes one."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def networks(epochs: int) -> dict[str, nn.Module]:
    """The networks, trained: by PGD adversarial training, or without an attack."""
    robust = recipe(EPS, epochs=epochs, fine_tune_epochs=1)[0]
    natural = Training("natural", epochs, lr=0.1)
    kinds: dict[str, tuple[Callable[[], nn.Module], Training]] = {
        "ten lines, robust": (ten_lines, robust), "ten lines, natural": (ten_lines, natural),
        "preact_small, robust": (lambda: models.build("preact_small", num_classes=10, in_channels=1, seed=0), robust),
    }  # fmt: skip
    found = {}
    for name, (make, training) in kinds.items():
        torch.manual_seed(0)
        found[name] = make()
        train(found[name], data.load("digits"), training, Uniform(10), seed=0)
        found[name].eval()
    return found


def ours(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    found = frlcore.audit(model, x, y, eps=EPS, steps=STEPS, batch_size=BATCH, device="cpu")
    return found.found.adversarial != found.found.label


def with_foolbox(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    attack = foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=STEPS, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
    return torch.cat([attack(wrapped, a, b, epsilons=EPS)[2] for a, b in parts]).numpy()


def with_pyautoattack(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    attack = APGDAttack(model, n_iter=STEPS, n_restarts=1, eps=EPS, norm="Linf", seed=0, device="cpu")
    attack.loss = "ce"
    broken = []
    for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True):
        with torch.no_grad():
            broken.append(model(attack.perturb(a, b)).argmax(1) != b)
    return torch.cat(broken).numpy()


OURS = "frlcore.audit"
TOOLS = {OURS: ours, "foolbox": with_foolbox, "pyautoattack": with_pyautoattack}


def run(rounds: int, epochs: int, images: int) -> list[list[str]]:
    """A row a network and tool; `rounds` are timed, one before them does not count."""
    splits, rows = data.load("digits"), []
    x = to_float(splits.train.images[:images], splits.info.scale).contiguous()
    y = splits.train.labels[:images]
    for name, model in networks(epochs).items():
        seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
        broken: dict[str, np.ndarray] = {}
        for number in range(rounds + 1):
            for tool, attack in TOOLS.items():
                begin = time.process_time()
                broken[tool] = attack(model, x, y)
                seconds[tool] += [time.process_time() - begin] if number else []
        for tool, spans in seconds.items():
            ratio = np.array(spans) / np.array(seconds[OURS])
            faster = f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})" if tool != OURS else ""
            shares = (f"{100 * part.mean():.1f}%" for part in (broken[tool], broken[tool] == broken[OURS]))
            rows.append([name, tool, f"{len(y) / np.median(spans):.0f}", faster, *shares])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed of PGD-20 in three tools.")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; one before them does not count")
    parser.add_argument("--epochs", type=int, default=20, help="of the networks' training")
    parser.add_argument("--images", type=int, default=1000, help="of the digits' training split")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = ["network", "tool", "images a second", "ours is faster by", "robust error", "same verdict as ours"]
    for row in [head, ["---"] * len(head), *run(arguments.rounds, arguments.epochs, arguments.images)]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
