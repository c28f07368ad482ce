"""A finished model, split at the stages of its network: the parts before and after a boundary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import keras

from keras_transfer.model import POOLING, TOP
from keras_transfer.networks.stages import Stage, find_stages, submodel
from keras_transfer.networks.types import Operation, SymbolicTensor, Tensor, Tensors

_Explainer = TypeVar("_Explainer")


@dataclass(frozen=True)
class OpenedModel:
    """The path of one input through a predictor, from the reader's output to raw outputs.

    Predictions that are averaged over flips are explained with the view that is not flipped. Raw outputs are logits or
    standardized numbers: later layers, such as a softmax and its temperature, change how sure a prediction is, but not
    the evidence in an example.

    Attributes:
        prepare: From inputs to the network's inputs; None if they are equal.
    """

    taken: Any
    prepare: keras.Model | None
    network: keras.Model
    pooling: keras.Model
    top: keras.Model

    @cached_property
    def _explainers(self) -> dict[Callable[..., Any], Any]:
        return {}

    def explainer(self, kind: "Callable[[OpenedModel], _Explainer]") -> _Explainer:
        """Return the explainer of a kind, which caches what it has compiled."""
        if kind not in self._explainers:
            self._explainers[kind] = kind(self)
        found: _Explainer = self._explainers[kind]
        return found

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the network."""
        return find_stages(self.network)

    def boundaries(self, *ranks: int) -> list[int]:
        """Return the numbers of stages after which only one tensor is alive, the last one first."""
        ends = [stage for stage in reversed(self.stages) if len(stage.outputs) == 1]
        return [stage.index + 1 for stage in ends if len(stage.outputs[0].shape) in ranks]

    def cut(self, stages: int) -> "CutModel":
        """Cut the model after a number of stages.

        Args:
            stages: One of :meth:`boundaries`.
        """
        last = len(self.stages)
        extra = [] if stages == last else [id(x) for stage in self.stages[stages:] for x in stage.inputs]
        return CutModel(
            opened=self,
            front=self.network if stages == last else submodel(self.network, self.stages, 0, stages),
            tail=None if stages == last else submodel(self.network, self.stages, stages, last),
            extra_inputs=tuple(x.name for x in self.network.inputs if id(x) in extra),
        )


@dataclass(frozen=True)
class CutModel:
    """The two parts of a model.

    Attributes:
        tail: The other ones; None if there are none.
    """

    opened: OpenedModel
    front: keras.Model
    tail: keras.Model | None
    extra_inputs: tuple[str, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape at the boundary, for images of the model's size."""
        # A network that takes any size is called with one.
        return tuple(self.front(self.opened.taken).shape)

    def before(self, inputs: Tensors) -> Tensor:
        """Return the tensor at the boundary for inputs of the model."""
        prepare = self.opened.prepare
        prepared = inputs if prepare is None else prepare(inputs, training=False)
        return self.front(prepared, training=False)

    def behind(self, boundary: Tensor, inputs: Tensors) -> Tensor:
        """Return raw outputs, ``[batch, outputs]``, for the tensor at the boundary."""
        if self.tail is not None:
            named = inputs if isinstance(inputs, Mapping) else {}
            extra = [named[name] for name in self.extra_inputs]
            boundary = self.tail([boundary, *extra] if extra else boundary, training=False)
        return self.opened.top(self.opened.pooling(boundary, training=False), training=False)


def open_model(model: keras.Model) -> OpenedModel | None:
    """Open the model of a finished run, once: explanations are then compiled once per process.

    Args:
        model: A saved model of :func:`~keras_transfer.model.build_model`.

    Returns:
        Its parts; None if it was made in another way, as by a plugin's task.
    """
    if model not in _OPENED:
        _OPENED[model] = _open(model)
    return _OPENED[model]


# Parts of a model do not reference the model itself: it is garbage-collected when nothing else references it.
_OPENED: "WeakKeyDictionary[keras.Model, OpenedModel | None]" = WeakKeyDictionary()


def _open(model: keras.Model) -> OpenedModel | None:
    inside = {layer.name: layer for layer in model.layers if isinstance(layer, keras.Function)}
    networks = [layer for name, layer in inside.items() if name not in (POOLING, TOP)]
    if len(networks) != 1 or not {POOLING, TOP} <= set(inside) or not isinstance(model, keras.Function):
        return None
    taken = _plain_view(model, networks[0])
    prepare = None if _is_same(taken, model.input) else keras.Model(model.input, taken)
    return OpenedModel(taken, prepare, networks[0], inside[POOLING], inside[TOP])


def _is_same(taken: Any, given: Any) -> bool:
    if isinstance(taken, Mapping) and isinstance(given, Mapping):
        return all(taken[name] is given.get(name) for name in taken)
    return taken is given


def _plain_view(model: keras.Model, network: keras.Model) -> Any:
    """The argument of the network with the fewest operations before it: the views of flips have one more each."""
    before: dict[int, int] = {}
    taken: list[tuple[int, Any]] = []

    def depth(structure: Any) -> int:
        return max((before.get(id(x), 0) for x in _tensors(structure)), default=0)

    def record(operation: Operation, *arguments: Any, **options: Any) -> Any:
        if operation is network:
            taken.append((depth(arguments), arguments[0]))
        outputs = operation(*arguments, **options)
        before.update({id(x): depth((arguments, options)) + 1 for x in _tensors(outputs)})
        return outputs

    keras.models.clone_model(model, input_tensors=model.input, clone_function=lambda layer: layer, call_function=record)
    return min(taken, key=lambda call: call[0])[1]


def _tensors(structure: Any) -> list[SymbolicTensor]:
    return [x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)]
