#!/usr/bin/python3
"""Writes a synthetic Llama checkpoint: real shapes, random numbers, little disk.

The default is Llama-2-7B (13.5 GB as the file system shows it). Only the embedding, the head, the norms and the first
--random-blocks blocks hold numbers (normal, std 0.02, so that activations stay finite); all other tensors are holes of a
sparse file and read as zeros. Also written: config.json, the index of the shards, and ids.u32, raw token ids for
`--calib-ids', so that no tokenizer is needed. numpy only.

    scripts/make_synthetic.py DIR [--hidden 4096 --inner 11008 --layers 32 --heads 32 --vocab 32000 --dtype F16 ...]
"""
import argparse
import json
import os
import struct

import numpy as np

STD = 0.02
PIECE = 1 << 22  # numbers made at a time


def tensors(a):
    """(name, shape, kind) in the order of the files; kind: random, ones or hole."""
    h, kv = a.hidden, a.hidden // a.heads * a.kv_heads
    yield "model.embed_tokens.weight", [a.vocab, h], "random"
    for layer in range(a.layers):
        p = f"model.layers.{layer}."
        kind = "random" if layer < a.random_blocks else "hole"
        for name, shape in (
            ("self_attn.q_proj", [h, h]),
            ("self_attn.k_proj", [kv, h]),
            ("self_attn.v_proj", [kv, h]),
            ("self_attn.o_proj", [h, h]),
            ("mlp.gate_proj", [a.inner, h]),
            ("mlp.up_proj", [a.inner, h]),
            ("mlp.down_proj", [h, a.inner]),
        ):
            yield p + name + ".weight", shape, kind
        yield p + "input_layernorm.weight", [h], "ones"
        yield p + "post_attention_layernorm.weight", [h], "ones"
    yield "model.norm.weight", [h], "ones"
    yield "lm_head.weight", [a.vocab, h], "random"


def stored(x, dtype):
    """float32 to the bytes of F16 or BF16 (to nearest, ties to even)."""
    if dtype == "F16":
        return x.astype("<f2").tobytes()
    u = x.view(np.uint32)
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16).astype("<u2").tobytes()


def write_shard(path, part, dtype, rng):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in part:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + offset)
        for name, shape, kind in part:
            if kind == "hole":
                continue
            f.seek(8 + len(text) + header[name]["data_offsets"][0])
            n = int(np.prod(shape))
            for i in range(0, n, PIECE):
                count = min(PIECE, n - i)
                x = np.ones(count, np.float32)
                if kind == "random":
                    x = rng.standard_normal(count, np.float32) * np.float32(STD)
                f.write(stored(x, dtype))
    return offset


def split(all_tensors, shards):
    """Runs of about equal bytes."""
    total = sum(int(np.prod(s)) for _, s, _ in all_tensors)
    parts, done = [[] for _ in range(shards)], 0
    for t in all_tensors:
        parts[min(shards - 1, done * shards // total)].append(t)
        done += int(np.prod(t[1]))
    return [p for p in parts if p]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dir")
    for name, default in (("hidden", 4096), ("inner", 11008), ("layers", 32), ("heads", 32), ("kv-heads", 0),
                          ("vocab", 32000), ("random-blocks", 2), ("shards", 3), ("ids", 16384), ("seed", 1)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--dtype", choices=("F16", "BF16"), default="F16")
    a = p.parse_args()
    a.kv_heads = a.kv_heads or a.heads
    rng = np.random.default_rng(a.seed)
    os.makedirs(a.dir, exist_ok=True)
    parts = split(list(tensors(a)), a.shards)
    total, weight_map = 0, {}
    for i, part in enumerate(parts):
        name = f"model-{i + 1:05}-of-{len(parts):05}.safetensors"
        total += write_shard(os.path.join(a.dir, name), part, a.dtype, rng)
        weight_map.update({t[0]: name for t in part})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": a.hidden,
        "intermediate_size": a.inner, "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "vocab_size": a.vocab, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16"}[a.dtype],
    }
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    for name, value in (("config.json", config), ("model.safetensors.index.json", index)):
        with open(os.path.join(a.dir, name), "w") as f:
            json.dump(value, f, indent=1)
    rng.integers(0, a.vocab, a.ids).astype("<u4").tofile(os.path.join(a.dir, "ids.u32"))
    print(f"{a.dir}: {total / 2 / 1e6:.1f} M weights, {total} bytes in {len(parts)} shards")


if __name__ == "__main__":
    main()
