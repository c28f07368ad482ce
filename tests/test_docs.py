"""What the pages for users name is there: files and headings behind links, recipe keys, commands and options.

Recipes and commands in blocks of code are valid as a whole; nothing runs. tests/run/test_docs.py runs Python blocks.
"""

import ast
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import keras_transfer
from keras_transfer.cli import main
from keras_transfer.config.catalog import bundled_recipes
from keras_transfer.config.recipe_file import apply_overrides, parse_recipe, read_recipe
from keras_transfer.config.schema import SCHEMAS
from keras_transfer.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
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


def mistakes(values: dict[str, Any], overrides: Sequence[str] = ()) -> str:
    """Why a recipe, or a part of one, is not valid for any task; nothing if it is valid for one."""
    found = []
    for task in [values["task"]] if "task" in values else [*SCHEMAS]:
        whole = {**values, "task": task, "data": {"source": "x", **(values.get("data") or {})}}
        try:
            parse_recipe(apply_overrides(whole, overrides), known={}, where=task)
        except ConfigError as error:
            found.append(str(error))
        else:
            return ""
    return min(found, key=len)


@pytest.mark.parametrize("page", GUIDES, ids=names)
def test_recipes_are_valid(page):
    wrong = []
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if isinstance(values, dict) and set(values) <= set(SECTIONS):
            wrong += [problem] if (problem := mistakes(values)) else []
    assert wrong == []


def explain_command(words: list[str], own_recipes: Iterable[str], *, keys: bool = True) -> str:
    """What is wrong with a command: its name, its options and their values, the name of a recipe, its overrides."""
    context = click.Context(main, **main.context_settings)
    command = main.get_command(context, words[0])
    if command is None:
        return f"no command {words[0]}"
    try:
        given = command.make_context(words[0], list(words[1:]), parent=context).params
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:  # --help
        return ""
    if "recipe" not in given or not keys:
        return ""
    name, overrides, bundled = given["recipe"], given.get("overrides", ()), bundled_recipes()
    if name in bundled:
        return mistakes(read_recipe(bundled[name].file), overrides)
    if name.endswith(".yaml") or name in own_recipes:
        return mistakes({}, overrides)
    return f"no recipe {name}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_are_valid(page):
    wrong = []
    own_recipes = re.findall(r"recipes/([\w/]+)\.yaml", page.read_text(encoding="utf-8"))
    for block in blocks(page, "sh"):
        for line in re.findall(r".*keras-transfer (?!--help).*", block.replace("\\\n", " ")):
            lexer = shlex.shlex(line.partition("keras-transfer ")[2], punctuation_chars=True)
            lexer.whitespace_split = True  # it leaves quotes, which hide a ;
            own = itertools.takewhile(lambda word: set(word) - set("|&;<>"), lexer)
            command = [part for word in own for part in shlex.split(word)]
            problem = explain_command(command, own_recipes, keys=page in GUIDES)
            wrong += [f"{line}: {problem}"] if problem else []
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_extras_targets_and_scripts_exist(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    text = page.read_text(encoding="utf-8")
    code = "".join(blocks(page, "sh"))
    lost = [name for names in re.findall(r"(?:keras-transfer|\.)\[([a-z,-]+)\]", text) for name in names.split(",")]
    lost = [f"extra {name}" for name in lost if name not in extras]
    lost += [f"make {name}" for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M) if name not in targets]
    scripts = re.findall(r"python ((?:benchmarks|examples)/\S+\.py)", code)
    assert lost + [script for script in scripts if not (ROOT / script).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_can_be_parsed_and_imports_public_names(page):
    lost = []
    for block in blocks(page, r"python[ \w]*"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "keras_transfer":
                lost += [alias.name for alias in node.names if alias.name not in keras_transfer.__all__]
    assert lost == []
    for block in blocks(page, "toml"):
        tomllib.loads(block)


def test_every_page_is_in_the_navigation_of_the_site():
    listed = re.findall(r"^ +- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    docs = ROOT / "docs"
    assert sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md")) == sorted(
        page for page in listed if not page.startswith(("repository/", "reference/"))
    )


def test_the_readme_has_what_a_newcomer_and_ci_need():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 115
    assert "pip install 'keras-transfer[samples]'" in blocks(ROOT / "README.md", "sh")[0]
    called = re.findall(r"^make \w+", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)
    assert called
    assert [command for command in [*called, "make quickstart"] if command not in text] == []


def test_the_checks_find_what_they_have_to_check():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "keras-transfer run image/quickstart" in "".join(blocks(ROOT / "README.md", "sh"))
    assert {"data", "policy", "training"} <= set(SECTIONS)
    assert {"source", "image_size", "sequence_length"} <= SECTIONS["data"]
    assert "get-started" in anchors(ROOT / "README.md")
    assert "](docs/figures.md" in readme
    lp_ft = {"task": "image_classification", "policy": {"name": "lp_ft", "rank": 8}}
    assert "does not use this key" in mistakes(lp_ft)
    assert mistakes({"training": {"epochs": 0}})
    assert explain_command(["run", "image/nothing"], ()) == "no recipe image/nothing"
    assert "fold" in explain_command(["run", "mine.yaml", "data.fold_count=5"], ())
    assert "--engine" in explain_command(["predict", "RUN", "--engine", "spark"], ())
