"""What a run's files hold, as bytes, and whether they still do: arrays, tensors with their digest, checkpoints."""

from __future__ import annotations

import base64
import hashlib
import json
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frlcore.errors import UserError
from frlcore.repro.runs.task import canonical

if TYPE_CHECKING:
    from torch import Tensor

    from frlcore.checkpoint import Checkpoint

DAMAGE = (OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError, RuntimeError)  # of bad files


def tensor_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Tensors and what is said of them, with a digest of both."""
    from frlcore.saving import encoded

    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return encoded(tensors, metadata | {"sha256": tensor_digest(tensors, metadata)})


def load_tensors(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a run's file and what is said of them; UserError for a damaged or foreign one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        told, found = metadata.pop("sha256", None), tensor_digest(tensors, metadata)
    except (SafetensorError, *DAMAGE) as error:
        raise UserError(f"{path} is truncated or damaged; delete it and run again") from error
    if told != found or metadata.get("key") != key:
        raise UserError(f"{path} was changed or belongs to another run; delete it and run again")
    return tensors, metadata


def tensor_digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of tensors and of what is said of them."""
    sha = hashlib.sha256(canonical(metadata))
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].numpy().tobytes())
    return sha.hexdigest()


def state_bytes(key: str, checkpoint: Checkpoint) -> bytes:
    """A checkpoint of run `key`."""
    groups = {"model": checkpoint.model, "momentum": checkpoint.momentum, "selected": checkpoint.selected,
              "average": checkpoint.average}  # fmt: skip
    tensors = {f"{group}/{name}": t for group, content in groups.items() for name, t in content.items()}
    rest = {
        "epoch": checkpoint.epoch,
        "policy": {name: values.tolist() for name, values in checkpoint.policy.items()},
        "selected_epoch": checkpoint.selected_epoch,
        "selected_error": checkpoint.selected_error if checkpoint.selected else None,
        "history": checkpoint.history,
        "arithmetic": checkpoint.arithmetic,
        "seconds": checkpoint.seconds,
    }
    return tensor_bytes(tensors, {"key": key, "rest": canonical(rest).decode()})


def load_state(path: Path, key: str) -> Checkpoint:
    """The checkpoint that a file holds; UserError for one that is damaged, foreign or none."""
    tensors, metadata = load_tensors(path, key)
    try:
        return _checkpoint(tensors, json.loads(metadata["rest"]))
    except DAMAGE as error:
        raise UserError(f"{path} is no checkpoint; delete it and run again") from error


def epochs(path: Path) -> int:
    """How many epochs a checkpoint has behind it, from the head of its file; 0 where that cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return index(json.loads(file.metadata()["rest"])["epoch"])
    except (SafetensorError, *DAMAGE):
        return 0


def _checkpoint(tensors: dict[str, Tensor], rest: dict[str, Any]) -> Checkpoint:
    """A checkpoint from what its file holds; raises one of `DAMAGE` where that is none."""
    from frlcore.checkpoint import Checkpoint

    groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("model", "momentum", "selected", "average")}
    for name, t in tensors.items():
        group, _, name = name.partition("/")
        groups[group][name] = t
    return Checkpoint(
        epoch=index(rest["epoch"]), selected_epoch=index(rest["selected_epoch"]),
        policy={name: np.asarray(values, dtype=float) for name, values in rest["policy"].items()}, **groups,
        selected_error=float("inf") if rest["selected_error"] is None else float(rest["selected_error"]),
        history=[dict(**entry) for entry in rest["history"]],
        arithmetic=list(map(str, rest.get("arithmetic", []))), seconds=list(map(float, rest.get("seconds", []))),
    )  # fmt: skip


def pack(values: np.ndarray) -> str:
    """An integer array as text: its type, a colon, base64."""
    return f"{values.dtype.str}:{base64.b64encode(np.ascontiguousarray(values).data).decode()}"


def unpack(text: str) -> np.ndarray:
    """The inverse of `pack`."""
    kind, _, content = text.partition(":")
    return np.frombuffer(base64.b64decode(content), dtype=np.dtype(kind))
