"""What axe finds on a page; the contrast of text, its slowest rule, is asked of one element of each look."""

from __future__ import annotations

from typing import Any

import pytest

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="and the package axe-playwright-python")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]  # of the accessibility guidelines, that axe has rules for
CONTRAST = "color-contrast"
# Marks the first element of each look that has text of its own: its colour and font on the grounds of all it stands in.
MARK = """() => {
  const grounds = new Map([[null, ""]]), looks = new Set();
  for (const element of document.querySelectorAll("*")) {
    const style = getComputedStyle(element), around = grounds.get(element.parentElement);
    const ground = [around, style.backgroundColor, style.backgroundImage, style.opacity].join();
    grounds.set(element, ground);
    const own = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const look = [ground, style.color, style.fontSize, style.fontWeight].join();
    element.toggleAttribute("data-look", own && element.checkVisibility() && !looks.has(look) && !!looks.add(look));
  }
}"""


def findings(page: Any) -> list[str]:
    """Serious and critical findings of all rules but contrast."""
    return _run(page, None, {"runOnly": LEVELS, "rules": {CONTRAST: {"enabled": False}}})


def contrast(page: Any) -> list[str]:
    """Text that stands out too little from its ground, in the theme that the page is in."""
    page.evaluate(MARK)
    return _run(page, {"include": [["[data-look]"]]}, {"runOnly": [CONTRAST]})


def _run(page: Any, context: dict[str, Any] | None, options: dict[str, Any]) -> list[str]:
    options |= {"resultTypes": ["violations"], "preload": False}  # nothing more is fetched
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:160]}"
        for rule in axe.Axe().run(page, context=context, options=options).response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
