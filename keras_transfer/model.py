"""Build one Keras model from an input contract, a backbone and a head."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from keras_transfer.backbones import Backbone
from keras_transfer.heads import Head
from keras_transfer.networks.batch_norm import fold_batch_norm, fuse_batch_norm
from keras_transfer.networks.stages import submodel
from keras_transfer.networks.types import Operation, SymbolicTensor, Tensors
from keras_transfer.networks.windows import MeanOverWindows

POOLING, TOP = "pooling", "head"
"""Names of the parts of a predictor behind its network: feature map to pooled features, and these to raw outputs."""


class _AsInPrediction(keras.layers.Layer):
    """Runs a model with ``training=False``, which a nested functional model ignores while the outer one is trained."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def call(self, inputs: Tensors) -> Tensors:
        return self.model(inputs, training=False)

    def compute_output_spec(self, inputs: Tensors) -> Tensors:
        """Return the model's own output specs: JAX cannot infer them if a dimension is unknown."""
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), self.model.output)


@dataclass(frozen=True)
class TransferModel:
    """A backbone with a head, from raw inputs to predictions.

    Attributes:
        backbone: The backbone, with its stages.
        head: The head, with its loss and metrics.
        pooling: From the network's feature map to pooled features.
        top: The head's weights: from pooled features to raw outputs (see :class:`~keras_transfer.heads.Head`).
        trainer: From what the reader of its task returns, for images ``float32[batch, size, size, 3]`` in 0..255, to
            raw outputs, ``float32[batch, outputs]``.
        predictor: The same layers, from the same inputs to predictions: for recordings of any length, the mean over
            windows. This is the model that is saved.
        decodes: Whether the predictor chooses a sequence step by step, so that predictions are not a function of the
            trainer's outputs.
    """

    backbone: Backbone
    head: Head
    pooling: keras.Model
    top: keras.Model
    trainer: keras.Model
    predictor: keras.Model
    decodes: bool = False
    _frozen_parts: dict[int, keras.Model] = field(default_factory=dict, init=False, repr=False)
    _tails: dict[int, keras.Model] = field(default_factory=dict, init=False, repr=False)
    _frozen: dict[int, keras.Model] = field(default_factory=dict, init=False, repr=False)

    def calibrated(self, head: Head) -> "TransferModel":
        """Return the model whose predictor has the calibration of a head; all layers are shared.

        Args:
            head: The model's own head, calibrated.
        """
        predictions = head.add_calibration(self.predictor.output)
        if predictions is self.predictor.output:
            return replace(self, head=head)
        predictor = keras.Model(self.predictor.input, predictions, name=self.predictor.name)
        return replace(self, head=head, predictor=predictor)

    def frozen_part(self, stages: int) -> keras.Model:
        """Return the first stages as a model for prediction only; repeated calls return the same model.

        Args:
            stages: 1 up to the number of stages; the latter includes pooling.

        Returns:
            From raw inputs to what :meth:`boundary` names. It shares the model's variables.
        """
        if stages not in self._frozen_parts:
            network, inputs = self.backbone.network, self.backbone.inputs()
            part = network if self._is_whole(stages) else submodel(network, self.backbone.stages, 0, stages)
            outputs = fold_batch_norm(part)(self.backbone.prepare(inputs))
            outputs = self.pooling(outputs) if self._is_whole(stages) else outputs
            self._frozen_parts[stages] = keras.Model(inputs, outputs, name="frozen")
        return self._frozen_parts[stages]

    def tail(self, stages: int) -> keras.Model:
        """Return the part after the first stages; repeated calls return the same model.

        Args:
            stages: 1 up to the number of stages; with the latter, only the head's weights are left.

        Returns:
            From what :meth:`boundary` names, followed by what :meth:`extra_inputs` names, to raw outputs. It shares the
            model's layers.
        """
        if self._is_whole(stages):
            return self.top
        if stages not in self._tails:
            every = self.backbone.stages
            last = submodel(self.backbone.network, every, stages, len(every))
            self._tails[stages] = keras.Model(last.input, self.top(self.pooling(last.output)), name="trained")
        return self._tails[stages]

    def boundary(self, stages: int) -> tuple[keras.KerasTensor, ...]:
        """Return the symbolic tensors at the boundary between the first stages and the tail.

        Args:
            stages: 1 up to the number of stages; for the latter, the pooled features.
        """
        return tuple(self.pooling.outputs) if self._is_whole(stages) else self.backbone.stages[stages - 1].outputs

    def freeze(self, stage: int) -> keras.Model:
        """Return a trainer whose first stages run in inference mode: no dropout, no updates of BatchNorm.

        Repeated calls return the same trainer.

        Args:
            stage: How many stages are frozen, from 0.

        Returns:
            From the trainer's inputs to raw ``float32[batch, outputs]``.
        """
        if stage == 0:
            return self.trainer
        if stage not in self._frozen:
            inputs = self.backbone.inputs()
            boundary = keras.tree.flatten(_AsInPrediction(self.frozen_part(stage))(inputs))
            taken = [*boundary, *(inputs[name] for name in self.extra_inputs(stage))]
            raw = self.tail(stage)(taken if len(taken) > 1 else taken[0])
            self._frozen[stage] = keras.Model(inputs, raw, name="trainer")
        return self._frozen[stage]

    def extra_inputs(self, stage: int) -> tuple[str, ...]:
        """Return the names of the network's own inputs that the tail after the first stages reads."""
        read = {id(x) for later in self.backbone.stages[stage:] for x in later.inputs}
        return tuple(x.name for x in self.backbone.network.inputs if id(x) in read)

    def _is_whole(self, stages: int) -> bool:
        return stages == len(self.backbone.stages)


def build_model(backbone: Backbone, head: Head, *, flips: Sequence[tuple[int, ...]] = ((),)) -> TransferModel:
    """Join a backbone and a head.

    Args:
        backbone: Its network is used, not copied.
        head: Takes the backbone's output.
        flips: Axes along which inputs are flipped, for each view that predictions are averaged over.

    Returns:
        The models. They include preprocessing, so that it is applied exactly once.
    """
    fuse_batch_norm(backbone.network)
    features = keras.Input(backbone.network.output_shape[1:], name="features")
    pooling = keras.Model(features, head.pool(features), name=POOLING)
    pooled = keras.Input(pooling.output_shape[1:], name="pooled")
    top = keras.Model(pooled, head.read_out(pooled), name=TOP)

    inputs = backbone.inputs()
    prepared = backbone.prepare(inputs)
    views = [keras.ops.flip(prepared, axis=axes) if axes else prepared for axes in flips]
    raw = [top(pooling(backbone.network(view))) for view in views]
    each = [head.final_layer()(view) for view in raw]
    predictions = keras.layers.Average(dtype="float32", name="average")(each) if len(each) > 1 else each[0]
    return TransferModel(
        backbone=backbone,
        head=head,
        pooling=pooling,
        top=top,
        trainer=keras.Model(inputs, raw[0], name="trainer"),
        predictor=backbone.over_whole(keras.Model(inputs, predictions, name="predictor")),
    )


def with_features(predictor: keras.Model) -> keras.Model | None:
    """Return a trained model with a second output: the pooled features that its head reads.

    Args:
        predictor: As :func:`build_model` made it. If it averages over flips, the features are those of one view; if it
            averages over windows, the features are averaged, too.

    Returns:
        From the same inputs to predictions and features, ``float32[batch, channels]``; it shares the layers. None if
        the model was made in another way, as by a plugin's task.
    """
    features: list[SymbolicTensor] = []
    means: list[SymbolicTensor] = []

    def record(operation: Operation, *arguments: Any, **options: Any) -> Any:
        outputs = operation(*arguments, **options)
        if operation.name == POOLING:
            features.append(outputs)
        if isinstance(operation, MeanOverWindows):
            means.append(MeanOverWindows(name="mean_features")(features[0], arguments[1]))
        return outputs

    if not isinstance(predictor, keras.Function):
        return None
    same = keras.models.clone_model(
        predictor, input_tensors=predictor.input, clone_function=lambda layer: layer, call_function=record
    )
    return keras.Model(predictor.input, [same.output, [*features[:1], *means][-1]]) if features else None
