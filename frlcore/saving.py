"""A trained model as one file: weights in safetensors, with the names of its classes and how to build it again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from frlcore import models
from frlcore.device import pick_device
from frlcore.errors import UserError
from frlcore.settings import DataInfo

FORMAT = "frlcore 2"
LARGEST = 2**16  # channels, or pixels a side
BLANK = "0" * 64  # stands in the file where the digest will, while the digest is taken


def save_model(
    path: str | Path, model: nn.Module, *, name: str, info: DataInfo, notes: Mapping[str, Any] | None = None
) -> None:
    """Write the weights of a model of `models.build`, with what `load_model` needs, in one step.

    Arguments:
    - `path`: of the file, in the format safetensors
    - `model`: built by `models.build`
    - `name`: the name it was built by
    - `info`: the data set it was trained on, for the names of the classes and the shape of the images
    - `notes`: kept as text beside the weights, with the sha256 of the whole file

    Returns: nothing.

    Raises: UserError for an unknown `name`, weights of other shapes than the named model has, classes or images that
    `load_model` would refuse, and when the file cannot be written.

    Source: this project.

    >>> from tempfile import TemporaryDirectory
    >>> from frlcore import load_model, models, save_model
    >>> from frlcore.data import info
    >>> model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
    >>> with TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/m.safetensors", model, name="preact_small", info=info("digits"))
    ...     again, classes = load_model(f"{folder}/m.safetensors")
    >>> classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    if name not in models.IMAGE_MODELS:
        raise UserError(f"unknown model '{name}'; known: {', '.join(models.IMAGE_MODELS)}")
    weights = {key: t.detach().cpu().contiguous() for key, t in model.state_dict().items()}
    try:
        described = {key: json.dumps(getattr(info, key), default=index) for key in ("classes", "shape")}
    except TypeError:
        described = {}
    classes, channels = _described(
        described, "the names of the classes must be texts that differ, as ('cat', 'dog'), and the shape of the images "
        f"whole numbers (C, H, W) up to {LARGEST}; the model could not be loaded otherwise"
    )  # fmt: skip
    _built(name, len(classes), channels, weights)
    facts = {_utf8(key): _utf8(value) for key, value in (notes or {}).items()} | {
        "format": FORMAT, "digest": BLANK, "model": name, **described, "scale": str(info.scale),
    }  # fmt: skip
    content = encoded(weights, facts)
    blank, digest = (f'"digest":"{value}"'.encode() for value in (BLANK, hashlib.sha256(content).hexdigest()))
    put(Path(path), content.replace(blank, digest, 1))


def load_model(path: str | Path, *, device: str = "cpu") -> tuple[nn.Module, tuple[str, ...]]:
    """A saved model, ready to be asked.

    Arguments:
    - `path`: what `save_model` or the command `frl fit` wrote
    - `device`: "cpu", "cuda", ..., or "auto"

    Returns: the model in eval mode, `(N, C, H, W) float in [0, 1]` to logits `(N, classes)`, and the names of its
    classes; `evaluate.predict` takes uint8 images.

    Raises: UserError when the file is missing, changed in a byte, or of another kind.

    Source: this project.

    >>> from frlcore import load_model
    >>> load_model("absent.safetensors")
    Traceback (most recent call last):
    frlcore.errors.UserError: no model can be read from absent.safetensors: it is missing, truncated or of another kind
    """
    try:
        if not Path(path).is_file():  # a pipe would be waited for without an end
            raise FileNotFoundError
        content = Path(path).read_bytes()
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
        weights = load(content)
    except (SafetensorError, OSError) as error:
        raise UserError(f"no model can be read from {path}: it is missing, truncated or of another kind") from error
    if facts.get("format") != FORMAT:
        raise UserError(f"{path} was not written by frlcore's save_model, or by another version of it")
    digest = facts.get("digest", "")
    if hashlib.sha256(content.replace(digest.encode(), BLANK.encode(), 1)).hexdigest() != digest:
        raise UserError(f"{path} is damaged: its content has changed since it was written; copy or train it again")
    classes, channels = _described(
        facts, f"{path} does not say which classes its model tells apart, or on which images"
    )
    model = _built(facts.get("model", "absent"), len(classes), channels, weights)
    model.load_state_dict(weights)
    return model.to(pick_device(device)).eval(), classes


def _described(facts: Mapping[str, str], otherwise: str) -> tuple[tuple[str, ...], int]:
    """The names of the classes and the channels of the images; UserError, that says `otherwise`, without them."""
    try:
        classes, shape = json.loads(facts["classes"]), json.loads(facts["shape"])
        names = classes == list(classes) != [] and [type(name) for name in classes] == [str] * len(set(classes))
        sound = names and [type(side) for side in shape] == [int] * 3 and 0 < min(shape) <= max(shape) <= LARGEST
    except (KeyError, ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise UserError(otherwise)
    return tuple(classes), shape[0]


def _built(name: str, classes: int, channels: int, weights: Mapping[str, Tensor]) -> nn.Module:
    """A new model of this name; raises UserError unless the weights have its names and shapes."""
    with torch.device("meta"):  # no memory yet: the numbers may be anybody's
        planned = models.build(name, num_classes=classes, in_channels=channels, seed=0)
    wanted, found = ({key: _shape(t) for key, t in each.items()} for each in (planned.state_dict(), weights))
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise UserError(
                f"the weights are not those of a {name} with {classes} classes and {channels} channels: {key} is "
                f"{found.get(key, 'absent')}, not {wanted.get(key, 'absent')}"
            )
    return models.build(name, num_classes=classes, in_channels=channels, seed=0)


def _utf8(note: object) -> str:
    """A note as text that a file can hold, with the bytes of a file's name that are no text escaped."""
    return str(note).encode("utf-8", "backslashreplace").decode("utf-8")


def _shape(tensor: Tensor) -> tuple[int | str, ...]:
    """Its sizes, and its kind where that is no number with a point."""
    return (*tensor.shape, *([] if tensor.is_floating_point() else [str(tensor.dtype).removeprefix("torch.")]))


def encoded(tensors: dict[str, Tensor], facts: dict[str, str]) -> bytes:
    """Tensors on the CPU and what is said of them as a file of safetensors: the same bytes for the same content.

    The package alone says it in another order each time.
    """
    content = save(tensors, facts)
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format wants it: the tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def put(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it into place; UserError when that cannot be done."""
    try:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # a path without a name, or with a NUL in it
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
