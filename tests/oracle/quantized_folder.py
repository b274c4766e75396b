#!/usr/bin/env python3
"""Reads a Hugging Face folder of GPTQ, AWQ, compressed-tensors or plain tensors with numpy alone, from the formats'
descriptions, and holds every tensor against the .wcz that it was exported from.

usage: quantized_folder.py FOLDER FILE.wcz [FOLDER FILE.wcz]...      (from the repository root)

The .wcz is read by scripts/wcz_reader.py. Integers: w = s (q - z) in f32 must be its value to the bit. Floats: its value
rounded to their type. Prints a line for each folder: its name, a space, and `N layers of integers, M tensors of floats' or
what differs first."""
import json
import os
import re
import struct
import sys

import numpy as np

sys.path.insert(0, "scripts")
import wcz_reader


def bf16(raw):
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def to_bf16(x):
    u = x.view(np.uint32).astype(np.uint64)
    return (((u + 0x7FFF + (u >> 16 & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def load(folder):
    """name -> (dtype, array); bf16 as f32. Every file must be in the index, and every entry of the index in its file."""
    index = os.path.join(folder, "model.safetensors.index.json")
    weight_map = json.load(open(index))["weight_map"] if os.path.exists(index) else None
    files = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors"))
    tensors, total = {}, 0
    for f in files:
        raw = open(os.path.join(folder, f), "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + n])
        assert header.pop("__metadata__")["format"] == "pt"
        for name, t in header.items():
            a, b = t["data_offsets"]
            total += b - a
            data, kind = raw[8 + n + a : 8 + n + b], t["dtype"]
            types = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8"}
            x = bf16(data) if kind == "BF16" else np.frombuffer(data, types[kind])
            assert weight_map is None or weight_map[name] == f, name
            tensors[name] = kind, x.reshape(t["shape"])
    if weight_map is not None:
        assert sorted(weight_map) == sorted(tensors) and len(files) > 1
        assert json.load(open(index))["metadata"]["total_size"] == total
    return tensors


def stream(words, bits, n, axis):
    """n fields of `bits' along an axis of int32 words: one stream of bits, lowest first."""
    w = np.moveaxis(np.ascontiguousarray(words), axis, -1)
    w = np.ascontiguousarray(w).view(np.uint8)
    b = np.unpackbits(w, axis=-1, bitorder="little")[..., : n * bits]
    q = b.reshape(*b.shape[:-1], n, bits) @ (1 << np.arange(bits))
    return np.moveaxis(q, -1, axis)


def awq(words):
    """[R, C] int32 -> [R, 8 C]: the column 8 c + j is in nibble [0, 4, 1, 5, 2, 6, 3, 7][j] of word c."""
    u = words.astype(np.int64) & 0xFFFFFFFF
    nibbles = [u >> 4 * k & 15 for k in (0, 4, 1, 5, 2, 6, 3, 7)]
    return np.stack(nibbles, axis=-1).reshape(u.shape[0], -1)


def scheme(config, module):
    """(bits, group or -1, symmetric), or None for a module that stays as it is."""
    method = config["quant_method"]
    if method == "gptq":
        base = {k: config[k] for k in ("bits", "group_size", "sym")}
        for pattern, change in config.get("dynamic", {}).items():
            if re.match(pattern.split(":", 1)[-1], module):
                if pattern.startswith("-:"):
                    return None
                base.update(change)
                break
        return base["bits"], base["group_size"], base["sym"]
    if method == "awq":
        skipped = any(s in module for s in config["modules_to_not_convert"])
        return None if skipped else (config["bits"], config["group_size"], False)
    if module in config["ignore"]:
        return None
    fits = [g for g in config["config_groups"].values() if "Linear" in g["targets"] or module in g["targets"]]
    assert len(fits) == 1, (module, len(fits))
    w = fits[0]["weights"]
    assert fits[0]["format"] == "pack-quantized" and w["type"] == "int" and (w["strategy"] == "group") == bool(w["group_size"])
    return w["num_bits"], w["group_size"] or -1, w["symmetric"]


def ordered(config, module):
    """Whether loaders are told to look at g_idx; compressed-tensors then has one for every layer."""
    if config["quant_method"] != "compressed-tensors":
        return config.get("desc_act", False)
    weights = [g["weights"] for g in config["config_groups"].values() if "Linear" in g["targets"] or module in g["targets"]]
    assert weights[0]["actorder"] in (None, "group")
    return weights[0]["actorder"] == "group"


def unpack(config, tensors, p, bits, symmetric):
    """q [N, K], z [N, G], s [N, G], g_idx [K] or None, and the names used."""
    if config["quant_method"] == "compressed-tensors":
        used = [p + s for s in (".weight_packed", ".weight_scale", ".weight_shape")]
        n, k = (int(x) for x in tensors[used[2]][1])
        q, s = stream(tensors[used[0]][1], bits, k, 1), tensors[used[1]][1]
        z = np.full(s.shape, 1 << (bits - 1))
        if not symmetric:
            used.append(p + ".weight_zero_point")
            z = stream(tensors[used[3]][1], bits, n, 0)
        g_idx = None
        if ordered(config, p):
            used.append(p + ".weight_g_idx")
            g_idx = tensors[used[-1]][1]
        half = 1 << (bits - 1)
        return q - half, z - half, s, g_idx, used  # signed, as that library has them
    used = [p + s for s in (".qweight", ".qzeros", ".scales")]
    words, zeros, s = (tensors[x][1] for x in used)
    n = s.shape[1]
    if config["quant_method"] == "awq":
        return awq(words).T, awq(zeros).T, s.T, None, used
    used.append(p + ".g_idx")
    g_idx = tensors[used[3]][1]
    z = stream(zeros, bits, n, 1)
    if config["checkpoint_format"] == "gptq":
        z = z + 1 & (1 << bits) - 1
    return stream(words, bits, len(g_idx), 0).T, z.T, s.T, g_idx, used


def decoded(path, known={}):
    """[(name, values)] of a .wcz, the last one kept."""
    if path not in known:
        known.clear()
        f = wcz_reader.File(path)
        known[path] = [(t.name.decode(), f.decode(t).astype(np.float32)) for t in f.tensors]
    return known[path]


def integers(config, tensors, module, want):
    """The names that the module is made of; its values are compared."""
    found = scheme(config, module)
    assert found is not None, module + " is neither there nor quantized"
    bits, group, symmetric = found
    q, z, s, g_idx, used = unpack(config, tensors, module, bits, symmetric)
    k = q.shape[1]
    group = k if group == -1 else group
    g = np.arange(k) // group if g_idx is None else g_idx
    assert ordered(config, module) or (g == np.arange(k) // group).all(), module + " has a g_idx that its config denies"
    assert s.shape[1] == -(-k // group) and g.max() < s.shape[1], "%s: %d groups for %d columns" % (module, s.shape[1], k)
    if symmetric and config["quant_method"] == "gptq":
        assert (z == 1 << (bits - 1)).all(), module + " is no symmetric grid"
    w = s.astype(np.float32)[:, g] * (q - z[:, g]).astype(np.float32)
    assert np.array_equal(w, want), module + " differs"
    return used


def compare(folder, wcz):
    tensors = load(folder)
    config = json.load(open(os.path.join(folder, "config.json"))).get("quantization_config")
    used, floats = set(), 0
    values = decoded(wcz)
    for name, want in values:
        if name not in tensors:
            used.update(integers(config, tensors, name[: -len(".weight")], want))
            continue
        kind, x = tensors[name]
        rounded = to_bf16(want) if kind == "BF16" else want.astype(np.float16) if kind == "F16" else want
        assert np.array_equal(x.astype(np.float32).reshape(-1), rounded.astype(np.float32).reshape(-1)), name + " differs"
        used.add(name)
        floats += 1
    assert used == set(tensors), "nobody reads %s" % sorted(set(tensors) - used)
    return "%d layers of integers, %d tensors of floats" % (len(values) - floats, floats)


for pair in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        print(os.path.basename(pair[0]), compare(*pair))
    except (AssertionError, KeyError, ValueError, OSError) as e:
        print(os.path.basename(pair[0]), type(e).__name__, e)
