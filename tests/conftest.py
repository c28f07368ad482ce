"""What the tests share: small pictures that can be told apart, and one finished run."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakePictures = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees what another one, or the user, left in the cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(folder))
    return folder


def _draw(kind: int, number: int, size: int) -> Image.Image:
    """Stripes: a class has its own direction and colour, a picture its own phase, width and noise."""
    random = np.random.default_rng([kind, number])
    angle = np.pi * kind / 5
    y, x = np.mgrid[:size, :size]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / random.uniform(1.5, 3.0) + random.uniform(0.0, 6.0))
    colour = np.roll([90.0, 40.0, 15.0], kind)
    pixels = 128.0 + wave[..., None] * colour + random.normal(0.0, 8.0, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _make_pictures(folder: Path, counts: Mapping[str, int], size: int = 64) -> Path:
    for kind, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            suffix = ".jpg" if number % 2 else ".png"
            _draw(kind, number, size).save(folder / name / f"{number:03}{suffix}")
    return folder


@pytest.fixture(scope="session")
def make_pictures() -> MakePictures:
    """``make_pictures(folder, {"cat": 12, "dog": 12}, size=64)``: a sub-folder a class, PNG and JPEG in turn."""
    return _make_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two classes of 16 pictures each."""
    return _make_pictures(tmp_path / "pictures", {"cat": 16, "dog": 16})


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A run on two classes of 16 pictures at 64 px. Tests read it; what they change, they copy first."""
    from keras_transfer import ImageClassification

    root = tmp_path_factory.mktemp("finished_run")
    pictures = _make_pictures(root / "pictures", {"cat": 16, "dog": 16})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        recipe = ImageClassification(
            {"source": str(pictures), "image_size": 64},
            backbone="efficientnet_lite0",
            policy={"name": "last_stages", "stages": 1},
            training={"epochs": 1, "batch_size": 8},
        )
        yield recipe.fit(root / "run")
