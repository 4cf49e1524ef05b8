"""A room imports only rooms below it: the floors of the house, from the ground up, read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import frlcore

# A line may import from the lines above it. Rooms on one line know nothing of each other; a line of wings is opened
# below, where the rooms of each wing stand in the same order.
HOUSE = """
errors
page settings significance device
resampling
intervals
classwise
seam models data theory answers averaging
successors attacks certificates
policies frozen checkpoint
graphs
evaluate evidence strong smoothing acceleration
training
fitting saving
auditing
repro.places repro.style repro.show repro.surroundings repro.terminal repro.bar
repro.runs
repro.paper repro.own
repro.book
repro.cli
__main__
"""
WINGS = {
    "data": "splits pictures; sources folders; loading",
    "theory": "mixture; features",
    "auditing": "probe report kept quick; result order; run",
    "repro.runs": "task locks; files; store; pace checks needs export; worker; job; engines; cluster progress; conduct",
    "repro.paper": "editions methods printed; plan; trained records coverage device_plan; "
                   "cost remembered theirs theory_pages drawing again; tables; "
                   "claims figures stronger theory_figures outside inequality attack_pictures explorer; "
                   "statements ablation smoothed terminal conclusion audits; verdicts headline; "
                   "verdict_pages successors",
    "repro.own": "report findings images duration model unfinished; fit; audit; commands",
    "repro.book": "kernels; notebook offline light lab reference numbering; inline page pdf; pages",
}  # fmt: skip
FLOORS = {name: floor for floor, line in enumerate(HOUSE.split("\n")) for name in line.split()}
INSIDE = {
    wing: {room: floor for floor, line in enumerate(lines.split(";")) for room in line.split()}
    for wing, lines in WINGS.items()
}
ROOT = Path(frlcore.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(path: Path) -> Iterator[str]:
    """The rooms that a file imports, wherever in it; a face counts as its wing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            parts = name.removeprefix("frlcore.").split(".") if name.startswith("frlcore.") else []
            known = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            yield from [one for one in known if one in MODULES or one in WINGS][:1]


def wing(room: str) -> str:
    return room if room in WINGS else next((name for name in WINGS if room.startswith(f"{name}.")), room)


def allowed(room: str, other: str) -> bool:
    """Whether `room` may import `other`: from a floor below, in the house or in the wing of both."""
    mine, its = wing(room), wing(other)
    if mine != its:
        return FLOORS[its] < FLOORS[mine]
    inside = INSIDE[mine]
    return other != mine and inside[other.removeprefix(f"{mine}.")] < inside[room.removeprefix(f"{mine}.")]


@pytest.mark.parametrize("room", MODULES)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    assert [other for other in imported(MODULES[room]) if not allowed(room, other)] == []


def test_every_room_stands_on_one_floor() -> None:
    rooms = {f"{name}.{room}" for name in WINGS for room in INSIDE[name]} | (set(FLOORS) - set(WINGS))
    assert rooms == set(MODULES)
    assert sum(len(line.split()) for line in HOUSE.split("\n")) == len(FLOORS)


def test_an_arrow_that_points_up_is_found(tmp_path: Path) -> None:
    room = tmp_path / "room.py"
    room.write_text("import frlcore.repro.cli\n\ndef f():\n    from frlcore.repro.paper import plan, records as r\n")
    found = list(imported(room))
    assert found == ["repro.cli", "repro.paper.plan", "repro.paper.records"]
    assert not any(allowed("repro.paper.plan", other) for other in found)  # above, itself, above
    assert allowed("repro.paper.records", "repro.paper.plan") and not allowed("repro.own.fit", "repro.paper.plan")
