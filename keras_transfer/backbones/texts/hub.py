"""Text backbones: KerasHub's networks that can classify texts, from a package, a preset, or a folder.

Families are discovered in ``keras_hub.models`` itself. MiniLM's weights install as a package, so that it works without
internet access; folders are KerasHub's presets or Hugging Face's models with safetensors. No code in a folder is run.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from keras_transfer.backbones.base import Backbone
from keras_transfer.backbones.keras_hub_catalog import preset_classes, public_classes, shorten
from keras_transfer.backbones.rows import list_installs, list_rows
from keras_transfer.backbones.texts.network import SentencePooling, TextNetwork, check_pooling, resolve_pooling
from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.backbones.weights import find_run_model, load_weights
from keras_transfer.config.weights import Weights
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.readers.tokens import MASK, POSITIONS
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages
from keras_transfer.registry import did_you_mean, nearest_names

# For networks whose positions are not weights, and which set no limit themselves.
_UNLIMITED = 2**15


@dataclass(frozen=True, kw_only=True)
class Family:
    """A KerasHub family of networks for texts.

    Attributes:
        name: The name of its module in KerasHub: ``bert``, ``gpt2``.
        is_decoder: Whether a token attends only to earlier tokens.
    """

    name: str
    backbone: type[Any]
    preprocessor: type[Any]
    tokenizer: type[Any]
    is_decoder: bool


@dataclass(frozen=True, kw_only=True)
class TextBackbone(Backbone):
    """A network that takes texts as tokens, ``int32[batch, tokens]``, and returns ``float32[batch, width]``.

    Attributes:
        maximum_length: Maximum number of tokens.
        family: The name of its family in KerasHub: ``bert``.
        pads_to_longest: Whether padding to the longest text of a batch is enough. If KerasHub's network does not accept
            a mask, its output depends on padding, and every batch is padded to the same length.
        pooling: How tokens are pooled to one vector; ``masked`` returns a vector for each masked token.
    """

    encoder: TextEncoder
    maximum_length: int
    family: str
    pads_to_longest: bool
    pooling: SentencePooling

    def inputs(self) -> dict[str, keras.KerasTensor]:
        """Make inputs for tokens, ``int32[batch, tokens]`` by name."""
        names = [*self.encoder.columns, *([POSITIONS] if self.pooling.kind == "masked" else [])]
        return {name: keras.Input((None,), name=name, dtype="int32") for name in names}

    def describe(self) -> list[Any]:
        """Return family, pooling and a digest of the tokenizer."""
        return [self.name, self.family, self.pooling.kind, self.pooling.normalizes, self.encoder.fingerprint]


@functools.cache
def find_families() -> dict[str, Family]:
    """Find the families that can classify texts.

    They are those with a task ``{Family}TextClassifier``, or ``{Family}CausalLM`` for decoders, whose preprocessor
    takes only texts and whose tokenizer runs in TensorFlow. That excludes aliases, ESM's ``ESMProteinClassifier``,
    encoder-decoders, and families that also take images or sound.

    Returns:
        The families by name.
    """
    found = {}
    for name, task in sorted(public_classes(keras_hub.models.TextClassifier, keras_hub.models.CausalLM).items()):
        if issubclass(task, keras_hub.models.Seq2SeqLM):
            continue
        backbone, preprocessor = task.backbone_cls, task.preprocessor_cls
        kind = "CausalLM" if issubclass(task, keras_hub.models.CausalLM) else "TextClassifier"
        if backbone is None or name != backbone.__name__.removesuffix("Backbone") + kind:
            continue
        if not _takes_texts_alone(preprocessor):
            continue
        family = Family(
            name=backbone.__module__.split(".")[-2],
            backbone=backbone,
            preprocessor=preprocessor,
            tokenizer=preprocessor.tokenizer_cls,
            is_decoder=kind == "CausalLM",
        )
        found[family.name] = family
    return dict(sorted(found.items()))


def _takes_texts_alone(preprocessor: Any) -> bool:
    tokenizers = keras_hub.tokenizers
    in_tensorflow = tokenizers.WordPieceTokenizer, tokenizers.BytePairTokenizer, tokenizers.SentencePieceTokenizer
    others = ("image_converter_cls", "audio_converter_cls", "video_converter_cls")
    if preprocessor is None or any(getattr(preprocessor, other, None) for other in others):
        return False
    return preprocessor.tokenizer_cls is not None and issubclass(preprocessor.tokenizer_cls, in_tensorflow)


def list_presets() -> dict[str, str]:
    """Return the names of KerasHub's presets that can classify texts, and the family of each; nothing is downloaded."""
    families = {family.backbone: family.name for family in find_families().values()}
    return {preset: families[cls] for preset, cls in sorted(preset_classes().items()) if cls in families}


@dataclass(frozen=True)
class TextParts:
    """The parts of a backbone for texts.

    Attributes:
        network: KerasHub's backbone.
        preprocessor: Packs texts for it: KerasHub's ``TextClassifierPreprocessor`` or, for decoders,
            ``CausalLMPreprocessor`` of the same family.
    """

    network: keras_hub.models.Backbone
    preprocessor: keras_hub.models.Preprocessor


def load_hub_backbone(
    name: str, *, weights: Weights = Weights.PRETRAINED, pooling: str = "auto", folder: Path | None = None
) -> TextBackbone:
    """Load a preset of KerasHub, or a model of Hugging Face.

    Args:
        name: A preset of KerasHub (see :func:`list_presets`), which is downloaded, or a folder that contains a KerasHub
            preset or a Hugging Face model with safetensors; with ``folder``, the name in messages.
        pooling: See :func:`~keras_transfer.backbones.texts.rows.load_text_backbone`.
        folder: The folder of its files; by default given by ``name``.

    Raises:
        BackboneError: The network does not exist or is not available, cannot classify texts or, with ``masked``, has no
            mask token, or weights do not fit.
    """
    check_pooling(pooling)
    pretrained = weights == Weights.PRETRAINED
    source = _find_source(name, folder, pretrained=pretrained)
    body = _load(name, source, lambda: keras_hub.models.Backbone.from_preset(source, load_weights=pretrained))
    family = find_family(name, body)
    preprocessor = _load(name, source, lambda: _load_preprocessor(family, source))
    parts = TextParts(body, preprocessor)
    return join_parts(name, parts, weights=weights, pooling=pooling, source=source)


def find_family(name: str, network: keras.Model) -> Family:
    """Return the family of a KerasHub network.

    Raises:
        BackboneError: It cannot classify texts.
    """
    family = next((family for family in find_families().values() if family.backbone is type(network)), None)
    if family is None:
        raise BackboneError(_not_for_texts(name, type(network).__name__))
    return family


def join_parts(
    name: str, parts: TextParts, *, weights: Weights, pooling: str = "auto", source: str = ""
) -> TextBackbone:
    """Make a backbone from a network and its preprocessor.

    Args:
        parts: Pretrained if ``weights`` is ``pretrained``, else with random weights.
        pooling: See :func:`~keras_transfer.backbones.texts.rows.load_text_backbone`.

    Raises:
        BackboneError: The parts do not fit each other, the weights do not fit, or with ``masked``, there is no mask
            token.
    """
    check_pooling(pooling)
    body, family = parts.network, find_family(name, parts.network)
    encoder = _load(name, source, lambda: TextEncoder(parts.preprocessor))
    _check_parts(name, family, body, encoder, pooling)
    resolved = resolve_pooling(pooling, is_decoder=family.is_decoder, folder=Path(source))
    network = TextNetwork(
        backbone=body,
        pooling=resolved.kind,
        is_decoder=family.is_decoder,
        normalizes=resolved.normalizes,
        name=family.name,
    )
    _load_own_weights(name, network, encoder, weights, resolved)
    lengths = (getattr(body, limit, None) for limit in ("max_sequence_length", "max_position_embeddings"))
    return TextBackbone(
        name=name,
        network=network,
        stages=find_stages(network),
        weights=weights,
        encoder=encoder,
        maximum_length=next((length for length in lengths if length), _UNLIMITED),
        family=family.name,
        pads_to_longest=MASK in body.input,
        pooling=resolved,
    )


def _check_parts(name: str, family: Family, body: keras.Model, encoder: TextEncoder, pooling: str) -> None:
    rows = getattr(body, "vocabulary_size", encoder.vocabulary_size)
    if encoder.vocabulary_size > rows:
        raise BackboneError(
            f"The tokenizer of {name} does not fit its network: it has {encoder.vocabulary_size:,} tokens. Received: "
            f"a network for {rows:,}. Take both from one model."
        )
    if pooling == "masked" and encoder.mask_id is None:
        able = ", ".join(other.name for other in find_families().values() if not other.is_decoder)
        raise BackboneError(
            f"Text backbone {name} has no mask token, so it cannot be pretrained to predict masked tokens. Received: a "
            f"network of the family {family.name}. Use one of the families {able}."
        )


def _load_own_weights(
    name: str, network: TextNetwork, encoder: TextEncoder, weights: Weights, pooling: SentencePooling
) -> None:
    """Load the weights of a file or of a run folder."""
    if weights.path is None:
        return
    if weights.run is not None:
        find_run_model(weights.run, name)
        _check_tokenizer(encoder, weights.run, name)
    try:
        load_weights(network, weights.path, name)
    except BackboneError as error:
        if pooling.kind != "own":
            raise
        hint = "head.pooling=own has layers that a run with another pooling lacks: set head.pooling=mean."
        raise BackboneError(f"{error} {hint}") from error


def _load(name: str, source: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # KerasHub raises nearly every kind
        if source in preset_classes():
            handle = preset_classes()[source].presets[source]["kaggle_handle"].removeprefix("kaggle://")
            message = (
                f"Text backbone {name} is downloaded by KerasHub, and is not available now: {shorten(error)}\n"
                f"On a machine with network access, kagglehub.model_download('{handle}') returns a folder: copy it "
                f"here and set backbone.name to its path.\nWithout a download: {_without_download()}."
            )
        elif "no converter" in str(error):
            message = (
                f"{shorten(error)} Received: backbone.name={name}. Use a model of one of the families "
                f"{', '.join(find_families())}, as far as KerasHub converts it."
            )
        else:
            message = (
                f"Text backbone {name} cannot be loaded from {source}. KerasHub says: {shorten(error)} "
                "Use a complete copy of the folder."
            )
        raise BackboneError(message) from error


def _check_tokenizer(encoder: TextEncoder, weights: Path, name: str) -> None:
    """Refuse a run whose tokenizer assigns other ids."""
    if TextEncoder.load(weights / TOKENIZER).fingerprint != encoder.fingerprint:
        raise BackboneError(
            f"Run {weights} read texts with another tokenizer than {name} has now, of {encoder.vocabulary_size:,} "
            "tokens: its weights would mean other tokens. Set backbone.name to the network that the run started from."
        )


def _load_preprocessor(family: Family, source: str) -> Any:
    preprocessor = family.preprocessor.from_preset(source)
    settings = Path(source) / "tokenizer_config.json"
    if isinstance(preprocessor.tokenizer, keras_hub.tokenizers.WordPieceTokenizer) and settings.is_file():
        # By default, Hugging Face strips accents if it lowercases; KerasHub's conversion does not (0.32).
        config = json.loads(settings.read_text(encoding="utf-8"))
        strips = config.get("strip_accents")
        preprocessor.tokenizer.strip_accents = bool(config.get("do_lower_case") if strips is None else strips)
    return preprocessor


def _without_download() -> str:
    return ", ".join(f"{name} ({install})" for name, install in list_installs("text").items())


def _find_source(name: str, folder: Path | None, *, pretrained: bool) -> str:
    """Return the source that KerasHub loads: an absolute path, or the name of a preset."""
    if folder is None:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            return _find_preset(name)
    _check_folder(name, folder, pretrained=pretrained)
    return str(folder.absolute())


def _find_preset(name: str) -> str:
    if name not in preset_classes():
        known = [*(row.name for row in list_rows("text")), *list_presets()]
        near = did_you_mean(name, known) if nearest_names(name, known) else "`keras-transfer backbones` lists them."
        raise BackboneError(
            f"There is no text backbone, preset of KerasHub or folder named {name!r}. {near} "
            f"Without a download: {_without_download()}."
        )
    if name not in list_presets():
        raise BackboneError(_not_for_texts(name, preset_classes()[name].__name__))
    return name


def _not_for_texts(name: str, class_name: str) -> str:
    return (
        f"Backbone {name} cannot classify texts: it is a {class_name} of KerasHub. Use one of the families "
        f"{', '.join(find_families())}."
    )


def _check_folder(name: str, folder: Path, *, pretrained: bool) -> None:
    """Refuse a folder that KerasHub cannot load, with a clearer message than its own."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    kind = next((key for key in ("registered_name", "model_type") if isinstance(config, dict) and key in config), None)
    if kind is None:
        hint = " It is a run folder: set backbone.weights to it." if (folder / "model.keras").is_file() else ""
        raise BackboneError(
            f"Folder {folder} is neither a preset of KerasHub nor a Hugging Face model: it has no config.json of one."
            f"{hint} Received: backbone.name={name}. Use a folder that save_to_preset() or save_pretrained() wrote."
        )
    if kind == "registered_name":
        backbone = keras.saving.get_registered_object(str(config[kind]))
        if backbone not in {family.backbone for family in find_families().values()}:
            raise BackboneError(_not_for_texts(name, getattr(backbone, "__name__", str(config[kind]))))
        if not (folder / "tokenizer.json").is_file():
            raise BackboneError(
                f"The KerasHub preset {folder} has no tokenizer (tokenizer.json). Received: backbone.name={name}. "
                "Save it with the task's or the preprocessor's save_to_preset()."
            )
        names = ("model.weights.h5", "model.weights.json")
    else:
        names = ("model.safetensors", "model.safetensors.index.json")
    if pretrained and not any((folder / weights).is_file() for weights in names):
        pickled = sorted(file.name for file in folder.glob("*") if file.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        found = f"Its {pickled[0]} is a pickle, which could run any code. " if pickled else ""
        raise BackboneError(
            f"Folder {folder} has no {names[0]}. Received: backbone.name={name}. {found}"
            f"Put {names[0]} there"
            f"{', which save_pretrained(safe_serialization=True) writes' if kind == 'model_type' else ''}, "
            "or set backbone.weights=none."
        )
