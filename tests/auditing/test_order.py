"""Every class has its turn, looks are fixed beforehand and their intervals hold, and a killed audit goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import frlcore
from frlcore.auditing import order
from frlcore.auditing.kept import Kept, fingerprint
from frlcore.errors import UserError
from frlcore.intervals import interval


def walked(labels: np.ndarray, wrong: np.ndarray, size: int, precision: float | None) -> tuple[list[np.ndarray], Kept]:
    """The batches of an audit in which exactly the images marked `wrong` are broken."""
    kept, seen = Kept(None, "", len(labels)), []
    for at, left in order.batches(labels, size, 0, precision, kept):
        seen.append(at)
        kept.add(at, labels[at], np.where(wrong[at], labels[at] + 1, labels[at]), 1.0)
        assert left <= len(labels) - kept.done.sum()
    return seen, kept


def test_classes_take_turns_and_every_image_comes_once() -> None:
    labels = np.repeat([0, 1, 2], [30, 10, 20])
    seen, kept = walked(labels, labels > 5, 12, None)
    assert sorted(np.concatenate(seen)) == list(range(60)) and kept.done.all()
    assert np.bincount(labels[seen[0]]).tolist() == [4, 4, 4]  # its share for each
    assert not np.array_equal(np.sort(seen[0][labels[seen[0]] == 0]), np.arange(4))  # and not the first of them
    again, _ = walked(labels, labels > 5, 12, None)
    assert all(map(np.array_equal, seen, again))


def test_a_class_stops_at_the_first_look_at_which_it_is_known() -> None:
    labels = np.repeat([0, 1], [400, 400])
    wrong = (labels == 1) & (np.random.default_rng(0).random(800) < 0.5)  # class 0 is never wrong
    assert order.looks(labels, 0.08) == [50, 100, 200, 400] and order.level(labels, 0.08) == 1 - 0.05 / 4
    _, kept = walked(labels, wrong, 64, 0.08)
    n = np.bincount(labels[kept.done])
    ways = [interval(0, k, 1 - 0.05 / 4)[1] for k in (50, 100)]  # 0 of 50, 0 of 100
    assert ways[0] > 0.08 > ways[1] and n.tolist() == [100, 400]
    assert order.looks(labels, None) == [400] and order.level(labels, None) == 0.95
    assert "1 of 2 classes stopped early, known to 8 points" in order.sentence(labels, 0.08, kept.done)


def test_the_intervals_hold_wherever_the_classes_stop() -> None:
    """At 95% each look alone would miss more often than once in twenty; together the wider ones do not."""
    labels, rng, missed, narrow = np.repeat(np.arange(20), 200), np.random.default_rng(1), 0, 0
    truth = np.repeat(np.linspace(0.02, 0.4, 20), 200)
    for _ in range(20):
        _, kept = walked(labels, rng.random(len(labels)) < truth, 4000, 0.07)
        n = np.bincount(labels[kept.done], minlength=20)
        bad = np.bincount(labels[kept.done & (kept.adversarial != labels)], minlength=20)
        for level, misses in ((order.level(labels, 0.07), "wide"), (0.95, "narrow")):
            low, high = interval(bad, n, level)
            out = int(((truth[::200] < low) | (truth[::200] > high)).sum())
            missed, narrow = missed + out * (misses == "wide"), narrow + out * (misses == "narrow")
    assert missed <= 0.05 * 400 and missed < narrow


def test_a_killed_audit_looks_where_it_would_have_looked() -> None:
    labels = np.repeat([0, 1, 2], [400, 300, 400])
    wrong = np.random.default_rng(3).random(1100) < np.array([0.0, 0.1, 0.5])[labels]
    seen, whole = walked(labels, wrong, 40, 0.08)
    assert len(set(np.bincount(labels[whole.done]))) == 3  # the classes stop at different looks
    for killed in range(len(seen)):
        kept = Kept(None, "", len(labels))
        kept.adversarial[np.concatenate([np.array([], int), *seen[:killed]])] = 0
        kept.adversarial[kept.done] = np.where(wrong, labels + 1, labels)[kept.done]
        for at, _ in order.batches(labels, 40, 0, 0.08, kept):
            kept.adversarial[at] = np.where(wrong[at], labels[at] + 1, labels[at])
        assert np.array_equal(kept.adversarial, whole.adversarial), killed


@pytest.mark.parametrize("content", [b"my notes", b"{", b"[1, 2]", b'{"key": "k"}', b'{"a": 1}'])
def test_a_file_that_is_no_audits_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(UserError, match="holds no unfinished audit, so it is left alone; name another file"):
        Kept(path, "k", 3)
    assert path.read_bytes() == content


def test_work_goes_on_with_its_warnings_and_its_time(tmp_path: Path) -> None:
    first = Kept(tmp_path / "kept", "k", 3)
    first.heard["odd"] = 2
    first.add(np.array([1]), np.array([0]), np.array([2]), 1.5)
    second, other = Kept(tmp_path / "kept", "k", 3), Kept(tmp_path / "kept", "another", 3)
    assert second.adversarial.tolist() == [-1, 2, -1] and (second.seconds, second.heard) == (1.5, {"odd": 2})
    assert not other.done.any() and (other.seconds, other.heard) == (0.0, {})
    with pytest.raises(UserError, match="holds no unfinished audit"):
        Kept(tmp_path / "kept", "k", 4)  # the same key, and yet not as many images


def test_weights_of_any_type_have_a_fingerprint() -> None:
    model = torch.nn.Linear(2, 2)
    model.register_buffer("scale", torch.ones(3, dtype=torch.bfloat16))
    model.register_buffer("flag", torch.tensor(True))
    model.register_buffer("graph", torch.eye(2).to_sparse())
    model.head = torch.nn.LazyLinear(2)  # never used, and so without a shape
    before = fingerprint(model, torch.zeros(1))
    model.scale += 1
    assert fingerprint(model, torch.zeros(1)) != before


SETTING = """
import os, signal, sys, torch, frlcore
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
with torch.no_grad():
    model[1].weight.copy_(torch.linspace(-1, 1, 72).view(2, 36).flip(1) ** 3)
    model[1].bias.zero_()
images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
def audit(keep, progress):
    return frlcore.audit(model, images, torch.arange(40) % 2, eps=0.1, attack="autoattack", queries=5, batch_size=10,
                         device="cpu", keep=keep, progress=progress)
"""
KILL = "audit(sys.argv[1], lambda done: done == 20 and os.kill(os.getpid(), signal.SIGKILL))"


def test_a_killed_autoattack_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", SETTING + KILL, str(tmp_path / "kept")])
    assert killed.returncode == -9
    here: dict[str, Any] = {}
    exec(SETTING, here)
    heard: dict[str, list[float]] = {"kept": [], "undisturbed": []}
    resumed, whole = (here["audit"](tmp_path / name, said.append) for name, said in heard.items())
    batches = {name: [done for done in said if done == int(done)] for name, said in heard.items()}
    assert batches == {"kept": [20, 30, 40], "undisturbed": [0, 10, 20, 30, 40]}
    assert resumed.found.adversarial.tolist() == whole.found.adversarial.tolist() and resumed.digest == whole.digest
    assert 0 < resumed.errors.average("robust") < 1


def test_work_on_other_weights_images_or_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    images, labels = torch.rand(8, 1, 2, 2), [0, 1] * 4
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))

    def first(eps: float = 0.1) -> int:
        heard: list[int] = []
        frlcore.audit(model, images, labels, eps=eps, device="cpu", keep=tmp_path / "kept", progress=heard.append)
        return heard[0]

    assert [first(), first(), first(0.2), first()] == [0, 8, 0, 0]
    with torch.no_grad():
        model[1].weight[0, 0] += 1e-6
    assert first() == 0
    images[0] = 1 - images[0]
    assert first() == 0


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(frlcore.UserError, match="cannot write"):
        frlcore.audit(lambda x: x.flatten(1)[:, :2], torch.rand(4, 1, 2, 2), [0, 1, 0, 1], eps=0.1, device="cpu",
                      keep=tmp_path / "no" / "kept")  # fmt: skip
