#!/usr/bin/python3
"""Writes the golden .wcz files of this folder, from docs/FORMAT.md and without the C code. See README.md.

    /usr/bin/python3 tests/data/golden/make_golden.py [FOLDER]        default: this script's folder

The numbers are formulas that tests/unit/test_wcz.c repeats: it writes the same files with the C encoder and compares
bytes."""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "scripts"))
from wcz_reader import xxh3  # noqa: E402  (the hash only; it is tested against libxxhash through the C reader)


def code(i, bits):
    return (i * 7 + i // 5 + 3) % (1 << bits)


def scale(i):
    return 0x2C00 + i * 37 % 2048 + (0x8000 if i % 3 == 0 else 0)


def pack(values, bits):
    out = b""
    for begin in range(0, len(values), 64):
        v = values[begin:begin + 64]
        v = v + [0] * (-len(v) % 8)
        low = 0
        for k in (8, 4, 2, 1):
            if bits & k:
                n = len(v) * k // 8
                fields = [(x >> low & ((1 << k) - 1)) << j // n * k for j, x in enumerate(v)]
                out += bytes(sum(fields[i::n]) for i in range(n))
                low += k
    return out


def to8(b):
    return b + bytes(-len(b) % 8)


def grid(rows, cols, bits, group, scale_bits, zero_int, zero_fixed, scale_exp):
    groups = -(-cols // group)
    blob = b"".join(pack([code(r * cols + c, bits) for c in range(cols)], bits) for r in range(rows))
    blob = to8(blob) + b"".join(struct.pack("<H", scale(i)) for i in range(rows if scale_bits else rows * groups))
    if scale_bits:
        blob = to8(blob) + pack([code(i + 1, scale_bits) for i in range(rows * groups)], scale_bits)
    if zero_int:
        blob = to8(blob) + pack([code(i + 2, bits) for i in range(rows * groups)], bits)
    params = struct.pack("<BBBbIf20x", bits, scale_bits, zero_int, scale_exp, group, zero_fixed)
    return 2, params, blob


def floats(dtype, data):
    return 1, bytes([dtype]) + bytes(31), data


def build(tensors, metas):
    """tensors: [(name, dtype, dims, error, flags, [(kind, params, blob)])], metas: [(name, bytes)]; sorted by name."""
    names = b"".join(t[0] for t in tensors) + b"".join(m[0] for m in metas)
    parts = [p for t in tensors for p in t[5]]
    index_size = 32 + 128 * len(tensors) + 80 * len(parts) + 64 * len(metas) + len(names)
    at = (64 + index_size + 63) // 64 * 64
    body = bytes(at - 64 - index_size)
    places = []
    for blob in [m[1] for m in metas] + [p[2] for p in parts]:
        places.append(at)
        padded = blob + bytes(-len(blob) % 64)
        body += padded
        at += len(padded)
    index = struct.pack("<4I16x", len(tensors), len(parts), len(metas), len(names))
    name_at = part_at = 0
    for name, dtype, dims, error, flags, own in tensors:
        d = list(dims) + [0] * (8 - len(dims))
        index += struct.pack("<4I8Q", name_at, len(name), len(dims), dtype, *d)
        index += struct.pack("<3I12xd16x", part_at, len(own), flags, error)
        name_at += len(name)
        part_at += len(own)
    for place, (kind, params, blob) in zip(places[len(metas):], parts):
        index += struct.pack("<HHI3Q8x", kind, 1, 0, place, len(blob), xxh3(blob)) + params + bytes(8)
    for place, (name, data) in zip(places, metas):
        index += struct.pack("<4I4Q16x", name_at, len(name), 0, 0, place, len(data), len(data), xxh3(data))
        name_at += len(name)
    index += names
    assert len(index) == index_size
    head = b"\x89WCZ\r\n\x1a\n" + struct.pack("<HHI5Q", 1, 0, 0, at, 64, len(index), xxh3(index), 0)
    return head + struct.pack("<Q", xxh3(head)) + index + body


def tiny():
    return build([(b"w", 3, (2, 5), 0.25, 0, [grid(2, 5, 3, 4, 0, 1, 0.0, -4)])], [(b"m", b"{}")])


def kinds():
    nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000))[0]
    tensors = [(b"float.bf16", 3, (7,), nan, 0, [floats(3, bytes(range(14)))]),
               (b"float.empty", 1, (0, 3), nan, 0, [floats(1, b"")]),
               (b"float.f16", 2, (2, 3), nan, 0, [floats(2, bytes(range(40, 52)))]),
               (b"float.f32", 1, (), nan, 0, [floats(1, struct.pack("<f", -0.0))]),
               (b"float.i64", 5, (2,), nan, 0, [floats(5, bytes(range(16)))])]
    for bits in range(1, 9):
        two_level = 0 if bits % 2 else bits
        zero_int = int(bits % 4 < 2)
        zero = 0.0 if zero_int else (2 ** bits - 1) / 2
        tensors.append((b"grid.%d" % bits, 1, (3, 60 + 9 * bits), bits / 8, bits % 2,
                        [grid(3, 60 + 9 * bits, bits, 11 * bits, two_level, zero_int, zero, 2 * bits - 9)]))
    tensors.append((b"sum", 2, (2, 2, 9), 0.5, 0, [grid(4, 9, 4, 9, 0, 0, 8.0, 0), grid(4, 9, 2, 3, 6, 1, 0.0, -8)]))
    return build(tensors, [(b"config.json", b"{}"), (b"note", b"")])


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    for name, make in (("tiny", tiny), ("kinds", kinds)):
        with open(os.path.join(folder, name + ".wcz"), "wb") as f:
            f.write(make())
