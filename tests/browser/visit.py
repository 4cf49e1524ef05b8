"""What a browser saw of one page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Visit:
    """What the browser saw of one page."""

    page: Path
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)  # of axe, serious or critical, in the light and in the dark
    cards: list[dict[str, Any]] = field(default_factory=list)  # a phone's cells of tables: whole, and with their heads
    sideways: int = 0  # pixels that a phone's screen must be moved to the right

    def weight(self) -> int:
        """Bytes of all that was read to show the page."""
        return sum(Path(unquote(urlsplit(request).path)).stat().st_size for request in set(self.requests))
