"""What a recipe is to the functions that run it: its task, its settings, and the objects that Python holds."""

from dataclasses import dataclass, field, replace

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.tasks import Given, Task
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe, checked.

    Attributes:
        task: Its task.
        config: Its settings.
        given: Objects that Python holds, in place of names in a recipe file.
        custom: Loss, metrics and optimizer from Python, in place of those that a recipe makes.
    """

    task: Task
    config: RecipeConfig
    given: Given = field(default_factory=Given)
    custom: CustomParts = BUILT_IN

    def with_config(self, config: RecipeConfig) -> "RecipeSpec":
        """Return the same recipe with other settings."""
        return replace(self, config=config)
