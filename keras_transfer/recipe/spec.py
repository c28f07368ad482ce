"""A recipe as the functions that run it receive it: its task, its settings, and Python objects."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.keras_hub_catalog import PREFIX
from keras_transfer.config.data import OtherSource
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.sources import absolute_name
from keras_transfer.tasks import Given, Task
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe that has been validated.

    Attributes:
        given: Python objects that replace names in a recipe file.
        custom: Loss, metrics and optimizer from Python, replacing those that a recipe makes.
    """

    task: Task
    config: RecipeConfig
    given: Given = field(default_factory=Given)
    custom: CustomParts = BUILT_IN

    def with_config(self, config: RecipeConfig) -> "RecipeSpec":
        """Return the same recipe with other settings."""
        return replace(self, config=config)


def with_absolute_paths(config: RecipeConfig) -> RecipeConfig:
    """Return a recipe with absolute paths, so that they are valid in any working directory."""
    data: dict[str, str | OtherSource] = {}
    for key in ("root", "data_dir", "splits_of", "exclude", "relabel"):
        folder = getattr(config.data, key, None)
        if folder and isinstance(folder, str):
            data[key] = _absolute_folder(folder)
    for key in ("source", "validation", "test"):
        value = getattr(config.data, key)
        if isinstance(value, str):
            named = key == "source" or config.data.own_source(key) is not None
            data[key] = absolute_name(value, config.data) if named else value
        elif isinstance(value, OtherSource):
            own: dict[str, str | None] = {"source": absolute_name(value.source, config.data)}
            own["root"] = None if value.root is None else _absolute_folder(value.root)
            data[key] = value.model_copy(update=own)
    path = Weights.parse(config.backbone.weights).path
    weights = {} if path is None else {"weights": str(path.resolve()) if path.exists() else str(path)}
    name = config.backbone.name.removeprefix(PREFIX)
    if name not in BACKBONES and Path(name).expanduser().exists():
        weights["name"] = str(Path(name).expanduser().resolve())
    sections = {
        "data": config.data.model_copy(update=data),
        "backbone": config.backbone.model_copy(update=weights),
        # Addresses of processes are of no use when the recipe is run again.
        "distribution": config.distribution.model_copy(update={"workers": [], "worker": None}),
    }
    return config.model_copy(update=sections)


def _absolute_folder(folder: str) -> str:
    path = Path(folder).expanduser()
    return str(path.resolve()) if path.exists() else folder
