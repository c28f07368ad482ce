"""The predictor of a network for speech: from recordings of any length to the tokens of their transcripts."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_transfer.backbones.audio.decoders import make_decoder, split_network
from keras_transfer.backbones.audio.decoding import Decoded, DecodingRules, decode
from keras_transfer.backbones.audio.quiet_cuts import STEPS_PER_SECOND, Cuts, find_cuts
from keras_transfer.backbones.audio.speech_network import TOKENS, find_token_embeddings
from keras_transfer.heads import LOGITS
from keras_transfer.heads.transcripts import TiedLogits
from keras_transfer.networks.types import Array, JsonObject, SymbolicTensor, Tensor

# Number of windows that are transcribed at a time: a network's attention to 30 s takes 0.1 GB per window.
_SECONDS_AT_ONCE, _FEWEST, _MOST = 120, 4, 16
_TRANSCRIBE = "transcribe"


@keras.saving.register_keras_serializable(package="keras_transfer")
class Transcriber(keras.Model):
    """Recordings in, tokens out: ``samples``, ``float32[batch, time]`` in -1..1, to two outputs.

    Recordings that are longer than a window are cut at quiet places. Zeros at the end of a recording are padding; a
    window of zeros has no text, and neither has noise, according to the rules. The outputs are

    - ``int32[batch, n]``: the chosen tokens of all windows, concatenated, without prompts and ends, and padded with the
      end. Timestamps among them count from the start of the recording: those beyond the window's length have ids beyond
      the vocabulary.
    - ``float32[batch]``: the mean log-probability of the chosen tokens and the ends; 0 for silence and noise.

    The network's layers are shared: trained weights and adapters are used. The model is saved as its parts.

    Args:
        network: Functional, from the front end's output and ``int32[batch, length]`` tokens to the decoder's states,
            which the token embedding turns into logits.
        front_end: From samples, ``float32[batch, samples]``, to the network's input.
        rules: The decoding rules.
        samples: Length of a window, for which the network is built.
        sample_rate: In Hz.
        name: Of the model.
    """

    def __init__(
        self,
        *,
        network: keras.Model,
        front_end: Callable[[SymbolicTensor], SymbolicTensor],
        rules: DecodingRules,
        samples: int,
        sample_rate: int = 16_000,
        name: str | None = None,
    ) -> None:
        window = keras.Input((samples,), name="samples", dtype="float32")
        is_model = isinstance(front_end, keras.Model)
        listener = front_end if is_model else keras.Model(window, front_end(window), name="front_end")
        recordings = keras.Input((None,), name="samples", dtype="float32")
        transcribe = _Transcribe(network, listener, rules, samples, sample_rate)
        super().__init__(inputs=recordings, outputs=transcribe(recordings), name=name)
        models = {"network": _describe(network), "front_end": _describe(listener)}
        settings = {"rules": dataclasses.asdict(rules), "samples": samples, "sample_rate": sample_rate}
        # Stored as a string: Keras wraps dictionaries that are attributes of a model.
        self._settings = json.dumps({**models, **settings}, default=_to_plain)

    @property
    def rules(self) -> DecodingRules:
        """The decoding rules."""
        return DecodingRules(**json.loads(self._settings)["rules"])

    def make_trainer(self) -> keras.Model:
        """Return the network in the form in which it was trained.

        Returns:
            From ``samples``, ``float32[batch, samples]`` of one window, and ``token_ids``, ``int32[batch, tokens]``, to
            logits of the tokens that follow these, ``float32[batch, tokens, vocabulary]``. It shares the layers.
        """
        layer = self.get_layer(_TRANSCRIBE)
        samples = keras.Input(layer.front_end.input_shape[1:], name="samples", dtype="float32")
        tokens = keras.Input((None,), name=TOKENS, dtype="int32")
        prepared = layer.front_end(samples)
        states = layer.network({name: tokens if name == TOKENS else prepared for name in layer.network.input})
        logits = TiedLogits(find_token_embeddings(layer.network)[0], dtype="float32", name=LOGITS)(states)
        return keras.Model({"samples": samples, TOKENS: tokens}, logits, name="trainer")

    def get_config(self) -> JsonObject:
        """Return the parts of the model."""
        return {**json.loads(self._settings), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Build the model again, with random weights."""
        network, front_end = (
            keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("network", "front_end")
        )
        return cls(**{**config, "network": network, "front_end": front_end, "rules": DecodingRules(**config["rules"])})


def _describe(model: keras.Model) -> JsonObject:
    config = keras.saving.serialize_keras_object(model)
    return {key: config[key] for key in ("module", "class_name", "config", "registered_name")}


def _to_plain(value: Any) -> Any:
    """Convert NumPy numbers to Python's."""
    return value.item()


class _Transcribe(keras.layers.Layer):
    """The layer that transcribes; it is saved as part of the model."""

    needs_float32 = True

    def __init__(
        self, network: keras.Model, front_end: keras.Model, rules: DecodingRules, samples: int, sample_rate: int
    ) -> None:
        super().__init__(name=_TRANSCRIBE, dtype="float32")
        self.network, self.front_end = network, front_end
        self._rules, self._samples, self._rate = rules, samples, sample_rate
        halves = split_network(network)
        decoder = make_decoder(halves)
        # Wrapped in functions: Keras would save layers that it finds in attributes a second time.
        self._listen: Callable[[Tensor], Tensor] = lambda windows: halves.encoder(front_end(windows))
        self._decode: Callable[[Tensor], Decoded] = lambda states: decode(decoder, states, rules)
        seconds = samples / sample_rate
        self._at_once = int(min(max(_SECONDS_AT_ONCE // seconds, _FEWEST), _MOST))
        self.built = True

    def call(self, recordings: Tensor) -> tuple[Tensor, Tensor]:
        """Transcribe a few windows at a time, starting with the first windows of all recordings."""
        rules = self._rules
        cuts = find_cuts(recordings, self._samples, self._rate)
        batch, windows = ops.shape(cuts.starts)
        count = batch * windows
        at_once = _smaller(count, self._at_once)
        # Windows are sorted by number, then by recording; unused ones are last, and are not transcribed.
        needed = ops.reshape(ops.transpose(cuts.lengths) > 0, (-1,))
        order = _sort_true_first(needed)
        last = ops.sum(ops.cast(needed, "int32"))
        blank = ops.full((count, rules.longest), rules.end, "int32")
        zeros = ops.zeros((count,), "float32")

        def unfinished(done: Tensor, *_: Tensor) -> Tensor:
            return done < last

        def transcribe(done: Tensor, tokens: Tensor, totals: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
            # The last ones may be transcribed twice, with the same result.
            first = ops.minimum(done, count - at_once)
            chosen = ops.slice(order, (first,), (at_once,))
            of, number = chosen % batch, chosen // batch
            audio = self._take_windows(recordings, cuts, of, number)
            found = self._decode(self._listen(audio))
            sounds = ops.any(ops.not_equal(audio, 0), axis=1)
            found_tokens = ops.where(sounds[:, None], self._count_from_start(found.tokens, cuts, of, number), rules.end)
            place = ops.expand_dims(chosen, -1)
            return (
                done + at_once,
                ops.scatter_update(tokens, place, found_tokens),
                ops.scatter_update(totals, place, ops.where(sounds, found.log_probability, 0.0)),
                ops.scatter_update(lengths, place, ops.where(sounds, ops.cast(found.length, "float32"), 0.0)),
            )

        state = (ops.convert_to_tensor(0, "int32"), blank, zeros, zeros)
        _, tokens, totals, lengths = ops.while_loop(unfinished, transcribe, state)
        tokens = ops.transpose(ops.reshape(tokens, (windows, batch, rules.longest)), (1, 0, 2))
        totals, lengths = (ops.sum(ops.reshape(each, (windows, batch)), axis=0) for each in (totals, lengths))
        joined = _move_to_front(ops.reshape(tokens, (batch, windows * rules.longest)), rules.end)
        return joined, totals / ops.maximum(lengths, 1.0)

    def _take_windows(self, recordings: Tensor, cuts: Cuts, of: Tensor, number: Tensor) -> Tensor:
        """Return ``float32[at_once, samples]``, with zeros after the end of each window."""
        time, windows = ops.shape(recordings)[1], ops.shape(cuts.starts)[1]
        place = of * windows + number
        starts, lengths = (ops.take(ops.reshape(each, (-1,)), place)[:, None] for each in cuts)
        offsets = ops.arange(self._samples, dtype="int32")[None]
        # Positions in the flattened batch.
        places = of[:, None] * time + ops.minimum(starts + offsets, time - 1)
        return ops.where(offsets < lengths, ops.take(ops.reshape(recordings, (-1,)), places), 0.0)

    def _count_from_start(self, tokens: Tensor, cuts: Cuts, of: Tensor, number: Tensor) -> Tensor:
        """Shift timestamps by the start of their window."""
        begin = self._rules.timestamp_begin
        if begin is None:
            return tokens
        place = of * ops.shape(cuts.starts)[1] + number
        steps = ops.take(ops.reshape(cuts.starts, (-1,)), place) // (self._rate // STEPS_PER_SECOND)
        return ops.where(tokens >= begin, tokens + steps[:, None], tokens)

    def compute_output_spec(self, recordings: SymbolicTensor) -> tuple[SymbolicTensor, SymbolicTensor]:
        """Return the shapes: JAX cannot infer them if dimensions are unknown."""
        batch = recordings.shape[0]
        return keras.KerasTensor((batch, None), "int32"), keras.KerasTensor((batch,), "float32")


def _smaller(count: Tensor, most: int) -> Tensor:
    return min(count, most) if isinstance(count, int) else ops.minimum(count, most)


def _sort_true_first(flags: Tensor) -> Tensor:
    """Return the indices of true values, then of the others, each in order."""
    count = ops.shape(flags)[0]
    places = ops.arange(count, dtype="int32")
    return ops.cast(ops.argsort(ops.where(flags, places, places + count)), "int32")


def _move_to_front(tokens: Tensor, end: int) -> Tensor:
    """Move the end tokens of rows to the back."""
    width = ops.shape(tokens)[1]
    places = ops.arange(width, dtype="int32")
    order = ops.argsort(ops.where(ops.equal(tokens, end), places + width, places), axis=1)
    return ops.take_along_axis(tokens, order, axis=1)


@dataclasses.dataclass(frozen=True)
class Transcribed:
    """The result of transcribing recordings.

    Attributes:
        tokens: ``int32[recordings, n]``, padded with the end.
        scores: ``float32[recordings]``, mean log-probabilities.
    """

    tokens: Array
    scores: Array


def transcribe(model: Transcriber, batches: Iterable[Tensor]) -> Transcribed:
    """Transcribe batches, which may have different lengths.

    Args:
        model: The transcriber.
        batches: Of samples, ``float32[batch, time]``.
    """
    found = [[np.asarray(each) for each in model.predict_on_batch(batch)] for batch in batches]
    width = max((tokens.shape[1] for tokens, _ in found), default=0)
    end = model.rules.end
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=end) for each, _ in found]
    nothing = np.zeros((0, width), np.int32), np.zeros(0, np.float32)
    return Transcribed(
        np.concatenate([nothing[0], *padded]), np.concatenate([nothing[1], *(scores for _, scores in found)])
    )
