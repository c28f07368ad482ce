"""LoRA: low-rank adapters that are trained instead of a layer's weight (Hu et al. 2021, arXiv 2106.09685).

Keras 3.15 has them in Dense, EinsumDense, Embedding and Conv layers, and in none that is depthwise, separable or
transposed: the layer then computes with ``weight + alpha / rank * A @ B``. This module adds them to whole stages, and
fixes what is missing in Keras:

- Keras' ``save`` and ``save_weights`` add the factors to the weight, and loading leaves both factors zero. Neither has
  a gradient then, and resumed training changes nothing. Checkpoints hold variables, and :func:`adapter_weights` returns
  the factors.
- Keras cannot remove an adapter. :func:`merge_adapters` makes an ordinary layer of it.
- Adding an adapter freezes the weight, but a layer whose ``trainable`` goes from False to True lets it train again. Set
  it to False on every layer of a stage, then to True on each factor that :func:`find_adapters` returns.
"""

import gc
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import PolicyError
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.stages import Stage
from keras_transfer.networks.types import Layer

_KINDS = ("Dense", "EinsumDense", "Embedding", "Conv1D", "Conv2D", "Conv3D")
_CLASSES = tuple(getattr(keras.layers, kind) for kind in _KINDS)


@dataclass(frozen=True)
class Adapter:
    """A layer with an adapter.

    Attributes:
        layer: The layer, which may be inside a composite one.
        weight: The adapted weight, frozen: the kernel, ``[..., columns]``, or the embeddings.
        a: ``float32[..., rank]``, random at first.
        b: ``float32[rank, columns]``, zero at first, so that a new adapter changes nothing.
    """

    layer: keras.layers.Layer
    weight: keras.Variable
    a: keras.Variable
    b: keras.Variable

    @property
    def factors(self) -> tuple[keras.Variable, keras.Variable]:
        """The trainable variables."""
        return self.a, self.b


def add_adapters(
    stages: Sequence[Stage],
    chosen: Collection[int],
    *,
    rank: int,
    alpha: float | None = None,
    which: Literal["all", "query_value"] = "all",
) -> tuple[Adapter, ...]:
    """Add an adapter to each layer that can have one. Compile the model again afterwards.

    If ``predict`` has run before, it ignores them until ``make_predict_function(force=True)``.

    Args:
        rank: 1 or more. It is limited to the smaller dimension of a layer's weight: more would add parameters, but no
            expressiveness.
        which: All layers that can have one, or those with ``query`` or ``value`` in their name.
        alpha: The product of the factors is scaled by ``alpha / rank``, in every layer; by default ``rank``.

    Returns:
        The adapters, from input to output.

    Raises:
        PolicyError: No layer of these stages can have an adapter, or one has an adapter already.
    """
    layers = _adaptable([stage for stage in stages if stage.index in chosen])
    if not layers:
        raise PolicyError(_no_layers(stages, chosen))
    if which == "query_value":
        names = sorted({layer.name for layer in layers})
        layers = [layer for layer in layers if "query" in layer.name or "value" in layer.name]
        if not layers:
            raise PolicyError(
                f"policy.lora_layers=query_value: no layer of these stages has such a name. Received: {names}. Use all."
            )
    for layer in layers:
        if layer.lora_enabled:
            raise PolicyError(
                f"Layer {layer.path} has an adapter already, of rank {layer.lora_rank}. Received: another of rank "
                f"{rank}. Merge the first with merge_adapters, or add adapters once."
            )
    scale = 1.0 if alpha is None else alpha / rank
    for layer in layers:
        *rows, columns = getattr(layer, _adapted(layer)).shape
        own_rank = min(rank, math.prod(rows), columns)
        layer.enable_lora(own_rank, lora_alpha=scale * own_rank)
    return tuple(map(_adapter, layers))


def find_adapters(stages: Iterable[Stage]) -> tuple[Adapter, ...]:
    """Return the adapters in stages, from input to output."""
    return tuple(_adapter(layer) for layer in _adaptable(stages) if layer.lora_enabled)


def merge_adapters(stages: Iterable[Stage]) -> None:
    """Add each adapter's product to its weight, which leaves ordinary layers with the same output.

    The layers may be parts of any number of models. The weights stay frozen until ``trainable`` of their layers goes
    from False to True; setting it to True again does nothing in Keras.

    Args:
        stages: Any; those without adapters stay as they are.
    """
    # Keras collects garbage each time a weight is deleted: half a second, unless existing objects are exempt.
    gc.freeze()
    try:
        for adapter in find_adapters(stages):
            _merge(adapter)
    finally:
        gc.unfreeze()


def _merge(adapter: Adapter) -> None:
    layer, kind = adapter.layer, _adapted(adapter.layer)
    # Not what the layer itself computes: under mixed precision, that is rounded to half precision.
    product = (layer.lora_alpha / layer.lora_rank) * keras.ops.matmul(*adapter.factors)
    adapter.weight.assign_add(keras.ops.cast(product, adapter.weight.dtype))
    # Functions that Keras has traced still read the factors; with zeros they stay correct.
    for factor in adapter.factors:
        factor.assign(keras.ops.zeros(factor.shape, factor.dtype))
    layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
    delattr(layer, f"lora_{kind}_a")
    delattr(layer, f"lora_{kind}_b")


def adapter_weights(stages: Iterable[Stage]) -> dict[str, NDArray[np.float32]]:
    """Return copies of the factors.

    Returns:
        ``"0.a"``, ``"0.b"``, ``"1.a"`` and so on: by position, because Keras numbers layers over the whole process,
        and their names may differ in the next one.
    """
    return {key: keras.ops.convert_to_numpy(factor).copy() for key, factor in _keyed_factors(stages).items()}


def _keyed_factors(stages: Iterable[Stage]) -> dict[str, keras.Variable]:
    adapters = enumerate(find_adapters(stages))
    return {f"{place}.{name}": getattr(adapter, name) for place, adapter in adapters for name in "ab"}


# Names in Keras.


def _adapted(layer: keras.layers.Layer) -> str:
    """The name of the weight of this layer that is adapted."""
    return "embeddings" if isinstance(layer, keras.layers.Embedding) else "kernel"


def _adapter(layer: keras.layers.Layer) -> Adapter:
    kind = _adapted(layer)
    # The attribute of that name is now the sum of weight and factors.
    weight = next(weight for weight in layer.weights if weight.name == kind)
    return Adapter(layer, weight, getattr(layer, f"lora_{kind}_a"), getattr(layer, f"lora_{kind}_b"))


def _adaptable(stages: Iterable[Stage]) -> list[Layer]:
    """Layers to which Keras can add an adapter, each once."""
    found = dict.fromkeys(part for stage in stages for layer in stage.layers for part in parts(layer))
    return [part for part in found if isinstance(part, _CLASSES) and _can_adapt(part)]


def _can_adapt(layer: Layer) -> bool:
    return layer.built and layer.quantization_mode is None and getattr(layer, f"{_adapted(layer)}_constraint") is None


def _no_layers(stages: Sequence[Stage], chosen: Collection[int]) -> str:
    able = [f"{stage.index} ({stage.name})" for stage in stages if _adaptable([stage])]
    names = [f"{stage.index} ({stage.name})" for stage in stages if stage.index in chosen]
    return (
        f"Only {', '.join(_KINDS)} layers without a constraint can have an adapter, and the stages that are to train "
        f"have none. Received: stages {', '.join(names) or 'none'}. "
        + (f"Stages that have some: {', '.join(able)}." if able else "No stage of this backbone has; use policy full.")
    )
