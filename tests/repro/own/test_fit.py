"""`frl fit`: what it leaves, that the report is true, going on after a stop, and one line for bad input."""

from __future__ import annotations

import hashlib
import html
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ended import Ended
from PIL import Image
from rich.console import Console
from safetensors import safe_open

import frlcore
from frlcore import data, models
from frlcore.auditing.result import STATISTICS
from frlcore.checkpoint import Checkpoint
from frlcore.classwise import ClassErrors, Outcomes
from frlcore.errors import UserError
from frlcore.evaluate import outcomes, predict
from frlcore.fitting import Fitted, recipe
from frlcore.policies import build, setting_names
from frlcore.repro import cli
from frlcore.repro.own import duration, fit, report
from frlcore.repro.own.fit import OUTPUTS, radius
from frlcore.repro.places import PROJECT
from frlcore.repro.runs.store import Store
from frlcore.settings import Attack
from frlcore.successors import scaled
from frlcore.training import generator_for

CLASSES = ("a $b$", "<c>", "worst class")
SMALL = ["--size", "8", "--model", "preact_small", "--epochs", "2", "--fine-tune-epochs", "2", "--batch-size", "16",
         "--augment", "none", "--eps", "0.1", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures of each of three classes: a bright column at one of three places, under noise."""
    folder, rng = tmp_path_factory.mktemp("pictures") / "my images", np.random.default_rng(0)
    for c, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 120, (9, 9, 3), dtype=np.uint8)
            pixels[:, 3 * c : 3 * c + 2] += 100
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch is enough to measure the pace."""
    monkeypatch.setattr(duration, "SECONDS", 0.0)


def command(*arguments: str, where: Path) -> Ended:
    """`frl fit` with these arguments in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["frl", "fit", *arguments])
        patch.chdir(where)
        cli.main()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return Ended(code or 0, "", "")


@pytest.fixture
def frl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        return Ended(command(*arguments, where=tmp_path).status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed command leaves. Read it, never write it."""
    place = tmp_path_factory.mktemp("made")
    assert command(str(images), *SMALL, "--out", "result", where=place).status == 0
    return place / "result"


# ------------------------------------------------------------------------------------------------------ what it leaves


def test_it_leaves_the_promised_files_alone(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == sorted(OUTPUTS)


def test_the_report_is_what_the_saved_model_does(made: Path, images: Path) -> None:
    model, classes = frlcore.load_model(made / "model.safetensors")
    splits = data.image_folder(images, size=8, augment="none")
    assert classes == splits.info.classes == tuple(sorted(CLASSES))
    found = outcomes(model, splits.test, scale=255, attack=Attack(0.1, 0.025, 20),
                     generator=generator_for("test", 0, 0, "cpu"))  # fmt: skip
    errors = ClassErrors.from_predictions(found.label, found.clean, found.adversarial, 3)
    frame = pd.read_csv(made / "report.csv")
    after_all = frame[frame.model == "after"]
    after = after_all[after_all.statistic == "class"]
    for kind in ("standard", "boundary", "robust"):
        rows = after[after.error == kind]
        assert rows["class"].tolist() == list(classes) and rows.n.tolist() == errors.n.tolist()
        np.testing.assert_allclose(rows.value, 100 * getattr(errors, kind))
        np.testing.assert_allclose(rows[["low", "high"]].T, 100 * np.stack(errors.interval(kind)))
        worst = frame[(frame.model == "after") & (frame.statistic == "worst") & (frame.error == kind)]
        assert worst.value.item() == pytest.approx(100 * errors.worst(kind)[1])
        for statistic in STATISTICS:  # the same figures as of an audit
            (row,) = after_all[(after_all.statistic == statistic) & (after_all.error == kind)].to_dict("records")
            assert row["value"] == pytest.approx(100 * errors.summary(kind, statistic))
    assert set(frame.model) == {"before", "after"} and not frame.drop(columns="class").isna().any().any()


def test_the_page_needs_no_other_file_and_its_code_runs(
    made: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (made / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page) and "http" not in page.replace("http://www.w3.org", "")
    for words in ("&lt;c&gt;", "a $b$", "The robust error of the worst class", "<td>robust, Gini coefficient</td>",
                  "<td>fine tune epochs</td><td>2</td>"):  # fmt: skip
        assert words in page
    assert "<c>" not in page and "<svg" in (made / "classes.svg").read_text()
    code = html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.S)[0])
    picture = next((images / "<c>").iterdir())
    shutil.copy(picture, tmp_path / "new.png")
    shutil.copy(made / "model.safetensors", tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "report", "exec"), {})
    model, classes = frlcore.load_model(made / "model.safetensors")
    whole = data.image_folder(images, size=8, augment="none")
    position = sum(len(list((images / name).iterdir())) for name in classes[: classes.index("<c>")])
    position += sorted((images / "<c>").iterdir()).index(picture)
    for part in (whole.train, whole.validation, whole.test):
        for pixels in part.images[part.index == position]:
            assert capsys.readouterr().out == f"{classes[predict(model, pixels[None], scale=255)[0]]}\n"


def test_the_table_in_the_terminal(made: Path, images: Path, frl: Callable[..., Ended]) -> None:
    ended = frl(str(images), *SMALL, "--out", "another [place]")
    assert ended.status == 0 and ended.err == ""
    frame = pd.read_csv(made / "report.csv")  # the same command gives the same numbers
    value = frame[(frame.model == "after") & (frame.statistic == "worst") & (frame.error == "robust")].value.item()
    line = next(line for line in ended.out.splitlines() if "robust, worst class" in line)
    assert line.split("]")[1].split()[0] == f"{value:.1f}"
    assert "another [place]/report.html" in ended.out and max(map(len, ended.out.splitlines())) <= 100


def test_it_does_without_matplotlib(images: Path, frl: Callable[..., Ended], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        ended = frl(str(images), *SMALL, "--out", "bare")
    assert ended.status == 0 and "No picture: the package matplotlib is not installed." in ended.out
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == sorted(set(OUTPUTS) - {"classes.svg"})
    assert "<img" not in (tmp_path / "bare" / "report.html").read_text()


def test_the_sentence_says_only_what_the_interval_allows() -> None:
    labels = np.repeat(np.arange(2), 40).astype(np.uint8)
    wrong = np.where(np.arange(80) < 40, 1, labels).astype(np.uint8)  # class 0 all wrong
    half = np.where(np.arange(80) < 38, 1, labels).astype(np.uint8)
    bad, slight, good = (Outcomes(labels, labels, found) for found in (wrong, half, labels))
    for after, words in ((good, ": a clear change, -100.0 points"), (bad, ": no clear change, +0.0 points")):
        found = report.Comparison(("x", "y"), bad, after)
        assert words in report.verdict(found, found.frame())
    assert report.Comparison(("x", "y"), bad, slight).change("robust", "worst").difference == pytest.approx(-0.05)
    assert report.classwise(found, found.frame()).index.tolist() == ["x", "y", "average", "worst class"]


def test_a_successor_takes_the_place_of_frl(
    images: Path, frl: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the test's numbers, the chosen epoch and the notes are those of this call; a killed one's file goes."""
    fitted, compare, seeds = fit.fit, report.compare, []

    def another_epoch(*arguments: Any, **how: Any) -> Fitted:
        (tmp_path / "dafa" / ".report.csv.host.1").touch()
        return replace(fitted(*arguments, **how), selected_epoch=7)

    monkeypatch.setattr(fit, "fit", another_epoch)
    monkeypatch.setattr(report, "compare", lambda *a, **how: seeds.append(how["seed"]) or compare(*a, **how))
    brief = [one if one != "2" else "1" for one in SMALL]
    ended = frl(str(images), *brief, "--method", "dafa", "--seed", "5", "--out", "dafa")
    assert ended.status == 0 and "after DAFA" in ended.out and "FRL" not in ended.out
    page = (tmp_path / "dafa" / "report.html").read_text()
    assert "before DAFA" in page and "<td>method</td><td>dafa</td>" in page and "<td>tau</td>" not in page
    assert seeds == [5] and "after epoch 7 of 1 of the fine-tuning" in page
    assert sorted(path.name for path in (tmp_path / "dafa").iterdir()) == sorted(OUTPUTS)
    with safe_open(tmp_path / "dafa" / OUTPUTS[0], "pt") as file:
        assert file.metadata().items() >= {"method": "dafa", "seed": "5", "batch_size": "16"}.items()


def test_what_is_asked_for_reaches_the_training(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    asked: dict[str, Any] = {}

    def stop(model: torch.nn.Module, splits: data.Splits, **how: Any) -> None:
        asked.update(how, model=model, splits=splits)
        raise Enough

    monkeypatch.setattr(fit, "fit", stop)
    job = fit.Job(images, size=8, model="preact_small", epochs=3, fine_tune_epochs=5, batch_size=16, lr=0.2, seed=4,
                  method="wat")  # fmt: skip
    with pytest.raises(Enough):
        fit.fit_folder(job, tmp_path / "out", device="auto", console=Console(quiet=True))
    start, fair = recipe(8 / 255, epochs=3, fine_tune_epochs=5, batch_size=16, lr=0.2)
    assert (asked["warm_up"], asked["training"], asked["seed"], asked["device"]) == (start, fair, 4, "auto")
    wanted = build("wat", 3, **scaled("wat", fair))
    assert all(getattr(asked["policy"], name) == getattr(wanted, name) for name in setting_names(wanted))
    own = models.build("preact_small", num_classes=3, in_channels=3, seed=4).state_dict()
    assert all(torch.equal(t, own[name]) for name, t in asked["model"].cpu().state_dict().items())
    split = data.image_folder(images, size=8, seed=4)
    assert torch.equal(asked["splits"].test.index, split.test.index) and asked["splits"].info == split.info


def test_a_backend_that_matplotlib_does_not_know_costs_the_picture_alone(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(found: report.Comparison) -> bytes:
        raise ValueError("'mine' is not a valid value for backend")

    monkeypatch.setattr(report, "svg", unknown)
    labels = np.repeat(np.arange(3), 4).astype(np.uint8)
    right, splits = Outcomes(labels, labels, labels), data.image_folder(images, size=8)
    found, job = report.Comparison(splits.info.classes, right, right), fit.Job(images, size=8)
    fit._report(found, job, splits, ["a note"], 7, tmp_path, Console())
    assert capsys.readouterr().out == "No picture: 'mine' is not a valid value for backend\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.csv", "report.html"]
    page = (tmp_path / "report.html").read_text()
    for words in ("48 training, 12 validation, 12 test, RGB, 8 x 8 pixels", "a note", splits.info.digest):
        assert words in page


def test_settings_of_another_method_are_refused() -> None:
    with pytest.raises(UserError, match="unknown method 'bat'; known: frl, cfa, dafa, wat, faal"):
        fit.Job(Path("x"), method="bat")
    with pytest.raises(UserError, match="--tau and --variant are settings of FRL; leave them out with --method wat"):
        fit.Job(Path("x"), tau=0.1, method="wat")
    with pytest.raises(UserError, match="--tau and --variant are settings of FRL"):
        fit.Job(Path("x"), variant="reweight", method="wat")


# ----------------------------------------------------------------------------------------------------------- the repair


def test_a_robust_model_is_repaired_by_fine_tuning_alone(
    made: Path, images: Path, frl: Callable[..., Ended], tmp_path: Path
) -> None:
    start = str(made / "model.safetensors")
    brief = ["--start", start, "--fine-tune-epochs", "2", "--batch-size", "16", "--augment", "none", "--eps", "0.1",
             "--device", "cpu"]  # fmt: skip
    ended = frl(str(images), *brief, "--out", "repaired")
    assert ended.status == 0 and ended.err == "" and "robust start" not in ended.out
    first, second = (pd.read_csv(path / "report.csv") for path in (made, tmp_path / "repaired"))
    end, begin = first[first.model == "after"], second[second.model == "before"]  # the same seed and test images
    assert begin.drop(columns="model").reset_index(drop=True).equals(end.drop(columns="model").reset_index(drop=True))
    model, classes = frlcore.load_model(tmp_path / "repaired" / "model.safetensors")
    assert classes == tuple(sorted(CLASSES)) and type(model) is type(frlcore.load_model(start)[0])
    page = (tmp_path / "repaired" / "report.html").read_text()
    assert "On average over the classes" in page and "trained on some of the test images" in page
    assert f"<td>start</td><td>{hashlib.sha256(Path(start).read_bytes()).hexdigest()}</td>" in page


def test_the_report_says_when_it_cost_more_than_it_gave() -> None:
    labels = np.repeat(np.arange(2), 40).astype(np.uint8)

    def wrong(first: int, second: int) -> Outcomes:
        """So many images of each class are wrong, without an attack already."""
        bad = np.tile(np.arange(40), 2) < np.repeat([first, second], 40)
        found = np.where(bad, 1 - labels, labels).astype(np.uint8)
        return Outcomes(labels, found, found)

    def said(before: Outcomes, after: Outcomes) -> str:
        return report.price(report.Comparison(("x", "y"), before, after))

    dear = said(wrong(32, 4), wrong(30, 20))  # the worst class gains 5 points, the average loses 17.5
    for words in ("the standard error changed by +17.5 points", "It cost more than it gave", "fell by 5.0"):
        assert words in dear
    assert "the worst class did not fall" in said(wrong(20, 4), wrong(20, 20))
    assert "cost" not in said(wrong(32, 4), wrong(20, 8)) and "cost" not in said(wrong(20, 20), wrong(20, 20))


def test_what_cannot_be_started_from_is_one_line(
    made: Path, images: Path, frl: Callable[..., Ended], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(images, other)
    (other / "<c>").rename(other / "d")
    start, grey = str(made / "model.safetensors"), str(tmp_path / "grey.safetensors")
    frlcore.save_model(grey, models.build("preact_small", num_classes=10, in_channels=1, seed=0), name="preact_small",
                       info=data.info("digits"))  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        ([str(images), "--start", "gone.safetensors"], "no model can be read from gone.safetensors"),
        ([str(images), "--start", "mine.pt"], "use frlcore.fit(model, splits, policy=..., warm_up=None)"),
        ([str(images), "--start", grey], "takes images with 1 channel(s), and pictures have 3"),
        ([str(images), "--start", start, "--size", "9"], "is a preact_small for 8 pixels a side; leave out --size"),
        ([str(images), "--start", start, "--model", "preact_wide"], "leave out --model"),
        ([str(other), "--start", start], "<c>, a $b$, worst class | a $b$, d, worst class"),
    ):
        ended = frl(*arguments)
        assert ended.status == 2 and ended.err.startswith("frl: ") and ended.err.count("\n") == 1
        assert words in ended.err, ended.err
        assert sorted(tmp_path.rglob("*")) == before


# ------------------------------------------------------------------------------------------------- stopped and started

STOP = """
import os, signal, sys
from frlcore.repro import cli
from frlcore.repro.own import fit
see = fit._Bar.see

def stop(bar, stage, epoch):
    see(bar, stage, epoch)
    if (stage, epoch) == ("{stage}", 1):
        os.kill(os.getpid(), signal.{signal})

fit._Bar.see = stop
sys.argv = ["frl", "fit", *{arguments}]
cli.main()
"""


def test_a_stopped_command_goes_on_to_the_same_files(
    made: Path, images: Path, tmp_path: Path, frl: Callable[..., Ended]
) -> None:
    arguments = [str(images), *SMALL, "--out", str(tmp_path / "result")]
    for stage, signal, status in (("robust start", "SIGINT", 130), ("fine-tuning", "SIGKILL", -9)):
        code = STOP.format(stage=stage, signal=signal, arguments=arguments)
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=PROJECT)
        assert ended.returncode == status, ended.stderr
        assert [path.name for path in (tmp_path / "result").iterdir()] == [".state"]
        if signal == "SIGINT":
            assert ended.stderr == "frl: stopped; run the same command again to go on from the last whole epoch\n"
    other = frl(*arguments, "--tau", "0.1", "--seed", "3")
    assert other.status == 2 and "unfinished work with --tau 0.05, --seed 0" in other.err
    last = frl(*arguments)
    assert last.status == 0 and "Going on after 3 of 4 epochs." in last.out
    assert "Going on with 72 images that were read before." in last.out and "will take" not in last.out
    for name in OUTPUTS:
        assert (tmp_path / "result" / name).read_bytes() == (made / name).read_bytes(), name
    assert len(list((tmp_path / "result").iterdir())) == len(OUTPUTS)
    again = frl(*arguments)
    assert again.status == 2 and again.err.count("\n") == 1 and "holds finished work" in again.err


def test_pictures_that_changed_meanwhile_are_read_again(
    images: Path, tmp_path: Path, frl: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, arguments = tmp_path / "own", [*SMALL, "--out", "result"]
    shutil.copytree(images, own)

    keys: list[str] = []

    def full(store: Store, key: str, *_: object) -> None:
        keys.append(key)
        raise UserError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_save", full)
        assert frl(str(own), *arguments).status == 2 and (tmp_path / "result" / ".state" / "images.npz").exists()
    Image.new("RGB", (9, 9)).save(own / "<c>" / "0.png")
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_save", full)
        for reads in ("Reading 72 images", "Going on with 72 images"):  # what was kept is replaced, and then serves
            ended = frl(str(own), *arguments)
            assert ended.status == 2 and reads in ended.out
    assert keys[0] != keys[1] == keys[2]  # no epoch on the old pictures is gone on with
    ended = frl(str(own), *arguments)
    assert ended.status == 0 and "Reading" not in ended.out


def test_a_rate_that_diverges_names_its_option_and_does_not_lock_the_next_try_out(
    images: Path, tmp_path: Path, frl: Callable[..., Ended]
) -> None:
    ended = frl(str(images), *SMALL, "--lr", "1e9", "--out", "result")
    assert ended.status == 2 and ended.err.count("\n") == 1
    assert "choose a lower --lr than 1000000000.0" in ended.err and "in epoch" in ended.err
    assert not (tmp_path / "result").exists()
    assert frl(str(images), *SMALL, "--out", "result").status == 0


def test_what_was_left_out_stands_in_the_terminal_and_in_the_report(
    images: Path, tmp_path: Path, frl: Callable[..., Ended]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(images, own)
    (own / "<c>" / "IMG_1.HEIC").write_bytes(b"heic")
    shutil.copy(own / "<c>" / "0.png", own / "<c>" / "again.png")
    ended = frl(str(own), *SMALL, "--out", "result")
    assert ended.status == 0
    for words in ("left out of class '<c>': 1 file with the suffix .heic", "1 of 73 images are copies of others"):
        assert words in ended.out
        assert html.escape(words, quote=True) in (tmp_path / "result" / "report.html").read_text()


def test_the_time_is_said_before_training_and_what_would_fit_into_an_hour(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = data.image_folder(images, size=8)
    model = models.build("preact_small", num_classes=3, in_channels=3, seed=0)
    stages = recipe(0.1, epochs=30, fine_tune_epochs=20, batch_size=16)
    # 48 training, 12 validation images: (23 * 48 + 21 * 12) * 30 + (27 * 48 + 21 * 12) * 20, and the test 4 * 20 * 12
    passes = 1356 * 30 + 1548 * 20 + 960
    monkeypatch.setattr(duration, "pace", lambda *a: 60 / passes)
    assert duration.forecast(model, splits, stages, torch.device("cpu"), 20) == [
        "Training and testing will take about 1 min 0 s on this machine."
    ]
    paces = iter([7200.0, 40 * 3600.0, 5400.0])  # the model itself, half as wide, a quarter
    monkeypatch.setattr(duration, "pace", lambda *a: next(paces) / passes)
    assert duration.forecast(model, splits, stages, torch.device("cpu"), 20) == [
        "Training and testing will take about 2 h 0 min on this machine.",
        "An hour is enough for --model preact_resnet18_quarter --epochs 20 --fine-tune-epochs 13.",
    ]
    monkeypatch.undo()
    assert 0 < duration.pace(model, splits, stages[0], torch.device("cpu")) < 1


def test_a_batch_too_large_for_the_device_is_said_before_training(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crowded(model: torch.nn.Module, x: torch.Tensor, *_: Any) -> torch.Tensor:
        if len(x) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return model(x).sum()

    monkeypatch.setattr(duration, "batch_loss", crowded)
    model, stage = models.build("preact_small", num_classes=3, in_channels=3, seed=0), recipe(batch_size=16)[0]
    with pytest.raises(UserError, match="a batch of 16 images needs more memory than the device has; 4 images fit"):
        duration.pace(model, data.image_folder(images, size=8), stage, torch.device("cpu"))


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--eps", "wide"], ["eps", "'wide'", "8/255"]),
        (["--eps", "8/0"], ["eps", "'8/0'"]),
        (["--eps", "0"], ["eps", "above 0"]),
        (["--eps", "-1/255"], ["eps", "'-1/255'"]),
        (["--eps", "8"], ["eps", "at most 1", "did you mean 8/255?"]),
        (["--eps", "nan"], ["eps", "'nan'"]),
        (["--tau", "0"], ["tau", "positive"]),
        (["--variant", "upweight"], ["upweight", "reweight+remargin"]),
        (["--model", "resnet"], ["resnet", "preact_small"]),
        (["--size", "0"], ["size", "0"]),
        (["--epochs", "0"], ["epochs", "0"]),
        (["--fine-tune-epochs", "-1"], ["epochs", "-1"]),
        (["--lr", "0"], ["lr", "positive"]),
        (["--augment", "turn"], ["turn", "crop_flip"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--seed", "9999999999"], ["seed"]),
        (["--device", "abacus"], ["abacus"]),
        (["--batch-size", "1"], ["--batch-size must be at least 2", "got 1"]),
        (["--batch-size", "100"], ["100", "larger than the 48 training images", "32 would fit"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    frl: Callable[..., Ended], images: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    ended = frl(str(images), *SMALL, *options)
    assert ended.status == 2 and ended.out.count("\n") == ended.out.startswith("Reading 72 images at 8 x 8 pixels")
    assert ended.err.startswith("frl: ") and ended.err.count("\n") == 1
    assert all(word in ended.err for word in words), ended.err
    assert not list(tmp_path.iterdir())


def test_bad_folders_are_one_line(frl: Callable[..., Ended], images: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(images / "<c>", alone / "<c>")
    broken = tmp_path / "broken"
    shutil.copytree(images, broken)
    (broken / "<c>" / "0.png").write_bytes(b"no picture")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (["nowhere"], "no image folder at nowhere"),
        ([str(alone)], "must hold between 2 and 1000 directories"),
        ([str(broken)], "<c>/0.png (its content is no image of a known format)"),
        ([str(images), "--out", "mine"], "mine is not empty"),
        ([str(images), "--out", "mine/thesis.txt"], "mine/thesis.txt is a file"),
        ([str(images), "--out", "mine/thesis.txt/below"], "cannot write into mine/thesis.txt/below"),
        ([str(images), "--out", str(images / "result")], "would be taken for a class"),
    ):
        ended = frl(*arguments[:1], *SMALL, *arguments[1:])
        assert ended.status == 2 and ended.err.startswith("frl: ") and ended.err.count("\n") == 1
        assert words in ended.err and "FRL_STORE" not in ended.err
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("text", "asked"), [("255", True), ("256", False), ("510/255", False)])
def test_a_radius_in_pixel_values_is_taken_for_a_slip(text: str, asked: bool) -> None:
    with pytest.raises(UserError) as caught:
        radius(text)
    assert (f"did you mean {text}/255?" in str(caught.value)) is asked


def test_the_largest_numbers() -> None:
    fit.Job(Path("x"), seed=2**31 - 1, epochs=2**31 - 1)
    for name in ("seed", "epochs", "fine_tune_epochs"):
        with pytest.raises(UserError, match=str(2**31)):
            fit.Job(Path("x"), **{name: 2**31})  # type: ignore[arg-type]


@pytest.mark.parametrize(("threads", "quota"), [(1, 3), (2, 1)])
def test_no_more_threads_than_there_are_and_than_the_quota_allows(
    threads: int, quota: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "processors", lambda: quota)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.raises(UserError, match="no image folder"):
            fit.fit_folder(fit.Job(tmp_path / "gone"), tmp_path / "out", device="cpu", console=Console())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_place_that_cannot_be_written_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        fit._save(Store(tmp_path / "file"), "ab" * 32, Checkpoint(1, {}, {}, {}), Path("result"))
    assert str(caught.value) == "cannot write into result: Not a directory; make room, then run the same command again"


def test_the_bar_counts_the_epochs_of_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(fit._Bar, "show", lambda bar, done, what: shown.append(f"{done}: {what}"))
    fit._Bar({"robust start": 3, "fine-tuning": 2}, {}, Console(quiet=True)).see("robust start", 1)
    assert shown[0].startswith("1: robust start, epoch 1 of 3, about ")


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), ("1", 1.0), (" 2 / 16 ", 0.125)])
def test_a_radius(text: str, value: float) -> None:
    assert radius(text) == value
    with pytest.raises(UserError):
        radius(text + "/0")


def test_training_needs_neither_matplotlib_nor_the_books_packages() -> None:
    code = """
import sys
for name in ("papermill", "jupytext", "nbformat", "pydantic", "IPython", "matplotlib", "seaborn", "yaml"):
    sys.modules[name] = None  # an import of it fails
import frlcore.repro.own.fit
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert ended.returncode == 0, ended.stderr
