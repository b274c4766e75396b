"""Writes tiny random checkpoints, one folder per architecture detail: make_models.py DIR

The same bytes everywhere: legacy RandomState streams are frozen by numpy. Committed logits in tests/data/forward belong to
exactly these checkpoints; scripts/record_forward_fixtures.py makes them anew after a change here.
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

BASE = dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            vocab_size=48, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=100.0, hidden_act="silu",
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)


def scaled(**rope):
    return dict(BASE, model_type="llama", rope_scaling=rope)


# name -> (dtype, config). Head size 16 and theta 100 put the frequencies where every scaling rule bends some of them.
MODELS = {
    "llama": ("F32", dict(BASE, model_type="llama", hidden_size=48, intermediate_size=80, num_hidden_layers=3,
                          num_attention_heads=6, num_key_value_heads=2, attention_bias=True, mlp_bias=True)),
    "mistral": ("BF16", dict(BASE, model_type="mistral", num_attention_heads=4, num_key_value_heads=2, head_dim=12,
                             sliding_window=5)),
    "qwen2": ("F16", dict(BASE, model_type="qwen2", num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
                          tie_word_embeddings=True, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen2_types": ("F32", dict(BASE, model_type="qwen2", num_hidden_layers=3, use_sliding_window=True, sliding_window=3,
                                layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "qwen3": ("F32", dict(BASE, model_type="qwen3", num_attention_heads=4, num_key_value_heads=2, head_dim=20,
                          eos_token_id=[2, 3])),
    "qwen3_bias": ("F32", dict(BASE, model_type="qwen3", head_dim=8, attention_bias=True)),
    "bitnet": ("F32", dict(BASE, model_type="bitnet", num_attention_heads=4, num_key_value_heads=2)),
    "rope_linear": ("F32", scaled(rope_type="linear", factor=4.0)),
    "rope_dynamic": ("F32", dict(scaled(type="dynamic", factor=3.0), max_position_embeddings=24)),
    "rope_ntk": ("F32", scaled(rope_type="ntk", factor=4.0)),
    "rope_yarn": ("F32", scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "rope_yarn_options": ("F32", scaled(rope_type="yarn", factor=8.0, original_max_position_embeddings=32, beta_fast=4.0,
                                        beta_slow=0.5, mscale=1.5, mscale_all_dim=0.7, truncate=False)),
    "rope_yarn_attention": ("F32", scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=64,
                                          attention_factor=1.3)),
    "rope_llama3": ("F32", scaled(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                  original_max_position_embeddings=100)),
    "rope_longrope_short": ("F32", dict(scaled(rope_type="longrope", short_factor=[1 + 0.1 * i for i in range(8)],
                                               long_factor=[2 + 0.5 * i for i in range(8)]),
                                        original_max_position_embeddings=128)),
    "rope_longrope_long": ("F32", dict(scaled(rope_type="longrope", short_factor=[1 + 0.1 * i for i in range(8)],
                                              long_factor=[2 + 0.5 * i for i in range(8)]),
                                       original_max_position_embeddings=32)),
    "rope_partial": ("F32", dict(BASE, model_type="llama", partial_rotary_factor=0.5)),
}
# What Hugging Face's classes do not do: no recorded logits, only the numpy oracle.
NOT_IN_HF = {"rope_ntk", "rope_partial"}


def tensors(c):
    """name -> (shape, mean, spread)"""
    h, i, a, v = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["vocab_size"]
    g, d, kind = c["num_key_value_heads"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"]), c["model_type"]
    out = {"model.embed_tokens.weight": ((v, h), 0, 1), "model.norm.weight": ((h,), 1, 0.1)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = ((v, h), 0, 0.2)
    for layer in range(c["num_hidden_layers"]):
        p = "model.layers.%d." % layer
        linear = {"self_attn.q_proj": (a * d, h, 3), "self_attn.k_proj": (g * d, h, 2), "self_attn.v_proj": (g * d, h, 1),
                  "self_attn.o_proj": (h, a * d, 1), "mlp.gate_proj": (i, h, 1), "mlp.up_proj": (i, h, 1),
                  "mlp.down_proj": (h, i, 1)}
        for name, (rows, cols, gain) in linear.items():
            out[p + name + ".weight"] = ((rows, cols), 0, gain / np.sqrt(cols))
            qkv, attention = name[10:11] in "qkv", name.startswith("self_attn")
            if (kind == "qwen2" and attention and qkv) or (attention and c.get("attention_bias")) or (
                    not attention and c.get("mlp_bias")):
                out[p + name + ".bias"] = ((rows,), 0, 0.3)
        out[p + "input_layernorm.weight"] = ((h,), 1, 0.1)
        out[p + "post_attention_layernorm.weight"] = ((h,), 1, 0.1)
        if kind == "qwen3":
            out[p + "self_attn.q_norm.weight"] = ((d,), 1.5, 0.2)
            out[p + "self_attn.k_norm.weight"] = ((d,), 1.5, 0.2)
        if kind == "bitnet":
            out[p + "self_attn.attn_sub_norm.weight"] = ((a * d,), 1, 0.1)
            out[p + "mlp.ffn_sub_norm.weight"] = ((i,), 1, 0.1)
    return out


def encode(x, dtype):
    if dtype == "BF16":
        return (np.ascontiguousarray(x, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return x.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write(folder, name):
    dtype, config = MODELS[name]
    rng, header, blobs, at = np.random.RandomState(zlib.crc32(name.encode())), {}, [], 0
    for tensor, (shape, mean, spread) in sorted(tensors(config).items()):
        blob = encode((mean + spread * rng.standard_normal(shape)).astype(np.float32), dtype)
        header[tensor] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, name, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, name, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def ids(n_seq, seqlen, vocab):
    """The token ids that every forward test runs; test_forward.c has the same formula."""
    s, p = np.arange(n_seq)[:, None], np.arange(seqlen)[None, :]
    return (7 + 13 * p + 5 * p * p + 29 * s) % vocab


if __name__ == "__main__":
    for model in MODELS:
        write(sys.argv[1], model)
