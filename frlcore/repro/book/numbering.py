"""How figures and tables are called: as in the paper ("Table 2 · digits"), and "Table R1" where it has none such.

`names` makes the list from the notebooks; the rest is a Sphinx extension that writes the names into captions, where the
search finds them too, and into `{numref}` links, in place of Sphinx's own count. The directive `frl-names` lists them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.parsers.rst import Directive  # type: ignore[import-untyped]
from sphinx import addnodes

FILE = "_names.json"  # beside the pages that Sphinx reads
KINDS = {"fig": "Figure", "tbl": "Table"}
PARTS = {"standard": "standard error", "robust": "robust error", "averages": "averages", "paper": "as printed",
         "selected": "weights chosen on validation",
         "selected-averages": "averages, weights chosen on validation"}  # fmt: skip
OF_PAPER = re.compile(rf"(?:fig|tbl)-([1-8])(?:-({'|'.join(PARTS)}))?")


def names(labels: Iterable[tuple[str, str]], titles: Mapping[str, str]) -> dict[str, str]:
    """The name of every figure and table by its label in the book.

    `labels` are pairs of a notebook's label and its part of the book, "" for a page that all parts share; `titles` name
    the parts. A label `tbl-2` or `tbl-2-selected` is the paper's. The others are counted in their order, once for all
    parts, so that Table R7 is the same table in each.
    """
    found, counted = {}, dict[str, dict[str, int]]()
    for label, part in labels:
        kind = KINDS.get(label.partition("-")[0])
        if not kind:
            continue
        paper = OF_PAPER.fullmatch(label)
        if paper:
            text = f"{kind} {paper[1]}" + (f", {PARTS[paper[2]]}" if paper[2] else "")
        else:
            own = counted.setdefault(kind, {})
            text = f"{kind} R{own.setdefault(label, len(own) + 1)}"
        printed = paper is not None and paper[2] == "paper"
        found[f"{label}-{part}" if part else label] = text if printed or not part else f"{text} · {titles[part]}"
    return found


class Listed(nodes.General, nodes.Element):  # type: ignore[misc]
    """Where the list of all figures and tables goes."""


class ListNames(Directive):  # type: ignore[misc]
    """The directive `frl-names`."""

    def run(self) -> list[nodes.Node]:
        """Leave a place that `_fill` fills when all pages are read."""
        return [Listed()]


def setup(app: Any) -> Mapping[str, Any]:
    """Make this module a Sphinx extension."""
    app.add_config_value("frl_names", {}, "env")
    app.add_node(Listed)
    app.add_directive("frl-names", ListNames)
    for event, reaction in (("config-inited", _read), ("doctree-read", _name), ("env-updated", _again),
                            ("doctree-resolved", _fill)):  # fmt: skip
        app.connect(event, reaction)
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def _read(app: Any, config: Any) -> None:
    """Find the names and the templates of this book, wherever it is staged."""
    path = Path(app.srcdir) / FILE
    config.templates_path = [*config.templates_path, str(Path(app.srcdir) / "_templates")]
    config.frl_names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _name(app: Any, doctree: nodes.document) -> None:
    """Put names into captions and links, say what the page is about, and keep what the list needs of it."""
    known, here = app.config.frl_names, []
    for node in doctree.findall(lambda one: isinstance(one, nodes.figure | nodes.table)):
        label = next((one for one in node["names"] if one in known), None)
        head = next(iter(node.findall(lambda one: isinstance(one, nodes.caption | nodes.title))), None)
        if label and head is not None:
            here.append((known[label], node["ids"][0], head.astext()))
            head[:0] = [nodes.strong("", known[label]), nodes.Text(". ")]
    for link in doctree.findall(addnodes.pending_xref):
        if link["reftype"] == "numref" and link["reftarget"] in known:
            link["reftype"], link["refexplicit"] = "ref", True
            link[:] = [nodes.inline("", known[link["reftarget"]])]
    words = next((one.astext() for one in doctree.findall(nodes.paragraph) if len(one.astext()) > 40), "")
    if words:
        doctree += nodes.meta("", name="description", content=" ".join(words.split())[:300])
    kept = app.env.metadata[app.env.docname]
    kept["frl_names"], kept["frl_list"] = here, any(doctree.findall(Listed))


def _again(app: Any, env: Any) -> list[str]:
    """Pages with the list are written again whenever any page is."""
    return [page for page in env.found_docs if env.metadata[page].get("frl_list")]


def _fill(app: Any, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(Listed)):
        items = nodes.bullet_list()
        root = app.config.root_doc
        for page in [root, *app.env.toctree_includes.get(root, [])]:
            for text, anchor, caption in app.env.metadata[page].get("frl_names", []):
                link = nodes.reference("", text, internal=True)
                link["refuri"] = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
                items += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(f". {caption}")))
        place.replace_self(items)
