"""The GitHub workflow: what it runs, what it may do, and that nobody can change the actions it uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
TEXT = (Path(__file__).parents[1] / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]


def test_actions_are_pinned_by_their_digest() -> None:
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert len(re.findall(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", TEXT, re.M)) == len(used)  # the release is told


def test_only_the_job_that_publishes_may_write_and_only_pages() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job} == {
        "publish": {"pages": "write", "id-token": "write"}
    }
    assert not [step for step in JOBS["publish"]["steps"] if "run" in step]


def test_the_two_commands_are_run_every_week() -> None:
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in JOBS.items()}
    assert commands == {"test": ["make test"], "book": ["make book"], "publish": []}
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", WORKFLOW[True]["schedule"][0]["cron"])  # YAML reads "on" as true
