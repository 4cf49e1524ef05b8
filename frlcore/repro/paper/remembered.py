"""Paired bootstraps that are made once: several pages ask for the same ones, and a new sentence changes none of them.

What is compared, and the code that compares it, name the file of the result, so that it cannot be out of date. Only
where the environment variable FRL_BOOTSTRAPS names a folder, as it does while a book is built.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from frlcore import intervals
from frlcore.intervals import Difference, paired_bootstrap
from frlcore.repro.paper.records import DRAWS

FOLDER = "FRL_BOOTSTRAPS"
SMALL, MORE = 0.01, 10  # p-values below rest on few of DRAWS, and a correction for many tests turns on them: more draws
_CODE = Path(intervals.__file__)


def paired(labels: np.ndarray, a: np.ndarray, b: np.ndarray, statistic: str, draws: int = DRAWS) -> Difference:
    """`intervals.paired_bootstrap`, from its file where that is there; a damaged or unwritable file costs only time.

    A p-value below SMALL, unless it is the smallest that DRAWS can give, is found once more from MORE times as many;
    the interval stays.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return _made(labels, a, b, statistic, draws)
    path = Path(folder) / f"{_key(labels, a, b, statistic, draws)}.json"
    try:
        return Difference(*map(float, json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        made = _made(labels, a, b, statistic, draws)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(list(made)), encoding="utf-8")
        os.replace(part, path)
    return made


def _made(labels: np.ndarray, a: np.ndarray, b: np.ndarray, statistic: str, draws: int) -> Difference:
    found = paired_bootstrap(labels, a, b, statistic, draws=draws)
    if draws < DRAWS or not 2 / (draws + 1) < found.p < SMALL:
        return found
    return found._replace(p=paired_bootstrap(labels, a, b, statistic, draws=MORE * draws).p)


def _key(labels: np.ndarray, a: np.ndarray, b: np.ndarray, statistic: str, draws: int) -> str:
    total = hashlib.sha256(_CODE.read_bytes())
    total.update(f"{statistic} {draws} {SMALL} {MORE}".encode())
    for values in (labels, a, b):
        total.update(f"{values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())
    return total.hexdigest()
