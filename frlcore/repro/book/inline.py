"""Figures as part of their page: SVGs that take the theme's colours and letters, and say what each mark stands for.

An SVG behind an <img> is a picture: white in the dark, mute, and too small on a phone where it has three panels. Here
it becomes part of the page; a panel is an <svg> of its own, and a mark with a text can be hovered and focused.
"""

from __future__ import annotations

import html as markup
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from frlcore.repro.book.light import pages
from frlcore.repro.style import NAMES, grid_of, texts_of

IMAGE = re.compile(r'<img\b[^>]*?\bsrc="([^"]*_images/[^"]+\.svg)"[^>]*>')
ALT = re.compile(r'\balt="([^"]*)"')
LONG = re.compile(r"-?\d+\.\d{3,}")
FONT = re.compile(r"font: ((?:italic |oblique |bold |\d00 )*)([\d.]+px)[^;]*")
FAMILY = re.compile(r"font-family: [^;]*;? ?")
LINK = re.compile(r"url\(#([^)]+)\)")
COLORS = {color.lower(): f"var({name}, {color.lower()})" for color, name in NAMES.items()} | {"#000000": "currentColor"}
LEAST = 0.92  # a panel gets no smaller than this, but where the screen is: then the next one stands below
REACH = 9  # radius in points within which a mark answers to a pointer


def inline_figures(html: Path) -> None:
    """Put every SVG of the built pages in `html` into its page, and remove the files. A second time changes nothing."""
    used = set()
    for path in pages(html):
        count = 0

        def put(found: re.Match[str], path: Path = path) -> str:
            nonlocal count
            file, alt = (path.parent / unquote(found[1])).resolve(), ALT.search(found[0])
            if not file.exists():
                return found[0]
            used.add(file)
            count += 1
            return figure(file.read_text(encoding="utf-8"), markup.unescape(alt[1]) if alt else "", f"f{count}-")

        text = path.read_text(encoding="utf-8")
        if (new := IMAGE.sub(put, text)) != text:
            path.write_text(new, encoding="utf-8")
    for file in used:
        file.unlink()


def figure(svg: str, alt: str, prefix: str) -> str:
    """One of matplotlib's SVGs as HTML: a group called `alt`, its ids begin with `prefix`."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.attrib |= {name: _brief(value) for name, value in element.attrib.items() if name != "href"}
        element.tail = None
        element.text = element.text if element.tag in ("text", "tspan") else None
    whole = next(child for child in root if child.tag == "g")
    whole.remove(next(iter(whole)))  # the white sheet beneath
    columns, rows = grid_of(whole.get("id", ""))
    _mark(whole)
    _name(root, prefix)
    size = [float(part) / n for part, n in zip(root.attrib["viewBox"].split()[2:], (columns, rows), strict=True)]
    group = Element("div", {"class": "frl-figure", "role": "group", "aria-label": alt})
    for index in range(columns * rows):
        row, column = divmod(index, columns)
        box = f"{column * size[0]:.1f} {row * size[1]:.1f} {size[0]:.1f} {size[1]:.1f}"
        width = f"flex-basis: {100 / columns - 1:.0f}%; min-width: min(100%, {LEAST * size[0]:.0f}px); "
        width += f"max-width: {1.4 * size[0]:.0f}px"
        look = {"class": "frl-panel", "viewBox": box, "fill": "currentColor", "style": width}
        panel = SubElement(group, "svg", look)
        panel.extend(_of_panel(root, whole, index, columns * rows))
    return ElementTree.tostring(group, encoding="unicode")


def _of_panel(root: Element, whole: Element, index: int, count: int) -> list[Element]:
    """What a panel holds: every `count`-th of the axes; the first one also all that belongs to none."""
    axes = [child for child in whole if "axes" in child.get("class", "")]
    others = [child for child in whole if child not in axes]
    shared = [child for child in root if child.tag == "defs" and len(child)]
    return [*(shared + others if index == 0 else []), *axes[index::count]]


def _brief(value: str) -> str:
    """An attribute with two decimals, colours of the theme, and its own size of letters but not its own letters."""
    value = LONG.sub(lambda number: f"{float(number[0]):.2f}", " ".join(value.split()))
    value = FONT.sub(lambda font: f"font-size: {font[2]}" + "; font-style: italic" * ("i" in font[1]), value)
    value = FAMILY.sub("", value)
    return re.sub(r"#[0-9a-f]{6}\b", lambda color: COLORS.get(color[0], color[0]), value)


def _mark(whole: Element) -> None:
    """Give its text to each mark that has one; arrow keys go from mark to mark, so only the first is a stop of Tab."""
    stop = 0
    for group in list(whole.iter("g")):
        texts = texts_of(group.get("id", ""))
        parents = {use: parent for parent in group.iter() for use in parent if use.tag == "use"} if texts else {}
        for (use, parent), text in zip(parents.items(), texts, strict=False):
            mark = Element("g", {"class": "frl-mark", "role": "img", "aria-label": text, "tabindex": str(stop)})
            near = {"cx": use.get("x", "0"), "cy": use.get("y", "0"), "r": str(REACH), "fill": "transparent"}
            parent[list(parent).index(use)] = mark
            mark.append(use)
            SubElement(mark, "circle", near)
            stop = -1


def _name(root: Element, prefix: str) -> None:
    """Keep the ids that something refers to, with the prefix: an id stands once on a page. Drop what is no drawing."""
    refers = {element.attrib["href"][1:] for element in root.iter() if "href" in element.attrib}
    refers |= {name for element in root.iter() for value in element.attrib.values() for name in LINK.findall(value)}
    for element in list(root.iter()):
        name = element.attrib.pop("id", "")
        if name in refers:
            element.set("id", prefix + name)
        if name.startswith("axes_"):
            element.set("class", "axes")
        if element.get("href", "").startswith("#"):  # not the bytes of a picture
            element.set("href", "#" + prefix + element.attrib["href"][1:])
        for key, value in element.attrib.items():
            element.set(key, LINK.sub(rf"url(#{prefix}\1)", value))
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in ("metadata", "style")]:
            parent.remove(child)
