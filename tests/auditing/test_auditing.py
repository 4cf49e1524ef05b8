"""`frlcore.audit`: errors known by hand, paired tests, a report that stands alone, and one line for what cannot be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import frlcore
from frlcore.auditing import Audit
from frlcore.auditing.result import numbers
from frlcore.classwise import Outcomes
from frlcore.errors import UserError
from frlcore.intervals import interval, selection_bias, summary_interval

LEVELS = torch.tensor([0.05, 0.15, 0.45, 0.55, 0.65, 0.95])  # of six grey images
LABELS = [0, 0, 0, 1, 1, 1]


def grey(levels: Tensor = LEVELS) -> Tensor:
    return levels.view(-1, 1, 1, 1).expand(len(levels), 1, 6, 6).clone()


class Brightness(nn.Module):
    """Calls an image bright (1) when its mean is above a threshold; the least change that flips it is the distance."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, x: Tensor) -> Tensor:
        above = x.mean((1, 2, 3)) - self.threshold
        return torch.stack([-above, above], 1)


def audited(model: Any = None, **changes: Any) -> Audit:
    settings = {"images": grey(), "labels": LABELS, "classes": ("dark <d>", "bright"), "eps": 0.1, "device": "cpu"}
    return frlcore.audit(model or Brightness(), **settings | changes)


def test_errors_of_six_grey_images_by_hand() -> None:
    found = audited(Brightness(0.5))
    # of the dark ones 0.45 is within 0.1 of the threshold, of the bright ones 0.55
    assert found.errors.standard.tolist() == [0, 0] and found.errors.robust == pytest.approx([1 / 3, 1 / 3])
    wider = audited(Brightness(0.5), eps=0.16)
    assert wider.errors.robust == pytest.approx([1 / 3, 2 / 3]) and wider.worst() == ("bright", pytest.approx(2 / 3))
    shifted = audited(Brightness(0.6))
    assert shifted.errors.standard == pytest.approx([0, 1 / 3]) and shifted.errors.boundary == pytest.approx([0, 1 / 3])
    assert shifted.confusion().to_numpy().tolist() == [[3, 0], [2, 1]] and shifted.attack == "PGD-20"


def test_the_l2_ball_and_uint8_images() -> None:
    # 36 pixels moved by d each are 6 d apart in l2: a radius of 0.6 moves the mean by 0.1
    assert audited(eps=0.63, norm="l2").errors.robust == pytest.approx([1 / 3, 1 / 3])
    assert audited(eps=0.27, norm="l2").errors.robust.tolist() == [0, 0]
    as_bytes = audited(images=(255 * grey()).round().to(torch.uint8).numpy())
    assert as_bytes.errors.to_dict() == audited().errors.to_dict()


def test_batches_change_nothing_and_progress_counts_images() -> None:
    done: list[float] = []
    found = audited(batch_size=4, progress=done.append)
    assert done == [0, 4, 6] and found.errors.to_dict() == audited().errors.to_dict()


def test_a_batch_under_autoattack_tells_how_far_it_is() -> None:
    done: list[float] = []
    audited(attack="autoattack", queries=5, batch_size=4, progress=done.append)
    assert done == sorted(done) and {0, 4, 6} <= set(done)
    assert any(0 < share < 4 for share in done) and any(4 < share < 6 for share in done)


@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.63)])
def test_autoattack_agrees_where_the_optimum_is_known(norm: str, eps: float) -> None:
    found = audited(attack="autoattack", queries=5, eps=eps, norm=norm)
    assert found.errors.robust == pytest.approx([1 / 3, 1 / 3])
    assert found.attack == "AutoAttack, 5 queries instead of 5000"
    assert any("DLR loss, which two classes do not have" in note for note in found.notes)


def test_every_number_of_the_frame() -> None:
    found = audited(Brightness(0.6), eps=0.1)
    frame = found.frame()
    assert len(frame) == 3 * (2 + 6)
    robust = frame[frame.error == "robust"].set_index("statistic")
    assert robust.loc["class"].value.tolist() == pytest.approx([0, 200 / 3])
    low, high = interval([0, 2], [3, 3])
    np.testing.assert_allclose(robust.loc["class"][["low", "high"]].to_numpy().T, 100 * np.stack([low, high]))
    by_hand = {"average": 100 / 3, "worst": 200 / 3, "gap": 100 / 3, "range": 200 / 3, "std": 100 / 3}
    assert robust.value[list(by_hand)].to_dict() == pytest.approx(by_hand)
    assert robust.value["gini"] == pytest.approx(100 * 0.25)  # shares 1 and 1/3: 4/3 of the two pairs / (2 * 4 * 2/3)
    assert robust["class"]["worst"] == "bright"
    assert (frame.low <= frame.value + 1e-9).all() and (frame.value <= frame.high + 1e-9).all()


def test_every_kind_of_error_has_the_interval_of_its_own() -> None:
    label = np.repeat([0, 1], 20)
    clean, attacked = (np.where(np.arange(40) < k, 1 - label, label) for k in (4, 15))
    frame = numbers(("a", "b"), Outcomes(label, clean, attacked)).query("error == 'standard'").set_index("statistic")
    for one in ("average", "worst"):
        wanted = summary_interval(label, clean != label, one)
        assert frame.loc[one, ["low", "high"]].tolist() == [100 * limit for limit in wanted]


def made(wrong: list[int], n: int = 40) -> Audit:
    """An audit in which the first so many images of each class are wrong under attack."""
    labels = np.repeat(np.arange(len(wrong)), n).astype(np.uint8)
    broken = np.tile(np.arange(n), len(wrong)) < np.repeat(wrong, n)
    attacked = np.where(broken, (labels + 1) % len(wrong), labels).astype(np.uint8)
    return Audit(tuple("abc"[: len(wrong)]), Outcomes(labels, labels, attacked), 0.1, "linf", "PGD-20", 1.0, "same")


def test_the_comparison_is_paired_corrected_and_in_words() -> None:
    this, other = made([5, 20, 12]), made([25, 19, 8])
    frame = this.compare(other).set_index(["statistic", "class"])
    classes = frame.loc["class"]
    assert classes.difference.tolist() == pytest.approx([-50, 2.5, 10])
    exact = [stats.binomtest(0, k).pvalue for k in (20, 1, 4)]  # images that only one of them gets wrong
    assert classes.p.tolist() == pytest.approx([3 * exact[0], 1, 2 * exact[2]])
    assert classes.verdict.tolist() == ["better", "not distinguishable", "not distinguishable"]
    assert (classes.low <= classes.difference).all() and classes.high["a"] < 0
    assert frame.loc["average"].difference.item() == pytest.approx(-37.5 / 3)
    assert frame.loc["worst"].this.item() == 50 and frame.loc["worst"].other.item() == 62.5
    back = other.compare(this)
    assert back.verdict.tolist()[0] == "worse"
    assert back.difference.tolist() == pytest.approx((-frame.difference).tolist())
    assert set(this.compare(this).verdict) == {"not distinguishable"}
    assert set(this.compare(other, "standard").p) == {1.0}


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="same attack; their eps differ"):
        made([1, 2]).compare(replace(made([1, 2]), eps=0.2))
    with pytest.raises(UserError, match="their images differ"):
        audited().compare(audited(images=grey(LEVELS.clamp(0.1, 0.9))))
    with pytest.raises(UserError, match='unknown error "clean"'):
        made([1, 2]).wrong("clean")


def test_the_report_stands_alone_and_says_what_was_found(tmp_path: Path) -> None:
    found, path = audited(Brightness(0.6).train()), tmp_path / "report.html"
    found.to_html(path, title="Mine & yours", against=audited(Brightness(0.5)), settings={"command": "frl audit <x>"})
    page = path.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page) and "http" not in page and "<script" not in page
    bias = 100 * selection_bias(found.found.label, found.wrong("robust"))
    for words in (
        "<title>Mine &amp; yours</title>", "for the worst class, “bright”",
        f"by about {bias:.1f} points", "train mode", "dark &lt;d&gt;", "frl audit &lt;x&gt;",
        "not distinguishable from the other on 2 of 2", "radius 0.1 = 25.5/255", found.digest, "<svg", "taken for",
    ):  # fmt: skip
        assert words in page, words
    assert "<d>" not in page and page.count("data:image/png") == 2 * len(found.examples) == 12
    with pytest.raises(UserError, match="cannot write"):
        found.to_html(path / "below")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_the_examples_are_of_the_extreme_classes_and_inside_the_ball() -> None:
    found = audited(eps=0.16)  # robust errors 1/3 and 2/3
    assert [one.label for one in found.examples] == [1, 1, 1, 0, 0, 0]
    for one in found.examples:
        moved = np.abs(one.after.astype(int) - one.before)
        assert 0 < moved.max() <= 255 * 0.16 + 1
    assert [one.adversarial for one in found.examples] == [0, 0, 1, 0, 0, 1]


class Lazy(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(Brightness()(x))


def fails(logits: Tensor) -> Tensor:
    raise KeyError("no such layer\nand more")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": Lazy(lambda z: (z, z))}, "answers with a tuple, not with a tensor"),
        ({"model": Lazy(lambda z: z.softmax(1))}, "probabilities, .* take the softmax off"),
        ({"model": Lazy(lambda z: z[:, 0])}, r"tensor of shape \(6,\); it should be \(6, classes\)"),
        ({"model": Lazy(lambda z: z[:, :1]), "classes": None}, "a single output"),
        ({"model": Lazy(lambda z: z.repeat(1, 5))},
         r"has 10 outputs and the data 2 classes: dark <d>, bright; if these are some .* model\(x\)\[:, columns\]"),
        ({"model": Lazy(lambda z: z.repeat(1, 5)), "classes": None}, r"class '2' has no image; if .* model\(x\)"),
        ({"classes": {"a", "b"}}, "a list in the order of the outputs, not set"),
        ({"classes": {"a": 0, "b": 1}}, "a list in the order of the outputs, not dict"),
        ({"classes": np.array("ab")}, "a list in the order of the outputs, not an array of <U2"),
        ({"classes": ["a", None]}, "the name of a class is text or a whole number, not NoneType"),
        ({"images": list(grey())}, r"one tensor or array \(N, C, H, W\), as torch.stack makes, not list of Tensor"),
        ({"images": torch.utils.data.DataLoader([1, 2])}, r"one tensor or array \(N, C, H, W\), .* not DataLoader"),
        ({"images": (image for image in grey())}, r"one tensor or array \(N, C, H, W\), .* not generator"),
        ({"images": None}, r"one tensor or array \(N, C, H, W\), .* not NoneType"),
        ({"labels": ["dark"] * 3 + ["bright"] * 3}, "list, array or tensor of whole numbers .* not list of str"),
        ({"labels": np.array(["dark"] * 6)}, "list, array or tensor of whole numbers .* not an array of <U4"),
        ({"labels": None}, "list, array or tensor of whole numbers .* not NoneType"),
        ({"model": Lazy(lambda z: z / 0)}, "not finite"),
        ({"model": Lazy(lambda z: z.detach())}, "no gradient"),
        ({"model": lambda x: Brightness()(x.sub_(0.1))}, "changes the images it is given"),
        ({"model": Lazy(fails)}, "does not take images of shape .*KeyError: 'no such layer"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(9, 2))}, "does not take images of shape"),
        ({"model": Brightness().to("meta")}, "cannot be moved to cpu: NotImplementedError"),
        ({"labels": [0] * 6}, "class 'bright' has no image"),
        ({"labels": [0, 0, 0, 1, 1, 2]}, "labels must be between 0 and 1, got 0 to 2"),
        ({"labels": [0.0, 0, 0, 1, 1, 1]}, "whole numbers"),
        ({"labels": [0, 1]}, "one label for each of the 6 images"),
        ({"labels": []}, "one label for each of the 6 images"),
        ({"labels": torch.tensor(1)}, "one label for each of the 6 images"),
        ({"images": 2 * grey()}, "look like pixels"),
        ({"images": grey()[0]}, r"must be \(N, C, H, W\)"),
        ({"labels": [1, 1, 1, 2, 2, 2]}, "labels run from 1 to 2; .* subtract 1"),
        ({"images": grey() / 0}, "not finite"),
        ({"images": grey() - 0.5}, "look normalised"),
        ({"images": grey()[:0]}, "no images"),
        ({"images": grey().repeat(1, 2, 1, 1), "model": nn.Sequential(nn.Conv2d(1, 2, 6), nn.Flatten())},
         r"shape \(2, 6, 6\): RuntimeError: .* 1 channels"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double()}, r"are float64: use model.float\(\)"),
        ({"precision": 3}, "fraction between 0 and 1, as 0.03 for three points"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, "batch_size must be at least 1, a whole number, got 2.5"),
        ({"seed": -1}, "a seed is a whole number from 0 .* got -1"),
        ({"seed": 2**40}, "a seed is a whole number from 0 .* got 1099511627776"),
        ({"classes": ["dark", "dark"]}, "two classes are called 'dark'"),
        ({"steps": 2.5}, "steps must be at least 1, a whole number, got 2.5"),
        ({"precision": "0.1"}, "fraction between 0 and 1, .* not '0.1'"),
        ({"eps": 0}, "eps must be a positive"),
        ({"eps": "8/255"}, "eps must be a positive fraction of the pixel range, a number as 8 / 255, got '8/255'"),
        ({"eps": torch.tensor([0.1])}, "eps must be a positive fraction .* got tensor"),
        ({"eps": 8}, "did you mean 8 / 255"),
        ({"norm": "l1"}, "unknown norm"),
        ({"attack": "fgsm"}, "unknown attack 'fgsm'; known: pgd, autoattack"),
        ({"device": "abacus"}, "not available"),
    ],
)
def test_what_cannot_be_audited_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        audited(changes.pop("model", None), **changes)
    assert "\n" not in str(raised.value)


def test_what_libraries_hand_over_is_taken(tmp_path: Path) -> None:
    plain = audited(classes=("3", "7"))
    for changes in (
        {"classes": np.array([3, 7])}, {"classes": np.array(["3", "7"])}, {"classes": pd.Index([3, 7])},
        {"eps": np.float32(0.1), "batch_size": np.int64(500), "steps": np.int16(20), "seed": np.uint8(0)},
        {"labels": np.array(LABELS, np.uint32)}, {"labels": torch.tensor(LABELS).to(torch.uint64)},
        {"labels": pd.Series(LABELS, index=range(6, 12))}, {"labels": np.array(LABELS, ">i4")},
        {"images": grey().numpy()[..., ::-1]}, {"images": grey().numpy().astype(">f4")},
        {"images": grey().requires_grad_()},
    ):  # fmt: skip
        found = audited(**{"classes": ("3", "7")} | changes)
        assert found.classes == plain.classes and {type(name) for name in found.classes} == {str}
        assert found.frame().equals(plain.frame()) and found.eps == pytest.approx(0.1)
        found.to_html(tmp_path / "report.html")


def test_a_model_that_wants_normalised_input_is_refused_and_a_sound_one_is_not() -> None:
    levels = torch.cat([torch.linspace(0.02, 0.45, 60), torch.linspace(0.55, 0.98, 60)])
    images, labels = levels.view(-1, 1, 1, 1).expand(120, 3, 4, 4).clone(), torch.arange(120) // 60
    shared = {"images": images, "labels": labels, "classes": None, "eps": 0.01}
    with pytest.raises(UserError, match="right on 50% of 120 images and on 99% of them normalised .* inside the model"):
        audited(Brightness(0.0), **shared)  # every pixel is above 0 until the mean is taken off
    found = audited(Brightness(0.5).eval(), **shared)
    assert found.classes == ("0", "1") and found.notes == () and found.errors.standard.tolist() == [0, 0]
    assert "to each of 120 images" in audited(Brightness(2.0).eval(), **shared).notes[0]
    ours = frlcore.models.build("preact_narrow", num_classes=2, in_channels=3, seed=0).eval()
    ours.forward = Brightness(0.0).forward  # as of a network that frlcore has hardly trained
    assert "on 99% of them normalised" in audited(ours, **shared).notes[0]


def test_answers_that_differ_and_classes_in_another_order_are_told() -> None:
    random = torch.Generator().manual_seed(0)
    noisy = audited(Lazy(lambda z: z + torch.randn(z.shape, generator=random)).eval())
    assert any("differently when it is asked twice" in note for note in noisy.notes)
    swapped = audited(Lazy(lambda z: z.flip(1)).eval())
    assert any("right on 0% of 6 images, and with its outputs in another order (bright, dark <d>) on 100%" in note
               for note in swapped.notes)  # fmt: skip
    assert audited(Brightness().eval()).notes == ()
    bright = torch.cat([torch.linspace(0.6, 0.98, 60), torch.linspace(0.02, 0.4, 60)])
    images, labels = bright.view(-1, 1, 1, 1).expand(120, 3, 4, 4).clone(), torch.arange(120) // 60
    told = frlcore.audit(Brightness().eval(), images, labels, eps=0.01, device="cpu").notes
    assert "in another order" in told[0]  # and not taken for a model that wants normalised input
