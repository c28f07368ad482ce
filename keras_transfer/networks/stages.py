"""Split any functional Keras model into stages: runs of layers between two cut points of its graph.

A *cut point* is a point in topological order where one tensor is alive: everything after it can be computed from it.
Inputs of the model, and what is computed from them without variables (such as a padding mask), are free: they are
available at every point. If a network is never that narrow (NASNet passes two tensors from cell to cell), two may be
alive. Cut points are derived from the graph alone, so they exist in every architecture; names of layers are used to
name the stages and to keep the parts of one numbered block together.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_internals import carries_mask, places_unchanged

FEWEST_STAGES = 5
MOST_STAGES = 25


@dataclass(frozen=True)
class Stage:
    """A run of layers between two cut points.

    Attributes:
        index: Position in the network; 0 is nearest to the input.
        name: The common part of its layers' names; unique in the network.
        layers: Its layers in the order in which they run, with and without weights. A nested model is one layer.
        outputs: The symbolic tensors alive at its end, free ones left out: one, at times two. At the last stage: the
            outputs of the network.
        inputs: The network's inputs that its layers read, directly or through free tensors.
    """

    index: int
    name: str
    layers: tuple[keras.layers.Layer, ...]
    outputs: tuple[keras.KerasTensor, ...]
    inputs: tuple[keras.KerasTensor, ...] = ()

    @property
    def weights(self) -> list[keras.Variable]:
        """Its weights, each once, trainable or not."""
        return list({id(weight): weight for layer in self.layers for weight in layer.weights}.values())

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(weight.shape) for weight in self.weights)


def find_stages(network: keras.Model, *, branches: int = 1) -> tuple[Stage, ...]:
    """Split a network into 5 to 25 stages, or fewer if its graph has fewer; the size of its inputs does not matter.

    Args:
        network: A functional or a built sequential model, with any number of inputs and outputs.
        branches: How many branches, each from an input of its own, read from one another: two for an encoder and a
            decoder. As many tensors may be alive at a cut point, and no stage runs from one branch into the next.

    Returns:
        The stages from input to output. Each weight of a layer in the graph is in exactly one.

    Raises:
        BackboneError: The model is not functional, so it has no graph.

    Example:
        >>> layers = [keras.layers.Dense(4, name=f"block{number}_dense") for number in range(3)]
        >>> [stage.name for stage in find_stages(keras.Sequential([keras.Input((2,)), *layers]))]
        ['block0_dense', 'block1_dense', 'block2_dense']
    """
    calls, outputs = _read_graph(_as_functional(network))
    blocks = _find_blocks(calls, outputs, most_alive=branches, splits_branches=branches > 1)
    if branches == 1 and len(blocks) < FEWEST_STAGES and sum(bool(call.weights) for call in calls) > MOST_STAGES:
        blocks = max(blocks, _find_blocks(calls, outputs, most_alive=2), key=len)
    names = _name_blocks(blocks)
    sources = _sources_of_free_tensors(calls)
    begins = _find_branches(blocks, sources) if branches > 1 else set()
    groups = [[index] for index in range(len(blocks))]
    while len(groups) > MOST_STAGES:
        _join_cheapest(groups, blocks, begins)
    stages = []
    for index, group in enumerate(groups):
        inside = [call for block in group for call in blocks[block].calls]
        # An output of the network may follow from its inputs alone.
        read = [x for call in inside for x in call.inputs] + (outputs if group is groups[-1] else [])
        layers = dict.fromkeys(c.operation for c in inside if isinstance(c.operation, keras.layers.Layer))
        own_inputs = {id(source): source for x in read for source in sources.get(id(x), ())}
        name = names[group[0]] if len(group) == 1 else f"{names[group[0]]}..{names[group[-1]]}"
        stages.append(Stage(index, name, tuple(layers), blocks[group[-1]].outputs, tuple(own_inputs.values())))
    return tuple(stages)


def submodel(network: keras.Model, stages: Sequence[Stage], start: int, stop: int) -> keras.Model:
    """Build a model that runs ``stages[start:stop]`` of a network and shares its layers.

    Args:
        network: The network.
        stages: All its stages, from :func:`find_stages`.
        start: Index of the first stage to run.
        stop: Index of the first stage not to run; ``len(stages)`` for the end of the network.

    Returns:
        A model from the tensors alive before ``start`` to those alive at ``stop``: a tensor if there is one,
        else a list. From start 0 it has the network's inputs, in the same structure. From a later start, the extra
        inputs of the network that this part reads come last in the list and keep their names. Up to ``len(stages)``
        it has the network's outputs, in the same structure.

    Raises:
        BackboneError: The range is empty or reaches past the stages.
    """
    if not 0 <= start < stop <= len(stages):
        raise BackboneError(
            f"A part of {network.name} runs from one of its {len(stages)} stages to the start of a later one. "
            f"Received: start={start}, stop={stop}. Use 0 <= start < stop <= {len(stages)}."
        )
    network = _as_functional(network)
    outputs = list(stages[stop - 1].outputs)
    if start == 0:
        inputs = network.input
    else:
        alive = list(stages[start - 1].outputs)
        # Keras loses a tensor that is an input and an output at once; a layer makes a new one of it.
        passed = {id(x) for x in alive}
        outputs = [keras.layers.Identity()(x) if id(x) in passed else x for x in outputs]
        read = {id(x) for stage in stages[start:stop] for x in stage.inputs}
        inputs = _bare(alive + [x for x in network.inputs if id(x) in read])
    structured = keras.tree.pack_sequence_as(network.output, outputs) if stop == len(stages) else _bare(outputs)
    with places_unchanged(network.inputs):
        return keras.Model(inputs, structured, name=f"{network.name}_stages_{start}_to_{stop - 1}")


def _bare(tensors: list[keras.KerasTensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


# The graph: every use of a layer, in an order in which few tensors are alive.


@dataclass(frozen=True, eq=False)
class _Call:
    """One use of a layer, or of an operation that is not a layer."""

    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def weights(self) -> list[keras.Variable]:
        return self.operation.weights if isinstance(self.operation, keras.layers.Layer) else []

    @property
    def has_variables(self) -> bool:
        """Weights or the state of a random layer, which would not draw the same again."""
        return bool(isinstance(self.operation, keras.layers.Layer) and self.operation.variables)


def _as_functional(network: keras.Model) -> keras.Model:
    if isinstance(network, keras.Sequential) and network.built:
        return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    if not isinstance(network, keras.Function):
        raise BackboneError(
            f"Stages are read from the graph of a functional model. Received: {network.name!r}, a "
            f"{type(network).__name__} without one. Build the network with keras.Model(inputs, outputs)."
        )
    return network


def _flat(structure: Any) -> tuple[keras.KerasTensor, ...]:
    return tuple(x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor))


def _read_graph(network: keras.Model) -> tuple[list[_Call], list[keras.KerasTensor]]:
    """Return all calls in order, and the outputs of the network as outputs of these calls."""
    calls = [
        _Call(operation, () if _is_input(operation) else _flat(operation.input), _flat(operation.output))
        for operation in network.operations
    ]
    outputs = list(network.outputs)
    # An operation only shows its first call. If it has others, some tensor has no known origin.
    known = {id(x) for call in calls for x in call.outputs}
    if not all(id(x) in known for x in [*outputs, *(x for call in calls for x in call.inputs)]):
        calls, outputs = _trace_graph(network)
    return _in_order(calls, outputs), outputs


def _is_input(operation: keras.Operation) -> bool:
    return isinstance(operation, keras.layers.InputLayer)


def _trace_graph(network: keras.Model) -> tuple[list[_Call], list[keras.KerasTensor]]:
    """Call every layer once more on the same inputs: the public way to see the later calls of a shared layer."""
    calls = [_Call(operation, (), _flat(operation.output)) for operation in network.operations if _is_input(operation)]

    def record(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        result = operation(*args, **kwargs)
        calls.append(_Call(operation, _flat((args, kwargs)), _flat(result)))
        return result

    traced = keras.models.clone_model(
        network, input_tensors=network.input, clone_function=lambda layer: layer, call_function=record
    )
    return calls, list(traced.outputs)


def _in_order(calls: list[_Call], outputs: list[keras.KerasTensor]) -> list[_Call]:
    """Sort so that a block is finished before a shortcut around it starts: deepest branch first."""
    producer = {id(x): call for call in calls for x in call.outputs}
    depth: dict[_Call, int] = {}
    for call in calls:
        depth[call] = 1 + max((depth[producer[id(x)]] for x in call.inputs), default=0)
    ordered: dict[_Call, None] = {}
    ends = sorted({producer[id(x)]: None for x in outputs}, key=depth.__getitem__, reverse=True)
    waiting = [(call, False) for call in ends]
    while waiting:
        call, inputs_done = waiting.pop()
        if call in ordered:
            continue
        if inputs_done:
            ordered[call] = None
            continue
        waiting.append((call, True))
        # A stack: what is pushed last runs first.
        before = sorted({producer[id(x)]: None for x in call.inputs}, key=depth.__getitem__)
        waiting += [(call, False) for call in before]
    unused_inputs = [call for call in calls if call not in ordered]
    return unused_inputs + list(ordered)


def _sources_of_free_tensors(calls: list[_Call]) -> dict[int, tuple[keras.KerasTensor, ...]]:
    """Map the id of each tensor that is computed from inputs without variables to these inputs."""
    sources: dict[int, tuple[keras.KerasTensor, ...]] = {}
    for call in calls:
        if _is_input(call.operation):
            sources |= {id(x): (x,) for x in call.outputs}
        elif not call.has_variables and all(id(x) in sources for x in call.inputs):
            found = {id(source): source for x in call.inputs for source in sources[id(x)]}
            sources |= {id(x): tuple(found.values()) for x in call.outputs}
    return sources


# Blocks: the runs of calls between cut points, with pieces that belong together joined.


@dataclass(frozen=True)
class _Block:
    calls: tuple[_Call, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def weighted(self) -> list[keras.layers.Layer]:
        return list(dict.fromkeys(call.operation for call in self.calls if call.weights))

    def holds_only(self, *kinds: str) -> bool:
        """Whether each layer with weights is of a class whose name has one of these words in it."""
        return all(_is_a(layer, *kinds) for layer in self.weighted)


def _is_a(layer: keras.layers.Layer, *kinds: str) -> bool:
    return any(kind in type(layer).__name__ for kind in kinds)


def _find_blocks(
    calls: list[_Call], outputs: list[keras.KerasTensor], *, most_alive: int, splits_branches: bool = False
) -> list[_Block]:
    blocks = _cut(calls, outputs, most_alive, splits_branches=splits_branches)
    names = _own_names(blocks)
    position = {call: index for index, call in enumerate(calls)}
    last_use = {id(weight): position[call] for call in calls for weight in call.weights}
    rules: list[Callable[[_Block, _Block], bool]] = [
        # A weight that is used again is in one block with everything that runs in between.
        lambda a, b: any(last_use[id(w)] > position[a.calls[-1]] for layer in a.weighted for w in layer.weights),
        lambda a, b: not a.weighted or not b.weighted,
        lambda a, b: _is_same_block(_named(a, names), _named(b, names)),
        lambda a, b: a.holds_only("Embedding") and _is_a(b.weighted[0], "Embedding"),
        lambda a, b: a.holds_only("Normalization") or b.holds_only("Normalization"),
        # A convolution in space joins the one over channels after it.
        lambda a, b: a.holds_only("DepthwiseConv", "Normalization"),
    ]
    for belong_together in rules:
        joined = blocks[:1]
        for block in blocks[1:]:
            before = joined[-1]
            if belong_together(before, block):
                joined[-1] = _Block(before.calls + block.calls, block.outputs)
            else:
                joined.append(block)
        blocks = joined
    return blocks


def _cut(
    calls: list[_Call], outputs: list[keras.KerasTensor], most_alive: int, *, splits_branches: bool
) -> list[_Block]:
    free = _sources_of_free_tensors(calls)
    last_use = {id(x): position for position, call in enumerate(calls) for x in call.inputs}
    last_use |= {id(x): len(calls) for x in outputs}
    last_call = {call.operation: position for position, call in enumerate(calls)}
    producer = {id(x): call.operation for call in calls for x in call.outputs}
    alive: dict[int, keras.KerasTensor] = {}
    blocks = []
    begin = 0
    for position, call in enumerate(calls):
        alive |= {id(x): x for x in call.outputs if id(x) not in free}
        alive = {key: x for key, x in alive.items() if last_use.get(key, -1) > position}
        # With two tensors alive nearly every place inside a block with a shortcut would do; blocks end in a join.
        joins = len(call.inputs) > 1
        # The start of another branch: what the network computes first from a separate input.
        begins = splits_branches and bool(call.weights) and all(id(x) in free for x in call.inputs)
        narrow = len(alive) == 1 or (1 < len(alive) <= most_alive and (joins or begins))
        # Keras takes a later call of a layer for an input where an earlier one gives an input of the submodel.
        called_again = any(last_call[producer[key]] > position for key in alive)
        # An implicit mask is an attribute of the tensor, which a cut would lose.
        masked = any(carries_mask(x) for x in alive.values())
        if narrow and not called_again and not masked and position < len(calls) - 1:
            blocks.append(_Block(tuple(calls[begin : position + 1]), tuple(alive.values())))
            begin = position + 1
    return [*blocks, _Block(tuple(calls[begin:]), tuple(outputs))]


def _find_branches(blocks: list[_Block], sources: Mapping[int, Any]) -> set[int]:
    """Return which blocks begin with what the network computes from an input alone."""
    return {
        index
        for index, block in enumerate(blocks)
        if any(call.weights and all(id(x) in sources for x in call.inputs) for call in block.calls)
    }


def _join_cheapest(groups: list[list[int]], blocks: list[_Block], begins: set[int]) -> None:
    """Join the two neighbours of one branch and scale that have the fewest layers with weights together."""

    def cost(index: int) -> tuple[bool, bool, int]:
        first, second = ([blocks[block] for block in group] for group in groups[index : index + 2])
        rescales = any(_changes_scale(call.operation) for block in second for call in block.calls)
        return groups[index + 1][0] in begins, rescales, sum(len(block.weighted) for block in [*first, *second])

    index = min(range(len(groups) - 1), key=cost)
    groups[index : index + 2] = [groups[index] + groups[index + 1]]


def _changes_scale(operation: keras.Operation) -> bool:
    """Whether a layer strides. Shapes would not do: they are unknown in a network for any size of input."""
    if isinstance(operation, keras.Model):
        return any(_changes_scale(layer) for layer in operation.layers)
    strides = keras.tree.flatten(getattr(operation, "strides", 1))
    return any(isinstance(stride, int) and stride > 1 for stride in strides)


# Names.


def _own_names(blocks: list[_Block]) -> dict[keras.Operation, str]:
    """Map each operation with a name given by a person to that name, without the prefix of all layers with weights."""
    # Keras numbers the others over the whole process: conv2d_17 may be conv2d_3 the next time.
    names = {
        call.operation: call.operation.name
        for block in blocks
        for call in block.calls
        if not re.fullmatch(rf"{_class_name(call.operation)}(_\d+)?", call.operation.name)
    }
    weighted = [names[layer].split("_") for block in blocks for layer in block.weighted if layer in names]
    shared = len(_shared_start(weighted))
    if len(weighted) < 2 or any(len(tokens) <= shared for tokens in weighted):
        return names
    start = "_".join([*weighted[0][:shared], ""])
    return {operation: name.removeprefix(start) for operation, name in names.items()}


def _class_name(operation: keras.Operation) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(operation).__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _shared_start(names: list[list[str]]) -> list[str]:
    shared: list[str] = []
    for tokens in zip(*names, strict=False):
        if len(set(tokens)) > 1:
            break
        shared.append(tokens[0])
    return shared


def _named(block: _Block, names: dict[keras.Operation, str]) -> list[str]:
    return [names[layer] for layer in block.weighted if layer in names]


def _is_same_block(before: list[str], after: list[str]) -> bool:
    """Whether ``block2a_expand`` precedes ``block2a_project``: the same block number, without a trailing counter."""
    first, second = (names[0].split("_") if names else [] for names in (before[::-1], after))
    shared = len(_shared_start([first, second]))
    if not re.search(r"\d", "".join(first[:shared])):
        return False
    words = [re.sub(r"\d+[a-z]?(?![a-z])", "", "".join(name[shared : shared + 1])) for name in (first, second)]
    return words[0] != words[1]


def _name_blocks(blocks: list[_Block]) -> list[str]:
    own_names = _own_names(blocks)
    choices = [_name_choices(block, own_names) for block in blocks]
    counts = Counter(first for first, _ in choices)
    names: list[str] = []
    for first, second in choices:
        name = first if counts[first] == 1 else second
        # Blocks whose layers have no names of their own: relu, relu_2, relu_3 in the order of this network.
        spare = (f"{name}_{number}" for number in itertools.count(2))
        names.append(name if name not in names else next(other for other in spare if other not in names))
    return names


def _name_choices(block: _Block, own_names: dict[keras.Operation, str]) -> tuple[str, str]:
    """Return what the layers' names share, and a name that is likelier to be the only one."""
    everything = _named(block, own_names)
    main = [own_names[x] for x in block.weighted if x in own_names and not _is_a(x, "Normalization")]
    shared = ["_".join(_shared_start([name.split("_") for name in names])) for names in (everything, main)]
    operations = [call.operation for call in block.calls if not _is_input(call.operation)]
    operations = [own_names[operation] for operation in operations if operation in own_names]
    fallback = operations[-1] if operations else _class_name((block.weighted or [block.calls[-1].operation])[0])
    return shared[0] or shared[1] or fallback, main[-1] if main else fallback
