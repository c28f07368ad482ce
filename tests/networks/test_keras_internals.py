"""Keras' private names: they are in one file, and they are what was read there.

When a test here fails after Keras was upgraded, compare the named function with the version of ``READ_IN``, then adapt
``networks/keras_internals.py`` and ``distribution/keras_patches.py``, and update the digests below.
"""

import ast
import functools
import hashlib
import importlib
import inspect
import textwrap
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

import keras_transfer
from keras_transfer.networks import keras_internals as internals

PACKAGE = Path(keras_transfer.__file__).parent
KERAS = Path(keras.__file__).parent / "src"
ON_TENSORFLOW = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="patched under tf.distribute only")
OURS = "networks.keras_internals"
NOT_KERAS = {"_exit", "_noinline", "_func_map"}  # os._exit; an attribute of a TensorFlow function; a table of tf2onnx


def private(name):
    return name.startswith("_") and not name.startswith("__") and len(name) > 1


def is_own_object(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def defined_names(tree):
    """Names of a file's own attributes: what it defines, annotates, or assigns on ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.AnnAssign | ast.Assign | ast.AugAssign | ast.For):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (inner for outer in targets for inner in ast.walk(outer)):
                if isinstance(target, ast.Name):
                    yield target.id
                if isinstance(target, ast.Attribute) and is_own_object(target.value):
                    yield target.attr


def keras_bases(node, classes):
    """The classes of Keras and KerasHub that a class is derived from, directly or through others of ours."""
    for base in node.bases:
        names = ast.unparse(base).split(".")
        if names[0] in ("keras", "keras_hub"):
            root = importlib.import_module(names[0])
            yield from functools.reduce(getattr, names[1:], root).__mro__
        elif names[-1] in classes and classes[names[-1]] is not node:  # of another module's class of the same name
            yield from keras_bases(classes[names[-1]], classes)


@functools.cache
def own_private_names(kind):
    """Private attributes that a class of Keras defines."""
    if not kind.__module__.startswith("keras"):
        return set()
    return {name for name in defined_names(ast.parse(textwrap.dedent(inspect.getsource(kind)))) if private(name)}


@functools.cache
def names_in_keras():
    """Private attributes of the classes of Keras that ours are handed."""
    folders = ("layers/layer.py", "ops/*.py", "models/*.py", "trainers/*.py", "optimizers/*.py", "backend/common/*.py")
    folders += ("backend/tensorflow/trainer.py", "backend/tensorflow/layer.py", "backend/tensorflow/optimizer.py")
    files = [file for folder in folders for file in KERAS.glob(folder) if not file.name.endswith("_test.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    # Some are set by name, as _keras_mask.
    by_name = {named_attribute(node) for tree in trees for node in ast.walk(tree)} - {None}
    return {name for name in by_name.union(*map(defined_names, trees)) if private(name)}


def named_attribute(node):
    """The attribute that a call of ``getattr`` and the like names."""
    match node:
        case ast.Call(
            func=ast.Name("getattr" | "setattr" | "hasattr" | "delattr"), args=[_, ast.Constant(value=name), *_]
        ):
            return name
    return None


METHODS = {
    name
    for kind in (keras.Model, keras.layers.Layer, keras.optimizers.Optimizer, keras.Variable)
    for name, value in inspect.getmembers(kind)
    if callable(value)
}


def offences(trees):
    """Where modules use what is private in Keras, or replace what is public."""
    own = {name for tree in trees.values() for name in defined_names(tree)}
    classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for module, tree in trees.items():
        pieces = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) not in pieces and offends(node, own):
                yield module, node.lineno, ast.unparse(node)[:80]
    for name, node in classes.items():
        names = set().union(*map(own_private_names, keras_bases(node, classes)))
        used = {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)} | set(defined_names(node))
        yield from ((name, inner, "is an attribute of Keras too") for inner in used & names)


def offends(node, own):
    match node:
        case ast.Attribute(value=receiver, attr=name):
            assigned = isinstance(node.ctx, ast.Store)
            method_replaced = assigned and name in METHODS - {"trainable"} and not is_own_object(receiver)
            foreign = private(name) and name not in own and name not in NOT_KERAS
            return foreign or (assigned and name == "__class__") or method_replaced or is_keras_src(node)
        case ast.Subscript(value=ast.Attribute(value=ast.Name("sys"), attr="modules")):
            return True
        case ast.Import(names=aliases):
            return any(alias.name.startswith("keras.src") for alias in aliases)
        case ast.ImportFrom(module=source, names=aliases):
            return any(f"{source}.{alias.name}".startswith("keras.src") for alias in aliases)
        case ast.Constant(value=str(text)):
            return private(text) and text in names_in_keras() - own
        case ast.Call(func=ast.Name("setattr" | "delattr" | "replaced"), args=[changed, name, *_]):
            patches = ast.unparse(changed).split(".")[0] in ("keras", "keras_hub")
            known = isinstance(name, ast.Constant) and name.value in METHODS
            return patches or (known and not is_own_object(changed)) or is_private_of_others(node, own)
        case ast.Call():
            return is_private_of_others(node, own)
    return False


def is_keras_src(node):
    return node.attr == "src" and isinstance(node.value, ast.Name) and node.value.id == "keras"


def is_private_of_others(call, own):
    name = named_attribute(call)
    return name is not None and private(name) and name not in own


def test_no_other_module_uses_private_keras_apis():
    trees = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }
    found = {offence for offence in offences(trees) if offence[0] != OURS}
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "def f(layer):\n    return layer._flatten_layers()",
        "def f(tensor):\n    return getattr(tensor, '_keras_mask', None)",
        "def f(layer, kind):\n    layer.__class__ = kind",
        "import keras.src.backend",
        "from keras import src",
        "import keras\nx = keras.src.layers",
        "import sys\nx = sys.modules['keras.src.trainers']",
        "import keras\nsetattr(keras.Model, 'fit', None)",
        "def f(model):\n    setattr(model, 'fit', None)",
        "def f(layer):\n    layer.compute_output_spec = lambda x: x",
        "import keras\nclass A(keras.Model):\n    def f(self):\n        return self._layers",
        "import keras\nclass A(keras.Model):\n    def _symbolic_build(self):\n        return None",
        "import keras\nclass A(keras.Model):\n    x = 1\nclass B(A):\n    def f(self):\n        self._tracker = 1",
    ],
)
def test_each_kind_of_private_use_is_detected(code):
    assert len(set(offences({"module": ast.parse(code)}))) > 0


def test_public_and_own_names_are_allowed():
    code = """
import keras
class Layer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self._own_setting = 1
    def call(self, x):
        return x * self._own_setting + self._helper()
    def _helper(self):
        return 0
def f(model):
    model.trainable = False
    model.predict_function = None
    return model.layers
"""
    assert list(offences({"module": ast.parse(code)})) == []


def test_the_installed_keras_is_the_reviewed_version():
    assert keras.__version__.startswith(f"{internals.READ_IN}."), "see docs/quirks.md, 'Trying a newer Keras'"


def digest(function):
    """Of a function's code, whatever its comments and its layout."""
    code = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
    return hashlib.sha256(code.encode()).hexdigest()[:12]


# What Keras' own functions do was read in 3.15.1; the replacements rely on it.
DIGESTS = {
    "train_step": "5e61593806fc",
    "predict": "e665e098b8a0",
    "predict_on_batch": "0180c8f11740",
    "make_predict_function": "946969e4ff3f",
    "build_before_fit": "e6b142865da8",
    "reduce_logs": "bae0e2e43f9d",
    "scale_loss": "260eb60395a7",
    "clip_gradients": "5656249e7889",
    "sum_gradients": "6b36233398da",
    "variable_to_array": "ea78fbc92006",
}


@ON_TENSORFLOW
@pytest.mark.parametrize("place", DIGESTS)
def test_the_patched_functions_have_not_changed(place):
    owner, name = internals.owner_and_name(place)
    function = getattr(owner, name)
    assert digest(function) == DIGESTS[place], f"{function.__module__}.{name} has changed in Keras {keras.__version__}"


@ON_TENSORFLOW
@pytest.mark.parametrize("place", DIGESTS)
def test_a_patch_is_undone_on_exit(place):
    owner, name = internals.owner_and_name(place)
    before = getattr(owner, name)
    with pytest.raises(ZeroDivisionError), internals.patched(place, lambda original: lambda *_: ("patched", original)):
        assert getattr(owner, name)(None) == ("patched", before)
        raise ZeroDivisionError
    assert getattr(owner, name) is before


def test_parts_are_all_layers_inside():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
    found = [layer.name for layer in internals.parts(inner)]
    assert found[0] == inner.name
    assert [name for name in found if name in ("a", "b")] == ["a", "b"]
    attention = keras.layers.MultiHeadAttention(2, 2)
    attention.build((None, 3, 4), (None, 3, 4))
    names = {layer.name for layer in internals.parts(attention)}
    assert {"query", "key", "value", "attention_output"} <= names


def test_an_implicit_mask_is_detected():
    ids = keras.Input((5,), dtype="int32")
    assert internals.carries_mask(keras.layers.Embedding(7, 2, mask_zero=True)(ids))
    assert not internals.carries_mask(keras.layers.Embedding(7, 2)(ids))


def test_an_optimizers_variables_averages_and_indices():
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    variables = [keras.Variable(np.full(2, value, "float32")) for value in (1.0, 2.0, 3.0)]
    optimizer.build(variables)
    assert [a is b for a, b in zip(internals.variables_of(optimizer), variables, strict=True)] == [True] * 3
    assert [tuple(average.shape) for average in internals.averages_of(optimizer)] == [(2,)] * 3
    assert [internals.index_of(optimizer, variable) for variable in variables] == [0, 1, 2]


def test_a_layers_class_and_what_it_announces_and_saves():
    class Halving(keras.layers.Dense):
        def call(self, inputs):
            return super().call(inputs) / 2

        def save_own_variables(self, store):
            raise NotImplementedError

    layer = keras.layers.Dense(1, kernel_initializer="ones")
    x = np.ones((1, 4), "float32")
    assert float(layer(x)[0, 0]) == 4.0
    internals.change_class(layer, Halving)
    assert float(layer(x)[0, 0]) == 2.0
    store = {}
    internals.save_own_variables_plainly(layer)
    layer.save_own_variables(store)
    assert sorted(store) == ["0", "1"]
    internals.announce_output(layer, keras.KerasTensor((None, 9)))
    assert layer(keras.Input((4,))).shape == (None, 9)


def test_the_parts_of_a_decoder_block_match_the_block():
    block = keras_hub.layers.TransformerDecoder(16, 2, activation="gelu", normalize_first=True)
    x, states = (np.random.default_rng(seed).normal(size=(2, 3, 8)).astype("float32") for seed in (0, 1))
    whole = block(x, states, use_causal_mask=False)
    parts = internals.decoder_parts(block)
    y = parts.self_norm(x)
    x = x + parts.self_attention(y, y)
    y = parts.cross_norm(x)
    x = x + parts.cross_attention(y, states)
    intermediate, output = parts.feedforward
    x = x + output(intermediate(parts.feedforward_norm(x)))
    np.testing.assert_allclose(whole, x, atol=1e-5)


def test_a_variables_layout():
    assert internals.assigned_layout(keras.Variable(np.zeros(2, "float32"))) is None


@ON_TENSORFLOW
def test_a_distributed_dataset_has_the_cardinality_that_was_set():
    import tensorflow as tf

    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    dataset = tf.data.Dataset.from_tensors(tf.zeros([3, 2])).repeat(4)
    distributed = strategy.distribute_datasets_from_function(lambda _: dataset)
    internals.set_cardinality(distributed, 2)
    assert int(distributed.cardinality) == 2
