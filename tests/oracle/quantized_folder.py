#!/usr/bin/env python3
"""Reads a Hugging Face folder of GPTQ, AWQ, compressed-tensors or plain tensors with numpy alone, from the formats'
descriptions, and holds every tensor against the .wcz that it was exported from.

usage: quantized_folder.py FOLDER FILE.wcz DUMP      (DUMP: the folder that wcz_reader.py FILE.wcz --dump-all DUMP wrote)

Integers: w = s (q - z) in f32 must be the dumped value to the bit. Floats: the dumped value rounded to their type.
Prints `N layers of integers, M tensors of floats'; exit code 1 with a sentence at the first difference."""
import json
import os
import re
import struct
import subprocess
import sys

import numpy as np


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
        half = 1 << (bits - 1)
        return q - half, z - half, s, None, used  # signed, as that library has them
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


def main():
    folder, wcz, dump = sys.argv[1:]
    tensors = load(folder)
    config = json.load(open(os.path.join(folder, "config.json"))).get("quantization_config")
    listed = subprocess.run(["/usr/bin/python3", "scripts/wcz_reader.py", wcz, "--list"], capture_output=True, text=True, check=True)
    names = [line.split(" ")[0] for line in listed.stdout.splitlines() if not line.startswith("meta ")]
    used, layers, floats = set(), 0, 0
    for i, name in enumerate(names):
        want = np.load("%s/%d.npy" % (dump, i)).astype(np.float32)
        if name in tensors:
            kind, x = tensors[name]
            rounded = {"F32": want, "F16": want.astype(np.float16).astype(np.float32)}.get(kind)
            rounded = to_bf16(want) if kind == "BF16" else rounded
            if not np.array_equal(x.astype(np.float32).reshape(-1), rounded.reshape(-1)):
                sys.exit("%s differs" % name)
            used.add(name)
            floats += 1
            continue
        module = name[: -len(".weight")]
        found = scheme(config, module)
        if found is None:
            sys.exit("%s is neither there nor quantized" % name)
        bits, group, symmetric = found
        q, z, s, g_idx, mine = unpack(config, tensors, module, bits, symmetric)
        k = q.shape[1]
        group = k if group == -1 else group
        g = np.arange(k) // group if g_idx is None else g_idx
        if s.shape[1] != -(-k // group) or g.max() >= s.shape[1]:
            sys.exit("%s: %d groups of %d for %d columns" % (name, s.shape[1], group, k))
        if symmetric and config["quant_method"] == "gptq" and not (z == 1 << (bits - 1)).all():
            sys.exit("%s is no symmetric grid" % name)
        w = s.astype(np.float32)[:, g] * (q - z[:, g]).astype(np.float32)
        if not np.array_equal(w, want):
            sys.exit("%s differs" % name)
        used.update(mine)
        layers += 1
    if used != set(tensors):
        sys.exit("nobody reads %s" % sorted(set(tensors) - used)[0])
    print("%d layers of integers, %d tensors of floats" % (layers, floats))


main()
