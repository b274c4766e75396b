#!/usr/bin/python3
"""A second reader for .wcz files, written from docs/FORMAT.md alone. numpy is all it needs.

    wcz_reader.py FILE --list                 tensors and metadata
    wcz_reader.py FILE --dump NAME OUT.npy    one tensor: f32 [rows, cols], or its bytes when it has no f32 values
    wcz_reader.py FILE --dump-all DIR         all tensors: DIR/0.npy, DIR/1.npy, ... in file order
    wcz_reader.py FILE --check                structure and every checksum

It exists to keep the specification honest: it shares no code with the C library, and the tests compare the two bit for
bit. Exit status 0, or 1 with one line on stderr.
"""
import os
import struct
import sys

import numpy as np

MAGIC = b"\x89WCZ\r\n\x1a\n"
MASK = (1 << 64) - 1
DTYPES = {1: ("F32", 32), 2: ("F16", 16), 3: ("BF16", 16), 4: ("F64", 64), 5: ("I64", 64), 6: ("I32", 32),
          7: ("I16", 16), 8: ("I8", 8), 9: ("U64", 64), 10: ("U32", 32), 11: ("U16", 16), 12: ("U8", 8),
          13: ("BOOL", 8), 14: ("F8_E4M3", 8), 15: ("F8_E5M2", 8), 16: ("F8_E8M0", 8), 17: ("F8_E4M3FNUZ", 8),
          18: ("F8_E5M2FNUZ", 8), 19: ("F6_E2M3", 6), 20: ("F6_E3M2", 6), 21: ("F4", 4), 22: ("C64", 64)}


class BadFile(Exception):
    pass


def need(ok, what):
    if not ok:
        raise BadFile(what)


# ---------------------------------------------------------------- XXH3, 64 bits, seed 0 (section 1)

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def u64(b, i):
    return int.from_bytes(b[i:i + 8], "little")


def u32(b, i):
    return int.from_bytes(b[i:i + 4], "little")


def fold(a, b):
    p = a * b
    return (p ^ p >> 64) & MASK


def avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def avalanche64(h):
    h = (h ^ h >> 33) * P64_2 & MASK
    h = (h ^ h >> 29) * P64_3 & MASK
    return h ^ h >> 32


def rotl(x, r):
    return (x << r | x >> (64 - r)) & MASK


def mix16(b, i, s):
    return fold(u64(b, i) ^ u64(SECRET, s), u64(b, i + 8) ^ u64(SECRET, s + 8))


def xxh3_short(b):
    n = len(b)
    if n == 0:
        return avalanche64(u64(SECRET, 56) ^ u64(SECRET, 64))
    if n <= 3:
        return avalanche64((b[0] << 16 | b[n >> 1] << 24 | b[-1] | n << 8) ^ u32(SECRET, 0) ^ u32(SECRET, 4))
    if n <= 8:
        h = (u32(b, n - 4) + (u32(b, 0) << 32)) ^ u64(SECRET, 8) ^ u64(SECRET, 16)
        h = (h ^ rotl(h, 49) ^ rotl(h, 24)) * 0x9FB21C651E98DF25 & MASK
        h = (h ^ (h >> 35) + n) * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n <= 16:
        lo = u64(b, 0) ^ u64(SECRET, 24) ^ u64(SECRET, 32)
        hi = u64(b, n - 8) ^ u64(SECRET, 40) ^ u64(SECRET, 48)
        return avalanche(n + int.from_bytes(lo.to_bytes(8, "little"), "big") + hi + fold(lo, hi) & MASK)
    h = n * P64_1
    if n <= 128:
        for i in range((n - 1) // 32 + 1):
            h += mix16(b, 16 * i, 32 * i) + mix16(b, n - 16 * (i + 1), 32 * i + 16)
        return avalanche(h & MASK)
    h = avalanche(sum((mix16(b, 16 * i, 16 * i) for i in range(8)), h) & MASK)
    for i in range(8, n // 16):
        h += mix16(b, 16 * i, 16 * (i - 8) + 3)
    return avalanche(h + mix16(b, n - 16, 119) & MASK)


def stripes(data, keys):
    """What stripes of 64 bytes add to the accumulators. data [..., stripe, 8] u64, keys [stripe, 8]."""
    k = data ^ keys
    product = (k & np.uint64(0xFFFFFFFF)) * (k >> np.uint64(32))
    swapped = data[..., [1, 0, 3, 2, 5, 4, 7, 6]]
    return (product + swapped).sum(axis=-2, dtype=np.uint64)


def xxh3(b):
    """b: bytes or a memoryview."""
    n = len(b)
    if n <= 240:
        return xxh3_short(bytes(b))
    words = lambda s, at, count: np.frombuffer(s, "<u8", count, at)
    keys = np.stack([words(SECRET, 8 * i, 8) for i in range(16)])
    acc = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
    scramble = words(SECRET, 128, 8)
    blocks = (n - 1) // 1024
    for first in range(0, blocks, 4096):
        count = min(4096, blocks - first)
        sums = stripes(words(b, 1024 * first, 128 * count).reshape(count, 16, 8), keys)
        for add in sums:
            acc = acc + add
            acc = ((acc ^ acc >> np.uint64(47)) ^ scramble) * np.uint64(P32_1)
    full = (n - 1 - 1024 * blocks) // 64
    acc = acc + stripes(words(b, 1024 * blocks, 8 * full).reshape(full, 8), keys[:full])
    acc = acc + stripes(words(b, n - 64, 8).reshape(1, 8), words(SECRET, 121, 8).reshape(1, 8))
    a = [int(x) for x in acc]
    h = n * P64_1
    for i in range(4):
        h += fold(a[2 * i] ^ u64(SECRET, 11 + 16 * i), a[2 * i + 1] ^ u64(SECRET, 19 + 16 * i))
    return avalanche(h & MASK)


# ---------------------------------------------------------------- header and index (sections 2 to 5)

class Record:
    def __init__(self, **fields):
        self.__dict__.update(fields)


def up64(x):
    return (x + 63) // 64 * 64


def zero(b):
    return not any(bytes(b))


def parse_header(m):
    need(len(m) >= 8 and m[:8] == MAGIC, "not a .wcz file")
    need(len(m) >= 64, "truncated in the header")
    major, _minor, features, size, at, index_size, index_hash, reserved, own = struct.unpack("<HHIQQQQQQ", m[8:64])
    need(major == 1, "unknown major version")
    need(own == xxh3(m[:56]), "header checksum")
    need(features == 0, "unknown required feature")
    need(size == len(m) and size % 64 == 0, "file size")
    need(at == 64 and reserved == 0 and 32 <= index_size <= size - 64, "header")
    need(index_hash == xxh3(m[64:64 + index_size]), "index checksum")
    return index_size


def parse_tensor(r, names):
    name, name_size, n_dims, dtype = struct.unpack("<4I", r[:16])
    dims = struct.unpack("<8Q", r[16:80])
    first, n_parts, flags, left, right, reserved, error = struct.unpack("<6Id", r[80:112])
    need(n_dims <= 8 and not any(dims[n_dims:]), "dimensions")
    need(left == 0, "transforms of a newer version")
    need(reserved == 0 and zero(r[112:]), "reserved bytes of a tensor")
    need(dtype in DTYPES and n_parts >= 1, "element type or number of parts")
    rows, cols = 1, dims[n_dims - 1] if n_dims else 1
    for d in dims[:max(n_dims, 1) - 1]:
        rows *= d
        need(rows <= 1 << 56, "too many rows")
    need(cols <= 1 << 56 and rows * cols <= 1 << 56, "too many elements")
    return Record(name_at=name, name=bytes(names[name:name + name_size]), name_size=name_size, dims=dims[:n_dims],
                  dtype=dtype, rows=rows, cols=cols, first=first, n_parts=n_parts, n_transforms=right, flags=flags,
                  error=error)


def parse_part(r):
    kind, version, reserved, offset, size, digest, child, children = struct.unpack("<HHIQQQII", r[:40])
    need(reserved == 0 and zero(r[72:]), "reserved bytes of a part")
    need(kind in LAYOUTS and version == 1, "part kind of a newer version")
    want = (3 if r[44] == 1 else 2) if kind == 5 else 0
    need(children == want and (children or child == 0), "children of a newer version")
    return Record(kind=kind, offset=offset, size=size, xxh3=digest, params=bytes(r[40:72]), first_child=child,
                  n_children=children, children=[])


def parse_meta(r, names):
    name, name_size, codec, reserved, offset, size, raw_size, digest = struct.unpack("<4I4Q", r[:48])
    need(codec <= 1, "codec of a newer version")
    need(reserved == 0 and zero(r[48:]) and (codec or size == raw_size), "metadata record")
    return Record(name_at=name, name=bytes(names[name:name + name_size]), name_size=name_size, codec=codec,
                  offset=offset, size=size, raw_size=raw_size, xxh3=digest)


class File:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.m = memoryview(f.read())
        index_size = parse_header(self.m)
        index = self.m[64:64 + index_size]
        n_tensors, n_parts, n_metas, names_size = struct.unpack("<4I", index[:16])
        at = [32, 32 + 128 * n_tensors]
        at += [at[1] + 80 * n_parts, at[1] + 80 * n_parts + 64 * n_metas]
        need(zero(index[16:32]) and at[3] + names_size == index_size, "counts in the index")
        names = index[at[3]:]
        self.tensors = [parse_tensor(index[at[0] + 128 * i:][:128], names) for i in range(n_tensors)]
        self.parts = [parse_part(index[at[1] + 80 * i:][:80]) for i in range(n_parts)]
        self.metas = [parse_meta(index[at[2] + 64 * i:][:64], names) for i in range(n_metas)]
        self.gaps = []
        self.check_names(names_size)
        self.check_blobs(64 + index_size)
        self.check_parts()

    def check_names(self, names_size):
        at = 0
        for table in (self.tensors, self.metas):
            for i, r in enumerate(table):
                need(r.name_at == at and r.name_size >= 1 and at + r.name_size <= names_size, "place of a name")
                need(0 not in r.name and (i == 0 or table[i - 1].name < r.name), "order of names")
                at += r.name_size
        need(at == names_size, "bytes of names that belong to nothing")

    def check_blobs(self, end):
        for r in self.metas + self.parts:
            need(r.offset == up64(end) and r.offset + r.size <= len(self.m), "place of a blob")
            self.gaps.append((end, r.offset))
            end = r.offset + r.size
        need(up64(end) == len(self.m), "end of the file")
        self.gaps.append((end, len(self.m)))

    def check_parts(self):
        next_part = 0
        for t in self.tensors:
            behind = t.first + t.n_parts
            next_part += t.n_parts + t.n_transforms
            need(t.first + t.n_parts + t.n_transforms == next_part <= len(self.parts), "parts of a tensor")
            t.parts, t.transforms = self.parts[t.first:behind], self.parts[behind:next_part]
            for p in t.transforms:
                need(p.kind in TRANSFORMS, "a part among the transforms")
                self.lay_out(p, 1, t.cols)
            for p in t.parts:
                need(p.kind not in TRANSFORMS, "a transform among the parts")
                self.lay_out(p, t.rows, t.cols)
                if p.n_children:
                    end = next_part + p.n_children
                    need(p.first_child == next_part and end <= len(self.parts), "parts of a part")
                    p.children = self.parts[next_part:end]
                    next_part = end
                    for c, (rows, cols) in zip(p.children, p.layout.shapes):
                        need(not c.n_children and c.kind not in TRANSFORMS, "a factor that cannot be one")
                        self.lay_out(c, rows, cols)
                        need(c.layout.numeric, "a factor without values")
            t.numeric = all(p.layout.numeric for p in t.parts)
            need(t.numeric or t.n_parts + t.n_transforms == 1, "a sum of parts without values")
        need(next_part == len(self.parts), "parts that belong to nothing")

    def lay_out(self, p, rows, cols):
        need(rows <= 1 << 56 and cols <= 1 << 56 and rows * cols <= 1 << 56, "too many elements")
        p.rows, p.cols = rows, cols
        p.layout = LAYOUTS[p.kind](p, rows, cols)
        need(p.layout.size == p.size, "size of a blob")

    def blob(self, r):
        return self.m[r.offset:r.offset + r.size]

    def check(self):
        for r in self.metas:
            need(xxh3(self.blob(r)) == r.xxh3, "checksum of metadata `%s'" % r.name.decode(errors="replace"))
        for t in self.tensors:
            for p in [q for part in t.parts + t.transforms for q in [part] + part.children]:
                need(xxh3(self.blob(p)) == p.xxh3, "checksum of tensor `%s'" % t.name.decode(errors="replace"))
        for begin, end in self.gaps:
            need(zero(self.m[begin:end]), "bytes between blobs")

    def decode(self, t):
        """f32 [rows, cols]; the bytes of the blob when there are no f32 values."""
        if not t.numeric:
            l, blob = t.parts[0].layout, self.blob(t.parts[0])
            return np.frombuffer(coded_values(l, blob).tobytes() if l.coded else blob, np.uint8)
        total = None
        for p in t.parts:
            w = self.decode_part(p)
            total = w if total is None else total + w
        for p in reversed(t.transforms):
            total = TRANSFORMS[p.kind](p.layout, self.blob(p), total)
        return total

    def decode_part(self, p):
        if p.n_children:
            return decode_lowrank(p.layout, self.blob(p), p.rows, p.cols, *[self.decode_part(c) for c in p.children])
        return DECODERS[p.kind](p.layout, self.blob(p), p.rows, p.cols)


# ---------------------------------------------------------------- kinds (sections 7 to 12)

def float_layout(p, rows, cols):
    dtype, coding = p.params[0], p.params[1]
    need(dtype in DTYPES and coding <= 1, "parameters of a float part")
    bits = rows * cols * DTYPES[dtype][1]
    if coding:
        return planes_layout(p, dtype, rows * cols)
    need(zero(p.params[2:]), "parameters of a float part")
    need(bits % 8 == 0, "a float part that does not fill its last byte")
    return Record(size=bits // 8, dtype=dtype, numeric=dtype <= 3, coded=False)


CHUNK, STREAMS, SUPER, ENTRY = 4096, 4, 64, 10
RAW, CONSTANT, CODED = 0, 1, 2


def planes_layout(p, dtype, n):
    width, chunks, end = DTYPES[dtype][1] // 8, (n + CHUNK - 1) // CHUNK, 0
    mode, constant = p.params[2:10], p.params[10:18]
    need(n and DTYPES[dtype][1] % 8 == 0 and zero(p.params[18:24]), "parameters of a coded float part")
    planes = []
    for i in range(8):
        need(mode[i] <= CODED and (i < width or not mode[i]), "mode of a plane")
        need(mode[i] == CONSTANT or not constant[i], "constant of a plane")
        plane = Record(mode=mode[i], constant=constant[i])
        if i < width and mode[i] == RAW:
            plane.first, end = up8(end), up8(end) + n
        elif mode[i] == CODED:
            plane.first = up8(end)
            plane.bases = plane.first + 288
            plane.entries = up8(plane.bases + (chunks + SUPER - 1) // SUPER * 8)
            end = plane.entries + chunks * ENTRY
        planes.append(plane)
    streams, stream_bytes = up8(end), struct.unpack("<Q", p.params[24:])[0]
    return Record(size=streams + stream_bytes, dtype=dtype, numeric=dtype <= 3, coded=True, n=n, chunks=chunks,
                  planes=planes[:width], streams=streams)


def code_table(table):
    """For every 12-bit window the symbol and the length of the code that it begins with."""
    counts = struct.unpack("<16H", table[:32])
    symbol, length, at, k = np.zeros(4096, np.uint8), np.ones(4096, np.int64), 0, 0
    for bits in range(1, 13):
        for _ in range(counts[bits]):
            step = 1 << (12 - bits)
            symbol[at:at + step], length[at:at + step] = table[32 + k], bits
            at, k = at + step, k + 1
    need(at == 4096 and counts[0] == 0 and not any(counts[13:]), "the code of a plane")
    return symbol, length


def coded_plane(l, plane, blob):
    """All streams of the plane side by side, a symbol of each in every step."""
    symbol, length = code_table(bytes(blob[plane.first:plane.first + 288]))
    entries = np.frombuffer(blob, np.uint8, l.chunks * ENTRY, plane.entries).reshape(-1, ENTRY)
    bases = np.frombuffer(blob, "<u8", (l.chunks + SUPER - 1) // SUPER, plane.bases).astype(np.int64)
    start = entries[:, :4].copy().view("<u4").astype(np.int64)
    sizes = entries[:, 4:].copy().view("<u2").astype(np.int64)
    start = bases[np.arange(l.chunks) // SUPER].reshape(-1, 1) + start
    start = np.concatenate([start, start + np.cumsum(sizes, 1)], 1).reshape(-1) + l.streams
    bits = np.concatenate([np.frombuffer(blob, np.uint8), np.zeros(4096, np.uint8)]).astype(np.int64)
    pos, out = 8 * start, np.zeros((len(start), CHUNK // STREAMS), np.uint8)
    for i in range(CHUNK // STREAMS):
        at = np.minimum(pos // 8, len(bits) - 4)
        window = (bits[at] << 16 | bits[at + 1] << 8 | bits[at + 2]) << pos % 8 >> 12 & 4095
        out[:, i] = symbol[window]
        pos = pos + length[window]
    return out.reshape(-1)[:l.n]


def coded_values(l, blob):
    """The values as unsigned integers of the element's width."""
    width = len(l.planes)
    x = np.zeros(l.n, np.uint64)
    for i, plane in enumerate(l.planes):
        if plane.mode == RAW:
            b = np.frombuffer(blob, np.uint8, l.n, plane.first)
        elif plane.mode == CONSTANT:
            b = np.full(l.n, plane.constant, np.uint8)
        else:
            b = coded_plane(l, plane, blob)
        x |= b.astype(np.uint64) << np.uint64(8 * i)
    if l.dtype <= 4:
        x = x >> np.uint64(1) | (x & np.uint64(1)) << np.uint64(8 * width - 1)
    return x.astype("<u%d" % width)


def decode_float(l, blob, rows, cols):
    return floats(l.dtype, coded_values(l, blob).tobytes() if l.coded else blob).reshape(rows, cols)


def floats(dtype, blob):
    if dtype == 1:
        v = np.frombuffer(blob, "<f4")
    elif dtype == 2:
        v = np.frombuffer(blob, "<f2").astype(np.float32)
    else:
        v = (np.frombuffer(blob, "<u2").astype(np.uint32) << 16).view(np.float32)
    return v


def packed(count, bits):
    return (count + 7) // 8 * bits


def unpack(b, count, bits):
    out = np.zeros(count, np.uint8)
    for begin in range(0, count, 64):
        w = min(64, (count - begin + 7) // 8 * 8)
        at, shift, values = begin // 64 * 8 * bits, 0, np.zeros(w, np.uint8)
        for k in (8, 4, 2, 1):
            if not bits & k:
                continue
            n = w * k // 8
            plane = b[at:at + n]
            for j in range(8 // k):
                values[j * n:(j + 1) * n] |= (plane >> (k * j) & ((1 << k) - 1)) << shift
            at += n
            shift += k
        out[begin:begin + w] = values[:count - begin]
    return out


def up8(x):
    return (x + 7) // 8 * 8


def grid_layout(p, rows, cols):
    bits, scale_bits, zero_kind, scale_exp, group, zero_fixed = struct.unpack("<BBBbIf", p.params[:12])
    tile, zero_bits = p.params[28:30]
    need(1 <= bits <= 8 and scale_bits <= 8 and scale_bits != 1 and zero_kind <= 3, "parameters of a grid part")
    need(tile == 0 or scale_bits, "tiles of a grid part")
    need(2 <= zero_bits <= 8 and tile if zero_kind == 3 else zero_bits == 0, "zero bits of a grid part")
    need(-126 <= scale_exp <= 126 and rows >= 1 and 1 <= group <= cols, "parameters of a grid part")
    holes, n, m, nnz, block = struct.unpack("<BBBxQI", p.params[12:28])
    need(holes in (0, 2, 3) and (holes or zero(p.params[12:28])), "reserved parameters of a grid part")
    need(p.params[15] == 0 and zero(p.params[30:]), "reserved parameters of a grid part")
    need(0 <= zero_fixed <= 2 ** bits - 1 and 2 * zero_fixed % 1 == 0 and p.params[11] < 128, "zero of a grid part")
    need(zero_kind == 0 or zero_fixed == 0, "zero of a grid part")
    groups = (cols + group - 1) // group
    tiles = (rows + tile - 1) // tile * groups if tile else 0
    n_scales = 2 * tiles if tile else rows if scale_bits else rows * groups
    n_zeros = (0, 0, rows * groups, 2 * tiles)[zero_kind]
    code_bits = (0, bits, 0, zero_bits)[zero_kind]
    scales = up8(packed(nnz, bits) if holes else rows * packed(cols, bits))
    size = scales + 2 * n_scales
    codes = zeros = zero_codes = 0
    if scale_bits:
        codes = up8(size)
        size = codes + packed(rows * groups, scale_bits)
    if n_zeros:
        zeros = up8(size)
        size = zeros + 2 * n_zeros
    if code_bits:
        zero_codes = up8(size)
        size = zero_codes + packed(rows * groups, code_bits)
    positions = positions_layout(up8(size), holes, n, m, nnz, block, rows, cols) if holes else None
    if holes:
        size = positions.end
    return Record(positions=positions, size=size, numeric=True, bits=bits, scale_bits=scale_bits, zero_kind=zero_kind,
                  scale_exp=scale_exp, group=group, groups=groups, zero_fixed=zero_fixed, scales=scales, codes=codes, zeros=zeros,
                  zero_codes=zero_codes, tile=tile, n_scales=n_scales, n_zeros=n_zeros, code_bits=code_bits)


def of_groups(l, b, at, bits, rows):
    """f32 [rows, groups] of a packed sequence."""
    return unpack(b[at:], rows * l.groups, bits).reshape(rows, l.groups).astype(np.float32)


def on_lines(l, lines, codes):
    """offset + step * code, [rows, groups]; lines [tiles of rows, groups, 2]."""
    of_row = lines.reshape(-1, l.groups, 2)[np.arange(len(codes)) // l.tile]
    return of_row[:, :, 0] + of_row[:, :, 1] * codes


def codes_of_rows(l, blob, rows, cols):
    """Which columns have a code, and the codes, 0 in holes."""
    b = np.frombuffer(blob, np.uint8)
    if l.positions:
        has, q = present(l.positions, blob, rows, cols), np.zeros((rows, cols), np.uint8)
        q[has] = unpack(b, l.positions.nnz, l.bits)
        return has, q
    stride = packed(cols, l.bits)
    return True, np.stack([unpack(b[r * stride:(r + 1) * stride], cols, l.bits) for r in range(rows)])


def decode_grid(l, blob, rows, cols):
    b = np.frombuffer(blob, np.uint8)
    has, q = codes_of_rows(l, blob, rows, cols)
    s = np.frombuffer(blob, "<f2", l.n_scales, l.scales).astype(np.float32)
    z = np.frombuffer(blob, "<f2", l.n_zeros, l.zeros).astype(np.float32)
    exp2 = np.float32(2.0 ** l.scale_exp)
    with np.errstate(all="ignore"):
        if l.tile:
            s = on_lines(l, s, of_groups(l, b, l.codes, l.scale_bits, rows)) * exp2
        else:
            s = s.reshape(rows, -1) * exp2
            if l.scale_bits:
                s = s * of_groups(l, b, l.codes, l.scale_bits, rows)
        if l.zero_kind == 0:
            z = np.full((rows, l.groups), l.zero_fixed, np.float32)
        elif l.zero_kind == 1:
            z = of_groups(l, b, l.zero_codes, l.code_bits, rows)
        elif l.zero_kind == 2:
            z = z.reshape(rows, l.groups)
        else:
            z = on_lines(l, z, of_groups(l, b, l.zero_codes, l.code_bits, rows))
        of = np.arange(cols) // l.group
        return np.where(has, s[:, of] * (q.astype(np.float32) - z[:, of]), np.float32(0))


def lut_layout(p, rows, cols):
    bits, scope, scaled, scale_exp, group = struct.unpack("<BBBbI", p.params[:8])
    need(1 <= bits <= 8 and scope <= 2 and scaled <= 1 and -126 <= scale_exp <= 126, "parameters of a lut part")
    holes, n, m, nnz, block = struct.unpack("<BBBxQI", p.params[12:28])
    need(rows >= 1 and 1 <= group <= cols and holes in (0, 2, 3), "parameters of a lut part")
    need(zero(p.params[8:12]) and p.params[15] == 0 and zero(p.params[28:]), "reserved parameters of a lut part")
    need(holes or zero(p.params[12:28]), "reserved parameters of a lut part")
    groups = (cols + group - 1) // group
    n_tables = (1, rows, rows * groups)[scope]
    tables = up8(packed(nnz, bits) if holes else rows * packed(cols, bits))
    size = tables + n_tables * 2 * 2 ** bits
    scales = up8(size)
    if scaled:
        size = scales + 2 * rows * groups
    positions = positions_layout(up8(size), holes, n, m, nnz, block, rows, cols) if holes else None
    if holes:
        size = positions.end
    return Record(positions=positions, size=size, numeric=True, bits=bits, scope=scope, scaled=scaled, scale_exp=scale_exp, group=group,
                  groups=groups, n_tables=n_tables, tables=tables, scales=scales)


def decode_lut(l, blob, rows, cols):
    has, q = codes_of_rows(l, blob, rows, cols)
    tables = np.frombuffer(blob, "<f2", l.n_tables << l.bits, l.tables).astype(np.float32).reshape(-1, 1 << l.bits)
    r, of = np.arange(rows)[:, None], np.arange(cols) // l.group
    with np.errstate(all="ignore"):
        s = np.full((rows, l.groups), 2.0 ** l.scale_exp, np.float32)
        if l.scaled:
            s = s * np.frombuffer(blob, "<f2", rows * l.groups, l.scales).astype(np.float32).reshape(rows, -1)
        return np.where(has, s[:, of] * tables[(0, r, r * l.groups + of)[l.scope], q], np.float32(0))


def masks(n, m):
    """The masks of m bits with n ones, ascending."""
    return [x for x in range(1 << m) if bin(x).count("1") == n]


def positions_layout(at, layout, n, m, nnz, block, rows, cols):
    """Section 11.1: the two sections, the first at `at'."""
    need(layout <= 3 and cols <= 1 << 24 and nnz <= rows * cols and block != 1, "positions")
    b = block or 1
    need(cols % b == 0 and nnz % b == 0, "blocks of positions")
    units, count = cols // b, nnz // b
    need((layout == 3) == (n != 0) == (m != 0) and (layout != 0 or units <= 65536), "layout of positions")
    size = rows * (8 if count >> 32 else 4)
    if layout == 3:
        need(n < m <= 16 and units % m == 0 and len(masks(n, m)) <= 256, "n:m of positions")
        need(count == rows * units // m * n, "number of positions")
        size = 0
    bits = (len(masks(n, m)) - 1).bit_length() if layout == 3 else 0
    ends = at
    at = up8(ends + size)
    end = at + (2 * count, 4 * count, rows * ((units + 7) // 8), rows * packed(units // max(m, 1), bits))[layout]
    return Record(layout=layout, n=n, m=m, nnz=nnz, block=b, units=units, count=count, bits=bits, ends=ends, at=at,
                  end=end)


def present(l, blob, rows, cols):
    """bool [rows, cols]"""
    b = np.frombuffer(blob, np.uint8)[l.at:l.end]
    has = np.zeros((rows, l.units), bool)
    if l.layout == 2:
        has = np.unpackbits(b.reshape(rows, -1), axis=1, bitorder="little")[:, :l.units] > 0
    elif l.layout == 3:
        runs, stride = l.units // l.m, packed(l.units // l.m, l.bits)
        ones = np.array(masks(l.n, l.m))
        for r in range(rows):
            code = unpack(b[r * stride:(r + 1) * stride], runs, l.bits)
            has[r] = (ones[code][:, None] >> np.arange(l.m) & 1).reshape(-1)
    else:
        ends = np.frombuffer(blob, "<u8" if l.count >> 32 else "<u4", rows, l.ends)
        row = np.repeat(np.arange(rows), np.diff(ends.astype(np.int64), prepend=0))
        has[row, np.frombuffer(b, "<u4" if l.layout else "<u2", l.count)] = True
    return np.repeat(has, l.block, axis=1)


def sparse_layout(p, rows, cols):
    dtype, layout, n, m, scale_exp, nnz, block = struct.unpack("<BBBBb3xQI12x", p.params)
    need(zero(p.params[5:8]) and zero(p.params[20:]), "reserved parameters of a sparse part")
    need(1 <= dtype <= 3 and -126 <= scale_exp <= 126, "parameters of a sparse part")
    need(dtype == 2 or scale_exp == 0, "exponent of a sparse part")
    need(rows >= 1 and cols >= 1, "size of a sparse part")
    positions = positions_layout(0, layout, n, m, nnz, block, rows, cols)
    values = up8(positions.end)
    return Record(size=values + nnz * (4 if dtype == 1 else 2), numeric=True, dtype=dtype, scale_exp=scale_exp,
                  positions=positions, values=values)


def decode_sparse(l, blob, rows, cols):
    v = floats(l.dtype, blob[l.values:])
    if l.dtype == 2:
        v = v * np.float32(2.0 ** l.scale_exp)
    w = np.zeros((rows, cols), np.float32)
    w[present(l.positions, blob, rows, cols)] = v
    return w


def lowrank_layout(p, rows, cols):
    rank, form, m2, n2 = struct.unpack("<IB3xII", p.params[:16])
    need(form <= 3, "form of a newer version")
    need(rank >= 1 and rows >= 1 and cols >= 1, "parameters of a low-rank part")
    need(zero(p.params[5:8]) and zero(p.params[16:]), "reserved parameters of a low-rank part")
    shapes = [(rows, rank), (rank, cols), (rank, rank)]
    if form == 2:
        need(rank < rows, "rank of a low-rank part")
        shapes[0] = (rows - rank, rank)
    if form == 3:
        need(m2 and n2 and rows % m2 == 0 and cols % n2 == 0, "blocks of a low-rank part")
        shapes[:2] = [(rows // m2 * (cols // n2), rank), (rank, m2 * n2)]
    else:
        need(m2 == 0 and n2 == 0, "blocks of a low-rank part")
    return Record(size=(rows + 7) // 8 if form == 2 else 0, numeric=True, rank=rank, form=form, m2=m2, n2=n2,
                  shapes=shapes)


def vq_layout(p, rows, cols):
    d, books, bits, scale_exp, entry_bits, scaled, scale_bits, signs = struct.unpack("<BBBbBBBB", p.params[:8])
    group, block_rows, block_cols = struct.unpack("<III", p.params[8:20])
    need(1 <= d <= 16 and 1 <= books <= 8 and 1 <= bits <= 16 and rows >= 1, "parameters of a vq part")
    need(entry_bits in (8, 16) and scaled <= 1 and signs <= 1 and -126 <= scale_exp <= 126, "parameters of a vq part")
    need(scale_bits != 1 and scale_bits <= 8 and (scaled or not scale_bits), "scales of a vq part")
    need(1 <= group <= cols and block_rows <= rows and block_cols <= cols, "groups or blocks of a vq part")
    need(block_cols in (0, cols) or block_cols % d == 0, "blocks of a vq part")
    need(zero(p.params[20:]), "reserved parameters of a vq part")
    vectors, groups = (cols + d - 1) // d, (cols + group - 1) // group
    block_rows, block_cols = block_rows or rows, block_cols or cols
    across = (cols + block_cols - 1) // block_cols
    n_books = (rows + block_rows - 1) // block_rows * across * books
    plane = packed(vectors, min(bits, 8)) + packed(vectors, max(bits - 8, 0))
    entry_bytes, sign_bytes = n_books * 2 ** bits * d * entry_bits // 8, rows * packed(cols, 1)
    need(max(rows * books * plane, entry_bytes, sign_bytes) <= 1 << 59, "size of a vq part")
    entries = up8(rows * books * plane)
    size = entries + entry_bytes
    steps = up8(size)
    if entry_bits == 8:
        size = steps + 2 * n_books
    scales = up8(size)
    if scaled:
        size = scales + 2 * (rows if scale_bits else rows * groups)
    codes = up8(size)
    if scale_bits:
        size = codes + packed(rows * groups, scale_bits)
    sign_plane = up8(size)
    if signs:
        size = sign_plane + sign_bytes
    return Record(size=size, numeric=True, d=d, books=books, bits=bits, scale_exp=scale_exp, entry_bits=entry_bits,
                  scaled=scaled, scale_bits=scale_bits, signs=signs, group=group, groups=groups, vectors=vectors,
                  block_rows=block_rows, block_cols=block_cols, across=across, n_books=n_books, plane=plane,
                  entries=entries, steps=steps, scales=scales, codes=codes, sign_plane=sign_plane)


def vq_codes(l, b, r):
    """[books, vectors] of row r"""
    low, q = min(l.bits, 8), np.zeros((l.books, l.vectors), np.int64)
    for m in range(l.books):
        plane = b[(r * l.books + m) * l.plane:][:l.plane]
        q[m] = unpack(plane, l.vectors, low)
        if l.bits > 8:
            q[m] += unpack(plane[packed(l.vectors, 8):], l.vectors, l.bits - 8).astype(np.int64) << 8
    return q


def decode_vq(l, blob, rows, cols):
    b = np.frombuffer(blob, np.uint8)
    count = (l.n_books << l.bits) * l.d
    with np.errstate(all="ignore"):
        entry = np.frombuffer(blob, "<f2" if l.entry_bits == 16 else "i1", count, l.entries).astype(np.float32)
        entry = entry.reshape(-1, l.books, 1 << l.bits, l.d)
        if l.entry_bits == 8:
            entry = np.frombuffer(blob, "<f2", l.n_books, l.steps).astype(np.float32).reshape(-1, l.books, 1, 1) * entry
        j = np.arange(cols)
        w = np.zeros((rows, cols), np.float32)
        for r in range(rows):
            q, block = vq_codes(l, b, r), r // l.block_rows * l.across + j // l.block_cols
            for m in range(l.books):
                x = entry[block, m, q[m, j // l.d], j % l.d]
                w[r] = w[r] + x if m else x
        s = np.full((rows, l.groups), 2.0 ** l.scale_exp, np.float32)
        if l.scaled:
            n = rows if l.scale_bits else rows * l.groups
            s = s * np.frombuffer(blob, "<f2", n, l.scales).astype(np.float32).reshape(rows, -1)
        if l.scale_bits:
            s = s * unpack(b[l.codes:], rows * l.groups, l.scale_bits).reshape(rows, l.groups).astype(np.float32)
        w = s[:, j // l.group] * w
    for r in range(rows if l.signs else 0):
        stride = packed(cols, 1)
        w[r] = np.where(unpack(b[l.sign_plane + r * stride:][:stride], cols, 1), -w[r], w[r])
    return w


def product(a, b):
    total = a[:, :1] * b[:1]
    for k in range(1, len(b)):
        total = total + a[:, k:k + 1] * b[k:k + 1]
    return total


def signs_layout(p, rows, cols):
    form, levels, reserved, scale_exp, n, subset, reserved2 = struct.unpack("<BBBbIII", p.params[:16])
    which = p.params[16:]
    need(form <= 2 and levels >= 1 and n >= 1 and rows >= 1 and cols >= 1, "parameters of a signs part")
    need(reserved == 0 and reserved2 == 0 and -126 <= scale_exp <= 126, "parameters of a signs part")
    size, at = 0, []

    def section(count):
        nonlocal size
        begin = up8(size)
        size = begin + count
        return begin

    if form == 1:
        need(levels <= 16 and n <= cols and subset < cols and zero(which[levels:]), "levels of a signs part")
        section((cols + 7) // 8 if subset else 0)
        for w in which[:levels]:
            need(w <= 6 and w & 3 <= 2 and (w & 3 == 0 or subset), "columns of a signs part")
            own = (cols, subset, cols - subset)[w & 3]
            plane, scales = rows * packed(own, 1), 2 * rows * ((own + n - 1) // n)
            at.append(Record(which=w & 3, split=w >> 2, cols=own, signs=section(plane),
                             choices=section(plane) if w >> 2 else 0, scales=section(scales << (w >> 2))))
    else:
        need(subset == 0 and zero(which), "parameters of a signs part")
        need((levels == 1 and n <= 16) if form else (levels <= 32 and n <= min(rows, cols)), "levels of a signs part")
        for _ in range(levels):
            at.append(Record(signs=section(rows * packed(cols, 1)), u=section(2 * rows * n), v=section(2 * cols * n)))
            size = size if form else up8(size)
        if form and n > 1:
            section(2 * cols * n)
    return Record(size=size, numeric=True, form=form, levels=levels, n=n, subset=subset, scale_exp=scale_exp, at=at)


def decode_signs(l, blob, rows, cols):
    b = np.frombuffer(blob, np.uint8)
    halves = lambda at, *shape: np.frombuffer(blob, "<f2", int(np.prod(shape)), at).astype(np.float32).reshape(shape)
    plane = lambda at, n: np.stack([unpack(b[at + r * packed(n, 1):][:packed(n, 1)], n, 1) for r in range(rows)])
    mask = np.unpackbits(b[:(cols + 7) // 8], bitorder="little")[:cols] if l.subset else None
    w, unit = np.zeros((rows, cols), np.float32), np.float32(2.0 ** l.scale_exp)
    for a in l.at:
        own, columns = cols, np.arange(cols)
        with np.errstate(all="ignore"):
            if l.form == 0:
                m = product(halves(a.u, rows, l.n), halves(a.v, l.n, cols)) * unit
            elif l.form == 2:
                s, t = halves(a.u, l.n, rows), halves(a.v, l.n, cols)
                for e in range(1, l.n):
                    s[0], t[0] = s[0] + s[e], t[0] + t[e]
                m = (s[0] / np.float32(l.n))[:, None] * (t[0] / np.float32(l.n)) * unit
            else:
                own = a.cols
                columns = columns if a.which == 0 else np.flatnonzero(mask == (a.which == 1))[:own]
                of = np.arange(own) // l.n
                scales = halves(a.scales, rows, (own + l.n - 1) // l.n, 1 << a.split) * unit
                choice = plane(a.choices, own) if a.split else np.zeros((rows, own), np.uint8)
                m = np.take_along_axis(scales[:, of], choice[:, :, None], 2)[:, :, 0][:, :len(columns)]
            minus = plane(a.signs, own)[:, :m.shape[1]] > 0
            w[:, columns] = w[:, columns] + np.where(minus, -m, m)
    return w


def decode_lowrank(l, blob, rows, cols, a, b, u=None):
    if l.form == 1:
        return product(product(a, u), b)
    if l.form == 0:
        return product(a, b)
    if l.form == 3:
        w = product(a, b).reshape(rows // l.m2, cols // l.n2, l.m2, l.n2)
        return w.transpose(0, 2, 1, 3).reshape(rows, cols)
    pivot = np.unpackbits(np.frombuffer(blob, np.uint8), bitorder="little")[:rows] > 0
    need(pivot.sum() == l.rank, "pivots of a low-rank part")
    w = np.zeros((rows, cols), np.float32)
    w[pivot], w[~pivot] = b, product(a, b)
    return w


# ggml: name, weights and bytes of a block, weights per scale, levels or grid
GGML = {2: ("Q4_0", 32, 18, 32), 3: ("Q4_1", 32, 20, 32), 6: ("Q5_0", 32, 22, 32), 7: ("Q5_1", 32, 24, 32),
        8: ("Q8_0", 32, 34, 32), 10: ("Q2_K", 256, 84, 16), 11: ("Q3_K", 256, 110, 16), 12: ("Q4_K", 256, 144, 32),
        13: ("Q5_K", 256, 176, 32), 14: ("Q6_K", 256, 210, 16), 16: ("IQ2_XXS", 256, 66, 32),
        17: ("IQ2_XS", 256, 74, 16), 18: ("IQ3_XXS", 256, 98, 32), 20: ("IQ4_NL", 32, 18, 32),
        21: ("IQ3_S", 256, 110, 32), 22: ("IQ2_S", 256, 82, 16), 23: ("IQ4_XS", 256, 136, 32),
        34: ("TQ1_0", 256, 54, 256), 35: ("TQ2_0", 256, 66, 256)}
IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def ggml_layout(p, rows, cols):
    need(p.params[0] in GGML and zero(p.params[1:]), "parameters of a ggml part")
    name, block, size, sub = GGML[p.params[0]]
    need(rows >= 1 and cols >= 1 and cols % block == 0, "row of a ggml part")
    return Record(size=rows * cols // block * size, numeric=True, name=name, block=block, bytes=size, sub=sub)


def ggml_grid(name):
    """f32 [entries, dim] from the annex, docs/ggml_grids.txt"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../docs/ggml_grids.txt")
    lines = open(path).read().split("\n")
    at = [i for i, line in enumerate(lines) if line.startswith("@%s_grid " % name)][0]
    n, dim, bits, digits, *values = [int(x) for x in lines[at].split()[1:]]
    text = ""
    while len(text) < n * digits:
        at += 1
        text += lines[at]
    words = np.array([int(text[i * digits:(i + 1) * digits], 16) for i in range(n)])
    values = np.array(values + [0] * 8, np.float32)
    return values[words[:, None] >> bits * np.arange(dim) & (1 << bits) - 1]


def f16(b, at):
    return b[:, at:at + 2].copy().view("<f2").astype(np.float32)


def bits_of(b, at, n, width):
    """unsigned fields of `width' bits, 1, 2 or 4, from the low bits of each byte up: [blocks, n]"""
    i = np.arange(n)
    return b[:, at + i * width // 8] >> i * width % 8 & (1 << width) - 1


def halves(b, at, chunks, h):
    """chunks of 2h weights, the first h in low halves of bytes"""
    q = b[:, at:at + chunks * h].reshape(len(b), chunks, 1, h)
    return np.concatenate([q & 15, q >> 4], axis=2).reshape(len(b), -1).astype(np.int32)


def crumbs(b, at):
    q = b[:, at:at + 64].reshape(len(b), 2, 1, 32) >> np.array([0, 2, 4, 6]).reshape(4, 1) & 3
    return q.reshape(len(b), 256).astype(np.int32)


def plane(b, at):
    return (b[:, None, at:at + 32] >> np.arange(8)[:, None] & 1).reshape(len(b), 256).astype(np.int32)


def six_bits(b):
    """Q4_K, Q5_K: scales, mins"""
    x, y, z = (b[:, 4 + 4 * i:8 + 4 * i].astype(np.int32) for i in range(3))
    return (np.concatenate([x & 63, z & 15 | x >> 6 << 4], axis=1),
            np.concatenate([y & 63, z >> 4 | y >> 6 << 4], axis=1))


def trits(b, at, n, digits):
    q = b[:, None, at:at + n].astype(np.int32) * 3 ** np.arange(digits)[:, None] & 255
    return (q * 3 >> 8).reshape(len(b), -1)


def even(seven):
    """7 stored signs and the one that makes the number of minuses even, as bits [..., 8]"""
    x = (seven[..., None] >> np.arange(7) & 1).astype(np.int32)
    return np.concatenate([x, x.sum(axis=-1, keepdims=True) & 1], axis=-1)


def ggml_scalar(name, b):
    """d, m, scales, mins, values [blocks, ..]; None: absent"""
    n, scale, least, m = len(b), None, None, None
    if name in ("Q4_0", "IQ4_NL"):
        q = halves(b, 2, 1, 16)
        return f16(b, 0), None, None, None, IQ4[q] if name == "IQ4_NL" else q - 8
    if name == "Q4_1":
        return f16(b, 0), -f16(b, 2), None, None, halves(b, 4, 1, 16)
    if name == "Q5_0":
        return f16(b, 0), None, None, None, (halves(b, 6, 1, 16) | bits_of(b, 2, 32, 1).astype(np.int32) << 4) - 16
    if name == "Q5_1":
        return f16(b, 0), -f16(b, 2), None, None, halves(b, 8, 1, 16) | bits_of(b, 4, 32, 1).astype(np.int32) << 4
    if name == "Q8_0":
        return f16(b, 0), None, None, None, b[:, 2:].view(np.int8)
    if name == "Q2_K":
        return f16(b, 80), f16(b, 82), b[:, :16] & 15, b[:, :16] >> 4, crumbs(b, 16)
    if name == "Q3_K":
        low = bits_of(b, 96, 16, 4).reshape(n, 8, 2).transpose(0, 2, 1).reshape(n, 16).astype(np.int32)
        high = (b[:, None, 104:108] >> np.array([0, 2, 4, 6])[:, None] & 3).reshape(n, 16).astype(np.int32)
        return f16(b, 108), None, (low | high << 4) - 32, None, crumbs(b, 32) + 4 * plane(b, 0) - 4
    if name in ("Q4_K", "Q5_K"):
        scale, least = six_bits(b)
        q = halves(b, 16, 4, 32) if name == "Q4_K" else halves(b, 48, 4, 32) + 16 * plane(b, 16)
        return f16(b, 0), f16(b, 2), scale, least, q
    if name == "Q6_K":
        return f16(b, 208), None, b[:, 192:208].view(np.int8), None, halves(b, 0, 2, 64) + 16 * crumbs(b, 128) - 32
    if name == "IQ4_XS":
        high = b[:, 2:4].copy().view("<u2").astype(np.int32) >> 2 * np.arange(8) & 3
        return f16(b, 0), None, (bits_of(b, 4, 8, 4).astype(np.int32) | high << 4) - 32, None, IQ4[halves(b, 8, 8, 16)]
    if name == "TQ1_0":
        q = np.concatenate([trits(b, 0, 32, 5), trits(b, 32, 16, 5), trits(b, 48, 4, 4)], axis=1)
        return f16(b, 52), None, None, None, q - 1
    return f16(b, 64), None, None, None, crumbs(b, 0) - 1


def ggml_lattice(name, b):
    """scale factors, index [blocks, 256 / dim], signs [blocks, 256]"""
    n = len(b)
    if name in ("IQ2_XXS", "IQ3_XXS"):
        x = b[:, 2:66].reshape(n, 8, 8)
        words = (x[:, :, 4:] if name == "IQ2_XXS" else b[:, 66:98].reshape(n, 8, 4)).copy().view("<u4").reshape(n, 8)
        index = (x[:, :, :4] if name == "IQ2_XXS" else x).reshape(n, -1)
        signs = even((words[..., None] >> np.uint32([0, 7, 14, 21])).astype(np.int64) & 127)
        return (words >> np.uint32(28)).astype(np.int32), index, signs
    if name == "IQ2_XS":
        words = b[:, 2:66].copy().view("<u2").astype(np.int32)
        return bits_of(b, 66, 16, 4), words & 511, even(words >> 9)
    if name == "IQ2_S":
        high = bits_of(b, 66, 32, 2).astype(np.int32)
        return bits_of(b, 74, 16, 4), b[:, 2:34] | high << 8, bits_of(b, 34, 256, 1)
    high = bits_of(b, 66, 64, 1).astype(np.int32)
    return bits_of(b, 106, 8, 4), b[:, 2:66] | high << 8, bits_of(b, 74, 256, 1)


def decode_ggml(l, blob, rows, cols):
    b = np.frombuffer(blob, np.uint8).reshape(-1, l.bytes)
    per = lambda x: np.repeat(x.astype(np.float32), l.sub, axis=1)[:, :l.block]
    if l.name[:3] in ("IQ2", "IQ3"):
        scale, index, signs = ggml_lattice(l.name, b)
        factor = {"IQ3_XXS": (scale + np.float32(.5)) * np.float32(.5), "IQ3_S": 1 + 2 * scale.astype(np.int32)}
        s = f16(b, 0) * factor.get(l.name, (scale + np.float32(.5)) * np.float32(.25)).astype(np.float32)
        grid = ggml_grid({"IQ2_XXS": "iq2xxs", "IQ2_XS": "iq2xs", "IQ2_S": "iq2s", "IQ3_XXS": "iq3xxs",
                          "IQ3_S": "iq3s"}[l.name])
        w = per(s) * grid[index].reshape(len(b), 256)
        w = np.where(signs.reshape(len(b), 256) == 1, -w, w)
    else:
        d, m, scale, least, q = ggml_scalar(l.name, b)
        w = (per(d * scale.astype(np.float32)) if scale is not None else d) * q.astype(np.float32)
        if m is not None:
            w = w - (per(m * least.astype(np.float32)) if least is not None else m)
    return w.reshape(rows, cols)


def diagonal_layout(p, _rows, cols):
    scale_exp = struct.unpack("<b", p.params[:1])[0]
    need(-126 <= scale_exp <= 126 and cols >= 1 and zero(p.params[1:]), "parameters of a diagonal")
    return Record(size=2 * cols, numeric=False, scale_exp=scale_exp)


def times_diagonal(l, blob, w):
    with np.errstate(all="ignore"):
        return w * (np.frombuffer(blob, "<f2").astype(np.float32) * np.float32(2.0 ** l.scale_exp))


def hadamard_layout(p, _rows, cols):
    need(1 <= p.params[0] <= 30 and cols >= 1 and cols % (1 << p.params[0]) == 0 and zero(p.params[1:]),
         "parameters of a Hadamard transform")
    return Record(size=(cols + 7) // 8, numeric=False, order=1 << p.params[0])


def times_hadamard(l, blob, w):
    shape, length = w.shape, 1
    with np.errstate(all="ignore"):
        while length < l.order:
            t = w.reshape(-1, 2, length)
            w = np.stack([t[:, 0] + t[:, 1], t[:, 0] - t[:, 1]], axis=1)
            length *= 2
        w = w.reshape(shape) * np.float32(l.order ** -0.5)
    negative = np.unpackbits(np.frombuffer(blob, np.uint8), bitorder="little")[:shape[1]] > 0
    return np.where(negative, -w, w)


def permute_layout(p, _rows, cols):
    need(1 <= cols <= 1 << 32 and zero(p.params), "parameters of a permutation")
    width = 4 if cols > 1 << 16 else 2
    return Record(size=width * cols, numeric=False, width=width)


def times_permute(l, blob, w):
    order = list(range(w.shape[1]))
    for j, t in enumerate(np.frombuffer(blob, "<u%d" % l.width).tolist()):
        if t < len(order):
            order[j], order[t] = order[t], order[j]
    out = np.empty_like(w)
    out[:, order] = w
    return out


# ---------------------------------------------------------------- coded: trellis points in rANS streams

MACHINE = ((0, 0), (0, 0), (2, 1), (5, 2), (9, 2), (18, 4), (33, 10), (78, 43), (166, 121))
ROOT15 = (32768, 31379, 30048, 28774, 27554, 26386, 25268, 24196, 23170, 22188, 21247, 20347, 19484, 18658, 17867, 17109)


def coded_layout(p, rows, cols):
    memory, classes, row_classes, zero3, tile, step, reserved, streams = struct.unpack("<BBBBIfIQ", p.params[:24])
    need(rows >= 1 and cols >= 1 and memory <= 8 and memory != 1 and 1 <= classes <= 16, "parameters of a coded part")
    need(row_classes <= 1 and zero3 == 0 and reserved == 0 and zero(p.params[24:]), "parameters of a coded part")
    need(1 <= tile <= 4096 and np.float32(2.0 ** -126) <= np.float32(step) < np.inf, "parameters of a coded part")
    steps = up8(12 * classes)
    col_class = up8(steps + cols)
    row_class = up8(col_class + (cols + 1) // 2)
    ends = up8(row_class + (rows + 1) // 2 * row_classes)
    stream = up8(ends + 4 * (-(-rows // tile)) * (-(-cols // 256)))
    return Record(size=stream + streams, numeric=True, memory=memory, classes=classes, row_classes=row_classes,
                  tile=tile, step=step, steps=steps, col_class=col_class, row_class=row_class, ends=ends,
                  stream=stream, words=streams // 2)


def coded_frequencies(first, second, bend, around_half):
    """The 64 frequencies of a law, sum 4096."""
    weights = []
    for symbol in range(64):
        k = symbol - 32
        m = k if k >= 0 else -1 - k if around_half else -k
        e = 0
        if m:
            e = (16 * first + 16 * second * (m - 1) + bend * bend * ((m - 1) * (m - 2) // 2) // 8) // 16
        e = max(e + 128, 0)
        weights.append(ROOT15[e % 16] << 13 >> e // 16 if e // 16 <= 28 else 0)
    total, top = sum(weights), weights.index(max(weights))
    freq = [(8192 * w + total) // (2 * total) for w in weights]
    freq[0] = max(freq[0], 1)
    freq[top] += 4096 - sum(freq)
    return freq


def coded_slots(freq):
    """For each of 4096 slots its symbol and its number among the slots of that symbol."""
    slots = [None] * 4096
    left = list(freq)
    small = [s for s in range(64) if left[s] < 64]
    large = [s for s in range(64) if left[s] >= 64]
    while small or large:
        s = (small or large).pop()
        for i in range(min(left[s], 64)):
            slots[64 * s + i] = (s, freq[s] - left[s] + i)
        if left[s] >= 64:
            continue
        other, need_slots = large[-1], 64 - left[s]
        for i in range(need_slots):
            slots[64 * s + left[s] + i] = (other, freq[other] - left[other] + i)
        left[other] -= need_slots
        if left[other] < 64:
            small.append(large.pop())
    return slots


def coded_models(l, blob):
    models = []
    for n in range(l.classes):
        shift, *r = struct.unpack("<BbbbbbBbbB", blob[12 * n:12 * n + 10])
        shift = min(shift, 12)
        freq = [coded_frequencies(*r[3 + 3 * q:6 + 3 * q], q or shift > 0) for q in range(2)]
        models.append(Record(shift=shift, shrink=[0] + r[:3], freq=freq, slots=[coded_slots(f) for f in freq]))
    return models


def nibbles(blob, at, n):
    b = np.frombuffer(blob, np.uint8, (n + 1) // 2, at)
    return [int(b[i // 2]) >> 4 * (i % 2) & 15 for i in range(n)]


def coded_unit(l, models, data, col_class, row_class):
    """Points j and what is taken from their size, int [rows, cols], of one unit. data: its bytes."""
    words = np.frombuffer(data, "<u2").tolist() + [0] * 32
    x = [words[2 * i] | words[2 * i + 1] << 16 for i in range(16)]
    at, n = 32, len(col_class)
    state, a, b = [0] * n, *MACHINE[l.memory]
    points, shrinks = np.zeros((len(row_class), n), np.int64), np.zeros((len(row_class), n), np.int64)

    def refill(lane):
        nonlocal at
        if x[lane] < 65536:
            x[lane] = x[lane] << 16 | (words[at] if at < len(words) else 0)
            at += 1

    for r, row in enumerate(row_class):
        for c0 in range(0, n, 16):
            lanes = range(min(16, n - c0))
            use = [models[min(max(col_class[c0 + i] + row - 8, 0), l.classes - 1)] for i in lanes]
            symbols = []
            for i in lanes:
                q = state[c0 + i] & 1
                symbol, rank = use[i].slots[q][x[i] & 4095]
                x[i] = use[i].freq[q][symbol] * (x[i] >> 12) + rank
                symbols.append(symbol)
                refill(i)
            for i in lanes:
                bits = use[i].shift if symbols[i] else 16
                low = x[i] & ((1 << bits) - 1)
                k = (symbols[i] - 32 << bits) + low if symbols[i] else low - (low >> 15 << 16)
                x[i] >>= bits
                refill(i)
                s = state[c0 + i]
                j = 2 * k + (s & 1)
                state[c0 + i] = s >> 1 ^ (a if s & 1 else 0) ^ (b if k & 1 else 0)
                points[r, c0 + i] = j
                shrinks[r, c0 + i] = use[i].shrink[min(abs(j), 3)] * (1 if j > 0 else -1)
    return points, shrinks


def decode_coded(l, blob, rows, cols):
    models = coded_models(l, blob)
    code = np.frombuffer(blob, np.uint8, cols, l.steps).astype(np.int64)
    root = np.array([2.0 ** (-i / 16) for i in range(16)]).astype(np.float32)
    d = np.float32(l.step) * (root[code % 16] * np.float32(2.0) ** -(code // 16).astype(np.float32))
    col_class = nibbles(blob, l.col_class, cols)
    row_class = nibbles(blob, l.row_class, rows) if l.row_classes else [8] * rows
    blocks = (cols + 255) // 256
    ends = [0] + np.frombuffer(blob, "<u4", blocks * (-(-rows // l.tile)), l.ends).tolist()
    w = np.zeros((rows, cols), np.float32)
    for u in range(len(ends) - 1):
        r0, c0 = u // blocks * l.tile, u % blocks * 256
        r1, c1 = min(r0 + l.tile, rows), min(c0 + 256, cols)
        data = blob[l.stream + 2 * ends[u]:l.stream + 2 * ends[u + 1]]
        j, shrink = coded_unit(l, models, data, col_class[c0:c1], row_class[r0:r1])
        w[r0:r1, c0:c1] = d[c0:c1] / np.float32(64) * (64 * j - shrink).astype(np.float32)
    return w


LAYOUTS = {1: float_layout, 2: grid_layout, 3: lut_layout, 4: sparse_layout, 5: lowrank_layout, 6: vq_layout,
           7: signs_layout, 8: coded_layout, 9: diagonal_layout, 10: hadamard_layout, 11: ggml_layout,
           12: permute_layout}
DECODERS = {1: decode_float, 2: decode_grid, 3: decode_lut, 4: decode_sparse, 6: decode_vq, 7: decode_signs,
            8: decode_coded, 11: decode_ggml}
TRANSFORMS = {9: times_diagonal, 10: times_hadamard, 12: times_permute}


# ---------------------------------------------------------------- program

def describe_positions(l):
    how = ("u16", "u32", "mask", "%d:%d" % (l.n, l.m))[l.layout]
    return "nnz=%d %s" % (l.nnz, how) + (" block=%d" % l.block if l.block > 1 else "")


def describe(p):
    l = p.layout
    if p.kind == 1:
        return "float " + DTYPES[l.dtype][0] + (" coded" if l.coded else "")
    if p.kind == 3:
        return "lut bits=%d group=%d tables=%d scaled=%d" % (l.bits, l.group, l.n_tables, l.scaled) + (
            " " + describe_positions(l.positions) if l.positions else "")
    if p.kind == 4:
        return "sparse %s %s" % (DTYPES[l.dtype][0], describe_positions(l.positions))
    if p.kind == 6:
        return "vq %dx%db d=%d group=%d blocks=%d entry_bits=%d scaled=%d signs=%d" % (
            l.books, l.bits, l.d, l.group, l.n_books // l.books, l.entry_bits, l.scaled, l.signs)
    if p.kind == 8:
        return "coded states=%d classes=%d tile=%d" % (1 << l.memory, l.classes, l.tile)
    if p.kind == 11:
        return "ggml " + l.name
    if p.kind in TRANSFORMS:
        return "hadamard order=%d" % l.order if p.kind == 10 else ("permute" if p.kind == 12 else "diagonal")
    if p.kind == 5:
        form = ("", " cur", " pivot", " mpo m2=%d n2=%d" % (l.m2, l.n2))[l.form]
        return "lowrank rank=%d%s (%s)" % (l.rank, form, " x ".join(describe(c) for c in p.children))
    if p.kind == 7:
        how = ("rank=%d", "group=%d", "experts=%d")[l.form] % l.n
        return "signs levels=%d %s subset=%d" % (l.levels, how, l.subset)
    return "grid bits=%d group=%d scale_bits=%d zero=%s" % (
        l.bits, l.group, l.scale_bits, "int" if l.zero_kind else "%g" % l.zero_fixed) + (
        " " + describe_positions(l.positions) if l.positions else "")


def main(args):
    if len(args) < 2 or (args[1], len(args)) not in (("--list", 2), ("--check", 2), ("--dump", 4), ("--dump-all", 3)):
        sys.exit(__doc__)
    f = File(args[0])
    if args[1] == "--list":
        for t in f.tensors:
            print(t.name.decode(errors="replace"), list(t.dims), DTYPES[t.dtype][0], "error=%g" % t.error,
                  " + ".join(describe(p) for p in t.parts) + "".join(", inputs " + describe(p) for p in t.transforms))
        for r in f.metas:
            print("meta", r.name.decode(errors="replace"), "codec=%d" % r.codec, r.size, r.raw_size)
    elif args[1] == "--check":
        f.check()
    elif args[1] == "--dump":
        found = [t for t in f.tensors if t.name == args[2].encode()]
        need(found, "no tensor `%s'" % args[2])
        np.save(args[3], f.decode(found[0]))
    else:
        for i, t in enumerate(f.tensors):
            np.save("%s/%d.npy" % (args[2], i), f.decode(t))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BadFile, OSError) as e:
        sys.exit("%s: %s" % (sys.argv[1], e))
