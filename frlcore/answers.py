"""What images, labels and a model's answers must be: looked at once, where a public function begins.

Nothing here is called inside a training loop, which trusts what it is given. Every question is answered with a
UserError of one line, so that a softmax at the end, labels from 1 to C, or pixels divided twice are not taken for
robustness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor, nn

from frlcore.device import global_random
from frlcore.errors import UserError
from frlcore.settings import is_positive

Model = Callable[[Tensor], Tensor]
HALVES = (torch.float16, torch.bfloat16)


@contextmanager
def eval_mode(model: Model) -> Iterator[None]:
    """Run the body with `model` in eval mode, then restore the mode of every submodule."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [m for m in modules if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def check_model(model: Model, x: Tensor, *, batch_size: int = 1000) -> int:
    """Number of classes of a model that answers images `x: (N, ...) float` with logits, as an attack needs them.

    Raises UserError as `ask` does, for probabilities in the place of logits, and where no gradient reaches the images.
    """
    logits = torch.cat([ask(model, part) for part in x.split(batch_size)])
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-4).all()):
        raise UserError(
            "the model answers with probabilities, whose gradient vanishes where it is sure; take the softmax off its "
            "end and let it answer with logits"
        )
    if not hasattr(model, "input_gradient"):  # an accelerated copy has its own
        _check_gradient(model, x[:1])
    return logits.shape[1]


def ask(model: Model, x: Tensor) -> Tensor:
    """What `model` answers in eval mode, `(N, C)`; raises UserError for anything but finite float32 or float64 numbers.

    And for half-precision weights, a single column, what is no tensor, and images that the model does not take, or
    changes: it is given a copy of them.
    """
    _check_weights(model)
    given = x.clone()
    try:
        with eval_mode(model), torch.no_grad():
            answer = model(given)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a stranger's model may raise anything
        what = reason(error)
        if "double" in what or "Double" in what:
            wide = "the images are float64: use images.float()"
            what += f" ({wide if x.dtype == torch.float64 else 'its weights are float64: use model.float()'})"
        raise UserError(f"the model does not take images of shape {tuple(x.shape[1:])}: {what}") from error
    if not torch.equal(given, x):
        raise UserError("the model changes the images it is given; let it work on a copy (x - mean, not x -= mean)")
    return _logits(answer, x)


def check_trainable(model: nn.Module, x: Tensor) -> None:
    """Raise UserError unless `model` can be trained on a batch of images `x: (N, ...) float`; it is left as it was.

    In train mode it must answer as in `ask`, and gradients must reach weights of it; `check_model` asks the rest.
    """
    _check_weights(model)
    if not torch.is_grad_enabled():
        raise UserError("gradients are switched off; leave torch.no_grad() or inference_mode() before training")
    if any(p.is_inference() for p in (*model.parameters(), *model.buffers())):
        raise UserError("the model was made under torch.inference_mode(), so it cannot change; make it outside of that")
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise UserError("no weight of the model may change; use model.requires_grad_(), at least on a part of it")
    modes = [(m, m.training) for m in model.modules()]
    before = {name: t.clone() for name, t in model.named_buffers()}
    try:
        with global_random(x.device):
            model.train()
            if not _gradients(_logits(model(x), x), weights):
                raise UserError("no gradient reaches the model's weights; remove torch.no_grad() or .detach() from it")
    except (UserError, torch.OutOfMemoryError):  # of the memory training itself has more to say
        raise
    except Exception as error:  # a stranger's model may raise anything
        batch = f"{tuple(x.shape[1:])}, {len(x)} at a time in training"
        raise UserError(f"the model does not take images of shape {batch}: {reason(error)}") from error
    finally:
        with torch.no_grad():
            for name, t in model.named_buffers():
                if name in before:  # the first forward may make new ones
                    t.copy_(before[name])
        for module, training in modes:
            module.training = training


def _check_weights(model: Model) -> None:
    halves = {p.dtype for p in model.parameters()} & set(HALVES) if isinstance(model, nn.Module) else set()
    if halves:
        raise UserError(f"the model's weights are {_words(*halves)}, too coarse for an attack: use model.float()")


def _gradients(logits: Tensor, of: Sequence[Tensor]) -> bool:
    """Whether a gradient of the logits `(N, C)` reaches any of these tensors."""
    if not logits.requires_grad:
        return False
    return any(g is not None for g in torch.autograd.grad(logits.logsumexp(1).sum(), of, allow_unused=True))


def _logits(answer: object, x: Tensor) -> Tensor:
    """A model's answer to the images `x`; UserError as in `ask`."""
    if not isinstance(answer, Tensor):
        raise UserError(
            f"the model answers with a {type(answer).__name__}, not with a tensor of logits; put it into a module "
            "whose forward returns the logits alone"
        )
    if answer.dim() != 2 or len(answer) != len(x):
        found = f"{len(x)} images with a tensor of shape {tuple(answer.shape)}"
        raise UserError(f"the model answers {found}; it should be ({len(x)}, classes)")
    if answer.shape[1] < 2:
        raise UserError("the model has a single output; it needs a logit for every class, two where there are two")
    if answer.dtype not in (torch.float32, torch.float64):
        raise UserError(f"the model answers in {_words(answer.dtype)}; let it answer in float32")
    if broken := int((~answer.isfinite()).any(1).sum()):
        raise UserError(f"the model's answers to {broken} of {len(x)} images are not finite (NaN or infinite)")
    return answer


def _check_gradient(model: Model, x: Tensor) -> None:
    x, reached, what = x.detach().clone().requires_grad_(), False, ""
    try:
        with eval_mode(model), torch.enable_grad():
            reached = _gradients(model(x), [x])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        what = f" ({reason(error)})"
    if not reached:
        raise UserError(
            f"no gradient reaches the images through the model{what}; remove torch.no_grad(), "
            "torch.inference_mode() or .detach() from it"
        )


def check_images(x: Tensor, clip: tuple[float, float] | None = (0, 1)) -> None:
    """Raise UserError unless `x` holds finite floats inside `clip`; recognises pixels, normalised and twice divided."""
    _check_floats(x, clip)
    step, high = 1 / 255, float(x.detach().max())
    if clip == (0, 1) and 0 < high <= step * 1.0001 and bool(((x > 0) & (x < 0.999 * step)).any()):
        raise UserError(f"no image has a value above {high:.4f}: they look as if divided by 255 twice")


def _check_floats(x: Tensor, clip: tuple[float, float] | None) -> None:
    pair = isinstance(clip, tuple | list) and len(clip) == 2 and all(isinstance(end, Real) for end in clip)
    if clip is not None and not (pair and clip[0] < clip[1]):
        raise UserError(f"clip is the lowest and the highest value of the images, as in (0, 1), or None, got {clip!r}")
    if not isinstance(x, Tensor):
        raise UserError(f"images must be a torch.Tensor, not {type(x).__name__}")
    if not x.is_floating_point():
        raise UserError(f"the images are {_words(x.dtype)}; give floats in [0, 1], see data.to_float")
    if x.dtype in HALVES:
        raise UserError(f"the images are {_words(x.dtype)}, too coarse for an attack: use images.float()")
    if x.dim() < 2:
        raise UserError(f"images must come as a batch (N, ...), got a tensor of shape {tuple(x.shape)}")
    if not len(x):
        raise UserError("there are no images to look at")
    low, high = (float(v) for v in x.detach().aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise UserError("the images hold values that are not finite (NaN or infinite)")
    if clip is None:
        return
    if low < clip[0] or high > clip[1]:
        hint = ""
        if clip == (0, 1):
            hint = (
                "; they look normalised: undo that, and let the model's first layer normalise" if low < 0
                else "; they look like pixels: divide them by their highest value, 255 for most images"
            )  # fmt: skip
        raise UserError(
            f"images must lie in [{clip[0]:g}, {clip[1]:g}], got values from {low:g} to {high:g}{hint}"
        )


def check_pixels(images: Tensor, scale: int) -> None:
    """Raise UserError unless `images` (N, C, H, W) are uint8 and fit the pixel value `scale` that means 1.

    Floats in [0, 1] fit a scale of 1.
    """
    if not (is_positive(scale) and scale <= 255):
        raise UserError(f"scale is the pixel value that means 1.0, above 0 and at most 255, got {scale!r}")
    if isinstance(images, Tensor) and images.dim() != 4:
        raise UserError(f"images must come as a batch (N, C, H, W), got a tensor of shape {tuple(images.shape)}")
    if isinstance(images, Tensor) and images.is_floating_point() and scale == 1:
        return _check_floats(images, (0, 1))  # a part of an audit's, which may be dark
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = _words(images.dtype) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(f"images must be torch.uint8, pixels from 0 to {scale}, not {found}: they are divided later")
    if not len(images):
        raise UserError("there are no images to look at")
    high = int(images.max())
    if high > scale:
        raise UserError(f"there are pixels of {high}, above the scale of {scale} that means 1.0; give their scale")
    if high == 1 < scale:
        raise UserError(f"no pixel is above 1 of {scale}: they look divided already; give pixels from 0 to {scale}")


def check_labels(y: Tensor, count: int, classes: int) -> Tensor:
    """The labels `(N,)` as int64; raises UserError unless they are `count` whole numbers from 0 to `classes` - 1.

    Recognises one-hot rows and labels that run from 1 to C.
    """
    if not isinstance(y, Tensor):
        raise UserError(f"labels must be a torch.Tensor of whole numbers, not {type(y).__name__}")
    if y.dim() == 2 and y.shape == (count, classes):
        raise UserError("the labels look one-hot; give the numbers of the classes, y.argmax(1)")
    if y.shape != (count,):
        raise UserError(f"there must be one label for each of the {count} images, got labels of shape {tuple(y.shape)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise UserError(f"labels must be whole numbers, not {_words(y.dtype)}: use y.long()")
    y = y.long()  # of whose kinds some know no order
    low, high = (int(v) for v in y.aminmax())
    if low >= 1 and high == classes:
        raise UserError(f"the labels run from 1 to {classes}; they must run from 0 to {classes - 1}: subtract 1")
    if low < 0 or high >= classes:
        raise UserError(f"the labels must be between 0 and {classes - 1}, got {low} to {high}")
    return y


def reason(error: Exception) -> str:
    """What somebody's code raised, in one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")


def _words(*dtypes: torch.dtype) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
