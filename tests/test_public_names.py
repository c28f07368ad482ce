import ast
import functools
import inspect
import re
from pathlib import Path

import pytest

import keras_transfer

PACKAGE = Path(keras_transfer.__file__).parent


def test_the_public_names_are_these():
    assert keras_transfer.__all__ == [
        "AudioBackboneRow",
        "AudioClassification",
        "AudioClassificationConfig",
        "AudioClassificationTask",
        "AudioDataConfig",
        "AudioHeadConfig",
        "Audit",
        "BACKBONES",
        "Backbone",
        "BackboneError",
        "CheckpointError",
        "ClassificationHead",
        "ConfigError",
        "CrossValidation",
        "DataConfig",
        "DataError",
        "Description",
        "EXAMPLE_KINDS",
        "EXPORTERS",
        "EncodedAudio",
        "EncodedImage",
        "EpochEnded",
        "Evaluation",
        "ExampleKind",
        "Explanation",
        "ExportError",
        "ExportedModel",
        "Exporter",
        "Figure",
        "Finding",
        "FinishedRun",
        "Given",
        "HEADS",
        "Head",
        "HeadConfig",
        "ImageBackboneRow",
        "ImageClassification",
        "ImageClassificationConfig",
        "ImageClassificationTask",
        "ImageDataConfig",
        "ImageHeadConfig",
        "InputContract",
        "InputError",
        "InputKind",
        "Job",
        "LogMel",
        "MetricDrop",
        "MultilabelHead",
        "NumberHead",
        "POLICIES",
        "Parity",
        "Phase",
        "PhaseEnded",
        "PhaseStarted",
        "Piece",
        "Policy",
        "PolicyConfig",
        "PolicyError",
        "Prediction",
        "Reader",
        "Recipe",
        "RecipeConfig",
        "Registry",
        "Report",
        "ReportMade",
        "Run",
        "RunEnded",
        "RunInterrupted",
        "RunStarted",
        "SAMPLES",
        "SCHEMAS",
        "SOURCES",
        "Sample",
        "Scope",
        "Section",
        "Served",
        "Shown",
        "Source",
        "SourceKind",
        "SpeechDataConfig",
        "SpeechHeadConfig",
        "SpeechToText",
        "SpeechToTextConfig",
        "SpeechToTextTask",
        "Split",
        "Splits",
        "StepEnded",
        "TASKS",
        "TRACKERS",
        "TableSource",
        "TargetHead",
        "TargetTask",
        "Task",
        "TextBackboneRow",
        "TextClassification",
        "TextClassificationConfig",
        "TextClassificationTask",
        "TextDataConfig",
        "TextHeadConfig",
        "TextParts",
        "TextPretraining",
        "TextTask",
        "Tracker",
        "TrainedModel",
        "TrainingError",
        "TransferError",
        "TransferModel",
        "TransferWarning",
        "build_model",
        "cross_validate",
        "open_model",
        "predict_examples",
    ]


@pytest.mark.parametrize("name", keras_transfer.__all__)
def test_a_public_name_exists_and_is_documented(name):
    value = getattr(keras_transfer, name)
    assert name in dir(keras_transfer)
    if inspect.isclass(value):
        assert value.__name__ == name
        assert value.__module__.startswith("keras_transfer.")
        assert value.__doc__
    elif callable(value):
        assert value.__doc__
    else:  # a registry
        assert len(value) > 0


def _public_callables():
    for name in keras_transfer.__all__:
        value = getattr(keras_transfer, name)
        if inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            methods = {
                key: one for key, one in vars(value).items() if not key.startswith("_") and inspect.isfunction(one)
            }
            yield from ((f"{name}.{key}", one) for key, one in methods.items() if not key.startswith("_"))


def test_public_docstrings_explain_all_arguments_or_none():
    missing = []
    for name, function in _public_callables():
        doc = inspect.cleandoc(function.__doc__ or "")
        arguments = doc.partition("\nArgs:\n")[2].partition("\n\n")[0]
        names = inspect.signature(function).parameters.keys() - {"self", "cls"}
        missing += [f"{name}: {one}" for one in sorted(names) if arguments and not re.search(rf"\b{one}: ", arguments)]
    assert missing == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No keras_transfer attribute ImageClasification"):
        keras_transfer.ImageClasification  # noqa: B018


def test_every_error_is_a_transfer_error_with_an_exit_code():
    errors = [getattr(keras_transfer, name) for name in keras_transfer.__all__ if name.endswith("Error")]
    assert len(errors) == 9
    assert all(issubclass(error, keras_transfer.TransferError) for error in errors)
    assert {error.__name__: error.exit_code for error in errors if error.exit_code != 2} == {"TrainingError": 1}


def undocumented():
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        name = str(file.relative_to(PACKAGE))
        # An empty __init__.py has nothing to explain.
        if tree.body and not ast.get_docstring(tree):
            yield name
        yield from (f"{name}: {inner}" for inner in _undocumented_in(tree))


@functools.cache
def _classes():
    """Each class of the package by its name, with those of other modules that have the same name."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


@functools.cache
def _methods_of_protocols():
    return {
        method.name
        for nodes in _classes().values()
        for node in nodes
        if any(ast.unparse(base).startswith("Protocol") for base in node.bases)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    }


# Keras documents what it calls.
HOOKS = re.compile(
    r"build|call|result|on_\w+|set_(model|params)|compute_output_(shape|spec)|(get|from)_config|(update|reset)_state"
)


def _inherits_docstring(owner, method, seen=frozenset()):
    """Whether a base class or a protocol of the package, or Keras, documents the method."""
    keras = any(ast.unparse(base).startswith("keras.") for base in owner.bases)
    if method in _methods_of_protocols() or (keras and HOOKS.fullmatch(method)):
        return True
    names = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases} - seen
    return any(
        any(getattr(node, "name", None) == method and ast.get_docstring(node) for node in base.body)
        or _inherits_docstring(base, method, seen | names)
        for name in names
        for base in _classes().get(name, ())
    )


def _undocumented_in(node, prefix=""):
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for child in node.body:
        if not isinstance(child, kinds) or child.name.startswith("_"):
            continue
        inherited = isinstance(node, ast.ClassDef) and _inherits_docstring(node, child.name)
        if not ast.get_docstring(child) and not inherited:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented_in(child, f"{prefix}{child.name}.")


def test_every_public_module_class_and_function_has_a_docstring():
    assert list(undocumented()) == []
