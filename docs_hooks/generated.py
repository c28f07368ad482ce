"""What the hooks that generate the reference have in common."""

from collections.abc import Mapping
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def add_pages(pages: Mapping[str, str], files: Files, config: MkDocsConfig) -> None:
    """Add generated pages to the site.

    Args:
        pages: Their Markdown, by path under docs/.
        files: The site's files.
        config: The site's configuration; an entry ``folder/*`` of its ``nav`` becomes the pages of that folder.
    """
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    config.nav = _list_pages(config.nav, list(pages))


def _list_pages(entry: Any, pages: list[str]) -> Any:
    if isinstance(entry, dict):
        return {title: _list_pages(inner, pages) for title, inner in entry.items()}
    if isinstance(entry, list):
        return [page for inner in entry for page in _expand(inner, pages)]
    return entry


def _expand(entry: Any, pages: list[str]) -> list[Any]:
    if isinstance(entry, str) and entry.endswith("/*"):
        found = [page for page in pages if page.startswith(entry[:-1])]
        return found or [entry]
    return [_list_pages(entry, pages)]


def cell(text: str) -> str:
    """Return a text that stays in its cell of a Markdown table."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
