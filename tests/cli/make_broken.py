#!/usr/bin/env python3
"""Makes model folders for the tests of the commands: a small good one, and one for every way in which a model can be broken.

usage: make_broken.py KIND FOLDER      (from the repository root; KIND `list' prints the kinds)

All of them start from tests/data/docs4m. Only json and struct are used, nothing of the program under test."""
import json
import math
import os
import random
import struct
import sys

SOURCE = "tests/data/docs4m"
BLOCKS = 2


def load():
    """config, tensors {name: (dtype, shape, bytes)} of the first two blocks."""
    config = json.load(open(f"{SOURCE}/config.json"))
    config["num_hidden_layers"] = BLOCKS
    raw = open(f"{SOURCE}/model.safetensors", "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, data, tensors = json.loads(raw[8 : 8 + size]), raw[8 + size :], {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        if name.startswith("model.layers.") and int(name.split(".")[2]) >= BLOCKS:
            continue
        begin, end = t["data_offsets"]
        tensors[name] = (t["dtype"], t["shape"], bytearray(data[begin:end]))
    return config, tensors


def image(tensors, change_header=None):
    """The bytes of a safetensors file; change_header may lie about them."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    if change_header:
        change_header(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(bytes(t[2]) for t in tensors.values())


def write(folder, name, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else json.dumps(data).encode())


def save(folder, config, tensors, weights=None):
    write(folder, "model.safetensors", weights if weights is not None else image(tensors))
    if config is not None:
        write(folder, "config.json", config)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        write(folder, name, open(f"{SOURCE}/{name}", "rb").read())


def f16(x):
    return struct.pack("<e", x)


Q0 = "model.layers.0.self_attn.q_proj.weight"
UP1 = "model.layers.1.mlp.up_proj.weight"
KINDS = {}


def kind(function):
    KINDS[function.__name__] = function
    return function


@kind
def small(folder, config, tensors):
    save(folder, config, tensors)


@kind
def tiny(folder, config, tensors):
    """Good, with a third of the MLP's width, an eighth of the vocabulary and no tokenizer: for work without calibration."""
    config["intermediate_size"], config["vocab_size"] = 256, 512
    for name, (dtype, shape, data) in tensors.items():
        size = 4 if dtype == "F32" else 2
        if "down_proj" in name:
            rows = [data[size * 768 * r : size * (768 * r + 256)] for r in range(256)]
            tensors[name] = (dtype, [256, 256], b"".join(rows))
        elif "embed" in name or "gate_proj" in name or "up_proj" in name:
            n = 512 if "embed" in name else 256
            tensors[name] = (dtype, [n, 256], data[: size * n * 256])
    save(folder, config, tensors)
    os.remove(f"{folder}/tokenizer.json")


@kind
def mini(folder, config, tensors):
    """Good, with a quarter of the width, a sixth of the MLP's and two heads: for many runs with calibration."""
    new = {256: 64, 768: 128}
    config.update(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_key_value_heads=1)
    for name, (dtype, shape, data) in tensors.items():
        size, row = (4 if dtype == "F32" else 2), shape[-1]
        rows = shape[0] if len(shape) == 2 else 1
        m = 32 if "k_proj" in name or "v_proj" in name else rows if rows == config["vocab_size"] else new.get(rows, rows)
        n = new[row]
        cut = b"".join(data[size * row * r : size * (row * r + n)] for r in range(m))
        tensors[name] = (dtype, [m, n] if len(shape) == 2 else [n], cut)
    save(folder, config, tensors)


@kind
def biased(folder, config, tensors):
    """mini, with a bias for every linear, some of whose numbers are 0."""
    mini(folder, config, tensors)
    config["attention_bias"] = config["mlp_bias"] = True
    numbers = random.Random(7)
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        rows = tensors[name][1][0]
        bias = b"".join(f16(numbers.choice([0, 0.02]) * numbers.gauss(0, 1)) for _ in range(rows))
        tensors[name[:-6] + "bias"] = ("F16", [rows], bytearray(bias))
    save(folder, config, tensors)


@kind
def sharded(folder, config, tensors):
    """Two shards and their index, good."""
    names = list(tensors)
    halves = [{n: tensors[n] for n in names[0::2]}, {n: tensors[n] for n in names[1::2]}]
    index = {"metadata": {}, "weight_map": {}}
    save(folder, config, tensors)
    os.remove(f"{folder}/model.safetensors")
    for i, half in enumerate(halves):
        file = f"model-{i + 1:05d}-of-00002.safetensors"
        write(folder, file, image(half))
        index["weight_map"].update({n: file for n in half})
    write(folder, "model.safetensors.index.json", index)


@kind
def odd(folder, config, tensors):
    """Good, but of every type: NaN payloads, denormals, empty and scalar tensors, metadata, names out of order."""
    r = random.Random(1)
    bits = bytes(r.getrandbits(8) for _ in range(40000))
    bell = b"".join(struct.pack("<f", r.gauss(0, 0.02))[2:] for _ in range(20000))
    made = {
        "z.bf16": ("BF16", [100, 200], bell),
        "nan.f32": ("F32", [100, 100], bits),
        "a.f16": ("F16", [50, 400], b"".join(f16(r.gauss(0, 0.1)) for _ in range(20000))),
        "i64": ("I64", [5, 1000], b"".join(struct.pack("<q", i % 77) for i in range(5000))),
        "u8": ("U8", [40000], bits),
        "bool": ("BOOL", [3, 5000], bytes(i % 3 == 0 for i in range(15000))),
        "f8": ("F8_E4M3", [200, 200], bytes(min(b, 0x7E) & 0x3F for b in bits)),
        "f64": ("F64", [4000], b"".join(struct.pack("<d", r.gauss(0, 1)) for _ in range(4000))),
        "empty": ("F32", [0, 3], b""),
        "scalar": ("BF16", [], b"\x80\x7f"),
        "zeros": ("F32", [100, 100], bytes(40000)),
    }

    def add_metadata(header):
        header["__metadata__"] = {"format": "pt", "made by": "a test \u00e9"}

    write(folder, "model.safetensors", image(made, add_metadata))


@kind
def missing_shard(folder, config, tensors):
    sharded(folder, config, tensors)
    os.remove(f"{folder}/model-00002-of-00002.safetensors")


@kind
def truncated(folder, config, tensors):
    save(folder, config, tensors, image(tensors)[:-1000])


@kind
def overlap(folder, config, tensors):
    def lie(header):
        begin, end = header[UP1]["data_offsets"]
        header[UP1]["data_offsets"] = [begin - 64, end - 64]

    save(folder, config, tensors, image(tensors, lie))


@kind
def short_data(folder, config, tensors):
    def lie(header):
        header[UP1]["shape"] = [header[UP1]["shape"][0] + 1, header[UP1]["shape"][1]]

    save(folder, config, tensors, image(tensors, lie))


@kind
def wrong_shape(folder, config, tensors):
    """q_proj with half the rows that the config calls for."""
    dtype, (rows, cols), data = tensors[Q0]
    tensors[Q0] = (dtype, [rows // 2, cols], data[: rows // 2 * cols * 2])
    save(folder, config, tensors)


@kind
def missing_tensor(folder, config, tensors):
    del tensors[UP1]
    save(folder, config, tensors)


@kind
def missing_key(folder, config, tensors):
    del config["hidden_size"]
    save(folder, config, tensors)


@kind
def contradiction(folder, config, tensors):
    config["num_key_value_heads"] = 3
    save(folder, config, tensors)


@kind
def bad_json(folder, config, tensors):
    save(folder, config, tensors)
    write(folder, "config.json", b'{"model_type": "llama", ')


@kind
def unknown_architecture(folder, config, tensors):
    config["model_type"], config["architectures"] = "zebra", ["ZebraForCausalLM"]
    save(folder, config, tensors)


@kind
def no_config(folder, config, tensors):
    save(folder, None, tensors)


@kind
def nan(folder, config, tensors):
    tensors[UP1][2][2 * (5 * 256 + 7) : 2 * (5 * 256 + 7) + 2] = f16(math.nan)
    save(folder, config, tensors)


@kind
def inf(folder, config, tensors):
    tensors[UP1][2][2 * (5 * 256 + 7) : 2 * (5 * 256 + 7) + 2] = f16(-math.inf)
    save(folder, config, tensors)


@kind
def dead_columns(folder, config, tensors):
    """Good, but three inputs of every linear of block 0's attention are always zero."""
    norm = tensors["model.layers.0.input_layernorm.weight"][2]
    for channel in (0, 17, 255):
        norm[2 * channel : 2 * channel + 2] = f16(0)
    save(folder, config, tensors)


@kind
def zero_matrices(folder, config, tensors):
    """Good, but a linear of each sort has zeros only, another some rows of zeros."""
    for name in ("0.self_attn.q_proj", "1.self_attn.o_proj", "1.mlp.down_proj"):
        data = tensors[f"model.layers.{name}.weight"][2]
        data[:] = bytes(len(data))
    data = tensors["model.layers.1.mlp.up_proj.weight"][2]
    data[: 5 * 512] = bytes(5 * 512)
    save(folder, config, tensors)


def scaled(tensors, factor):
    for name, (_, shape, data) in tensors.items():
        if "_proj" in name:
            values = struct.unpack("<%de" % (len(data) // 2), data)
            tensors[name] = ("F32", shape, struct.pack("<%df" % len(values), *(factor * x for x in values)))


@kind
def faint(folder, config, tensors):
    """Linears whose quantization steps are below the normal numbers of f16."""
    scaled(tensors, 2e-5)
    tiny(folder, config, tensors)


@kind
def loud(folder, config, tensors):
    """Linears whose quantization steps are above the numbers of f16."""
    scaled(tensors, 3e8)
    tiny(folder, config, tensors)


@kind
def large_vocabulary(folder, config, tensors):
    """The tokenizer knows more tokens than the embedding has rows."""
    name = "model.embed_tokens.weight"
    dtype, (rows, cols), data = tensors[name]
    tensors[name] = (dtype, [rows // 4, cols], data[: rows // 4 * cols * 2])
    config["vocab_size"] = rows // 4
    save(folder, config, tensors)


@kind
def bad_tokenizer(folder, config, tensors):
    save(folder, config, tensors)
    write(folder, "tokenizer.json", b"[1, 2")


@kind
def no_tokenizer(folder, config, tensors):
    save(folder, config, tensors)
    os.remove(f"{folder}/tokenizer.json")


@kind
def pickle(folder, config, tensors):
    save(folder, config, tensors)
    os.remove(f"{folder}/model.safetensors")
    write(folder, "pytorch_model.bin", b"PK\x03\x04archive/data.pkl\x80\x02}q\x00.")


@kind
def other(folder, config, tensors):
    """Good, but not the same weights as `small'."""
    tensors[UP1][2][0:2] = f16(0.125)
    save(folder, config, tensors)


@kind
def mini_other(folder, config, tensors):
    """Good, but not the same weights as `mini'."""
    tensors[UP1][2][0:2] = f16(0.125)
    mini(folder, config, tensors)


def main():
    if sys.argv[1:] == ["list"]:
        print("\n".join(KINDS))
    elif len(sys.argv) == 3 and sys.argv[1] in KINDS:
        KINDS[sys.argv[1]](sys.argv[2], *load())
    else:
        sys.exit(__doc__)


main()
