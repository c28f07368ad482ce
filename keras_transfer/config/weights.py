"""Values of ``backbone.weights``: pretrained weights, random ones, a file or the folder of an earlier run."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Weights:
    """The source of a backbone's weights.

    Attributes:
        kind: ``pretrained``, ``none`` for random weights, ``file`` or ``run``.
        path: The file of weights, or the run folder; None for the other two kinds.

    Example:
        >>> Weights.parse("pretrained") == Weights.PRETRAINED
        True
        >>> Weights.parse("mine.weights.h5").kind
        'file'
    """

    kind: Literal["pretrained", "none", "file", "run"]
    path: Path | None = None

    PRETRAINED: ClassVar["Weights"]
    """The weights that the backbone's authors trained."""
    RANDOM: ClassVar["Weights"]
    """No weights: the network starts from random ones."""

    @classmethod
    def parse(cls, value: "Weights | str | Path") -> "Weights":
        """Parse the value of a recipe.

        Args:
            value: ``pretrained``, ``none``, or the path of a file or of a run folder, which need not exist yet.
                ``Weights`` are returned as they are.

        Returns:
            The weights. A path to a folder is treated as a run folder, any other path as a file.
        """
        if isinstance(value, Weights):
            return value
        if str(value) in ("pretrained", "none"):
            return cls.PRETRAINED if str(value) == "pretrained" else cls.RANDOM
        path = Path(value).expanduser()
        return cls("run" if path.is_dir() else "file", path)

    @property
    def run(self) -> Path | None:
        """The run folder that the weights come from, or None."""
        return self.path if self.kind == "run" else None

    def __str__(self) -> str:
        """Return the value in a recipe."""
        return self.kind if self.path is None else str(self.path)


Weights.PRETRAINED = Weights("pretrained")
Weights.RANDOM = Weights("none")
