"""What a recipe is to the functions that run it: its task, its settings, and the objects that Python holds."""

from dataclasses import dataclass, field, replace

from keras_transfer.config import RecipeConfig
from keras_transfer.tasks import Given, Task


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe, checked.

    Attributes:
        task: Its task.
        config: Its settings.
        given: Objects that Python holds, in place of names in a recipe file.
    """

    task: Task
    config: RecipeConfig
    given: Given = field(default_factory=Given)

    def with_config(self, config: RecipeConfig) -> "RecipeSpec":
        """Return the same recipe with other settings."""
        return replace(self, config=config)
