"""What a recipe names as its backbone for texts: a row, a preset of KerasHub, or a folder."""

from pathlib import Path

from keras_transfer.backbones.rows import BACKBONES, find_row
from keras_transfer.backbones.texts.hub import TextBackbone, load_hub_backbone
from keras_transfer.backbones.texts.rows import TextBackboneRow
from keras_transfer.config.from_python import read_mark
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError


def load_text_backbone(
    name: str, *, weights: Weights | str | Path = Weights.PRETRAINED, pooling: str = "auto"
) -> TextBackbone:
    """Load a network for texts.

    Args:
        name: A name in ``BACKBONES``, a preset of KerasHub (``keras-transfer backbones`` lists the families), which is
            downloaded, or a folder that holds a KerasHub preset or a Hugging Face model with safetensors.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``, ``.keras``)
            or of a run folder.
        pooling: ``own`` is the family's own (BERT's ``pooled_output``; if there is none, the first token, or the last
            one of decoders), ``mean`` is over all tokens, ``first`` and ``last`` are those; ``auto`` is what a folder
            of sentence-transformers names, else ``last`` for decoders and ``mean`` for others. ``masked`` is for
            masked-language modelling, and pools nothing.

    Raises:
        BackboneError: There is none of that name, it is not available, it cannot classify texts or, with ``masked``,
            has no mask token, or weights do not fit.
    """
    weights, given = Weights.parse(weights), read_mark(name)
    if given is not None:
        raise BackboneError(
            f"Backbone {given} was given from Python. Models from Python are for image input, and this recipe has text "
            "input. Name a backbone for texts, a preset of KerasHub or a folder."
        )
    if name in BACKBONES:
        return find_row(name, TextBackboneRow).load(weights=weights, pooling=pooling)
    return load_hub_backbone(name, weights=weights, pooling=pooling)
