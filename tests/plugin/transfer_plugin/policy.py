"""A policy: the last stages first, then all of them."""

from typing import Literal

from pydantic import Field

from keras_transfer import Phase, Policy, PolicyConfig, Scope


class TopFirstConfig(PolicyConfig):
    """Trains the last stages, then all of them."""

    name: Literal["top_first"] = "top_first"
    top: int = Field(default=1, ge=1, description="number of stages that train first, counted from the head")


def divide(config: TopFirstConfig, scope: Scope) -> tuple[Phase, ...]:
    """Divide training into two phases."""
    top = scope.last_stages(min(config.top, scope.stages))
    return (
        Phase("top", top, 1, rate=1.0, batch_norm="frozen"),
        Phase("all", scope.last_stages(), scope.epochs, rate=0.3, batch_norm="frozen"),
    )


TOP_FIRST = Policy(TopFirstConfig, divide)
