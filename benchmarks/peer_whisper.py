"""The peer of whisper_encoder.py: Hugging Face's Whisper encoder in PyTorch, padded to 30 s, with the same weights.

It runs in an environment with ``torch`` and ``transformers``, loads the arrays that whisper_encoder.py wrote, and
answers each line of its input, the number of a clip, with the measured time of the features and of the encoder.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from suite_torchvision import import_torchvision

Arrays = dict[str, np.ndarray]


def make_encoder(tensors: Arrays, heads: int, layers: int) -> torch.nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    width = tensors["encoder/layer_norm/gamma"].shape[0]
    config = WhisperConfig(
        d_model=width, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * width
    )
    encoder = WhisperEncoder(config).eval()
    encoder.load_state_dict(to_torch(encoder_state(tensors, layers)))
    return encoder


def to_torch(state: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.copy()) for name, value in state.items()}


def encoder_state(tensors: Arrays, layers: int) -> Arrays:
    """Name an encoder's tensors as Hugging Face does."""
    state = {"embed_positions.weight": tensors["encoder/position_encodings/encodings"]}
    state |= normalization(tensors, "encoder/layer_norm", "layer_norm")
    for part in ("conv1", "conv2"):
        state |= {f"{part}.{kind}": tensors[f"encoder/{part}/{kind}"] for kind in ("weight", "bias")}
    for number in range(layers):
        source, target = f"encoder/layer_{number}", f"layers.{number}"
        state |= attention(tensors, f"{source}/self_attention", f"{target}.self_attn")
        state |= feed_forward(tensors, f"{source}/ffn", target)
    return state


def decoder_state(tensors: Arrays, layers: int) -> Arrays:
    """Name a decoder's tensors as Hugging Face does."""
    state = {
        "embed_tokens.weight": tensors["decoder/embeddings/weight"],
        "embed_positions.weight": tensors["decoder/position_encodings/encodings"],
    }
    state |= normalization(tensors, "decoder/layer_norm", "layer_norm")
    for number in range(layers):
        source, target = f"decoder/layer_{number}", f"layers.{number}"
        state |= attention(tensors, f"{source}/self_attention", f"{target}.self_attn")
        state |= attention(tensors, f"{source}/attention", f"{target}.encoder_attn")
        state |= feed_forward(tensors, f"{source}/ffn", target)
    return state


def attention(tensors: Arrays, source: str, target: str) -> Arrays:
    # The matrices that make queries, keys and values lie one above another, in one tensor or two; then the output's.
    count = sum(name.startswith(f"{source}/linear_") and name.endswith("/weight") for name in tensors)
    state = normalization(tensors, f"{source}/layer_norm", f"{target}_layer_norm")
    for kind in ("weight", "bias"):
        parts = np.concatenate([tensors[f"{source}/linear_{number}/{kind}"] for number in range(count - 1)])
        for name, part in zip("qkv", np.split(parts, 3), strict=True):
            if (name, kind) != ("k", "bias"):
                state[f"{target}.{name}_proj.{kind}"] = part
        state[f"{target}.out_proj.{kind}"] = tensors[f"{source}/linear_{count - 1}/{kind}"]
    return state


def feed_forward(tensors: Arrays, source: str, target: str) -> Arrays:
    state = normalization(tensors, f"{source}/layer_norm", f"{target}.final_layer_norm")
    for kind in ("weight", "bias"):
        state |= {f"{target}.fc{number + 1}.{kind}": tensors[f"{source}/linear_{number}/{kind}"] for number in (0, 1)}
    return state


def normalization(tensors: Arrays, source: str, target: str) -> Arrays:
    return {f"{target}.weight": tensors[f"{source}/gamma"], f"{target}.bias": tensors[f"{source}/beta"]}


def main(folder: Path, heads: int, layers: int, threads: int) -> None:
    import_torchvision()  # transformers imports it if it is there
    from transformers import WhisperFeatureExtractor

    with np.load(folder / "tensors.npz") as file:
        encoder = make_encoder(dict(file), heads, layers)
    clips, extract = np.load(folder / "clips.npy"), WhisperFeatureExtractor()
    torch.set_num_threads(threads)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        features = extract(list(clips[[int(line)]]), sampling_rate=16_000, return_tensors="pt").input_features
        middle = time.perf_counter()
        with torch.inference_mode():
            states = encoder(features).last_hidden_state
        end = time.perf_counter()
        np.save(folder / "states.npy", states.numpy())
        print(json.dumps({"features": middle - start, "encoder": end - middle}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
