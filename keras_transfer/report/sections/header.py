"""The top of the page: the result first."""

from markupsafe import Markup

from keras_transfer.report.content import Content
from keras_transfer.report.html import render


def make_header(content: Content) -> tuple[str, Markup]:
    """Return the title of the document, and what is above the sections."""
    config = content.run.config
    title = f"{config.task.replace('_', ' ')}: {content.source or config.data.source}"
    return title, render("header.html", title=title, notes=content.notes)
