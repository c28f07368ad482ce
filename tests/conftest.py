"""What the tests share: small images that can be classified, and one finished run."""

import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from PIL import Image

MakeImages = Callable[..., Path]


def pytest_configure(config: pytest.Config) -> None:
    """Split the CPU into two devices, and spare default tests the optimizing of graphs and of their operations.

    TensorFlow fixes its devices when it is first used, which may be when tests are collected. Graphs of default tests
    run a few times each: to optimize them, or to compile operations for each shape as oneDNN does, takes longer. Slow
    tests run them as users do. The process that only hands tests to others runs none.
    """
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return
    is_quick = config.option.markexpr == "not slow"
    if is_quick:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    if is_quick:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


# The files that take longest, in this order: at the end, one process would still run one while the others have none.
_FIRST = (
    "recipe/test_text_recipe.py",
    "recipe/test_resume.py",
    "test_plugin.py",
    "cases/test_serving.py",
    "recipe/test_observers.py",
    "contract/test_text_families.py",
    "test_packaging.py",
    "bad_input/test_run_folder.py",
    "recipe/test_text_pretraining.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; the Makefile's ``--no-loadscope-reorder`` keeps pytest-xdist from reordering them."""
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees what another one, or the user, left in the cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(folder))
    return folder


def _draw(kind: int, number: int, size: int) -> Image.Image:
    """Stripes: a class has its own direction and colour, an image its own phase, width and noise."""
    random = np.random.default_rng([kind, number])
    angle = np.pi * kind / 5
    y, x = np.mgrid[:size, :size]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / random.uniform(1.5, 3.0) + random.uniform(0.0, 6.0))
    colour = np.roll([90.0, 40.0, 15.0], kind)
    pixels = 128.0 + wave[..., None] * colour + random.normal(0.0, 8.0, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _make_images(folder: Path, counts: Mapping[str, int], size: int = 64) -> Path:
    for kind, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            suffix = ".jpg" if number % 2 else ".png"
            _draw(kind, number, size).save(folder / name / f"{number:03}{suffix}")
    return folder


@pytest.fixture(scope="session")
def make_images() -> MakeImages:
    """``make_images(folder, {"cat": 12, "dog": 12}, size=64)``: one subfolder per class, PNG and JPEG in turn."""
    return _make_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes of 16 images each."""
    return _make_images(tmp_path / "images", {"cat": 16, "dog": 16})


@pytest.fixture
def replace_get_file(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., str]], None]:
    """``replace_get_file(get_file)``: ``keras.applications`` calls that function for files of weights.

    They look it up in the module that defines it in Keras, which its public name leads to.
    """
    import keras

    module = sys.modules[keras.utils.get_file.__module__]
    return lambda get_file: monkeypatch.setattr(module, "get_file", get_file)


def _build_tiny(size: int | None) -> Any:
    """Five stages that are quick, with what can go wrong in a frozen part: BatchNorm and dropout."""
    import keras

    inputs = keras.Input((size, size, 3))
    x = inputs
    for block in range(1, 6):
        x = keras.layers.Conv2D(8, 3, 2 if block < 3 else 1, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        x = keras.layers.Dropout(0.1, name=f"block{block}_dropout")(x)
    return keras.Model(inputs, x, name="tiny")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone named ``tiny``, of random weights, for tests of what happens around a backbone."""
    from keras_transfer.backbones import BACKBONES, SIGNED, ImageBackboneRow

    row = ImageBackboneRow(
        name="tiny",
        build=_build_tiny,
        build_pretrained=_build_tiny,
        contract=SIGNED,
        image_size=32,
        minimum_size=8,
        parameters=0,
        stages=5,
        weights_source="none",
        weights_file=lambda: None,
    )
    monkeypatch.setattr(BACKBONES, "_values", {**BACKBONES._values, "tiny": row})


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``command("run", recipe, "--out", folder)`` in an empty folder: a result with exit_code, stdout and stderr."""
    from keras_transfer.cli import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments: object) -> Result:
        # Wide enough that no table and no message is broken in the middle of a path.
        result = CliRunner(env={"COLUMNS": "500"}).invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def refused(command: Callable[..., Result]) -> Callable[..., str]:
    """``refused("run", recipe, needs=["data.source"])``: the message, checked for what every message must be."""

    def call(*arguments: object, needs: Sequence[object] = (), most_lines: int = 5) -> str:
        before = sorted(Path.cwd().rglob("*"))
        result = command(*arguments)
        message = result.stderr
        assert result.exit_code == 2, result.output
        assert message.startswith("Error: ")
        assert "Traceback" not in message
        assert [need for need in needs if str(need) not in message] == [], message
        assert 1 <= len(message.splitlines()) <= most_lines, message
        assert max(map(len, message.splitlines())) < 1000, message
        assert sorted(Path.cwd().rglob("*")) == before
        return message

    return call


def _build_pebble(size: int | None) -> Any:
    """Three stages that are quicker still, with all that a resumed run must not forget: BatchNorm and dropout."""
    import keras

    inputs = keras.Input((size, size, 3))
    x = inputs
    for block in range(1, 4):
        x = keras.layers.Conv2D(6, 3, 2, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        x = keras.layers.Dropout(0.2, name=f"block{block}_dropout")(x)
    return keras.Model(inputs, x, name="pebble")


def add_pebble() -> None:
    """Add a backbone named ``pebble``, of random weights that every process draws alike."""
    from keras_transfer.backbones import BACKBONES, SIGNED, ImageBackboneRow

    row = ImageBackboneRow(
        name="pebble",
        build=_build_pebble,
        build_pretrained=_build_pebble,
        contract=SIGNED,
        image_size=16,
        minimum_size=8,
        parameters=0,
        stages=3,
        weights_source="none",
        weights_file=lambda: None,
    )
    BACKBONES._values = {**BACKBONES._values, "pebble": row}


@pytest.fixture(scope="session")
def pebble() -> Iterator[None]:
    """That backbone."""
    from keras_transfer.backbones import BACKBONES

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BACKBONES, "_values", BACKBONES._values)
        add_pebble()
        yield


class _Killed(BaseException):
    """A replacement for SIGKILL within a process: nothing catches it, and all that was in memory is left behind."""


@pytest.fixture(scope="session")
def killed() -> Callable[..., None]:
    """``killed(fit, owner, "name", 3)`` calls ``fit``, and kills it at the third call of ``owner.name``."""

    def call(run: Callable[[], Any], owner: Any, name: str, number: int = 1, *, after: bool = False) -> None:
        original, calls = getattr(owner, name), 0

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number and not after:
                raise _Killed
            result = original(*arguments, **options)
            if calls == number:
                raise _Killed
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, counted)
            with pytest.raises(_Killed):
                run()

    return call


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``share("name", make)``: a folder that ``make(folder)`` filled once, for all processes of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def call(name: str, make: Callable[[Path], object]) -> Path:
        folder = common / f"shared-{name}"
        with FileLock(common / f"shared-{name}.lock"):
            if not (folder / "made").exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                (folder / "made").touch()
        return folder

    return call


@pytest.fixture(scope="session")
def finished_run(share: Callable[..., Path], pebble: None) -> Any:
    """A run on two classes of 16 images at 64 px. Tests read it; what they change, they copy first."""
    from keras_transfer import ImageClassification, Run

    def make(folder: Path) -> None:
        recipe = ImageClassification(
            {"source": str(_make_images(folder / "images", {"cat": 16, "dog": 16})), "image_size": 64},
            backbone="pebble",
            policy={"name": "last_stages", "stages": 1},
            training={"epochs": 1, "batch_size": 8},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_TRANSFER_CACHE", str(folder / "cache"))
            recipe.fit(folder / "run")

    return Run(share("finished-run", make) / "run")


@pytest.fixture(scope="session")
def finished_audio_run(share: Callable[..., Path]) -> Any:
    """A run on 42 tones of three pitches, by the pretrained speech_embedding on a second at once."""
    from keras_transfer import AudioClassification, Run

    def make(folder: Path) -> None:
        runpy.run_path(str(Path(__file__).parent / "recipe" / "test_audio_recipe.py"))["make_tones"](folder / "tones")
        recipe = AudioClassification(
            str(folder / "tones"),
            seconds=1.0,
            training={"epochs": 1},
            augmentation={"gain": 6.0, "time_mask": 0.1},
            export={"formats": []},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_TRANSFER_CACHE", str(folder / "cache"))
            recipe.fit(folder / "run")

    return Run(share("finished-audio-run", make) / "run")


@pytest.fixture(scope="session")
def finished_speech_run(share: Callable[..., Path], speech_preset: Callable[[str], Path]) -> Any:
    """A run on 30 tones, whose words are by their pitch, by a small Whisper that starts from random weights."""
    from keras_transfer import Run, SpeechToText

    def make(folder: Path) -> None:
        runpy.run_path(str(Path(__file__).parent / "recipe" / "test_speech_recipe.py"))["write_words"](folder)
        recipe = SpeechToText(
            str(folder / "words.csv"),
            group="speaker",
            backbone=str(speech_preset("whisper")),
            head={"language": "en"},
            policy="full",
            training={"epochs": 4, "learning_rate": 0.01, "accumulate_steps": 2},
            augmentation={"gain": 6.0, "time_mask": 0.1},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_TRANSFER_CACHE", str(folder / "cache"))
            recipe.fit(folder / "run")

    return Run(share("finished-speech-run", make) / "run")


@pytest.fixture(scope="session")
def exported(finished_run: Any, share: Callable[..., Path]) -> Callable[[str], Path]:
    """``exported("onnx")``: the folder of the finished run's model in a format; what was printed is next to it."""

    def find(name: str) -> Path:
        if name == "saved_model":
            return finished_run.folder / "export" / name / "1"

        def make(folder: Path) -> None:
            from keras_transfer.cli import main

            words = ["export", str(finished_run.folder), "--format", name, "--out", str(folder / "1")]
            result = CliRunner(env={"COLUMNS": "500"}).invoke(main, words)
            assert result.exit_code == 0, result.output
            (folder / "stdout").write_text(result.stdout)

        return share(name, make) / "1"

    return find


@pytest.fixture(scope="session")
def finished_text_run(share: Callable[..., Path]) -> Any:
    """A run on 48 texts about cats and dogs, by a BERT of three layers with random weights, and its SavedModel."""
    from keras_transfer import Run

    small = runpy.run_path(str(Path(__file__).parent / "recipe" / "test_text_recipe.py"))
    preset, table = share("preset", small["make_preset"]) / "bert", share("reviews", small["make_table"])

    def make(folder: Path) -> None:
        recipe = small["recipe"](table / "reviews.csv", str(preset), report=True, export={"formats": ["saved_model"]})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_TRANSFER_CACHE", str(folder / "cache"))
            recipe.fit(folder / "run")

    return Run(share("finished-text-run", make) / "run")


# What tests of several devices or processes share.


@pytest.fixture(scope="session")
def gravel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone without dropout in a file, which every process can read."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for block in range(1, 4):
        x = keras.layers.Conv2D(6, 3, 2, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    file = tmp_path_factory.mktemp("backbone") / "gravel.keras"
    keras.Model(inputs, x, name="gravel").save(file)
    return file


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """67 images, of which batches of 8 and devices leave remainders."""
    return _make_images(tmp_path_factory.mktemp("data") / "images", {"cat": 37, "dog": 30}, size=16)


@pytest.fixture
def recipe_file(tmp_path: Path, stripes: Path, gravel: Path) -> Path:
    """A recipe that every process trains alike: no dropout, no augmentation."""
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"""task: image_classification
deterministic: true
data: {{source: {stripes}, image_size: 16}}
backbone: {{name: {gravel}, input_range: [-1.0, 1.0]}}
augmentation: {{horizontal_flip: false}}
head: {{dropout: 0.0}}
policy: {{name: full, batch_norm: frozen}}
training: {{epochs: 3, batch_size: 8, learning_rate: 0.01, keep: last}}
export: {{formats: []}}
""",
        encoding="utf-8",
    )
    return file


_SENTENCES = ("the cat sat on the mat", "a dog ran to the cat", "one two three four five six seven", "kdo se bojí vlka")


def _save_whisper(folder: Path) -> None:
    """A multilingual Whisper for recordings of up to 2 s, whose tokens are bytes, three words and special ones."""
    import keras_hub
    from tokenizers import pre_tokenizers

    merges = ["Ġ t", "h e", "Ġt he", "c a", "ca t"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    spellings = [*letters, *(merge.replace(" ", "") for merge in merges)]
    names = "endoftext startoftranscript en cs de translate transcribe startoflm startofprev nospeech notimestamps"
    special = {f"<|{name}|>": len(spellings) + place for place, name in enumerate(names.split())}
    languages = {f"<|{code}|>": special.pop(f"<|{code}|>") for code in ("en", "cs", "de")}
    network = keras_hub.models.WhisperBackbone(
        vocabulary_size=1 + special["<|notimestamps|>"] + 101,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        num_mels=20,
        max_encoder_sequence_length=200,
        max_decoder_sequence_length=24,
    )
    vocabulary = {spelling: place for place, spelling in enumerate(spellings)}
    network.save_to_preset(folder)
    keras_hub.layers.WhisperAudioConverter(num_mels=20, max_audio_length=2).save_to_preset(folder)
    keras_hub.tokenizers.WhisperTokenizer(
        vocabulary=vocabulary, merges=merges, special_tokens=special, language_tokens=languages
    ).save_to_preset(folder)


def _save_moonshine(folder: Path) -> None:
    import io

    import keras_hub
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        minloglevel=2,
    )
    keras_hub.models.MoonshineBackbone(
        vocabulary_size=320,
        filter_dim=8,
        encoder_num_layers=2,
        decoder_num_layers=2,
        hidden_dim=8,
        intermediate_dim=16,
        encoder_num_heads=2,
        decoder_num_heads=2,
    ).save_to_preset(folder)
    keras_hub.layers.MoonshineAudioConverter(do_normalize=True).save_to_preset(folder)
    keras_hub.tokenizers.MoonshineTokenizer(model.getvalue()).save_to_preset(folder)


@pytest.fixture(scope="session")
def speech_preset(share: Callable[[str, Callable[[Path], object]], Path]) -> Callable[[str], Path]:
    """``speech_preset("whisper")`` or ``("moonshine")``: the folder of a small KerasHub preset, of random weights."""
    makers = {"whisper": _save_whisper, "moonshine": _save_moonshine}

    def make(folder: Path, family: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        makers[family](folder)

    return lambda family: share(f"preset-{family}", lambda folder: make(folder, family))
