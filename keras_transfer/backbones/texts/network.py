"""From a KerasHub backbone to one vector for each text, or for each masked token of it.

This is the network that is split into stages, and saved.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import keras

from keras_transfer.data.readers.tokens import MASK, POSITIONS
from keras_transfer.errors import BackboneError
from keras_transfer.heads import MaskedLanguageHead
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.types import JsonObject, Layer, Tensors
from keras_transfer.registry import did_you_mean

Pooling = Literal["own", "mean", "first", "last", "masked"]
_CHOICES = ("auto", "own", "mean", "first", "last")

# Sentence-transformers' names of the supported poolings.
_MODES: dict[Any, Pooling] = {"mean": "mean", "cls": "first", "lasttoken": "last"}
# Older versions write a flag for each instead.
_FLAG = re.compile("pooling_mode_(.+?)(_tokens?)?")


@dataclass(frozen=True)
class SentencePooling:
    """How tokens become one vector.

    Attributes:
        kind: Which tokens are pooled.
        normalizes: Whether vectors are scaled to the same length.
    """

    kind: Pooling
    normalizes: bool = False


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist.

    Args:
        pooling: The value of ``head.pooling``; ``masked`` in pre-training.

    Raises:
        BackboneError: There is no such pooling.
    """
    if pooling not in (*_CHOICES, "masked"):
        raise BackboneError(
            f"head.pooling must be one of {', '.join(_CHOICES)}. Received: {pooling!r}. "
            f"{did_you_mean(pooling, _CHOICES)}"
        )


def resolve_pooling(pooling: str, *, is_decoder: bool, folder: Path) -> SentencePooling:
    """Resolve ``head.pooling``.

    Args:
        pooling: ``auto``, ``own``, ``mean``, ``first``, ``last`` or ``masked``.
        is_decoder: Whether a token attends only to earlier tokens.
        folder: Where the network is from; it need not exist.

    Returns:
        For ``auto``, the pooling that a folder of sentence-transformers names; else ``last`` for decoders, since only
        the last token attends to the whole text, and ``mean`` for others.
    """
    if pooling != "auto":
        return SentencePooling(pooling)  # type: ignore[arg-type]
    return _read(folder) or SentencePooling("last" if is_decoder else "mean")


def _read(folder: Path) -> SentencePooling | None:
    """The pooling in ``modules.json``, if there is such a file and its pooling is supported."""
    modules = _load(folder / "modules.json")
    if not isinstance(modules, list):
        return None
    # Types are module paths that have changed between versions; their last part has not.
    named = [module for module in modules if isinstance(module, dict)]
    folders = {str(module.get("type")).rpartition(".")[2]: str(module.get("path")) for module in named}
    config = _load(folder / folders.get("Pooling", "") / "config.json")
    if "Pooling" not in folders or not isinstance(config, dict):
        return None
    flags = [match[1] for key, value in config.items() if value is True and (match := _FLAG.fullmatch(key))]
    mode = config.get("pooling_mode", flags[0] if len(flags) == 1 else None)
    if not isinstance(mode, str) or mode not in _MODES:
        return None
    return SentencePooling(_MODES[mode], normalizes="Normalize" in folders)


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@keras.saving.register_keras_serializable(package="keras_transfer")
class TextNetwork(keras.Model):
    """A KerasHub backbone whose tokens are pooled: a functional model of the backbone's own layers.

    Layers that the pooled vector does not need are left out, such as BERT's ``pooled_dense`` with a mean. The model is
    saved as the configuration of backbone and pooling: not all layers of KerasHub can be saved one by one (0.32: those
    of Llama, GPT-NeoX and DeBERTa cannot).

    Args:
        backbone: The KerasHub backbone. Its layers are used, not copied.
        pooling: ``own`` is the backbone's ``pooled_output``; if it has none, the first token, or for decoders the last
            one; ``mean`` is over tokens that are not padding; ``first`` and ``last`` are the first and the last of
            them. ``masked`` does not pool: it returns the tokens at one more input, ``mask_positions``,
            ``int32[batch, masked]``.
        is_decoder: Whether a token attends only to earlier tokens.
        normalizes: Whether vectors are scaled to a length at which the mean of their squares is 1. At length 1, as in
            sentence-transformers, their values would be so small that a trained head hardly changes.
    """

    def __init__(
        self,
        *,
        backbone: keras.Model,
        pooling: Pooling,
        is_decoder: bool,
        normalizes: bool = False,
        name: str | None = None,
    ) -> None:
        inputs = dict(backbone.input)
        if MASK not in inputs:
            # A network that needs no mask is still pooled with one.
            inputs[MASK] = keras.Input((None,), dtype="int32", name=MASK)
        if pooling == "masked":
            inputs[POSITIONS] = keras.Input((None,), dtype="int32", name=POSITIONS)
            outputs = _take(backbone.output, inputs[POSITIONS])
        else:
            outputs = _pool(backbone.output, inputs[MASK], pooling, is_decoder=is_decoder)
        if normalizes:
            outputs = keras.ops.rms_normalization(outputs)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        config = keras.saving.serialize_keras_object(backbone)
        parts = {key: config[key] for key in ("module", "class_name", "config", "registered_name")}
        # Stored as a string: Keras wraps dictionaries that are attributes of a model.
        settings = {"pooling": pooling, "is_decoder": is_decoder, "normalizes": normalizes}
        self._settings = json.dumps({"backbone": parts, **settings})

    @property
    def token_embedding(self) -> Layer:
        """The layer that embeds tokens and can turn vectors into logits; it may be nested in another layer."""
        inside = (part for layer in self.layers for part in parts(layer))
        return next(part for part in inside if isinstance(part, keras.layers.ReversibleEmbedding))

    def get_config(self) -> JsonObject:
        return {**json.loads(self._settings), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects=custom_objects)
        return cls(**{**config, "backbone": backbone})


@keras.saving.register_keras_serializable(package="keras_transfer")
class MaskedLanguageModel(keras.Model):
    """A network with a head for masked tokens, from tokens to ``float32[batch, masked, vocabulary]`` logits.

    It is saved as the configuration of the network: by itself, Keras would create a second embedding for the head when
    it loads the two.

    Args:
        network: A network with the pooling ``masked``.
        top: From the network's output to logits, tied to its embedding; by default a new head.
    """

    def __init__(self, *, network: TextNetwork, top: keras.Model | None = None, name: str | None = None) -> None:
        inputs = {key: keras.Input((None,), name=key, dtype="int32") for key in network.input}
        if top is None:
            tokens = keras.Input(network.output_shape[1:], name="pooled")
            top = keras.Model(
                tokens, MaskedLanguageHead(("text",), network.token_embedding).read_out(tokens), name="head"
            )
        super().__init__(inputs=inputs, outputs=top(network(inputs)), name=name)
        self._settings = json.dumps(network.get_config())

    def get_config(self) -> JsonObject:
        return {"network": json.loads(self._settings), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        network = TextNetwork.from_config(config["network"], custom_objects)
        return cls(network=network, name=config["name"])


def _by_name(outputs: Tensors) -> Mapping[str, keras.KerasTensor]:
    return outputs if isinstance(outputs, Mapping) else {"sequence_output": outputs}


def _take(outputs: Tensors, positions: keras.KerasTensor) -> keras.KerasTensor:
    """Return ``float32[batch, masked, width]``."""
    tokens = _by_name(outputs)["sequence_output"]
    return _as_float32(keras.ops.take_along_axis(tokens, keras.ops.expand_dims(positions, -1), axis=1))


def _pool(outputs: Tensors, mask: keras.KerasTensor, pooling: Pooling, *, is_decoder: bool) -> keras.KerasTensor:
    """Return ``float32[batch, width]`` under any dtype policy; a row that is all padding results in zeros."""
    by_name = _by_name(outputs)
    tokens = by_name["sequence_output"]
    if pooling == "own" and "pooled_output" in by_name:
        return _as_float32(by_name["pooled_output"])
    if pooling == "first" or (pooling == "own" and not is_decoder):
        return _as_float32(tokens[:, 0])
    weights = keras.ops.cast(mask, "float32")
    if pooling == "mean":
        weights /= keras.ops.maximum(keras.ops.sum(weights, axis=1, keepdims=True), 1.0)
    else:
        # The number of tokens from each position to the end: 1 at the last token.
        left = keras.ops.flip(keras.ops.cumsum(keras.ops.flip(weights, axis=1), axis=1), axis=1)
        weights *= keras.ops.cast(keras.ops.equal(left, 1.0), "float32")
    return keras.ops.einsum("bt,btw->bw", weights, _as_float32(tokens))


def _as_float32(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return tensor if tensor.dtype == "float32" else keras.ops.cast(tensor, "float32")
