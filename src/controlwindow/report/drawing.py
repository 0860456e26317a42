"""From a chart to an inert SVG that scales with the page and can stand beside others in it."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import vl_convert

from controlwindow.errors import ReportError
from controlwindow.report.wording import visible

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    {"svg", "g", "path", "rect", "line", "circle", "text", "tspan", "defs", "clipPath", "title", "desc"}
)
_LOCAL_REFERENCE = re.compile(r"url\(['\"]?#([^'\")]+)['\"]?\)")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def render(specification: dict[str, Any], identity: str, description: str) -> str:
    """Draw a Vega-Lite specification without a browser.

    Args:
        specification: The chart as Altair's `to_dict` gives it.
        identity: Prefix that keeps ids apart when several figures share a page.
        description: What the figure shows, for readers who cannot see it.

    Returns:
        One `<svg>` element, inert and well-formed.

    Raises:
        ReportError: The chart cannot be drawn.
    """
    try:
        svg = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    except (ValueError, RuntimeError) as error:
        raise ReportError(
            f"the figure {identity!r} cannot be drawn: {error}",
            "check that altair and vl-convert-python are the versions the package asks for",
        ) from error
    return inert(svg, identity, description)


def inert(svg: str, identity: str, description: str) -> str:
    """Keep an SVG's shapes and text and nothing that could act.

    Elements outside a short list, event attributes and every reference that leaves the figure are dropped; width and
    height give way to the viewBox; ids get a prefix; the figure becomes one image with a description.

    Raises:
        ReportError: The text is not well-formed.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ReportError(f"the figure {identity!r} is not well-formed SVG: {error}", "report this as a bug") from error
    description = visible(description)
    _clean(root, identity)
    width, height = root.attrib.pop("width", None), root.attrib.pop("height", None)
    if "viewBox" not in root.attrib and width and height:
        root.set("viewBox", f"0 0 {width} {height}")
    if width:
        # A figure wider than its column shrinks, one narrower keeps its size, so that text stays at reading size.
        # The page widens no figure beyond this width, whatever minimum it sets.
        root.set("style", f"--width:{float(width):.0f}px;max-width:var(--width);width:100%;height:auto")
    root.set("xmlns", _SVG)
    root.set("role", "img")
    root.set("aria-label", description)
    # A desc, not a title: browsers show a title as a tooltip over the whole figure.
    summary = ElementTree.Element("desc")
    summary.text = description
    root.insert(0, summary)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, identity: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    for name in list(element.attrib):
        value = element.attrib.pop(name)
        local = name.rpartition("}")[2]
        if local.lower().startswith(("on", "aria-")) or local in {"href", "src", "style", "class", "role", "version"}:
            continue
        if local == "id":
            value = f"{identity}-{value}"
        elif "url(" in value:
            reference = _LOCAL_REFERENCE.fullmatch(value.strip())
            if reference is None:
                continue
            value = f"url(#{identity}-{reference.group(1)})"
        element.set(local, value)
    for child in list(element):
        if isinstance(child.tag, str) and child.tag.rpartition("}")[2] in _ELEMENTS:
            _clean(child, identity)
        else:
            element.remove(child)
