"""Importance matrices by another reader: struct and numpy only, from the description of both forms (src/io/imatrix.h).

    imatrix.py STATS.wcstats GGUF DAT     the diagonals of the statistics are in both, under the right names
    imatrix.py --make WIDTHS GGUF DAT     writes both forms of made-up squares, for inputs H, A*D, I and two blocks
"""
import struct
import sys

import numpy as np

STAGES = [["attn_q", "attn_k", "attn_v"], ["attn_output"], ["ffn_gate", "ffn_up"], ["ffn_down"]]


def read_wcstats(path):
    """{(layer, stage): (E[x^2], E[x])}, tokens, seqlen"""
    raw = open(path, "rb").read()
    assert raw[:8] == b"WCSTATS\n"
    version, n, _, _, tokens, seqlen = struct.unpack("<IIQQQQ", raw[8:48])
    out = {}
    for i in range(n):
        layer, stage, width, offset, size, _ = struct.unpack("<IIQQQQ", raw[320 + 40 * i:360 + 40 * i])
        blob = np.frombuffer(raw[offset:offset + size], "<f4")
        at = np.arange(width) * (np.arange(width) + 3) // 2
        out[layer, stage] = blob[2 * width:][at], blob[:width]
    return out, tokens, seqlen


def read_dat(path):
    raw = open(path, "rb").read()
    n, at, out = struct.unpack("<i", raw[:4])[0], 4, {}
    for _ in range(n):
        length = struct.unpack_from("<i", raw, at)[0]
        name = raw[at + 4:at + 4 + length].decode()
        calls, count = struct.unpack_from("<ii", raw, at + 4 + length)
        at += 12 + length
        out[name] = np.frombuffer(raw[at:at + 4 * count], "<f4") / np.float64(calls)
        at += 4 * count
    chunks, length = struct.unpack_from("<ii", raw, at)
    assert at + 8 + length == len(raw)
    return out, chunks, raw[at + 8:].decode()


def read_gguf(path):
    raw = open(path, "rb").read()
    assert raw[:4] == b"GGUF"
    version, tensors, keys = struct.unpack_from("<IQQ", raw, 4)
    at, meta, infos, out = 24, {}, [], {}

    def text():
        nonlocal at
        n = struct.unpack_from("<Q", raw, at)[0]
        at += 8 + n
        return raw[at - n:at].decode()

    for _ in range(keys):
        name = text()
        kind = struct.unpack_from("<I", raw, at)[0]
        at += 4
        if kind == 8:
            meta[name] = text()
        elif kind == 4:
            meta[name] = struct.unpack_from("<I", raw, at)[0]
            at += 4
        else:
            element, count = struct.unpack_from("<IQ", raw, at)
            assert kind == 9 and element == 8
            at += 12
            meta[name] = [text() for _ in range(count)]
    for _ in range(tensors):
        name = text()
        dims = struct.unpack_from("<I", raw, at)[0]
        shape = struct.unpack_from("<%dQ" % dims, raw, at + 4)
        kind, offset = struct.unpack_from("<IQ", raw, at + 4 + 8 * dims)
        at += 16 + 8 * dims
        assert kind == 0
        infos.append((name, shape, offset))
    start = (at + 31) // 32 * 32
    for name, shape, offset in infos:
        n = int(np.prod(shape))
        out[name] = np.frombuffer(raw[start + offset:start + offset + 4 * n], "<f4").astype(np.float64)
    return out, meta


def names(layer, stage, layers):
    return ["output.weight"] if layer == layers else ["blk.%d.%s.weight" % (layer, s) for s in STAGES[stage]]


def check(stats, gguf, dat):
    want, tokens, seqlen = read_wcstats(stats)
    tensors, meta = read_gguf(gguf)
    legacy, chunks, source = read_dat(dat)
    layers = max(layer for layer, _ in want)
    assert meta["general.type"] == "imatrix" and meta["imatrix.datasets"] == [source] and source
    assert meta["imatrix.chunk_count"] * meta["imatrix.chunk_size"] == tokens and meta["imatrix.chunk_size"] == seqlen
    assert chunks == meta["imatrix.chunk_count"]
    assert list(legacy) == sorted(legacy)
    seen = 0
    for (layer, stage), (square, mean) in want.items():
        for name in names(layer, stage, layers):
            count = tensors[name + ".counts"]
            assert count.tolist() == [tokens]
            # The products with the number of tokens are rounded to f32: 6e-8.
            for got, x in [(tensors[name + ".in_sum2"] / count, square), (tensors[name + ".in_sum"] / count, mean), (legacy[name], square)]:
                assert got.shape == x.shape and np.allclose(got, x, rtol=2e-7, atol=0), name
            seen += 1
    assert seen == len(legacy) == len(tensors) / 3, (seen, len(legacy))
    print("equal", seen)


def make(widths, gguf, dat):
    """As llama.cpp has written them: legacy without a tail, GGUF without sums and with experts' dimensions."""
    hidden, inner, middle = (int(w) for w in widths.split(","))
    rng = np.random.default_rng(5)
    matrices = []
    for layer in range(2):
        for stage, width in enumerate([hidden, inner, hidden, middle]):
            square = rng.lognormal(0, 1, width).astype("<f4")
            matrices += [(name, square) for name in names(layer, stage, -1)]
    matrices.sort(key=lambda m: m[0])
    with open(dat, "wb") as f:
        f.write(struct.pack("<i", len(matrices)))
        for name, x in matrices:
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 4, len(x)) + (x * np.float32(4)).tobytes())
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    head, infos, data = b"", b"", b""
    for key, value in [("imatrix.chunk_count", 4), ("imatrix.chunk_size", 512)]:
        head += text(key) + struct.pack("<II", 4, value)
    head += text("general.type") + struct.pack("<I", 8) + text("imatrix")
    for name, x in matrices:
        for suffix, values in [(".in_sum2", x * np.float32(2048)), (".counts", np.array([2048], "<f4"))]:
            infos += text(name + suffix) + struct.pack("<IQQIQ", 2, len(values), 1, 0, len(data))
            data += values.tobytes() + b"\0" * (-values.nbytes % 32)
    whole = b"GGUF" + struct.pack("<IQQ", 3, 2 * len(matrices), 3) + head + infos
    open(gguf, "wb").write(whole + b"\0" * (-len(whole) % 32) + data)


if sys.argv[1] == "--make":
    make(*sys.argv[2:])
else:
    check(*sys.argv[1:])
