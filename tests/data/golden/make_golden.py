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
from wcz_reader import MACHINE, coded_frequencies, coded_slots, xxh3  # noqa: E402  (tested through the C reader)


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


def grid(rows, cols, bits, group, scale_bits, zero_kind, zero_fixed, scale_exp, tile=0, zero_bits=0):
    groups = -(-cols // group)
    lines = 2 * -(-rows // tile) * groups if tile else 0
    scales = lines or (rows if scale_bits else rows * groups)
    zeros = (0, 0, rows * groups, lines)[zero_kind]
    code_bits = (0, bits, 0, zero_bits)[zero_kind]
    blob = b"".join(pack([code(r * cols + c, bits) for c in range(cols)], bits) for r in range(rows))
    blob = to8(blob) + b"".join(struct.pack("<H", scale(i)) for i in range(scales))
    if scale_bits:
        blob = to8(blob) + pack([code(i + 1, scale_bits) for i in range(rows * groups)], scale_bits)
    if zeros:
        blob = to8(blob) + b"".join(struct.pack("<H", scale(i + 7)) for i in range(zeros))
    if code_bits:
        blob = to8(blob) + pack([code(i + 2, code_bits) for i in range(rows * groups)], code_bits)
    params = struct.pack("<BBBbIf16xBB2x", bits, scale_bits, zero_kind, scale_exp, group, zero_fixed, tile, zero_bits)
    return 2, params, blob


def positions(rows, cols, step, n, m, block):
    """has [rows][cols], and the sections ends and positions in layout 3 for n of m, else 2."""
    b = block or 1
    units = cols // b
    if m:
        patterns = [x for x in range(1 << m) if bin(x).count("1") == n]
        codes = [[(r * 5 + i * 3 + 1) % len(patterns) for i in range(units // m)] for r in range(rows)]
        has = [[patterns[codes[r][u // m]] >> u % m & 1 for u in range(units)] for r in range(rows)]
        blob = b"".join(pack(c, (len(patterns) - 1).bit_length()) for c in codes)
    else:
        has = [[int(step and r % 3 != 1 and (r * units + u + r * r) % step == 0) for u in range(units)]
               for r in range(rows)]
        blob = to8(b"".join(struct.pack("<I", sum(map(sum, has[:r + 1]))) for r in range(rows)))
        blob += b"".join(sum(x << u for u, x in enumerate(h)).to_bytes(-(-units // 8), "little") for h in has)
    return [[x for x in h for _ in range(b)] for h in has], blob


def with_holes(kind, params, blob, rows, cols, step, n, m, block):
    """A grid or a lut of one row of codes per row, rewritten: only the codes of positions."""
    bits = params[0]
    has, sections = positions(rows, cols, step, n, m, block)
    codes = [code(r * cols + c, bits) for r in range(rows) for c in range(cols) if has[r][c]]
    rest = to8(blob[-(-rows * len(pack([0] * cols, bits)) // 8) * 8:])
    params = params[:12] + struct.pack("<BBBxQI4x", 3 if m else 2, n, m, len(codes), block)
    return kind, params, to8(pack(codes, bits)) + rest + sections


def blocks(rows, cols, step, n, m, block, scale_exp):
    has, sections = positions(rows, cols, step, n, m, block)
    nnz = sum(map(sum, has))
    params = struct.pack("<BBBBb3xQI12x", 2, 3 if m else 2, n, m, scale_exp, nnz, block)
    return 4, params, to8(sections) + sparse_values(2, nnz)


def floats(dtype, data):
    return 1, bytes([dtype]) + bytes(31), data


def lut(rows, cols, bits, group, scope, scaled, scale_exp):
    groups = -(-cols // group)
    tables = (1, rows, rows * groups)[scope]
    blob = b"".join(pack([code(r * cols + c, bits) for c in range(cols)], bits) for r in range(rows))
    blob = to8(blob) + b"".join(struct.pack("<H", scale(i + 1)) for i in range(tables << bits))
    if scaled:
        blob = to8(blob) + b"".join(struct.pack("<H", scale(i + 2)) for i in range(rows * groups))
    return 3, struct.pack("<BBBbI24x", bits, scope, scaled, scale_exp, group), blob


def sparse_values(dtype, nnz):
    if dtype == 1:
        return b"".join(struct.pack("<I", scale(k + 3) << 16 | k * 77 % 65536) for k in range(nnz))
    return b"".join(struct.pack("<H", scale(k + 3)) for k in range(nnz))


def sparse(rows, cols, step, dtype, layout, scale_exp):
    has = [[c for c in range(cols) if step and r % 3 != 1 and (r * cols + c + r * r) % step == 0] for r in range(rows)]
    ends = [sum(len(x) for x in has[:r + 1]) for r in range(rows)]
    blob = to8(b"".join(struct.pack("<I", e) for e in ends))
    if layout == 2:
        blob += b"".join(sum(1 << c for c in x).to_bytes(-(-cols // 8), "little") for x in has)
    else:
        blob += b"".join(struct.pack("<I" if layout else "<H", c) for x in has for c in x)
    params = struct.pack("<BBBBb3xQ16x", dtype, layout, 0, 0, scale_exp, ends[-1])
    return 4, params, to8(blob) + sparse_values(dtype, ends[-1])


def n_of_m(rows, cols, n, m, dtype):
    count = sum(bin(x).count("1") == n for x in range(1 << m))
    bits = (count - 1).bit_length()
    codes = [[(r * 5 + b * 3 + 1) % count for b in range(cols // m)] for r in range(rows)]
    nnz = rows * cols // m * n
    blob = to8(b"".join(pack(c, bits) for c in codes)) + sparse_values(dtype, nnz)
    return 4, struct.pack("<BBBBb3xQ16x", dtype, 3, n, m, 0, nnz), blob


def coded_record(n):
    laws = [(8 + 4 * n - 10 * q, 10 + 2 * n, 30 - n) for q in range(2)]
    return n % 4, (0, n, 2 * n, -3), laws


def coded_points(rows, cols, tile, memory):
    points = [[0] * cols for _ in range(rows)]
    for c in range(cols):
        for r in range(rows):
            s = 0 if r % tile == 0 else s
            i = r * cols + c
            k = (i * i * 7 + i * 3 + r) % 7 - 3
            k = 300 * k - 1 if i % 97 == 0 else 5 * k if i % 11 == 0 else k
            points[r][c] = 2 * k + (s & 1)
            s = s >> 1 ^ (MACHINE[memory][0] if s & 1 else 0) ^ (MACHINE[memory][1] if k & 1 else 0)
    return points


def coded_stream(points, class_of, models):
    """One unit, encoded from its end: 16 states of rANS, words in the order in which a reader takes them."""
    x, words = [1 << 16] * 16, []

    def emit(lane):
        words.append(x[lane] & 0xFFFF)
        x[lane] >>= 16

    for r in reversed(range(len(points))):
        for c0 in reversed(range(0, len(points[r]), 16)):
            group = []
            for lane in reversed(range(min(16, len(points[r]) - c0))):
                j = points[r][c0 + lane]
                k, (shift, _, freq, where) = j >> 1, models[class_of(r, c0 + lane)]
                symbol = (k >> shift) + 32
                if not 1 <= symbol < 64 or not freq[j & 1][symbol]:
                    symbol = 0
                bits = shift if symbol else 16
                if bits and x[lane] >> 32 - bits:
                    emit(lane)
                x[lane] = x[lane] << bits | k & (1 << bits) - 1
                group.append((lane, symbol, freq[j & 1][symbol], where[j & 1]))
            for lane, symbol, f, where in group:
                if x[lane] >= f << 20:
                    emit(lane)
                x[lane] = (x[lane] // f << 12) + where[symbol, x[lane] % f]
    return struct.pack("<16I", *x) + struct.pack("<%dH" % len(words), *reversed(words))


def coded(rows, cols, tile, memory, classes, row_classes, spare):
    records, models = b"", []
    for n in range(classes):
        shift, shrink, laws = coded_record(n)
        records += struct.pack("<Bbbb", shift, *shrink[1:]) + b"".join(struct.pack("<bbB", *l) for l in laws) + bytes(2)
        freq = [coded_frequencies(*l, q or shift > 0) for q, l in enumerate(laws)]
        where = [{key: slot for slot, key in enumerate(coded_slots(f))} for f in freq]
        models.append((shift, shrink, freq, where))
    col_class = [(c * 3 + 1) % 16 for c in range(cols)]
    row_class = [(r * 5 + 2) % 16 for r in range(rows)]
    points = coded_points(rows, cols, tile, memory)
    halves = lambda v: bytes(sum(x << 4 * i for i, x in enumerate(v[at:at + 2])) for at in range(0, len(v), 2))
    blob = to8(records) + to8(bytes((c * 5 + 3) % 97 for c in range(cols))) + to8(halves(col_class))
    blob += to8(halves(row_class)) if row_classes else b""
    streams, ends = b"", b""
    for r0 in range(0, rows, tile):
        for c0 in range(0, cols, 256):
            at = lambda r, c: min(max(col_class[c0 + c] + (row_class[r0 + r] - 8) * row_classes, 0), classes - 1)
            streams += coded_stream([p[c0:c0 + 256] for p in points[r0:r0 + tile]], at, models)
            ends += struct.pack("<I", len(streams) // 2)
    streams += bytes(spare)
    params = struct.pack("<BBBxIf4xQ8x", memory, classes, row_classes, tile, 0.375, len(streams))
    return 8, params, blob + to8(ends) + streams


def float_factor(rows, cols, dtype):
    pad = bytes(2) if dtype == 1 else b""
    return floats(dtype, b"".join(pad + struct.pack("<H", scale(i + 5)) for i in range(rows * cols)))


def lowrank(rank, a, b):
    return 5, struct.pack("<I28x", rank), b"", [a, b]


def bits(rows, cols, shift):
    return b"".join(pack([code(r * cols + k + shift, 1) for k in range(cols)], 1) for r in range(rows))


def halves(count, shift):
    return b"".join(struct.pack("<H", scale(i + shift)) for i in range(count))


def signs(rows, cols, form, levels, n, subset, which, scale_exp):
    blob, u, v = b"", 0, 0
    if subset:
        blob = sum(((7 * j + 3) % cols < subset) << j for j in range(cols)).to_bytes(-(-cols // 8), "little")
    for l in range(levels):
        own = (cols, subset, cols - subset)[which[l] & 3] if form == 1 else cols
        blob = to8(blob) + bits(rows, own, l)
        if form == 1:
            count = rows * -(-own // n) << (which[l] >> 2)
            if which[l] >> 2:
                blob = to8(blob) + bits(rows, own, l + 5)
            blob = to8(blob) + halves(count, u + 1)
            u += count
        else:
            blob = to8(blob) + halves(rows * n, u + 1)
            blob = to8(blob) + halves(n * cols, v + 2)
            u, v = u + rows * n, v + n * cols
            blob = blob if form else to8(blob)
    if form == 2 and n > 1:
        blob = to8(blob) + halves(n * cols, 4)
    params = struct.pack("<BBBbIII", form, levels, 0, scale_exp, n, subset, 0) + bytes(which).ljust(16, b"\0")
    return 7, params, blob


def cur(rank, c, r, u):
    return 5, struct.pack("<IB27x", rank, 1), b"", [c, r, u]


def pivot(rows, rank, others, pivots):
    marks = sum(1 << i for i in range(rows) if (i + 1) * rank // rows > i * rank // rows)
    return 5, struct.pack("<IB27x", rank, 2), marks.to_bytes(-(-rows // 8), "little"), [others, pivots]


def mpo(rank, m2, n2, a, b):
    return 5, struct.pack("<IB3xII16x", rank, 3, m2, n2), b"", [a, b]
def vq(rows, cols, d, books, bits, entry_bits, scaled, scale_bits, signs, group, block_rows, block_cols, scale_exp):
    groups, vectors = -(-cols // group), -(-cols // d)
    blocks = -(-rows // block_rows) * -(-cols // block_cols)
    entries = (blocks * books << bits) * d
    blob = b""
    for i in range(rows * books):
        q = [code(i * vectors + v, bits) for v in range(vectors)]
        blob += pack([x & 255 for x in q], min(bits, 8))
        if bits > 8:
            blob += pack([x >> 8 for x in q], bits - 8)
    blob = to8(blob)
    if entry_bits == 16:
        blob += b"".join(struct.pack("<H", scale(i + 1)) for i in range(entries))
    else:
        blob += bytes(code(i + 4, 8) for i in range(entries))
        blob = to8(blob) + b"".join(struct.pack("<H", scale(i + 6)) for i in range(blocks * books))
    if scaled:
        blob = to8(blob) + b"".join(struct.pack("<H", scale(i + 2)) for i in range(rows if scale_bits else rows * groups))
    if scale_bits:
        blob = to8(blob) + pack([code(i + 1, scale_bits) for i in range(rows * groups)], scale_bits)
    if signs:
        blob = to8(blob) + b"".join(pack([code(r * cols + c + 2, 1) for c in range(cols)], 1) for r in range(rows))
    params = struct.pack("<BBBbBBBBIII12x", d, books, bits, scale_exp, entry_bits, scaled, scale_bits, signs, group,
                         block_rows % rows, block_cols % cols)
    return 6, params, blob


def diagonal(cols, scale_exp):
    return 9, struct.pack("<b31x", scale_exp), b"".join(struct.pack("<H", scale(j + 4)) for j in range(cols))


def hadamard(cols, log2):
    signs = sum(code(j, 1) << j for j in range(cols))
    return 10, bytes([log2]) + bytes(31), signs.to_bytes(-(-cols // 8), "little")


def order_of(cols, step):
    return [(j * step + 3) % cols for j in range(cols)]


def permute(cols, step):
    order, at, swaps = order_of(cols, step), list(range(cols)), []
    for j, c in enumerate(order):
        t = at.index(c)
        swaps.append(t)
        at[j], at[t] = at[t], at[j]
    assert at == order
    return 12, bytes(32), struct.pack("<%dH" % cols, *swaps)


def transforms_of(tensor):
    return tensor[6] if len(tensor) > 6 else []


def number_parts(tensors):
    """All parts in file order, with the number of their first child."""
    parts = []
    for t in tensors:
        own = [list(p) for p in t[5] + transforms_of(t)]
        start, children = len(parts), []
        for p in own:
            inner = p[3] if len(p) > 3 else []
            p[3:] = [start + len(own) + len(children) if inner else 0, len(inner)]
            children += [list(c) + [0, 0] for c in inner]
        parts += own + children
    return parts


def build(tensors, metas):
    """tensors: [(name, dtype, dims, error, flags, [(kind, params, blob)])], metas: [(name, bytes)]; sorted by name.
    A part made of parts has a list of those behind its blob, a tensor with transforms a list of them behind its
    parts."""
    names = b"".join(t[0] for t in tensors) + b"".join(m[0] for m in metas)
    parts = number_parts(tensors)
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
    for t in tensors:
        name, dtype, dims, error, flags, own = t[:6]
        d = list(dims) + [0] * (8 - len(dims))
        index += struct.pack("<4I8Q", name_at, len(name), len(dims), dtype, *d)
        index += struct.pack("<3I4xI4xd16x", part_at, len(own), flags, len(transforms_of(t)), error)
        name_at += len(name)
        part_at += len(own) + len(transforms_of(t)) + sum(len(p[3]) for p in own if len(p) > 3)
    for place, (kind, params, blob, child, children) in zip(places[len(metas):], parts):
        index += struct.pack("<HHI3Q2I", kind, 1, 0, place, len(blob), xxh3(blob), child, children) + params + bytes(8)
    for place, (name, data) in zip(places, metas):
        index += struct.pack("<4I4Q16x", name_at, len(name), 0, 0, place, len(data), len(data), xxh3(data))
        name_at += len(name)
    index += names
    assert len(index) == index_size
    minor = int(any(p[0] > 2 for p in parts))
    head = b"\x89WCZ\r\n\x1a\n" + struct.pack("<HHI5Q", 1, minor, 0, at, 64, len(index), xxh3(index), 0)
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


def parts():
    return build([
        (b"lowrank.f", 2, (9, 33), 0.5, 0, [lowrank(1, float_factor(9, 1, 2), float_factor(1, 33, 1))]),
        (b"lowrank.q", 2, (9, 33), 0.5, 0, [lowrank(3, grid(9, 3, 4, 2, 0, 1, 0.0, 1), lut(3, 33, 2, 8, 1, 1, 0))]),
        (b"lut.0", 1, (3, 21), 0.5, 0, [lut(3, 21, 3, 21, 0, 0, -3)]),
        (b"lut.1", 1, (3, 21), 0.5, 0, [lut(3, 21, 2, 8, 1, 1, 5)]),
        (b"lut.2", 1, (3, 21), 0.5, 0, [lut(3, 21, 1, 10, 2, 1, 0)]),
        (b"sparse.0", 1, (4, 300), 0.5, 0, [sparse(4, 300, 60, 2, 0, -4)]),
        (b"sparse.2", 1, (4, 290), 0.5, 0, [sparse(4, 290, 4, 3, 2, 0)]),
        (b"sparse.3", 1, (3, 24), 0.5, 0, [n_of_m(3, 24, 2, 4, 1)]),
        (b"sum", 2, (3, 3, 33), 0.25, 0, [grid(9, 33, 3, 11, 0, 1, 0.0, 0),
                                          lowrank(2, float_factor(9, 2, 3), grid(2, 33, 2, 33, 0, 1, 0.0, -2)),
                                          sparse(9, 33, 50, 1, 0, 0),
                                          lowrank(1, float_factor(9, 1, 2), float_factor(1, 33, 2))]),
        (b"zero", 1, (2, 6), 1.0, 0, [sparse(2, 6, 0, 1, 0, 0)])], [])


def sign_planes():
    return build([
        (b"experts", 1, (5, 37), 0.5, 0, [signs(5, 37, 2, 1, 3, 0, [], 2)]),
        (b"one", 1, (5, 37), 0.5, 0, [signs(5, 37, 2, 1, 1, 0, [], 0)]),
        (b"scales", 1, (3, 30), 0.5, 0, [signs(3, 30, 1, 4, 8, 9, [6, 1, 5, 0], -3)]),
        (b"stack", 1, (9, 41), 0.25, 0, [signs(9, 41, 0, 3, 2, 0, [], 1)]),
        (b"sum", 1, (2, 12), 0.125, 0, [grid(2, 12, 3, 4, 0, 0, 3.5, 0), signs(2, 12, 0, 1, 2, 0, [], 0)])],
        [(b"cut_order", struct.pack("<IIQ", 4, 4, 0) + b"".join(
            struct.pack("<IId", t, l, e) for t, l, e in ((3, 1, 0.75), (4, 1, 0.125), (3, 2, 0.5), (3, 3, 0.25))))])


def forms():
    return build([
        (b"cur", 2, (9, 33), 0.5, 0, [cur(3, float_factor(9, 3, 2), grid(3, 33, 4, 16, 0, 1, 0.0, 1),
                                          float_factor(3, 3, 1))]),
        (b"mpo", 2, (6, 40), 0.5, 0, [mpo(2, 3, 8, float_factor(10, 2, 2), float_factor(2, 24, 3))]),
        (b"pivot", 2, (11, 33), 0.5, 0, [pivot(11, 4, lut(7, 4, 2, 4, 1, 1, 0), float_factor(4, 33, 2))]),
        (b"sum", 2, (9, 33), 0.5, 0, [cur(2, float_factor(9, 2, 2), float_factor(2, 33, 2), float_factor(2, 2, 1)),
                                      pivot(9, 1, float_factor(8, 1, 2), float_factor(1, 33, 2))])], [])
def vectors():
    return build([
        (b"additive", 2, (3, 40), 0.5, 0, [vq(3, 40, 8, 2, 3, 8, 1, 0, 0, 40, 3, 40, -2)]),
        (b"blocks", 1, (5, 21), 0.5, 0, [vq(5, 21, 2, 1, 4, 16, 0, 0, 0, 21, 2, 8, 1)]),
        (b"factors", 2, (4, 10), 0.5, 0, [lowrank(3, float_factor(4, 3, 2), vq(3, 10, 3, 1, 2, 16, 1, 0, 0, 5, 3, 10, 0))]),
        (b"signs", 1, (3, 70), 0.5, 0, [vq(3, 70, 4, 1, 5, 8, 1, 4, 1, 16, 3, 70, 3)]),
        (b"wide", 1, (2, 19), 0.5, 0, [vq(2, 19, 1, 3, 9, 16, 1, 0, 0, 7, 2, 19, 0),
                                       vq(2, 19, 16, 1, 1, 8, 0, 0, 1, 19, 1, 16, -9)])], [])


def coded_parts():
    return build([
        (b"coded.0", 2, (5, 9), 0.5, 0, [coded(5, 9, 5, 0, 1, 0, 0)]),
        (b"coded.2", 2, (3, 260), 0.5, 0, [coded(3, 260, 2, 2, 7, 1, 3)]),
        (b"coded.3", 2, (40, 7), 0.5, 0, [coded(40, 7, 16, 3, 16, 1, 0)]),
        (b"coded.6", 2, (9, 21), 0.5, 0, [coded(9, 21, 4096, 6, 5, 0, 1)]),
        (b"coded.8", 2, (1, 1), 0.5, 0, [coded(1, 1, 1, 8, 2, 1, 2)])], [])
def holes():
    def grid_holes(rows, cols, bits, group, scale_bits, zero_int, zero_fixed, scale_exp, *at):
        return with_holes(*grid(rows, cols, bits, group, scale_bits, zero_int, zero_fixed, scale_exp), rows, cols, *at)
    def lut_holes(rows, cols, bits, group, scope, scaled, scale_exp, *at):
        return with_holes(*lut(rows, cols, bits, group, scope, scaled, scale_exp), rows, cols, *at)
    return build([
        (b"block", 1, (4, 48), 0.5, 0, [grid_holes(4, 48, 3, 16, 4, 1, 0.0, 2, 2, 0, 0, 8)]),
        (b"block.sparse", 1, (4, 64), 0.5, 0, [blocks(4, 64, 3, 0, 0, 4, -4)]),
        (b"lut.block", 1, (4, 48), 0.5, 0, [lut_holes(4, 48, 2, 48, 1, 0, 0, 2, 0, 0, 8)]),
        (b"lut.mask", 1, (5, 70), 0.5, 0, [lut_holes(5, 70, 4, 16, 0, 1, -4, 3, 0, 0, 0)]),
        (b"lut.none", 1, (2, 9), 0.5, 0, [lut_holes(2, 9, 2, 9, 1, 0, 0, 0, 0, 0, 0)]),
        (b"lut.pattern", 1, (3, 24), 0.5, 0, [lut_holes(3, 24, 3, 8, 2, 1, 2, 0, 2, 4, 0)]),
        (b"mask", 1, (5, 70), 0.5, 0, [grid_holes(5, 70, 4, 16, 0, 0, 8.0, -4, 3, 0, 0, 0)]),
        (b"none", 1, (2, 9), 0.5, 0, [grid_holes(2, 9, 2, 9, 0, 1, 0.0, 0, 0, 0, 0, 0)]),
        (b"pattern", 1, (3, 24), 0.5, 0, [grid_holes(3, 24, 2, 8, 3, 0, 1.5, 0, 0, 2, 4, 0)]),
        (b"pattern.block", 1, (3, 48), 0.5, 0, [blocks(3, 48, 0, 1, 3, 2, 0)])], [])


def grids():
    return build([
        (b"f16", 1, (5, 70), 0.5, 0, [grid(5, 70, 4, 16, 0, 2, 0.0, -3)]),
        (b"f16.two", 1, (5, 70), 0.5, 0, [grid(5, 70, 3, 16, 5, 2, 0.0, 2)]),
        (b"tile.fixed", 1, (5, 70), 0.5, 0, [grid(5, 70, 2, 9, 4, 0, 1.5, -7, 2)]),
        (b"tile.int", 1, (5, 70), 0.5, 0, [grid(5, 70, 5, 70, 8, 1, 0.0, 0, 255)]),
        (b"tile.line", 1, (33, 40), 0.5, 0, [grid(33, 40, 3, 16, 3, 3, 0.0, -5, 16, 3)])], [])


def transforms():
    return build([
        (b"both", 1, (2, 3, 24), 0.5, 0, [grid(6, 24, 3, 8, 0, 1, 0.0, 0)], [diagonal(24, -3), hadamard(24, 3)]),
        (b"children", 2, (5, 6), 0.5, 0, [lowrank(2, float_factor(5, 2, 2), grid(2, 6, 4, 6, 0, 0, 8.0, 0)),
                                          sparse(5, 6, 4, 2, 2, 0)], [hadamard(6, 1)]),
        (b"diagonal", 3, (4, 7), 0.5, 0, [float_factor(4, 7, 3)], [diagonal(7, 2)]),
        (b"hadamard", 2, (3, 512), 0.5, 0, [float_factor(3, 512, 2)], [hadamard(512, 9)]),
        (b"permute", 3, (3, 21), 0.5, 0, [grid(3, 21, 4, 8, 0, 1, 0.0, 2)], [permute(21, 5)]),
        (b"permute.diagonal", 1, (2, 16), 0.5, 0, [float_factor(2, 16, 2)], [permute(16, 7), diagonal(16, 1)]),
        (b"plain", 2, (2, 8), 0.5, 0, [float_factor(2, 8, 2)])], [])


def ggml():
    """A row of 256 weights of every type: the first of ../ggml/blocks.bin, recorded from the `gguf' package."""
    with open(os.path.join(HERE, "..", "ggml", "blocks.bin"), "rb") as f:
        data = f.read()
    tensors, at = [], 0
    while at < len(data):
        kind, size, weights = struct.unpack("<III", data[at:at + 12])
        row = data[at + 12:at + 12 + size * 256 // weights]
        tensors.append((b"type.%02d" % kind, 1, (1, 256), 0.5, 0, [(11, bytes([kind]) + bytes(31), row)]))
        at += 12 + size + 4 * weights
    return build(sorted(tensors), [])


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    for name, make in (("tiny", tiny), ("kinds", kinds), ("parts", parts), ("signs", sign_planes), ("grids", grids),
                       ("transforms", transforms), ("coded", coded_parts), ("ggml", ggml), ("holes", holes),
                       ("forms", forms), ("vectors", vectors)):
        with open(os.path.join(folder, name + ".wcz"), "wb") as f:
            f.write(make())
