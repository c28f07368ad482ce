"""What fine-tuning is measured against: the solved head on the network as it came."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads.solver import SolvedHead

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Baseline:
    """The solved head on the network as it came, before anything was fine-tuned.

    Attributes:
        head: The solution.
        features: Pooled features of the training and the validation rows.
        predicted: ``float32[n, outputs]`` for the rows of each split that the run is judged by.
        seconds: What features of training rows and solution took.
    """

    head: SolvedHead
    features: dict[str, _Floats]
    predicted: dict[str, _Floats]
    seconds: float

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: all but the features, which are cached, and done with once it is taken."""
        return asdict(replace(self, head=replace(self.head, held_out=None), features={}))

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "Baseline":
        """Read that back."""
        return Baseline(**{**state, "head": SolvedHead(**state["head"])})
