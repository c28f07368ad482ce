"""What must hold for every page: read by the parser of the standard library, without a browser."""

import base64
import hashlib
import itertools
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "br", "hr", "img", "input", "link", "col"}
# SVG as HTML: written with a slash, or with an end tag.
_EMPTY_SVG = {"line", "rect", "circle", "polyline", "polygon", "path", "use"}


@dataclass
class Element:
    tag: str
    attributes: dict
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in their order, with the text in them and below them."""

    elements: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        if tag not in _VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        assert tag in _EMPTY_SVG | _VOID, tag
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1].tag == tag, f"</{tag}> closes {self.open[-1].tag if self.open else None}"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, *tags):
        return [element for element in self.elements if element.tag in tags]

    def values(self):
        """The exact numbers that the page shows."""
        return [float(element.attributes["value"]) for element in self.all("data")]


def parse(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def check(text):
    """Check structure, safety and accessibility of a page, and return it."""
    page = parse(text)
    _check_safety(page, text)
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids)), "ids are unique"
    links = [element.attributes["href"] for element in page.all("a")]
    assert [link for link in links if link[1:] not in ids] == [], "links lead somewhere"
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert page.elements[0].attributes == {"lang": "en"}
    assert any(element.attributes.get("name") == "viewport" for element in page.all("meta"))
    assert links[0] == "#main"
    assert [element for element in page.all("th") if "scope" not in element.attributes] == []
    figures = [element for element in page.all("svg") if "aria-hidden" not in element.attributes]
    assert [figure for figure in figures if not figure.attributes.get("aria-label")] == []
    assert [image for image in page.all("img") if "alt" not in image.attributes] == []
    names = [element for element in page.elements if "aria-labelledby" in element.attributes]
    assert [element for element in names if element.attributes["aria-labelledby"] not in ids] == []
    assert len(text.encode("utf-8")) < 5_000_000
    return page


def _check_safety(page, text):
    assert page.all("script", "iframe", "object", "embed", "form", "base", "link") == []
    for element in page.elements:
        names = [name for name in element.attributes if name.startswith("on") or name in ("style", "srcdoc")]
        assert names == [], f"{element.tag} has {names}"
        for name in ("href", "src"):
            target = element.attributes.get(name, "#")
            assert target.startswith(("#", "data:image/", "data:audio/")), target
    (policy,) = (m.attributes["content"] for m in page.all("meta") if "http-equiv" in m.attributes)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"style-src 'sha256-{digest}'" in policy
    assert "url(" not in style and "@import" not in style
    control = re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert control == [], "control characters are visible"
