"""What is done of an audit, in a file, so that the same call goes on where a killed one was."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frlcore.answers import Model
from frlcore.errors import UserError
from frlcore.saving import put

NOT_YET = -1
FIELDS = {"key", "clean", "adversarial", "seconds", "heard"}


class Kept:
    """Predictions of the images that are done, clean and attacked, `(N,) int64`; NOT_YET for the others.

    With a `path` they are written there and read from there, if it was the same audit: `key` names model, images and
    settings. Raises UserError where `path` holds something else than an audit's work.
    """

    def __init__(self, path: Path | None, key: str, count: int) -> None:
        self.path, self.key = path, key
        self.clean, self.adversarial = (np.full(count, NOT_YET) for _ in range(2))
        self.seconds = 0.0
        self.heard: dict[str, int] = {}  # warnings, and in how many batches
        if path and path.exists():
            self._take(path)

    def _take(self, path: Path) -> None:
        try:
            found = json.loads(path.read_bytes())
            if set(found) != FIELDS:
                raise ValueError
            clean, adversarial = (np.array(found[name], dtype=np.int64) for name in ("clean", "adversarial"))
            if found["key"] == self.key and not clean.shape == adversarial.shape == self.clean.shape:
                raise ValueError
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} holds no unfinished audit, so it is left alone; name another file, or delete it"
                            ) from error  # fmt: skip
        if found["key"] == self.key:
            self.clean, self.adversarial = clean, adversarial
            self.seconds, self.heard = found["seconds"], found["heard"]

    @property
    def done(self) -> np.ndarray:
        """Which images are done, `(N,) bool`."""
        return self.adversarial != NOT_YET

    def add(self, at: np.ndarray, clean: np.ndarray, adversarial: np.ndarray, seconds: float) -> None:
        """Take in a batch of images at these positions, and write all to the file."""
        self.clean[at], self.adversarial[at] = clean, adversarial
        self.seconds += seconds
        if self.path:
            content = {"key": self.key, "clean": self.clean.tolist(), "adversarial": self.adversarial.tolist(),
                       "seconds": self.seconds, "heard": self.heard}  # fmt: skip
            put(self.path, json.dumps(content).encode())


def fingerprint(model: Model, answers: Tensor) -> str:
    """sha256 of a model's weights and of the classes it gives some images, `answers: (N,) int64`."""
    sha = hashlib.sha256(answers.cpu().numpy().tobytes())
    if isinstance(model, nn.Module):
        try:
            state = sorted(model.state_dict().items())
        except Exception:  # a module's own; its answers stand for it
            state = []
        for name, weights in state:
            sha.update(name.encode())
            with suppress(RuntimeError, ValueError, NotImplementedError):  # weights that have no values yet
                if isinstance(weights, Tensor):  # a module may keep other things there
                    plain = weights.detach().cpu().to_dense().contiguous()
                    sha.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
