"""The recipe that a run folder keeps names the same files from any working folder."""

from pathlib import Path

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.images.hub import PREFIX
from keras_transfer.config import RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.texts import TEXT_SAMPLES


def with_absolute_paths(config: RecipeConfig) -> RecipeConfig:
    """Return the recipe that a run folder keeps, which names the same files from any working folder."""

    def absolute(value: float | str) -> float | str:
        if not isinstance(value, str) or value in SAMPLES or value in TEXT_SAMPLES:
            return value
        return str(Path(value).resolve()) if Path(value).exists() else value

    folders = {key: getattr(config.data, key) for key in ("root", "data_dir") if getattr(config.data, key, None)}
    sources = {key: getattr(config.data, key) for key in ("source", "validation", "test")}
    data = {key: absolute(value) for key, value in (sources | folders).items()}
    path = Weights.parse(config.backbone.weights).path
    weights = {} if path is None else {"weights": str(path.resolve()) if path.exists() else str(path)}
    name = config.backbone.name.removeprefix(PREFIX)
    if name not in BACKBONES and Path(name).expanduser().exists():
        weights["name"] = str(Path(name).expanduser().resolve())
    sections = {
        "data": config.data.model_copy(update=data),
        "backbone": config.backbone.model_copy(update=weights),
        # Where processes were is of no use to whoever runs it again.
        "distribution": config.distribution.model_copy(update={"workers": [], "worker": None}),
    }
    return config.model_copy(update=sections)
