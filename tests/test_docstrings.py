"""The examples in docstrings are true."""

import doctest
import sys

import pytest

import keras_transfer
import keras_transfer.testing
from keras_transfer.networks.stages import find_stages
from keras_transfer.registry import Registry

PUBLIC = {
    **{name: getattr(keras_transfer, name) for name in keras_transfer.__all__},
    **{name: getattr(keras_transfer.testing, name) for name in keras_transfer.testing.__all__},
    "Registry": Registry,
    "find_stages": find_stages,
}
EXAMPLES = {
    name: found.examples
    for name, value in PUBLIC.items()
    if callable(value)
    for found in doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    if found.examples
}
NEEDED = {"ImageClassification", "TextClassification", "TextPretraining", "Recipe", "RecipeConfig", "Run", "Backbone"}
NEEDED |= {"cross_validate", "Phase", "Policy", "Registry", "Tracker"}


def test_the_main_classes_have_an_example():
    assert sorted(NEEDED - EXAMPLES.keys()) == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "check_backbone" else []) for name in EXAMPLES]
)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value, printed = PUBLIC[name], []
    names = dict(vars(sys.modules[value.__module__]))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(value, name, globs=names):
        runner.run(test, out=printed.append)
    assert runner.failures == 0, "".join(printed)
