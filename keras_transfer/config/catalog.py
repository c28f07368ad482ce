"""The bundled recipes, found without importing TensorFlow."""

import re
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean


@dataclass(frozen=True)
class BundledRecipe:
    """A recipe file that is part of the package.

    Attributes:
        name: ``task/name``, as on the command line.
    """

    name: str
    file: Path
    summary: str
    expected: str


def recipes_folder() -> Path:
    """Return the folder of bundled recipes: inside the package in a wheel, next to it in a source checkout."""
    package = Path(__file__).parents[1]
    inside = package / "bundled_recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def bundled_recipes() -> dict[str, BundledRecipe]:
    """Return all bundled recipes by name, sorted."""
    folder = recipes_folder()
    files = sorted(folder.glob("*/*.yaml"))
    return {recipe.name: recipe for recipe in (_read_header(folder, file) for file in files)}


def _read_header(folder: Path, file: Path) -> BundledRecipe:
    text = file.read_text(encoding="utf-8")
    header = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    expected = next((line for line in header if line.startswith("expected:")), "")
    name = file.relative_to(folder).with_suffix("").as_posix()
    return BundledRecipe(name, file, header[0] if header else "", re.sub(r"^expected:\s*", "", expected))


def find_recipe(recipe: str) -> Path:
    """Find a recipe by its bundled name, or by its path.

    Args:
        recipe: ``image/quickstart``, or a path.

    Raises:
        ConfigError: There is no such recipe.
    """
    bundled = bundled_recipes()
    if recipe in bundled:
        return bundled[recipe].file
    file = Path(recipe)
    if file.is_file():
        return file
    if file.exists():
        raise ConfigError(
            f"There is no recipe {recipe!r}: it is a folder, a named pipe or a device, and no such file is read. "
            "Name a file."
        )
    raise ConfigError(
        f"There is no recipe {recipe!r}: no bundled recipe has this name, and there is no such file. "
        f"{did_you_mean(recipe, bundled)}"
    )
