"""`frl audit`: what it leaves, that the numbers are the model's, and one line for models and images that do not fit."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ended import Ended
from PIL import Image
from rich.console import Console
from torch import nn

from frlcore import models
from frlcore.classwise import ClassErrors
from frlcore.data import Split, Splits
from frlcore.errors import UserError
from frlcore.repro import cli
from frlcore.repro.own import audit as own
from frlcore.repro.own import model as models_given
from frlcore.saving import save_model
from frlcore.settings import DataInfo

CLASSES = ("a [b]", "dark", "light")
FUNCTIONS = """
import torch
from torch import nn
from beside import WIDTH

class Three(nn.Module):
    def __init__(self, edge, outputs=3):
        super().__init__()
        self.edge, self.outputs = nn.Parameter(torch.tensor(edge)), outputs

    def forward(self, x):
        level = x.mean((1, 2, 3)) - self.edge
        answers = torch.stack([WIDTH - level.abs(), -level, level], 1)
        return torch.cat([answers] + [answers[:, :1] - 9] * (self.outputs - 3), 1)

def good(): return Three(0.5).eval()
def shifted(): return Three(0.6)
def four(): return Three(0.5, 4)
def soft(): return nn.Sequential(Three(0.5), nn.Softmax(1))
def number(): return 3
def fails():
    raise KeyError("no weights\\nat all")
def leaves(): raise SystemExit(1)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `images` of 8 grey pictures a class, and `mine.py` with models that look at the brightness."""
    place = tmp_path_factory.mktemp("audits")
    for name, level in zip(CLASSES, (128, 60, 196), strict=True):
        (place / "images" / name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(np.full((8, 8, 3), level + 2 * i, np.uint8)).save(place / "images" / name / f"{i}.png")
    (place / "mine.py").write_text(FUNCTIONS)
    (place / "beside.py").write_text("WIDTH = 0.1\n")
    (place / "empty" / "x").mkdir(parents=True)
    (place / "empty" / "y").mkdir()
    (place / "two").mkdir()
    for name in CLASSES[:2]:
        (place / "two" / name).symlink_to(place / "images" / name)
    (place / "weights.pt").write_bytes(b"")
    for name, classes, channels in (("w", CLASSES, 3), ("other", ("x", "y", "z"), 3), ("grey", CLASSES, 1)):
        model = models.build("preact_small", num_classes=3, in_channels=channels, seed=0)
        info = DataInfo("mine", classes, (channels, 8, 8), 255, "none", "")
        save_model(place / f"{name}.safetensors", model, name="preact_small", info=info)
    return place


@pytest.fixture
def frl(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Path) -> Callable[..., Ended]:
    """`frl audit` in the folder of the models, its report in `tmp_path`."""

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            words = ["frl", "audit", *arguments, "--out", str(tmp_path / "result"), "--device", "cpu"]
            patch.setattr(sys, "argv", words)
            patch.chdir(place)
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_report_and_its_numbers(frl: Callable[..., Ended], tmp_path: Path) -> None:
    ended = frl("mine.py:shifted", "--against", "mine.py:good", "--data", "images", "--eps", "20/255")
    assert ended.status == 0 and ended.err == ""
    assert sorted(path.name for path in (tmp_path / "result").iterdir()) == [
        "comparison.csv", "predictions.csv", "report.csv", "report.html", "report.json"
    ]  # fmt: skip
    # edge 0.6 = 153, "a [b]" within 0.05 = 12.75 of it: its levels 128 to 142 split at 140.25, so 7 of 8 are "dark"
    frame = pd.read_csv(tmp_path / "result" / "report.csv")
    frame = frame.set_index(["model", "error", "statistic", "class"]).sort_index()
    values = frame.value["mine.py:shifted", "standard", "class"]
    assert values.to_dict() == {"a [b]": 87.5, "dark": 0, "light": 0}
    # moved by 20, the last "a [b]" is "dark", too
    assert frame.value["mine.py:shifted", "robust", "class"].to_dict() == {"a [b]": 100, "dark": 0, "light": 0}
    assert frame.value["mine.py:good", "standard", "class"]["a [b]"] == pytest.approx(100 * 1 / 8)  # 142 > 140.25
    tests = pd.read_csv(tmp_path / "result" / "comparison.csv").set_index(["error", "statistic", "class"]).sort_index()
    assert tests.difference["standard", "class", "a [b]"] == 75
    content = json.loads((tmp_path / "result" / "report.json").read_text())
    assert content["command"].startswith("frl audit mine.py:shifted --against") and content["images"] == 24
    assert content["classes"] == list(CLASSES) and np.array(content["confusion"]).tolist()[1] == [0, 8, 0]
    assert "a [b]" in ended.out and "train mode" in ended.out and "robust" in ended.out
    assert "if the model was trained on some of them" in (tmp_path / "result" / "report.html").read_text()
    again = frl("mine.py:good", "--data", "images")
    assert again.status == 2 and "holds finished work" in again.err


def test_cifar10_a_part_of_each_class_and_weights_that_know_their_classes(
    frl: Callable[..., Ended], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = torch.arange(60) % 3
    test = Split(torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8), labels, torch.arange(60))
    info = DataInfo("cifar10", CLASSES, (3, 8, 8), 255, "none", "")
    monkeypatch.setattr(own.data, "load", lambda *_, **__: Splits(info, test, test, test))
    ended = frl("w.safetensors", "--data", "cifar10", "--per-class", "4", "--eps", "0.5", "--norm", "l2")
    assert ended.status == 0, ended.err
    content = json.loads((tmp_path / "result" / "report.json").read_text())
    assert content["images"] == 12 and content["norm"] == "l2" and content["against"] is None
    model, taken = models_given.load(str(place / "w.safetensors"), "linf"), own._chosen(labels, 4, 0)
    with torch.no_grad():
        clean = model.model(test.images[taken].float() / 255).argmax(1)
    errors = ClassErrors.from_predictions(labels[taken], clean, clean, 3)
    frame = pd.read_csv(tmp_path / "result" / "report.csv").set_index(["error", "statistic", "class"]).sort_index()
    assert frame.value["standard", "class"].tolist() == pytest.approx((100 * errors.standard).tolist())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.safetensors"], ["no model at gone.safetensors", "FILE.py:FUNCTION"]),
        ([""], ["the name of a model is empty", "FILE.py:FUNCTION"]),
        (["mine.py:good", "--against", ""], ["the name of a model is empty"]),
        (["weights.pt"], ["weights.pt", "weights_only=True", "FILE.py:FUNCTION"]),
        (["mine.py"], ["which one returns the model", "mine.py:model"]),
        (["nowhere.py:good"], ["no file nowhere.py"]),
        (["mine.py:god"], ["no function 'god'; it has: Three, good, shifted, four, soft"]),
        (["mine.py:fails"], ["mine.py:fails raised KeyError: 'no weights", "(line "]),
        (["mine.py:leaves"], ["raised SystemExit"]),
        (["mine.py:number"], ["returns a int", "torch.nn.Module"]),
        (["mine.py:soft"], ["take the softmax off"]),
        (["mine.py:four"], ["4 outputs", "3 classes: a [b], dark, light"]),
        (["other.safetensors"], ["x, y, z | a [b], dark, light"]),
        (["grey.safetensors"], ["grey.safetensors takes images with 1 channel(s), and pictures have 3"]),
        (["w.safetensors", "--size", "9"], ["different sizes: [8, 9]"]),
        (["robustbench:Name"], ["needs the package robustbench: pip install"]),
        (["mine.py:good", "--against", "mine.py:fails"], ["raised KeyError"]),
        (["mine.py:good", "--against", "mine.py:four"], ["4 outputs"]),  # said before the first is attacked
        (["mine.py:good", "--eps", "8"], ["did you mean 8/255?"]),
        (["mine.py:good", "--norm", "l2", "--eps", "-1"], ["l2 eps", "'-1'"]),
        (["mine.py:good", "--norm", "l1"], ["unknown --norm 'l1'; choose linf or l2"]),
        (["mine.py:good", "--attack", "fgsm"], ["pgd or autoattack"]),
        (["mine.py:good", "--precision", "0"], ["--precision is in points"]),
        (["mine.py:good", "--precision", "3", "--against", "mine.py:shifted"], ["same images", "--per-class"]),
        (["mine.py:good", "--per-class", "0"], ["--per-class must be at least 1"]),
        (["mine.py:good", "--data", "cifar"], ["no image folder at cifar"]),
        (["mine.py:good", "--data", "empty"], ["class 'x' in empty has no image"]),
        (["mine.py:good", "--data", "two"], ["3 outputs", "2 classes: a [b], dark"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    frl: Callable[..., Ended], tmp_path: Path, arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "robustbench", None)
    ended = frl(*arguments, *(() if "--data" in arguments else ("--data", "images")))
    assert ended.status == 2 and ended.err.startswith("frl: ") and ended.err.count("\n") == 1, ended.err
    assert all(word in ended.err for word in words), ended.err
    assert not list(tmp_path.iterdir())


def test_model_files_may_do_what_scripts_do(
    frl: Callable[..., Ended], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "sub").mkdir(exist_ok=True)
    (place / "sub" / "odd.py").write_text(
        "from __future__ import annotations\nimport os, sys\nfrom dataclasses import dataclass\n"
        "os.chdir(os.path.dirname(__file__))\nsys.path[0] = '..'\nfrom mine import good\n"
        "@dataclass\nclass Config:\n    width: int = 3\nmodel = good()\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    ended = frl("sub/odd.py:model", "--data", "images")  # a network, not a function that makes one
    assert ended.status == 0, ended.err
    assert (tmp_path / "result" / "report.html").exists() and [*(place / "sub").iterdir()] == [place / "sub" / "odd.py"]


def test_a_report_among_the_images_is_refused(place: Path) -> None:
    job = own.Job("mine.py:good", str(place / "images"))
    with pytest.raises(UserError, match="lies inside .*images and would be taken for a class"):
        own.audit_files(job, place / "images" / "audit", command="", device="cpu", console=Console(quiet=True))
    assert not (place / "images" / "audit").exists()


def test_robustbench_is_asked_for_the_model_of_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def load_model(**settings: str) -> nn.Module:
        asked.append(settings)
        if settings["model_name"] == "Unknown":
            raise KeyError("Unknown")
        return nn.Identity()

    utils = types.ModuleType("robustbench.utils")
    utils.load_model = load_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robustbench", types.ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    assert isinstance(models_given.load("robustbench:Rice2020Overfitting", "l2").model, nn.Identity)
    assert {k: asked[0][k] for k in ("model_name", "dataset", "threat_model")} == {
        "model_name": "Rice2020Overfitting", "dataset": "cifar10", "threat_model": "L2"
    }  # fmt: skip
    with pytest.raises(models_given.UserError, match=r"no CIFAR-10 model 'Unknown' for Linf \(KeyError"):
        models_given.load("robustbench:Unknown", "linf")


def test_a_split_folder_gives_its_test_images_and_known_classes_their_order(place: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        (tmp_path / "split" / part).mkdir(parents=True)
        for name in CLASSES:
            (tmp_path / "split" / part / name).symlink_to(place / "images" / name)
    other = ("light", "a [b]", "dark")
    job = own.Job("m", str(tmp_path / "split"))
    images, labels, classes, notes = own._images(job, {"m": models_given.Given(nn.Identity(), other, 8)})
    assert images.shape == (24, 3, 8, 8) and classes == other and "24 images of its test folder" in notes[-1]
    assert labels.tolist() == [1] * 8 + [2] * 8 + [0] * 8


def test_autoattack_and_precision_from_the_command_line(
    frl: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "audit", partial(own.audit, queries=5))
    ended = frl("mine.py:good", "--data", "images", "--attack", "autoattack", "--eps", "20/255", "--precision", "45")
    assert ended.status == 0 and ended.err == ""
    content = json.loads((tmp_path / "result" / "report.json").read_text())
    assert content["attack"] == "AutoAttack, 5 queries instead of 5000" and content["images"] == 24
    assert "untargeted DLR loss" in ended.out and "0 of 3 classes stopped early" in ended.out
    rows = pd.read_csv(tmp_path / "result" / "predictions.csv")
    # the edge of "a [b]" is 12.75 from 127.5 on either side: its levels 128 to 142 leave it when moved by 20
    assert rows.attacked[rows.label == 0].isin([1, 2]).all() and (rows.attacked == rows.label)[rows.label > 0].all()
    assert rows.image.tolist() == list(range(24)) and not (tmp_path / "result" / ".state").exists()


def test_an_interrupted_audit_goes_on_and_another_is_refused(
    frl: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "BATCH", {"pgd": 10})
    seen, through = own._Bar.see, own._Bar.see

    def stop(bar: own._Bar, done: int) -> None:
        seen(bar, done)
        if done == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(own._Bar, "see", stop)
    monkeypatch.setattr(cli.os, "_exit", sys.exit)
    stopped = frl("mine.py:good", "--data", "images")
    assert stopped.status == 130 and "go on from the last whole batch of images" in stopped.err
    assert [path.name for path in (tmp_path / "result").iterdir()] == [".state"]
    other = frl("mine.py:good", "--data", "images", "--eps", "4/255")
    assert other.status == 2 and "unfinished work with --eps 8/255" in other.err
    monkeypatch.setattr(own._Bar, "see", through)
    ended = frl("mine.py:good", "--data", "images")
    assert ended.status == 0 and "Going on after 20 of 24 images." in ended.out
    assert not (tmp_path / "result" / ".state").exists() and (tmp_path / "result" / "report.html").exists()
