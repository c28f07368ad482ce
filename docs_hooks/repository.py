"""Pages that are written for a forge become pages of the site.

On a forge, ``[suite.py](../benchmarks/suite.py)`` works as it is. The site has no forge behind it, so this hook adds a
page for each file and folder that a page links to, and changes the links when the page is built. It also leaves out
what blocks of code say to tests, as in ``python notest``: MkDocs would not take them for code.
"""

import ast
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
FOLDER = "repository"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".html": "html", ".js": "javascript"}

_FENCED = re.compile(r"(^ *(`{3,}|~{3,}).*?^ *\2 *$)", re.M | re.S)
_TO_TESTS = re.compile(r"^(```\w+) \w+$", re.M)
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside of docs/ that a page links to, and for those that these link to."""
    waiting = [
        *PAGES,
        *(
            target
            for file in files.documentation_pages()
            if file.generated_by is None
            for target in _targets(file.content_string, f"docs/{file.src_uri}")
        ),
    ]
    while waiting:
        path = waiting.pop()
        uri = _page_of(path)
        if uri.startswith(f"{FOLDER}/") and files.get_file_from_path(uri) is None and (ROOT / path).exists():
            text = _show(path)
            files.append(File.generated(config, uri, content=text))
            waiting += _targets(text, path) if path.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Change links between files of the repository to links between pages."""
    markdown = _TO_TESTS.sub(r"\1", markdown)
    uri = page.file.src_uri
    if uri.startswith("reference/"):
        return markdown
    path = uri.removeprefix(f"{FOLDER}/") if uri.startswith(f"{FOLDER}/") else f"docs/{uri}"
    if uri.startswith(f"{FOLDER}/") and not (ROOT / path).is_file():
        return markdown  # the source of a file

    def change(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        return f"]({posixpath.relpath(_page_of(target), posixpath.dirname(uri) or '.')}{link[2] or ''})"

    return _outside_code(markdown, lambda text: _LINK.sub(change, text))


def _targets(markdown: str, path: str) -> Iterator[str]:
    """The files of the repository that the Markdown of one of them links to."""
    found: list[str] = []
    _outside_code(markdown, lambda text: found.extend(link[1] for link in _LINK.finditer(text)) or text)
    return (posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) for target in found)


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    parts = _FENCED.split(markdown)  # text, fenced, its fence, text, ...
    return "".join(change(part) if index % 3 == 0 else part for index, part in enumerate(parts) if index % 3 != 2)


def _page_of(path: str) -> str:
    """The page of the site for a file of the repository."""
    if (ROOT / path).is_dir():
        path = f"{path}/index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"


def _show(path: str) -> str:
    file = ROOT / path
    if path.endswith(".md"):
        return file.read_text(encoding="utf-8")
    hidden = "---\nsearch:\n  exclude: true\n---\n\n"
    if file.is_dir():
        rows = [
            f"| `{entry.name}{'/' if entry.is_dir() else ''}` | {_summary(entry)} |"
            for entry in sorted(file.iterdir())
            if not entry.name.startswith((".", "__"))
        ]
        return f"{hidden}# {path}/\n\n| file | what it is |\n|---|---|\n" + "\n".join(rows) + "\n"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        return f"{_show_notebook(text)}\n\n---\n\n`{path}`\n"
    return f"{hidden}# {file.name}\n\n`{path}`\n\n`````{LANGUAGES.get(file.suffix, 'text')}\n{text}\n`````\n"


def _show_notebook(text: str) -> str:
    """The cells of a notebook, without outputs."""
    cells = (("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"])
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for source, kind in cells)


def _summary(entry: Path) -> str:
    """The first line of the docstring of a module or package."""
    module = entry / "__init__.py" if entry.is_dir() else entry
    if module.suffix != ".py" or not module.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("|", r"\|")
