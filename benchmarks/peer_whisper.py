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


def make_encoder(tensors: dict[str, np.ndarray], heads: int, layers: int) -> torch.nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    width = tensors["encoder/layer_norm/gamma"].shape[0]
    config = WhisperConfig(
        d_model=width, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * width
    )
    state = {"embed_positions.weight": tensors["encoder/position_encodings/encodings"]}
    state |= normalization(tensors, "encoder/layer_norm", "layer_norm")
    for part in ("conv1", "conv2"):
        state |= {f"{part}.{kind}": tensors[f"encoder/{part}/{kind}"] for kind in ("weight", "bias")}
    for number in range(layers):
        source, target = f"encoder/layer_{number}", f"layers.{number}"
        state |= normalization(tensors, f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
        state |= normalization(tensors, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
        for kind in ("weight", "bias"):
            query, key, value = np.split(tensors[f"{source}/self_attention/linear_0/{kind}"], 3)
            state |= {f"{target}.self_attn.q_proj.{kind}": query, f"{target}.self_attn.v_proj.{kind}": value}
            if kind == "weight":
                state[f"{target}.self_attn.k_proj.weight"] = key
            state[f"{target}.self_attn.out_proj.{kind}"] = tensors[f"{source}/self_attention/linear_1/{kind}"]
            state[f"{target}.fc1.{kind}"] = tensors[f"{source}/ffn/linear_0/{kind}"]
            state[f"{target}.fc2.{kind}"] = tensors[f"{source}/ffn/linear_1/{kind}"]
    encoder = WhisperEncoder(config).eval()
    encoder.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
    return encoder


def normalization(tensors: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
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
