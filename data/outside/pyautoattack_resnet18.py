"""A network that this project did not train: the ResNet-18 that the package pyautoattack brings with its examples.

    frl audit data/outside/pyautoattack_resnet18.py:resnet18 --data cifar10 --per-class 100 --out AUDIT
    python data/outside/pyautoattack_resnet18.py CLEAN.csv    # what it takes each of the 10,000 test images for
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pyautoattack
import torch
from torch import nn

FOLDER = Path(pyautoattack.__file__).parent / "examples"


def resnet18() -> nn.Module:
    """The network with its weights, from images in [0, 1] to ten logits; its class is in the package's own file."""
    spec = importlib.util.spec_from_file_location("resnet", FOLDER / "resnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.ResNet18()
    model.load_state_dict(torch.load(FOLDER / "model_test.pt", map_location="cpu", weights_only=True))
    return model.eval()


def clean(path: str) -> None:
    """Write label and answer of every test image of CIFAR-10, in the data set's order."""
    from frlcore import data
    from frlcore.evaluate import predict
    from frlcore.repro import places

    test = data.load("cifar10", root=places.downloads()).tested()
    answers = predict(resnet18(), test.images, scale=255, batch_size=100)
    rows = [f"{label},{answer}\n" for label, answer in zip(test.labels.tolist(), answers.tolist(), strict=True)]
    Path(path).write_text("label,clean\n" + "".join(rows))


if __name__ == "__main__":
    clean(sys.argv[1])
