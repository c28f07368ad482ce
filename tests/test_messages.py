"""Error messages say what to do next. The docs site lists them by the same code that finds them here."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from keras_transfer import errors

HOOKS = Path(__file__).parents[1] / "docs_hooks"
# Messages whose problem already shows what is expected.
EVIDENT = re.compile(r"[Ee]xpected |\bmust be |\baccepts |^A source is |^augmentation is ")
# The rest of the message, which other code writes.
REST = re.compile(r"‹[^›]*›\.?$")


def load_hook(name):
    spec = importlib.util.spec_from_file_location(f"docs_hooks.{name}", HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def messages():
    return load_hook("messages").collect_messages()


def test_each_message_explains_what_to_do_next(messages):
    wanting = [
        f"{one.file}:{one.line}: {one.text}"
        for one in messages
        if not one.parts[1] and not EVIDENT.search(one.text) and not REST.search(one.text)
    ]
    assert wanting == []


def test_messages_of_all_kinds_are_found_whole(messages):
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds - {one.error for one in messages} == {"TransferError", "TransferWarning"}
    assert Counter(one.text.count("‹") == one.text.count("›") for one in messages)[False] == 0
    parts = [one.parts for one in messages]
    assert (
        "There is no recipe ‹recipe›: no bundled recipe has this name, and there is no such file.",
        "Did you mean ‹…›?",
    ) in parts
    assert ("--out: ‹file› exists.", "Name a new file.") in parts
    # Of a function that returns the message, with a constant of another module, of a mistake in a recipe.
    assert (
        "Backbone ‹name› cannot classify images: it is a ‹class name› of KerasHub.",
        "Use one of the families ‹…›.",
    ) in parts
    assert any(remedy.startswith("Try another format, or report this") for _, remedy in parts)
    assert ("data.classes: a classifier needs at least two. Received: ‹classes›.", "List another one.") in parts
