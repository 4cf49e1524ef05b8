"""Parameters of notebooks: typed values as the notebook declares them, or one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome import JSON, NUMBERS, outcome

notebook = pytest.importorskip("frlcore.repro.book.notebook")
KNOWN = {name: notebook.Parameter(name, kind, "", "") for name, kind in {
    "edition": "str", "seeds": "int", "eps": "float", "own": "bool", "classes": "list[int]", "names": "list[str]",
    "any": "list",
}.items()}  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=20), NUMBERS, JSON.map(repr),
    st.sampled_from(["true", "False", "TRUE", "1,2", "[1, 2]", "(1,)", "1e999", "[" * 200, "-" * 5000 + "1"]),
    st.sampled_from(["0x", "9" * 5000, "1if", "'\\d'", "b'x'", "{1: 2}", "__import__('os')"]),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def declared() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebook, "declared", lambda path: KNOWN)
        yield


@pytest.fixture(scope="module")
def path() -> Any:
    return notebook.find("05")


@given(st.lists(st.tuples(st.sampled_from([*KNOWN, "other"]) | st.text(max_size=4), TEXTS), max_size=3))
def test_parameters_of_the_command_line(path: Any, pairs: list[tuple[str, str]]) -> None:
    found = outcome(lambda: notebook.parse_parameters(path, [word for pair in pairs for word in pair]))
    if found is not None:
        assert set(found) == {name for name, _ in pairs}
        for name, value in found.items():
            kind = KNOWN[name].type.partition("[")[0]
            assert type(value).__name__ == kind, (name, value)


@given(st.dictionaries(st.sampled_from([*KNOWN, "other"]), JSON, max_size=3))
def test_parameters_of_the_book(path: Any, values: dict[str, Any]) -> None:
    outcome(lambda: notebook.check(path, values))


@given(st.text(max_size=12) | st.sampled_from(["0", "05", "../README", "05_experiments.md.md", "A", ".ipynb"]))
def test_the_name_of_a_notebook(name: str) -> None:
    found = outcome(lambda: notebook.find(name))
    assert found is None or (found.is_file() and found.parent.name == "notebooks")
