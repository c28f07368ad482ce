"""What the pages for users name is there: files and headings behind links, recipe keys, commands and options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from keras_transfer.cli import main
from keras_transfer.config import SCHEMAS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What a page about writing a plugin names need not be there: its examples register it.
GUIDES = [page for page in PAGES if page.parent.name != "extend"]


def names(page):
    return str(page.relative_to(ROOT))


def sections() -> dict[str, set[str]]:
    """The keys of each section of a recipe, over all tasks."""
    found: dict[str, set[str]] = {}
    for task in SCHEMAS:
        whole = SCHEMAS[task].model_json_schema()
        for section, value in whole["properties"].items():
            found.setdefault(section, set()).update(keys(value, whole["$defs"]))
    return found


def keys(value: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield from value.get("properties", {})
    if "$ref" in value:
        yield from keys(definitions[value["$ref"].rpartition("/")[2]], definitions)
    for choice in (choice for kind in ("anyOf", "oneOf", "allOf") for choice in value.get(kind, [])):
        yield from keys(choice, definitions)


SECTIONS = sections()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    without_code = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", without_code, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_to_files_and_headings(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", GUIDES, ids=names)
def test_recipe_keys_are_those_of_the_schema(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"[`\s]({'|'.join(SECTIONS)})\.((?!json|html)[a-z_0-9]+)[`=:]", text)
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if isinstance(values, dict) and set(values) <= set(SECTIONS):
            named += [(section, key) for section, inner in values.items() if isinstance(inner, dict) for key in inner]
    assert [f"{section}.{key}" for section, key in named if key not in SECTIONS[section]] == []


@pytest.mark.parametrize("page", GUIDES, ids=names)
def test_commands_and_their_options_are_there(page):
    wrong = []
    for line in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if "keras-transfer" in words:
            name, *arguments = words[words.index("keras-transfer") + 1 :]
            command = main.get_command(click.Context(main), name)
            known = {option for parameter in command.params for option in parameter.opts} if command else set()
            given = [word for word in arguments if word.startswith("--")]
            wrong += [line] if command is None or not set(given) <= known else []
    assert wrong == []


def test_the_checks_see_what_there_is_to_check():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "keras-transfer run image/quickstart" in "".join(blocks(ROOT / "README.md", "sh"))
    assert {"data", "policy", "training"} <= set(SECTIONS)
    assert {"source", "image_size", "sequence_length"} <= SECTIONS["data"]
    assert "the-recipe-file" in anchors(ROOT / "README.md")
    assert "](docs/figures.md" in readme
