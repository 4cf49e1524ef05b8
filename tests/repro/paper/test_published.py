"""The records in data/runs: whole, of runs that a plan has, with the provenance that the book promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frlcore.repro.paper import plan
from frlcore.repro.places import checkout
from frlcore.repro.runs.store import Store

PUBLISHED = checkout() / "data" / "runs"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob("*/result.json"))
UNFINISHED = sorted(path.parent for path in PUBLISHED.glob("*/state.safetensors"))
EDITIONS = [name for name, edition in plan.EDITIONS.items() if not edition.dataset.startswith("digits")]


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Keys of every run of the editions that are published, with the edition's name."""
    return {task.key: name for name in EDITIONS for task in plan.runs(plan.ALL, name, seeds=3)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_published_record_is_whole_and_belongs_to_a_plan(folder: Path, known: dict[str, str], tmp_path: Path) -> None:
    key = json.loads((folder / "result.json").read_bytes())["key"]
    assert folder.name == key[:20] and key in known
    store = Store(tmp_path)
    result = store.result(key)
    assert result is not None
    images = {len(values) for arrays in result["outcomes"].values() for values in arrays.values()}
    assert len(images) == 1
    if list(folder.glob("*.safetensors")):
        assert store.any_weights(key)
    assert {path.name for path in folder.iterdir()} <= {
        "result.json", "provenance.json", "last.safetensors", "half.safetensors",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_published_record_says_what_made_it(folder: Path) -> None:
    made = json.loads((folder / "provenance.json").read_bytes())
    assert {"device", "torch", "python", "commit", "seconds", "finished"} <= set(made)
    assert not made["commit"].endswith("-dirty")
    assert "/" not in "".join(str(value) for value in made.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_published_record_starts_from_weights_whose_record_is_published(folder: Path, tmp_path: Path) -> None:
    description = json.loads((folder / "result.json").read_bytes())["description"]
    made = json.loads((folder / "provenance.json").read_bytes())
    start, store = description.get("of") or description.get("start"), Store(tmp_path)
    assert start is None or made.get("start", store.digest(start)) == store.digest(start)  # older ones do not say it


@pytest.mark.parametrize("folder", UNFINISHED, ids=lambda path: path.name)
def test_an_unfinished_run_that_was_handed_on_can_go_on(folder: Path, known: dict[str, str], tmp_path: Path) -> None:
    (key,) = (key for key in known if key.startswith(folder.name))
    state = Store(tmp_path).load_state(key)
    assert state is not None and state.epoch > 0
    assert [path.name for path in folder.iterdir()] == ["state.safetensors"]
