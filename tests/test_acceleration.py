"""The fast path of a GPU, carried out on the CPU: the same answers within a tolerance, and never a silent wrong one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from frlcore import acceleration, data, models, policies, training
from frlcore.acceleration import Accelerated, FastCopy, accelerate, attack_copy, choose
from frlcore.attacks import input_gradient, pgd
from frlcore.frozen import Frozen, freeze
from frlcore.training import Training, batch_loss, train

EPS = 8 / 255
HOW = Training("pgd", 1, lr=0.05, batch_size=32, eps=EPS, step_size=EPS / 3, steps=2, validation_steps=1)
Batch = tuple[Tensor, Tensor]


def images(count: int, size: int, channels: int = 3) -> Batch:
    x = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last), torch.arange(count) % 10


def seasoned(name: str, channels: int, x: Tensor) -> nn.Module:
    """A network in train mode whose running statistics are those of `x`."""
    model = models.build(name, num_classes=10, in_channels=channels, seed=0).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # one batch is enough
    with torch.no_grad():
        model(x)
    for norm in norms:
        norm.momentum = 0.1
    return model


def statistics(model: nn.Module) -> list[Tensor]:
    return [t.clone() for t in model.buffers()]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return images(64, 32)


@pytest.fixture(scope="module")
def resnet(batch: Batch) -> nn.Module:
    return seasoned("preact_resnet18_quarter", 3, batch[0])


@pytest.fixture
def digits() -> tuple[nn.Module, Batch]:
    batch = images(32, 8, 1)
    return seasoned("preact_small", 1, batch[0]), batch


def compiler(backend: Any) -> acceleration.Compile:
    return lambda function: torch.compile(function, backend=backend, fullgraph=True, dynamic=False)


# The attack


@pytest.mark.parametrize(("name", "loss", "steps"), [("resnet", "ce", 1), ("digits", "ce", 3), ("digits", "kl", 5)])
def test_the_attack_stays_in_its_ball_is_as_strong_and_leaves_nothing_behind(
    name: str, loss: str, steps: int, request: pytest.FixtureRequest
) -> None:
    """A quarter of PreActResNet-18 on 64 images, one step; a small network, several. 0.9 of the rise must be left."""
    if name == "resnet":
        model, (x, y) = request.getfixturevalue("resnet"), request.getfixturevalue("batch")
    else:
        model, (x, y) = request.getfixturevalue("digits")
    before = statistics(model)
    full = freeze(model, *x.shape[2:])
    rises = []
    for attacked in (full, attack_copy(Accelerated(model, compiler=None), *x.shape[2:])):
        random = torch.Generator().manual_seed(0)
        x_adv = pgd(attacked, x, y, eps=EPS, step_size=EPS / 2, steps=steps, loss=loss, generator=random)
        assert x_adv.dtype == torch.float32 and not x_adv.requires_grad
        assert (x_adv - x).abs().max() <= EPS * (1 + 1e-6) and x_adv.min() >= 0 and x_adv.max() <= 1
        with torch.no_grad():  # judged in float32, both
            clean, adversarial = F.log_softmax(full(x), 1), F.log_softmax(full(x_adv), 1)
        if loss == "ce":
            rises.append(float(F.nll_loss(adversarial, y) - F.nll_loss(clean, y)))
        else:
            rises.append(float(F.kl_div(adversarial, clean, log_target=True, reduction="batchmean")))
    assert rises[0] > 0 and rises[1] > 0.9 * rises[0]
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_blocks_compute_in_bfloat16_and_the_ends_in_float32(resnet: nn.Module, batch: Batch) -> None:
    copy_ = freeze(resnet, 32, 32, torch.bfloat16)
    assert isinstance(copy_, Frozen)
    kinds = [t.dtype for t in copy_.tensors]
    assert kinds[0] == kinds[-1] == kinds[-2] == torch.float32
    assert set(kinds[1:-2]) == {torch.bfloat16}
    gradient, logits = input_gradient(copy_, batch[0][:4], batch[1][:4])
    assert gradient.dtype == logits.dtype == torch.float32


def test_the_fast_gradient_is_the_gradient(digits: tuple[nn.Module, Batch]) -> None:
    """In double precision, so that nothing but the formula can differ; classes and probabilities as targets."""
    model, (x, y) = digits
    full = freeze(model.double(), 8, 8)
    assert isinstance(full, Frozen)
    for target in (y, torch.rand(32, 10, generator=torch.Generator().manual_seed(2)).double().softmax(1)):
        found = acceleration._gradient(full.layout, full.tensors, x.double(), target)
        for a, b in zip(found, input_gradient(full, x.double(), target), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


# Compiled code


def test_one_compilation_serves_other_weights_and_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(acceleration.COMPILED, "cpu", acceleration.COMPILED["cuda"])
    x, y = images(8, 32)
    model = seasoned("preact_narrow", 3, x)
    counter = CompileCounterWithBackend("aot_eager")
    fast = Accelerated(model, compiler(counter))
    logits = []
    for turn in range(2):
        shifted = (x + 0.1 * turn).clamp(max=1)
        copy_ = attack_copy(fast, 32, 32)
        logits.append(input_gradient(copy_, shifted, y)[1])
        pgd(copy_, shifted, y, eps=EPS, step_size=EPS, steps=2)  # whose points lie in memory as the batch does
        with torch.no_grad():  # of the weights and statistics as they are now
            found, wanted = copy_(shifted), freeze(model, 32, 32)(shifted)
        assert (found - wanted).norm() < 0.05 * wanted.norm()
        F.cross_entropy(fast(shifted), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * p.sign())
    assert counter.frame_count == 4  # freezing, the attack's gradient and its clean target, the training forward
    assert set(fast.chosen.values()) == {"compiled"}
    full = input_gradient(freeze(model, 32, 32), x, y)[1]
    assert not torch.allclose(logits[0], logits[1], rtol=0.1) and not torch.allclose(logits[1], full, rtol=0.1)


def test_compiled_for_real_it_agrees_with_eager_code() -> None:
    """In float32, where rounding hides nothing; the network is as small as compilers are slow."""
    x, y = images(8, 6)
    model = models.PreActResNet(stem=4, widths=(4,), blocks=1, num_classes=10)
    copy_ = freeze(model, 6, 6)
    assert isinstance(copy_, Frozen)
    found = acceleration.compile_once(acceleration._gradient)(copy_.layout, copy_.tensors, x, y)
    for a, b in zip(found, input_gradient(copy_, x, y), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


# The training step


@pytest.mark.parametrize("objective", ["natural", "pgd", "trades"])
def test_a_training_step_is_that_of_float32(digits: tuple[nn.Module, Batch], objective: str) -> None:
    model, (x, y) = digits
    how = replace(HOW, objective=objective)
    found: list[tuple[Tensor, Tensor, list[Tensor]]] = []
    for make in (lambda net: net, lambda net: Accelerated(net, compiler("aot_eager"))):
        net = copy.deepcopy(model)
        random = torch.Generator().manual_seed(3)
        loss = batch_loss(make(net), x, y, how, *torch.ones(3, 32), generator=random)
        loss.backward()
        assert loss.dtype == torch.float32 and all(p.dtype == torch.float32 for p in net.parameters())
        gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        found.append((loss.detach(), gradient, statistics(net)))
    (loss, gradient, moved), (fast_loss, fast_gradient, fast_moved) = found
    torch.testing.assert_close(fast_loss, loss, rtol=0.02, atol=0)
    assert (fast_gradient - gradient).norm() < 0.35 * gradient.norm()  # the attack's signs differ, too
    for a, b in zip(fast_moved, moved, strict=True):  # also the count of batches: the check leaves no trace
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.01)


def test_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data.load("digits")
    how = Training("pgd", 3, lr=0.05, eps=0.1, step_size=0.05, steps=2, validation_steps=2, batch_size=64)
    losses = {}
    for name, make in (("plain", accelerate), ("fast", lambda model: Accelerated(model, compiler=None))):
        monkeypatch.setattr(training, "accelerate", make)
        model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
        last = train(model, whole, how, policies.build("uniform", 10), seed=0)
        losses[name] = [entry["loss"] for entry in last.history[:-1]]
    assert losses["fast"] != losses["plain"]
    assert losses["fast"] == pytest.approx(losses["plain"], rel=0.1) and losses["fast"][-1] < losses["fast"][0]


# What is not sound is not used


def broken(function: Callable[..., Any]) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise RuntimeError("no compiler here\nand much more")

    return fail


def wrong(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled code that has an index wrong: the right numbers at the wrong images."""

    def rolled(*arguments: Any) -> Any:
        out = function(*arguments)
        return tuple(t.roll(1, 0) for t in out) if isinstance(out, tuple) else out.roll(1, 0)

    return rolled


def test_a_compiler_that_fails_is_asked_once_a_function(caplog: pytest.LogCaptureFixture) -> None:
    x, _ = images(32, 8, 1)
    fast = Accelerated(seasoned("preact_small", 1, x), broken)
    with caplog.at_level(logging.WARNING):
        for count in (32, 16, 8):
            fast(x[:count])
    assert len(caplog.records) == 1 and list(fast.chosen.values()) == ["autocast"] * 3


@pytest.mark.parametrize(("bad", "reason"), [(broken, "no compiler here"), (wrong, "away from float32")])
def test_compiled_code_that_fails_or_errs_is_left_out_with_one_line(
    bad: acceleration.Compile, reason: str, digits: tuple[nn.Module, Batch], caplog: pytest.LogCaptureFixture
) -> None:
    model, (x, y) = digits
    fast, eager = Accelerated(model, bad), Accelerated(model, compiler=None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (found, _), (wanted, _) = (input_gradient(attack_copy(a, 8, 8), x, y) for a in (fast, eager))
            assert torch.equal(found, wanted)
            assert torch.equal(fast(x), eager(x))
    assert set(fast.chosen.values()) == {"bfloat16", "autocast"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and all(reason in line and "\n" not in line for line in said)


def test_where_bfloat16_errs_float32_remains(digits: tuple[nn.Module, Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = digits
    monkeypatch.setattr(acceleration, "TOLERANCE", 0.0)
    fast = Accelerated(model, compiler=None)
    copy_ = attack_copy(fast, 8, 8)
    assert isinstance(copy_, FastCopy)
    for a, b in zip(input_gradient(copy_, x, y), input_gradient(freeze(model, 8, 8), x, y), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(fast(x), copy.deepcopy(model)(x)) and set(fast.chosen.values()) == {"float32"}


def test_every_shape_and_kind_of_target_has_its_own_choice(digits: tuple[nn.Module, Batch]) -> None:
    model, (x, y) = digits
    fast = Accelerated(model, compiler=None)
    copy_ = attack_copy(fast, 8, 8)
    assert isinstance(copy_, FastCopy)
    for count in (8, 4):
        copy_(x[:count])
        for target in (y, torch.eye(10)[y]):
            input_gradient(copy_, x[:count], target[:count])
    assert list(fast.chosen.values()) == ["bfloat16"] * 7  # freezing, and three for each number of images


def test_the_attack_is_tried_where_it_is_steep(digits: tuple[nn.Module, Batch]) -> None:
    """The slope is nearly zero of the cross-entropy where a network is sure, and of TRADES' KL at a clean point."""
    model, (x, _) = digits
    with torch.no_grad():
        model.head.weight.mul_(1000)
    fast = Accelerated(model, compiler=None)
    clean = freeze(model, 8, 8)(x).detach()
    for target in (clean.argmax(1), clean.softmax(1)):
        input_gradient(attack_copy(fast, 8, 8), x, target)
    assert set(fast.chosen.values()) == {"bfloat16"}


@pytest.mark.parametrize("error", ["gradient", "statistics"])
def test_a_forward_with_the_right_logits_alone_is_left_out(
    digits: tuple[nn.Module, Batch], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, (x, _) = digits
    fast = Accelerated(model, compiler=None)

    def wrong(model: nn.Module, x: Tensor) -> Tensor:
        if error == "statistics":
            next(t for t in model.buffers() if t.is_floating_point()).add_(100)
            return acceleration._logits(model, x)
        logits = acceleration._logits(model, x)
        return logits + 10 * (logits**2 - (logits**2).detach())

    fast._ways["training forward"] = {"wrong": wrong}
    fast(x)
    assert list(fast.chosen.values()) == ["float32"] and "away from float32" in caplog.text


def test_trials_of_a_network_with_dropout_draw_the_same_and_leave_no_trace() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5))
    fast, (x, _) = Accelerated(model, compiler=None), images(8, 8, channels=1)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = model(x).float()
    torch.manual_seed(5)
    found = fast(x)  # after its trials
    assert torch.equal(found, wanted) and fast.chosen["forward", *x.shape] == "autocast"


def test_weights_that_may_not_change_or_have_no_part_in_the_answer_are_no_obstacle() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10).requires_grad_(False), nn.Linear(10, 10))
    model.register_parameter("idle", nn.Parameter(torch.ones(1)))
    fast, (x, y) = Accelerated(model, compiler=None), images(8, 8, channels=1)
    F.cross_entropy(fast(x), y).backward()
    assert set(fast.chosen.values()) == {"autocast"}
    assert model[1].weight.grad is None and model[2].weight.grad is not None


def test_an_answer_that_is_no_number_is_not_near() -> None:
    one, nan = torch.ones(3), torch.full((3,), float("nan"))
    for answer in ((nan, one), (one, nan)):
        assert choose("x", {"fast": lambda answer=answer: answer}, (one, one)) == "float32"
    assert choose("x", {"fast": lambda: (one, one)}, (one, one)) == "fast"


def test_all_answers_must_be_near_relative_to_those_of_float32() -> None:
    one, zero = torch.ones(3), torch.zeros(3)
    for answer in ((one, 1.6 * one), (one,)):
        assert choose("x", {"fast": lambda answer=answer: answer}, (one, one)) == "float32"
    assert choose("x", {"fast": lambda: (1.4 * one, zero)}, (one, zero)) == "fast"


@pytest.mark.parametrize(
    ("words", "said"), [("\n\n one\ntwo", "one"), ("", ""), ("a" * 101, "a" * 100)], ids=["of several", "none", "long"]
)
def test_what_a_compiler_says_is_told_in_a_short_line(words: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError(words)

    assert choose("x", {"fast": fail}, ()) == "float32"  # type: ignore[dict-item]
    assert caplog.messages == [f"x goes on without its 'fast' version: RuntimeError: {said}"]


def test_a_device_without_memory_is_no_fault_of_a_way() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        choose("x", {"fast": full}, ())  # type: ignore[dict-item]


# Where it is turned on


def quarter() -> nn.Module:
    return models.build("preact_resnet18_quarter", num_classes=10, in_channels=3, seed=0)  # 0.70 M parameters


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with bfloat16 matrix units, as far as torch can say."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True})


def test_on_a_cuda_device_every_network_is_accelerated() -> None:
    class There(nn.Module):
        def parameters(self, recurse: bool = True) -> Iterator[Any]:
            yield SimpleNamespace(device=torch.device("cuda", 1))

    fast = accelerate(There())
    assert isinstance(fast, Accelerated) and list(fast._ways["training attack"]) == ["graph", "compiled", "bfloat16"]
    assert list(Accelerated(There(), compiler=None)._ways["training attack"]) == ["bfloat16"]


@pytest.mark.parametrize("found", [{"avx2": True}, {"avx512_bf16": True}, {"amx_bf16": False, "amx_int8": True}])
def test_a_cpu_without_matrix_units_keeps_the_model_itself(
    found: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    model = quarter()
    assert accelerate(model) is model


@pytest.mark.usefixtures("units")
def test_a_cpu_with_matrix_units_accelerates_large_networks_that_can_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(acceleration, "LARGE", sum(p.numel() for p in quarter().parameters()))
        assert isinstance(accelerate(quarter()), Accelerated)
    assert isinstance(accelerate(quarter()), Accelerated)
    for name, channels in (("preact_small", 1), ("preact_wide", 1), ("preact_narrow", 3)):
        model = models.build(name, num_classes=10, in_channels=channels, seed=0)
        assert accelerate(model) is model
    other = nn.Sequential(nn.Flatten(), nn.Linear(3072, 1000))  # larger, but it cannot be frozen
    assert accelerate(other) is other


@pytest.mark.usefixtures("units")
def test_without_a_compiler_it_goes_on_in_eager_code_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-compiler-of-this-name")
    with caplog.at_level(logging.WARNING):
        fast = accelerate(quarter())
        x, y = images(8, 32)
        for count in (8, 4):  # every shape
            F.cross_entropy(fast(x[:count]), y[:count]).backward()
    assert set(fast.chosen.values()) == {"autocast"}
    assert len(caplog.records) == 1 and "no C++ compiler" in caplog.records[0].getMessage()


def test_the_head_answers_in_float32(digits: tuple[nn.Module, Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of the bfloat16 forward are no bfloat16 numbers; the blocks' answers are."""
    model, (x, _) = digits
    seen: list[torch.dtype] = []
    for kind in (nn.Sequential, nn.Linear):  # no hooks: with those a network is computed as it is

        def forward(self: nn.Module, x: Tensor, plain: Any = kind.forward) -> Tensor:
            out = plain(self, x)
            seen.append(out.dtype)
            return out

        monkeypatch.setattr(kind, "forward", forward)
    fast = Accelerated(model, compiler=None)
    fast.chosen["forward", *x.shape] = "autocast"
    logits = fast(x)
    assert seen == [torch.bfloat16, torch.float32]
    assert logits.dtype == torch.float32 and not torch.equal(logits, logits.bfloat16().float())


def test_the_arithmetic_is_told_as_it_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Accelerated(quarter(), compiler=None)
    assert fast.arithmetic_in_words() == "float32"
    fast.chosen |= {("forward", 8): "float32", ("attack", "freezing", 32, 32): "float32"}
    assert fast.arithmetic_in_words() == "float32"
    fast.chosen |= {("forward", 8): "compiled", ("attack", 8): "compiled", ("attack", 4): "float32"}
    assert fast.arithmetic_in_words() == "bfloat16 (forward compiled, attack compiled/float32)"
    monkeypatch.setattr(fast, "device_type", "cuda")
    assert fast.arithmetic_in_words() == "bfloat16 (forward compiled, attack compiled/TF32)"
