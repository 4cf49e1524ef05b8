"""Reports as one HTML page that needs no other file and no network: style, tables, pictures, and a plot of errors."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from frlcore.errors import plain

# blue and vermillion of Okabe and Ito, which colour-blind readers tell apart; the marks differ in shape, too
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; font-size: .8rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .settings td { text-align: left; white-space: normal; }
tr.total td { font-weight: 600; } small { color: #666; } pre { background: #f4f4f4; padding: 1rem; overflow-x: auto; }
img { max-width: 100%; } figure { display: inline-block; margin: .3rem; text-align: center; font-size: .8rem; }
figure img { width: 5rem; height: 5rem; object-fit: contain; image-rendering: pixelated; }
svg { max-width: 100%; height: auto; font: 13px system-ui, sans-serif; }
.standard { fill: #0072B2; stroke: #0072B2; } .robust { fill: #D55E00; stroke: #D55E00; } .axis { stroke: #ccc; }
"""
ROW, LEFT, WIDTH = 22, 190, 560  # pixels: of a class in the plot, of its name, of the scale from 0 to 100


def text(value: object) -> str:
    """What somebody called something, or said of it, as HTML shows it: every character itself or its escape."""
    return html.escape(plain(value))


def page(title: str, *parts: str) -> str:
    """A whole page; `parts` are HTML, the title is text."""
    name, body = text(title), "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>
<body><h1>{name}</h1>
{body}
</body></html>
"""


def grid(heads: Sequence[Any], rows: Sequence[Sequence[Any]], bold: int = 0) -> str:
    """An HTML table, its last `bold` rows in bold."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in heads)
    body = ""
    for i, row in enumerate(rows):
        mark = ' class="total"' if i >= len(rows) - bold else ""
        body += f"<tr{mark}>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def heat(counts: np.ndarray, names: Sequence[str]) -> str:
    """A table of counts (C, C), each row coloured by its shares of the row; row: the class, column: taken for."""
    head = "".join(f"<th>{text(name)}</th>" for name in ("taken for", *names))
    body = ""
    for name, row in zip(names, counts, strict=True):
        shares = row / max(row.sum(), 1)
        cells = "".join(f'<td style="background: rgb(0 114 178 / {share:.2f})">{int(count)}</td>'
                        for count, share in zip(row, 0.7 * shares, strict=True))  # fmt: skip
        body += f"<tr><td>{text(name)}</td>{cells}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def picture(content: bytes, alt: str, kind: str = "svg+xml") -> str:
    """A picture inside the page."""
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<img alt="{text(alt)}" src="{address}">'


def png(pixels: np.ndarray) -> bytes:
    """uint8 pixels (C, H, W), C being 1 or 3, as a PNG file."""
    from PIL import Image

    image, content = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)), io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def dots(names: Sequence[str], errors: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Errors of every class in percent with their intervals: a circle for "standard", a diamond for "robust".

    `errors` maps these kinds to (value, low, high), each (C,) fractions; classes stand in the order given.
    """
    height = ROW * (len(names) + 2)
    lines = [
        f'<svg viewBox="0 0 {LEFT + WIDTH + 30} {height}" width="{LEFT + WIDTH + 30}" role="img">'
        "<title>Standard (circle) and robust error (diamond) of every class with 95% intervals</title>"
    ]
    for percent in range(0, 101, 20):
        x = LEFT + WIDTH * percent / 100
        lines.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{ROW // 2}" y2="{height - 1.3 * ROW:.0f}"/>')
        lines.append(f'<text x="{x:.1f}" y="{height - 0.5 * ROW:.0f}" text-anchor="middle">{percent}%</text>')
    for i, name in enumerate(names):
        y = ROW * (i + 1)
        short = name if len(name) <= 24 else f"{name[:23]}…"
        lines.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{text(short)}</text>')
        for kind, shift in (("standard", -4), ("robust", 4)):
            at, low, high = (LEFT + WIDTH * part[i] for part in errors[kind])
            middle = y + shift
            lines.append(f'<line class="{kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>')
            lines.append(
                f'<circle class="{kind}" cx="{at:.1f}" cy="{middle}" r="4"/>' if kind == "standard" else
                f'<path class="{kind}" d="M{at:.1f} {middle - 5}l5 5l-5 5l-5 -5z"/>'
            )  # fmt: skip
    return "\n".join([*lines, "</svg>"])
