"""The public Python names, from their docstrings: one page per package that they come from. Nothing is imported."""

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import cast

import griffe
from docstrings import ROLE
from generated import add_pages, cell
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
TITLES = {
    "recipe": "Recipes",
    "run": "Runs and exported models",
    "errors": "Errors",
    "config": "Recipe sections",
    "heads": "Heads, predictions, reports",
    "data": "Sources, splits, examples",
    "backbones": "Backbones",
    "training": "Policies",
    "tasks": "Tasks",
    "export": "Exporters",
    "trackers": "Trackers",
    "explain": "Explanations",
    "audit": "Audits",
    "model": "Models",
    "networks": "Layers",
    "job": "Jobs",
    "registry": "Registries",
    "testing": "Contract checks for plugins",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add an index, and the pages that mkdocstrings fills."""
    groups = _groups()
    pages = {"reference/python/index.md": _index(groups)}
    for group in sorted(groups, key=[*TITLES, *sorted(groups)].index):
        lines = [f"# {TITLES.get(group, group.capitalize())}", *(f"::: {name}" for name in groups[group])]
        pages[f"reference/python/{group}.md"] = "\n\n".join(lines) + "\n"
    add_pages(pages, files, config)
    return files


@cache
def _package() -> griffe.Module:
    loader = griffe.GriffeLoader(search_paths=[ROOT], docstring_parser=griffe.Parser.google)
    return cast(griffe.Module, loader.load("keras_transfer"))


def _groups() -> dict[str, list[str]]:
    """The public names, by the part of the package that they come from."""
    groups: dict[str, list[str]] = defaultdict(list)
    aliases = {name: member.target_path for name, member in _package().members.items() if member.is_alias}
    for name in sorted(aliases, key=str.lower):
        package, _, path = aliases[name].partition(".")
        if package == "keras_transfer":
            groups[path.split(".")[0]].append(f"keras_transfer.{name}")
    groups["testing"] = [f"keras_transfer.testing.{name}" for name in _package()["testing"].exports]
    return dict(groups)


def _index(groups: dict[str, list[str]]) -> str:
    lines = [
        "# Python",
        "These names are public; `import keras_transfer` imports neither TensorFlow nor Keras until one is used.",
    ]
    for group in sorted(groups, key=[*TITLES, *sorted(groups)].index):
        rows = [
            f"| [`{name.rpartition('.')[2]}`]({group}.md#{name}) | {cell(ROLE.sub('', _summary(name)))} |"
            for name in groups[group]
        ]
        lines += [
            f"## {TITLES.get(group, group.capitalize())}",
            "\n".join(["| name | what it is |", "|---|---|", *rows]),
        ]
    return "\n\n".join(lines) + "\n"


def _summary(name: str) -> str:
    found = _package()[name.removeprefix("keras_transfer.")]
    docstring = found.final_target.docstring if found.is_alias else found.docstring
    return docstring.value.partition("\n\n")[0] if docstring else ""
