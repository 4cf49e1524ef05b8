"""Pages that weigh what they show: without icons drawn twice, mathematics where there is none, and maps for debuggers.

The theme brings its icons as a font, which the pages use, and once more as a script of 1.5 MB; Jupyter Book loads
MathJax, 2.3 MB, on every page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ICONS = re.compile(r'<(?:script|link)\b[^>]*scripts/fontawesome\.js[^>]*>(?:</script>)?')
MATHJAX = re.compile(r"<script\b[^>]*mathjax/[\w-]+\.js[^>]*></script>|<script>window\.MathJax = .*?</script>")
LIST = 'role="list" class="citation-list"'  # docutils calls it a list, and its entries no items of one
MATH = re.compile(r'class="[^"]*\bmath\b')


def lighten(html: Path) -> None:
    """Take from the built pages in `html` what they can do without, and a role that misleads screen readers.

    A second time changes nothing.
    """
    for path in pages(html):
        text = path.read_text(encoding="utf-8")
        light = ICONS.sub("", text).replace(LIST, LIST.split()[1])
        if not MATH.search(text):
            light = MATHJAX.sub("", light)
        if light != text:
            path.write_text(light, encoding="utf-8")
    for path in html.rglob("*.map"):
        path.unlink()


def pages(html: Path) -> Iterator[Path]:
    """The pages below `html`, without those that belong to the theme."""
    return (path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts)
