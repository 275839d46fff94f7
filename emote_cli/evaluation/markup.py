"""Pages and drawings as trees of elements: what is written is well-formed, and every name in it escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Content = Element | str | Iterable["Element | str"]

_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
"""Characters that file names may have, and pages may not."""


def tag(name: str, *content: Content, **attributes: object) -> Element:
    """An element with texts and other elements in it.

    Args:
        name: `p`, say.
        content: in its order.
        attributes: an underscore becomes a dash, one at the end goes (`class_`); None leaves the attribute out.
    """
    told = {
        key.rstrip("_").replace("_", "-"): str(value)
        for key, value in attributes.items()
        if value is not None
    }
    element = Element(name, {key: _clean(value) for key, value in told.items()})
    for part in content:
        for piece in [part] if isinstance(part, str | Element) else part:
            _add(element, piece)
    return element


def _add(element: Element, piece: Element | str) -> None:
    if isinstance(piece, Element):
        element.append(piece)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + _clean(piece)
    else:
        element.text = (element.text or "") + _clean(piece)


def _clean(text: str) -> str:
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def page(title: str, style: str, *content: Content) -> str:
    """A whole HTML page that needs nothing else and runs nothing."""
    head = tag(
        "head",
        Element("meta", {"charset": "utf-8"}),
        Element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        Element("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("title", title),
        tag("style", style),
    )
    root = tag("html", head, tag("body", *content), lang="en")
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
