"""An independent forward pass in float64: forward.py N_SEQ SEQLEN OUT_DIR MODEL_DIR...

Writes OUT_DIR/<name of MODEL_DIR>.f32: logits [n_seq, seqlen, vocab] for the ids of make_models.ids. Written from the
papers and the definitions, in the plainest way (explicit masks, no caching), and shares no code with the C one.
"""
import json
import math
import os
import struct
import sys

import numpy as np

from make_models import ids


def load(path):
    with open(path, "rb") as f:
        raw = f.read()
    (n,) = struct.unpack_from("<Q", raw)
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name == "__metadata__":
            continue
        blob = raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(blob, "<u2").astype("<u4") << 16).view("<f4")
        else:
            x = np.frombuffer(blob, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
        out[name] = x.reshape(t["shape"]).astype(np.float64)
    return out


def rope(c, length, dim):
    """(frequencies [dim/2], factor on cos and sin)"""
    s = c.get("rope_scaling") or {}
    kind, base = s.get("rope_type", s.get("type", "default")), c.get("rope_theta", 10000.0)
    i = np.arange(0, dim, 2) / dim
    plain, longest = base ** -i, c["max_position_embeddings"]
    original = s.get("original_max_position_embeddings", c.get("original_max_position_embeddings", longest))
    factor = s.get("factor")
    if kind == "default":
        return plain, 1.0
    if kind == "linear":
        return plain / factor, 1.0
    if kind == "ntk":
        return (base * factor ** (dim / (dim - 2))) ** -i, 1.0
    if kind == "dynamic":
        ratio = max(length, longest) / longest
        return (base * (factor * ratio - factor + 1) ** (dim / (dim - 2))) ** -i, 1.0
    if kind == "llama3":
        out = []
        for f in plain:
            turns = original * f / (2 * math.pi)
            t = (turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
            t = min(max(t, 0.0), 1.0)
            out.append((1 - t) * f / factor + t * f)
        return np.array(out), 1.0
    if kind == "longrope":
        stretch = longest / original
        lists = s["long_factor"] if length > original else s["short_factor"]
        grow = 1.0 if stretch <= 1 else math.sqrt(1 + math.log(stretch) / math.log(original))
        return plain / np.array(lists), s.get("attention_factor", grow)
    assert kind == "yarn", kind

    def index_of(turns):
        return dim * math.log(original / (2 * math.pi * turns)) / (2 * math.log(base))

    def mscale(k):
        return 1.0 if factor <= 1 else 0.1 * k * math.log(factor) + 1

    low, high = index_of(s.get("beta_fast", 32)), index_of(s.get("beta_slow", 1))
    if s.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    attention = mscale(1)
    if s.get("mscale") and s.get("mscale_all_dim"):
        attention = mscale(s["mscale"]) / mscale(s["mscale_all_dim"])
    return plain * (1 - ramp) + plain / factor * ramp, s.get("attention_factor", attention)


def window(c, layer):
    kind = c["model_type"]
    if kind == "mistral":
        return c.get("sliding_window", 4096)
    if kind in ("qwen2", "qwen3") and c.get("use_sliding_window"):
        if "layer_types" in c:
            return c["sliding_window"] if c["layer_types"][layer].startswith("sliding") else None
        return c["sliding_window"] if layer >= c.get("max_window_layers", 28) else None
    return None


def forward(c, w, tokens):
    n_seq, t = tokens.shape
    a, g = c["num_attention_heads"], c.get("num_key_value_heads") or c["num_attention_heads"]
    d = c.get("head_dim") or c["hidden_size"] // a
    dim = int(d * c.get("partial_rotary_factor", 1.0))
    f, grow = rope(c, t, dim)
    angle = np.arange(t)[:, None] * f[None, :]
    cosine, sine = np.cos(angle) * grow, np.sin(angle) * grow

    def norm(x, name):
        if name not in w:
            return x
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * w[name]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    def rotate(x):  # as multiplication of the complex numbers x_i + j x_{i + dim/2}
        z = (x[..., :dim // 2] + 1j * x[..., dim // 2:dim]) * (cosine + 1j * sine)[None, :, None, :]
        return np.concatenate([z.real, z.imag, x[..., dim:]], -1)

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(c["num_hidden_layers"]):
        p = "model.layers.%d." % layer
        u = norm(x, p + "input_layernorm.weight")
        q = linear(u, p + "self_attn.q_proj").reshape(n_seq, t, a, d)
        k = linear(u, p + "self_attn.k_proj").reshape(n_seq, t, g, d)
        v = linear(u, p + "self_attn.v_proj").reshape(n_seq, t, g, d)
        q, k = rotate(norm(q, p + "self_attn.q_norm.weight")), rotate(norm(k, p + "self_attn.k_norm.weight"))
        k, v = np.repeat(k, a // g, axis=2), np.repeat(v, a // g, axis=2)
        score = np.einsum("siad,sjad->saij", q, k) / math.sqrt(d)
        i, j = np.arange(t)[:, None], np.arange(t)[None, :]
        hidden = (j > i) | (i - j >= (window(c, layer) or t))
        score = np.where(hidden, -np.inf, score)
        score = np.exp(score - score.max(-1, keepdims=True))
        score /= score.sum(-1, keepdims=True)
        mixed = np.einsum("saij,sjad->siad", score, v).reshape(n_seq, t, a * d)
        x = x + linear(norm(mixed, p + "self_attn.attn_sub_norm.weight"), p + "self_attn.o_proj")
        u = norm(x, p + "post_attention_layernorm.weight")
        gate = linear(u, p + "mlp.gate_proj")
        inner = gate / (1 + np.exp(-gate)) * linear(u, p + "mlp.up_proj")
        x = x + linear(norm(inner, p + "mlp.ffn_sub_norm.weight"), p + "mlp.down_proj")
    head = "model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"
    return norm(x, "model.norm.weight") @ w[head].T


if __name__ == "__main__":
    for folder in sys.argv[4:]:
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        tokens = ids(int(sys.argv[1]), int(sys.argv[2]), config["vocab_size"])
        logits = forward(config, load(os.path.join(folder, "model.safetensors")), tokens)
        logits.astype("<f4").tofile(os.path.join(sys.argv[3], os.path.basename(folder) + ".f32"))
