"""What a fuzzed call may end in, and values that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from frlcore.errors import UserError, plain

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.one_of(  # as people write them, and as they do not
    st.integers().map(str), st.floats().map(str), st.text(alphabet="0123456789./-+eE_ infa٣²½", max_size=12),
    st.tuples(st.integers(-300, 300), st.integers(-300, 300)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.text(max_size=9),
)  # fmt: skip


def outcome(act: Callable[[], Any]) -> Any:
    """What `act` returns; None where it raises a UserError of one line. Any other exception is a failure."""
    try:
        return act()
    except UserError as error:
        said = str(error)
        assert said and plain(said) == said
        return None


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` cut off, with bits turned, with pieces put in, taken out or doubled, or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["turn", "cut", "put", "take", "double", "number"])):
            case "turn" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at:]
            case "put":
                content[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "take":
                del content[at : at + draw(st.integers(1, 40))]
            case "double":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
            case _:
                content[at : at + 8] = draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
    return bytes(content)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one place of it replaced, taken out or renamed."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        others = {key: inner for key, inner in value.items() if key != name}
        renamed = {draw(st.text(max_size=5)): value[name]} if draw(st.booleans()) else {}
        return others | (renamed if draw(st.integers(0, 2)) == 0 else {name: draw(changed(value[name]))})
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(changed(value[at])), *value[at + 1 :]]
    return draw(JSON)
