"""The page of promises: every test that it names exists, and every fault and fuzzed surface that is tested is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "book" / "promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_promise_names_a_test_that_exists() -> None:
    assert len(NAMED) == TEXT.count("tests/") > 20
    for path, name in NAMED:
        assert name in names_in(path), f"{path} has no {name}"


def test_every_row_names_its_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "`tests/" not in line]
    assert all(re.fullmatch(r"\| (What .*) \| (The tests?) \|", row) for row in rows)


def test_no_fault_that_is_tested_is_left_out() -> None:
    path = "tests/repro/runs/test_faults.py"
    assert names_in(path) == {name for of, name in NAMED if of == path}


def test_the_page_is_in_the_book() -> None:
    assert "file: promises" in (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
