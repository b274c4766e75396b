"""Quantized checkpoints as other tools write them, made from the descriptions of their formats: numpy only, and no code
of the program. Codes, zeros and scales are drawn at random around the weights' size: what counts is that they are read.

    quantized.py --good FOLDER              of every kind FOLDER/KIND/q, three layers, and FOLDER/KIND/ref, the same in F32
    quantized.py --broken FOLDER            FOLDER/KIND/q of every broken kind; prints KIND<tab>exit code<tab>what is said
    quantized.py --seeds FOLDER             FOLDER/quantized_KIND.bin: u32 bytes of a config, the config, a tiny checkpoint
    quantized.py MODEL KIND FOLDER          FOLDER/q and FOLDER/ref of a whole model, a folder with one file in F16"""
import json
import os
import shutil
import struct
import sys

import numpy as np

# ---- words -----------------------------------------------------------------------------------------------------------


def stream(fields, bits):
    """[lines, n] -> I32 [lines, ceil(n bits / 32)]: a stream of bits, lowest first."""
    lines, n = fields.shape
    bit = (fields[:, :, None] >> np.arange(bits)) & 1
    flat = np.zeros((lines, (n * bits + 31) // 32 * 32), np.uint8)
    flat[:, :n * bits] = bit.reshape(lines, n * bits)
    return np.packbits(flat, axis=1, bitorder="little").view("<i4")


def whole(fields, bits):
    """The same with whole fields only in a word, as compressed-tensors once did."""
    lines, n = fields.shape
    per = 32 // bits
    padded = np.zeros((lines, (n + per - 1) // per * per), np.uint64)
    padded[:, :n] = fields
    words = (padded.reshape(lines, -1, per) << (np.arange(per, dtype=np.uint64) * np.uint64(bits))).sum(axis=2, dtype=np.uint64)
    return words.astype("<u4").view("<i4")


def awq(fields):
    """[lines, n] -> I32 [lines, n / 8]: nibble i of a word holds column o[i]."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    by_word = fields.reshape(fields.shape[0], -1, 8)[:, :, order]
    return whole(by_word.reshape(fields.shape[0], -1), 4)


# ---- layers: {suffix: array}, and W in f32 ---------------------------------------------------------------------------


def draw(rng, n, k, group, bits, sym, w):
    groups = -(-k // group)
    q = rng.integers(0, 1 << bits, (n, k), dtype=np.int64)
    z = np.full((n, groups), 1 << (bits - 1)) if sym else rng.integers(0, 1 << bits, (n, groups))
    s = (np.abs(rng.normal(1, 0.1, (n, groups))) * w.std() * 3.4 / (1 << bits)).astype(np.float32)
    return q, z.astype(np.int64), s


def values(q, z, s, index):
    return (q - z[:, index]).astype(np.float32) * s.astype(np.float32)[:, index]


def bf16(x):
    """Rounded to bf16: as stored, and as f32."""
    u = x.astype("<f4").view("<u4")
    h = ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype("<u2")
    return h, (h.astype("<u4") << 16).view("<f4")


def scales16(s, brain):
    if brain:
        return bf16(s)
    h = s.astype("<f2")
    return h, h.astype("<f4")


def gptq(rng, w, bits=4, group=128, sym=True, act=False, v2=False, idx=True, brain=False):
    n, k = w.shape
    g = k if group == -1 else group
    q, z, s = draw(rng, n, k, g, bits, sym, w)
    stored, s = scales16(s, brain)
    index = np.arange(k) // g
    if act:
        index = index[rng.permutation(k)]
    zz = z if v2 else (z - 1) & ((1 << bits) - 1)
    t = {".qweight": stream(q, bits).T, ".qzeros": stream(zz.T, bits), ".scales": ("BF16", stored.T) if brain else stored.T}
    if idx:
        t[".g_idx"] = index.astype("<i4")
    return t, values(q, z, s, index)


def awq_layer(rng, w, group=64):
    n, k = w.shape
    q, z, s = draw(rng, n, k, group, 4, False, w)
    h = s.astype("<f2")
    return {".qweight": awq(q.T), ".qzeros": awq(z.T), ".scales": h.T}, values(q, z, h, np.arange(k) // group)


def packed(rng, w, bits=4, group=128, sym=True, act=False, brain=True, old=False, zeros_in_bytes=False):
    n, k = w.shape
    pack = whole if old else stream
    q, z, s = draw(rng, n, k, k if group is None else group, bits, sym, w)
    stored, s = scales16(s, brain)
    index = np.arange(k) // (group or k)
    if act:
        index = index[rng.permutation(k)]
    t = {".weight_packed": pack(q, bits), ".weight_scale": ("BF16", stored) if brain else stored,
         ".weight_shape": np.array([n, k], "<i8")}
    if not sym:
        t[".weight_zero_point"] = (z - (1 << (bits - 1))).astype("i1") if zeros_in_bytes else pack(z.T, bits).T
    if act:
        t[".weight_g_idx"] = index.astype("<i4")
    return t, values(q, z, s, index)


def int8(rng, w, strategy="channel", sym=True):
    n, k = w.shape
    q = rng.integers(-128, 128, (n, k))
    group = {"channel": k, "tensor": k, "group": 64}[strategy]
    rows = 1 if strategy == "tensor" else n
    s = (np.abs(rng.normal(1, 0.1, (rows, k // group))) * w.std() / 70).astype("<f4")
    z = np.zeros((rows, k // group), np.int64) if sym else rng.integers(-128, 128, (rows, k // group))
    t = {".weight": q.astype("i1"), ".weight_scale": s.reshape(1) if strategy == "tensor" else s}
    if not sym:
        t[".weight_zero_point"] = z.astype("i1")
    index = np.arange(k) // group
    full = np.broadcast_to(s, (n, k // group))
    return t, values(q, np.broadcast_to(z, full.shape), full, index)


def e4m3():
    table = np.zeros(256, np.float32)
    for b in range(256):
        sign, e, m = -1.0 if b & 128 else 1.0, b >> 3 & 15, b & 7
        table[b] = sign * (2.0 ** (e - 7) * (1 + m / 8) if e else 2.0 ** -6 * m / 8)
    return table


def fp8(rng, w, strategy="channel"):
    n, k = w.shape
    b = rng.integers(0, 256, (n, k)).astype(np.uint8)
    b[(b & 127) == 127] = 0
    bh, bw = {"channel": (1, k), "tensor": (n, k), "block": (128, 128)}[strategy]
    s = (np.abs(rng.normal(1, 0.1, (-(-n // bh), -(-k // bw)))) * w.std() / 100).astype(np.float32)
    stored, s = bf16(s)
    full = s[np.arange(n)[:, None] // bh, np.arange(k) // bw]
    return {".weight": ("F8_E4M3", b), ".weight_scale": ("BF16", stored)}, e4m3()[b] * full


# ---- kinds: layer maker, quantization_config, where it is written -------------------------------------------------------


def gptq_config(bits=4, group=128, sym=True, act=False, v2=False, **_):
    return {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": act, "damp_percent": 0.01,
            "checkpoint_format": "gptq_v2" if v2 else "gptq"}


def scheme(bits, group, sym, act=None, kind="int", strategy=None, block=None, activations=None):
    return {"targets": ["Linear"], "input_activations": activations, "output_activations": None,
            "weights": {"num_bits": bits, "type": kind, "symmetric": sym, "group_size": group, "actorder": act,
                        "strategy": strategy or ("group" if group else "channel"), "block_structure": block, "dynamic": False,
                        "observer": "minmax", "observer_kwargs": {}}}


def ct_config(groups, layout="pack-quantized"):
    return {"quant_method": "compressed-tensors", "version": "0.10.0", "format": layout, "quantization_status": "compressed",
            "ignore": ["lm_head"], "kv_cache_scheme": None, "config_groups": {f"group_{i}": g for i, g in enumerate(groups)},
            "sparsity_config": {}, "transform_config": {}}


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
KINDS = {}


def kind(name, make, config, file="config.json"):
    KINDS[name] = (make, config, file)


for name, o in {"gptq4": {}, "gptq4_act": {"act": True, "sym": False, "group": 64}, "gptq4_v2": {"v2": True, "sym": False, "group": 32},
                "gptq4_row": {"group": -1, "brain": True}, "gptq4_no_idx": {"idx": False, "sym": False},
                "gptq2": {"bits": 2, "group": 64, "sym": False}, "gptq3": {"bits": 3, "sym": False, "act": True},
                "gptq8": {"bits": 8, "group": 32, "sym": False}}.items():
    kind(name, lambda rng, w, i, o=o: gptq(rng, w, **o), gptq_config(**o))
kind("gptq_older", lambda rng, w, i: gptq(rng, w), {"bits": 4, "group_size": 128, "desc_act": False}, "quantize_config.json")
kind("gptq_dynamic", lambda rng, w, i: gptq(rng, w, **[{}, {"bits": 8, "group": 64}, {"bits": 3, "group": 32, "act": True}][i % 3]),
     dict(gptq_config(), dynamic={r".*up_proj": {"bits": 8}}))
kind("awq", lambda rng, w, i: awq_layer(rng, w), AWQ)
kind("awq_older", lambda rng, w, i: awq_layer(rng, w), {"w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"},
     "quant_config.json")
for name, o in {"ct4": {}, "ct4_asym": {"sym": False, "group": 32}, "ct4_act": {"sym": False, "act": True, "group": 64},
                "ct8_channel": {"bits": 8, "group": None, "brain": False}, "ct3": {"bits": 3, "sym": False, "group": 64},
                "ct3_old": {"bits": 3, "sym": False, "group": 64, "old": True},
                "ct4_bytes": {"sym": False, "group": 64, "zeros_in_bytes": True}}.items():
    kind(name, lambda rng, w, i, o=o: packed(rng, w, **o),
         ct_config([scheme(o.get("bits", 4), o.get("group", 128), o.get("sym", True), "group" if o.get("act") else None)]))
kind("ct_mixed", lambda rng, w, i: packed(rng, w, **[{}, {"bits": 8, "group": None}][i % 2]),
     ct_config([scheme(4, 128, True), scheme(8, None, True)], "mixed-precision"))
for name, o in {"int8": {}, "int8_asym": {"sym": False, "strategy": "group"}, "int8_tensor": {"strategy": "tensor"}}.items():
    st = o.get("strategy", "channel")
    kind(name, lambda rng, w, i, o=o: int8(rng, w, **o),
         ct_config([scheme(8, 64 if st == "group" else None, True, strategy=st, activations={"num_bits": 8})], "int-quantized"))
for st in ("channel", "tensor", "block"):
    kind("fp8_" + st, lambda rng, w, i, st=st: fp8(rng, w, st),
         ct_config([scheme(8, None, True, kind="float", strategy=st, block=[128, 128] if st == "block" else None)], "float-quantized"))

# ---- broken ones: a good kind, what is done to it, and what is said -----------------------------------------------------

BROKEN = {}
P = "model.layers.1.mlp.up_proj"


def broken(name, base, code, want):
    def keep(change):
        BROKEN[name] = (base, code, want, change)
        return change
    return keep


def config_case(name, base, code, want, **values):
    @broken(name, base, code, want)
    def change(config, tensors):
        for key, value in values.items():
            at = config
            *path, last = key.split("__")
            for step in path:
                at = at[step]
            at[last] = value


W = "config_groups__group_0__weights__"
config_case("bits_0", "gptq4", 3, ".bits. is 0", bits=0)
config_case("bits_5", "gptq4", 6, "bits is 5; of gptq, 2, 3, 4 and 8", bits=5)
config_case("bits_huge", "gptq4", 3, "bits", bits=10 ** 30)
config_case("bits_text", "gptq4", 3, "bits", bits="4")
config_case("bits_other", "gptq4", 3, "must be I32 \\[", bits=8)
config_case("bits_none", "gptq4", 3, "bits is 0", bits=None)
config_case("group_0", "gptq4", 3, "group_size", group_size=0)
config_case("group_negative", "gptq4", 3, "group_size", group_size=-2)
config_case("group_other", "gptq4", 3, "in groups of 32", group_size=32)
config_case("planar", "gptq4", 6, "checkpoint_format `gptq_p' of gptq is not read", checkpoint_format="gptq_p")
config_case("marlin", "gptq4", 6, "marlin", is_marlin_format=True)
config_case("words_of_64", "gptq4", 6, "pack_dtype `int64'", pack_dtype="int64")
config_case("format_number", "gptq4", 3, "checkpoint_format", checkpoint_format=4)
config_case("awq_gemv", "awq", 6, "version `gemv'", version="gemv")
config_case("awq_3_bits", "awq", 6, "bits is 3; of awq, 4", bits=3)
config_case("ct_no_groups", "ct4", 3, "no config_groups", config_groups={})
config_case("ct_groups_list", "ct4", 3, "no config_groups", config_groups=[1, 2])
config_case("ct_nvfp4", "ct4", 6, "format `nvfp4-pack-quantized'", format="nvfp4-pack-quantized")
config_case("ct_sparse", "ct4", 6, "sparsity `sparse-24-bitmask'", sparsity_config={"format": "sparse-24-bitmask"})
config_case("ct_rotated", "ct4", 6, "transform_config", transform_config={"config_groups": {"a": {}}})
config_case("ct_9_bits", "ct4", 6, "num_bits is 9", **{W + "num_bits": 9})
config_case("ct_bits_other", "ct4", 3, "fit none of", **{W + "num_bits": 8})
config_case("ct_group_0", "ct4", 3, "group_size", **{W + "group_size": 0})
config_case("ct_group_missing", "ct4", 3, "without a group_size", **{W + "group_size": None, W + "strategy": "group"})
config_case("ct_strategy", "ct4", 6, "strategy `token'", **{W + "strategy": "token"})
config_case("ct_block", "fp8_block", 3, "block_structure is no pair", **{W + "block_structure": [128]})
config_case("ct_block_0", "fp8_block", 3, "block_structure is no pair", **{W + "block_structure": [0, 128]})


def drop_case(name, base, suffix, want):
    @broken(name, base, 3, want)
    def change(config, tensors):
        del tensors[P + suffix]


drop_case("no_zeros", "gptq4", ".qzeros", "has no tensor .qzeros")
drop_case("no_scales", "gptq4", ".scales", "has no tensor .scales")
drop_case("no_codes", "gptq4", ".qweight", "whose codes are missing")
drop_case("no_ct_shape", "ct4", ".weight_shape", "has no tensor _shape")
drop_case("no_ct_scale", "ct4", ".weight_scale", "has no tensor _scale")
drop_case("no_fp8_scale", "fp8_channel", ".weight_scale", "has no tensor _scale")


def tensor_case(name, base, suffix, want, make):
    @broken(name, base, 3, want)
    def change(config, tensors):
        tensors[P + suffix] = make(tensors[P + suffix])


def changed(at, value):
    def make(x):
        x = x.copy()
        x.flat[at] = value
        return x
    return make


tensor_case("g_idx_high", "gptq4_act", ".g_idx", "puts input 7 into group 4 of 4", changed(7, 4))
tensor_case("g_idx_negative", "gptq4_act", ".g_idx", "puts input 7 into group -1", changed(7, -1))
tensor_case("g_idx_short", "gptq4_act", ".g_idx", "must be I32 \\[31, 160\\]", lambda x: x[:-8])
tensor_case("g_idx_long", "gptq4_act", ".g_idx", "it must be I32", lambda x: np.concatenate([x, x]))
tensor_case("g_idx_wide", "gptq4_act", ".g_idx", "g_idx is I32", lambda x: x.astype("<i8"))
tensor_case("codes_short", "gptq4", ".qweight", "it must be I32 \\[32, 160\\]", lambda x: x[:-1])
tensor_case("codes_flat", "gptq4", ".qweight", "in two dimensions", lambda x: x.reshape(-1))
tensor_case("codes_bytes", "gptq4", ".qweight", "packed in I32", lambda x: x.astype("u1"))
tensor_case("zeros_wide", "gptq4", ".qzeros", "it must be I32 \\[2, 20\\]", lambda x: np.concatenate([x, x], axis=1))
tensor_case("scales_whole", "gptq4", ".scales", "scales are F16", lambda x: x.astype("<i4"))
tensor_case("scales_none", "gptq4", ".scales", "scales are F16", lambda x: x[:0])
tensor_case("scales_more", "gptq4", ".scales", "must be I32 \\[4, 20\\]", lambda x: np.concatenate([x, x]))
tensor_case("awq_odd", "awq", ".scales", "it must be I32", lambda x: x[:, :-12].copy())
tensor_case("ct_shape_zero", "ct4", ".weight_shape", "is said to be 160 x 0", changed(1, 0))
tensor_case("ct_shape_negative", "ct4", ".weight_shape", "is said to be -1 x", changed(0, -1))
tensor_case("ct_shape_huge", "ct4", ".weight_shape", "is said to be 160 x 9223372036854775807", changed(1, 2 ** 63 - 1))
tensor_case("ct_shape_other", "ct4", ".weight_shape", "fit none of", changed(1, 248))
tensor_case("ct_shape_three", "ct4", ".weight_shape", "it must be I64 \\[2\\]", lambda x: np.arange(3, dtype="<i8"))
tensor_case("ct_zeros_other", "ct4_asym", ".weight_zero_point", "it must be I32 \\[20, 8\\]", lambda x: x[:-1].copy())
tensor_case("int8_zeros_other", "int8_asym", ".weight_zero_point", "as many as there are scales", lambda x: x[:-1].copy())


@broken("both", "gptq4", 3, "both quantized and as it was")
def both(config, tensors):
    tensors[P + ".weight"] = np.zeros((160, 256), "<f2")


@broken("infinite_scale", "gptq4", 3, "holds (-?inf|-?nan) at")
def infinite_scale(config, tensors):
    tensors[P + ".scales"] = changed(3, np.inf)(tensors[P + ".scales"])


# ---- files -----------------------------------------------------------------------------------------------------------

NAMES = {"<f4": "F32", "<f2": "F16", "<i4": "I32", "<i8": "I64", "|i1": "I8", "|u1": "U8"}


def image(tensors):
    """tensors: {name: array or (dtype, array)}"""
    header, blobs, offset = {}, [], 0
    for name, x in tensors.items():
        dtype, x = x if isinstance(x, tuple) else (NAMES[x.dtype.str], x)
        data = np.ascontiguousarray(x).tobytes()
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [offset, offset + len(data)]}
        blobs.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def save(folder, config, tensors):
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(image(tensors))
    json.dump(config, open(folder + "/config.json", "w"))


def load(folder):
    raw = open(folder + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], "<f2").reshape(t["shape"])
            for name, t in header.items()}


SHAPES = {"model.layers.0.self_attn.q_proj": (96, 256), P: (160, 256), "model.layers.2.mlp.down_proj": (128, 384)}


def layers_only():
    rng = np.random.default_rng(3)
    return {name + ".weight": rng.normal(0, 0.02, shape).astype("<f2") for name, shape in SHAPES.items()}


def quantize(weights, name, folder, config):
    base, _, _, change = BROKEN.get(name, (name, 0, "", None))
    make, settings, file = KINDS[base]
    settings = json.loads(json.dumps(settings))
    rng, tensors, reference, i = np.random.default_rng(7), {}, {}, 0
    for key, w in weights.items():
        if "_proj.weight" not in key:
            tensors[key] = reference[key] = w
            continue
        layer, reference[key] = make(rng, w.astype(np.float32), i)
        tensors.update({key[:-len(".weight")] + suffix: x for suffix, x in layer.items()})
        i += 1
    if change:
        change(settings, tensors)
    save(folder + "/ref", config, reference)
    if file == "config.json":
        config = dict(config, quantization_config=settings)
    save(folder + "/q", config, tensors)
    if file != "config.json":
        json.dump(settings, open(f"{folder}/q/{file}", "w"))


def whole_model(model, name, folder):
    quantize(load(model), name, folder, json.load(open(model + "/config.json")))
    for part in ("q", "ref"):
        for text in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(f"{model}/{text}", f"{folder}/{part}/{text}")


def seeds(folder):
    rng = np.random.default_rng(1)
    for name in ("gptq4_act", "gptq3", "awq", "ct4_asym", "ct3_old", "int8_asym", "fp8_block"):
        make, settings, _ = KINDS[name]
        layer, _ = make(rng, rng.normal(0, 1, (32, 64)).astype(np.float32), 0)
        text = json.dumps(settings).encode()
        data = struct.pack("<I", len(text)) + text + image({"a" + suffix: x for suffix, x in layer.items()})
        open(f"{folder}/quantized_{name}.bin", "wb").write(data)


if sys.argv[1] == "--seeds":
    seeds(sys.argv[2])
elif sys.argv[1] in ("--good", "--broken"):
    for name in KINDS if sys.argv[1] == "--good" else BROKEN:
        quantize(layers_only(), name, f"{sys.argv[2]}/{name}", {"model_type": "none"})
    if sys.argv[1] == "--broken":
        print("\n".join("\t".join([name, str(b[1]), b[2]]) for name, b in BROKEN.items()))
else:
    whole_model(*sys.argv[1:])
