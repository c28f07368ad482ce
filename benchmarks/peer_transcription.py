"""The peer of transcription.py: Hugging Face's ``generate`` for Whisper in PyTorch, with the same weights.

It runs in an environment with ``torch`` and ``transformers``, loads what transcription.py wrote, and answers each line
of its input, the number of an utterance, with the chosen tokens and the measured time.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from peer_whisper import decoder_state, encoder_state, to_torch
from suite_torchvision import import_torchvision


def make_model(tensors: dict[str, np.ndarray], settings: dict) -> torch.nn.Module:
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    parts = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {
            "layers": settings["layers"],
            "attention_heads": settings["heads"],
            "ffn_dim": 4 * width,
        }.items()
    }
    start, *_, no_timestamps = settings["prompt"]
    special = {"decoder_start_token_id": start, "eos_token_id": settings["end"], "pad_token_id": settings["end"]}
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=vocabulary, d_model=width, **parts, **special))
    state = {"proj_out.weight": tensors["decoder/embeddings/weight"]}
    for part, make in (("encoder", encoder_state), ("decoder", decoder_state)):
        state |= {f"model.{part}.{name}": value for name, value in make(tensors, settings["layers"]).items()}
    model.load_state_dict(to_torch(state))
    model.generation_config = GenerationConfig(
        **special,
        is_multilingual=False,
        no_timestamps_token_id=no_timestamps,
        suppress_tokens=settings["suppressed"],
        begin_suppress_tokens=settings["suppressed_first"],
        max_new_tokens=settings["longest"],
        num_beams=settings["beams"],
        do_sample=False,
    )
    return model.eval()


def main(folder: Path, threads: int) -> None:
    import_torchvision()  # transformers imports it if it is there
    from transformers import WhisperFeatureExtractor
    from transformers.utils import logging

    logging.set_verbosity_error()  # else it warns of the same settings for each utterance
    settings = json.loads((folder / "settings.json").read_text())
    with np.load(folder / "tensors.npz") as file:
        model = make_model(dict(file), settings)
    with np.load(folder / "utterances.npz") as file:
        utterances = list(file.values())
    extract = WhisperFeatureExtractor()
    torch.set_num_threads(threads)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        features = extract(utterances[int(line)], sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            tokens = model.generate(features)[0].tolist()
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
