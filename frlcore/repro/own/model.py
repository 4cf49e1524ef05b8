"""The model that `frl audit` is given: weights that frlcore wrote, a function in a file, or one of RobustBench."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import nn

from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.saving import load_model

COLORS = 3
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
BENCH = "robustbench:"
FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
THREATS = {"linf": "Linf", "l2": "L2"}  # RobustBench's words for the norms
FORMS = "give weights that frlcore wrote (.safetensors), FILE.py:FUNCTION, or robustbench:NAME"


@dataclass(frozen=True)
class Given:
    """A model, and what it knows of itself: its classes, the side of its images in pixels, the name of its network."""

    model: nn.Module
    classes: tuple[str, ...] | None = None
    size: int | None = None
    name: str | None = None


def load(text: str, norm: str) -> Given:
    """The model that `text` names; UserError in one line when there is none."""
    if text.startswith(BENCH):
        return Given(_bench(text.removeprefix(BENCH), norm))
    if Path(text).suffix.lower() in PICKLES:
        raise UserError(
            f"{text} holds weights without their network, or code; write a function that builds the network and loads "
            "them with torch.load(..., weights_only=True), and give FILE.py:FUNCTION"
        )
    path, colon, function = text.rpartition(":")
    if colon and path.endswith(".py"):
        return Given(_call(Path(path), function))
    if text.endswith(".py"):
        raise UserError(f"{text} is a file of functions; say which one returns the model, as in {text}:model")
    if not os.path.isfile(text):
        raise UserError(f"no model at {text}; {FORMS}")
    return weights(Path(text))


def weights(path: Path) -> Given:
    """A model of pictures whose weights frlcore wrote; UserError for any other file."""
    model, classes = load_model(path)
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    channels, *_, size = json.loads(facts["shape"])
    if channels != COLORS:
        raise UserError(f"{path} takes images with {channels} channel(s), and pictures have {COLORS}: red, green, blue")
    return Given(model, classes, size, facts["model"])


def _call(path: Path, name: str) -> nn.Module:
    """What the function of this name in a Python file returns."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"_audited_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    here, folder = os.getcwd(), str(path.resolve().parent)
    sys.modules[module.__name__] = module  # where dataclasses and the like look it up
    sys.path.insert(0, folder)  # so that it finds the files beside it
    try:
        try:
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        except (Exception, SystemExit) as error:
            raise UserError(f"{path} cannot be run: {_told(error, path)}") from error
        function = getattr(module, name, None)
        if not callable(function):
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            raise UserError(f"{path} has no function '{name}'; it has: {', '.join(own) or 'none'}")
        if isinstance(function, nn.Module):  # the model itself
            return function
        try:
            found = function()
        except (Exception, SystemExit) as error:
            raise UserError(f"{path}:{name} raised {_told(error, path)}") from error
    finally:
        os.chdir(here)  # it may have gone elsewhere
        with suppress(ValueError):
            sys.path.remove(folder)
    if not isinstance(found, nn.Module):
        raise UserError(f"{path}:{name} returns a {type(found).__name__}; it should return a torch.nn.Module")
    return found


def _told(error: BaseException, path: Path) -> str:
    """An exception in one line, with the last line of the user's file that it passed."""
    passed = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in passed if Path(frame.filename).name == path.name]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{where}"


def _bench(name: str, norm: str) -> nn.Module:
    try:
        from robustbench.utils import load_model as fetch
    except ImportError as error:
        raise UserError(
            f"{BENCH}{name} needs the package robustbench: pip install git+https://github.com/RobustBench/robustbench"
        ) from error
    try:
        folder = places.downloads() / "robustbench"
        with _weights_only():
            return fetch(model_name=name, model_dir=str(folder), dataset="cifar10", threat_model=THREATS[norm])
    except Exception as error:  # an unknown name, no network, a changed file
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UserError(f"RobustBench gives no CIFAR-10 model '{name}' for {THREATS[norm]} ({what})") from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Inside, torch.load takes tensors from a file and runs nothing that it holds, whatever its caller asks for."""
    before = os.environ.get(FORCED)
    os.environ[FORCED] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FORCED]
        else:
            os.environ[FORCED] = before
