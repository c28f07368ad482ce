"""HTML from templates: everything is escaped, control characters are visible, and a page has no external resources."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from keras_transfer.console.text import one_line, printable

LONGEST_NAME = 100
"""Characters of a name from the data that are shown."""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        anchor: Its id, for links: lower-case words joined by hyphens, unique on the page.
        title: Its heading.
        body: The content below the heading, as :func:`render` returns it. Headings in it start with h3.
    """

    anchor: str
    title: str
    body: Markup


def render(template: str, **values: Any) -> Markup:
    """Fill in a template of ``report/templates``.

    Everything that is not ``Markup`` is escaped, and control characters are made visible.

    Args:
        **values: The values that the template uses, by name; all of them are required.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def render_page(title: str, header: Markup, sections: Sequence[Section]) -> str:
    """Return a whole page: one file without external resources and scripts, with the style of all pages.

    Args:
        header: The content above the sections, with the h1.
    """
    style = _ENVIRONMENT.get_template("style.css").render().strip()
    # The policy allows this style alone: no script runs, and nothing is loaded, whatever a class is called.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return str(
        render("page.html", title=title, header=header, sections=sections, style=Markup(style), policy=Markup(policy))
    )


def bidi_name(text: object, most: int = LONGEST_NAME) -> Markup:
    """Return a name from the data in a separate element, so that its text direction does not affect its neighbours.

    Args:
        most: Maximum number of characters; a longer name is truncated, and its beginning is in a tooltip.
    """
    shown = one_line(text)
    if len(shown) <= most:
        return Markup("<bdi>{}</bdi>").format(shown)
    return Markup('<bdi title="{}">{}</bdi>').format(cut(shown, 4 * LONGEST_NAME), cut(shown, most))


def cut(text: str, most: int) -> str:
    """Return a text of at most that many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def exact(value: Any, spec: str = ".3f") -> Markup:
    """Return a number rounded for people, with its exact value for programs.

    Args:
        value: The value in metrics.json; NaN and values that are not numbers become a dash.
        spec: Its format, as for ``format``.
    """
    if not isinstance(value, int | float) or value != value:
        return Markup('<span class="none">&ndash;</span>')
    whole = spec.endswith("d") and isinstance(value, float)  # a run folder may come from a stranger
    shown = format(value, ",.6g" if whole else spec).replace("%", "\u202f%").replace("-", "\u2212")
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else escape(printable(value))


_ENVIRONMENT = Environment(
    loader=PackageLoader("keras_transfer.report"),
    autoescape=True,
    finalize=_finalize,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters |= {"bdi": bidi_name, "exact": exact}
