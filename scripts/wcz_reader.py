#!/usr/bin/python3
"""A second reader for .wcz files, written from docs/FORMAT.md alone. numpy is all it needs.

    wcz_reader.py FILE --list                 tensors and metadata
    wcz_reader.py FILE --dump NAME OUT.npy    one tensor: f32 [rows, cols], or its bytes when it has no f32 values
    wcz_reader.py FILE --dump-all DIR         all tensors: DIR/0.npy, DIR/1.npy, ... in file order
    wcz_reader.py FILE --check                structure and every checksum

It exists to keep the specification honest: it shares no code with the C library, and the tests compare the two bit for
bit. Exit status 0, or 1 with one line on stderr.
"""
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
    need(left == 0 and right == 0, "transforms of a newer version")
    need(reserved == 0 and zero(r[112:]), "reserved bytes of a tensor")
    need(dtype in DTYPES and n_parts >= 1, "element type or number of parts")
    rows, cols = 1, dims[n_dims - 1] if n_dims else 1
    for d in dims[:max(n_dims, 1) - 1]:
        rows *= d
        need(rows <= 1 << 56, "too many rows")
    need(cols <= 1 << 56 and rows * cols <= 1 << 56, "too many elements")
    return Record(name_at=name, name=bytes(names[name:name + name_size]), name_size=name_size, dims=dims[:n_dims],
                  dtype=dtype, rows=rows, cols=cols, first=first, n_parts=n_parts, flags=flags, error=error)


def parse_part(r):
    kind, version, reserved, offset, size, digest, child, children = struct.unpack("<HHIQQQII", r[:40])
    need(reserved == 0 and zero(r[72:]), "reserved bytes of a part")
    need(child == 0 and children == 0, "children of a newer version")
    need(kind in (1, 2) and version == 1, "part kind of a newer version")
    return Record(kind=kind, offset=offset, size=size, xxh3=digest, params=bytes(r[40:72]))


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
            need(t.first == next_part and t.first + t.n_parts <= len(self.parts), "parts of a tensor")
            next_part += t.n_parts
            t.parts = self.parts[t.first:next_part]
            t.numeric = True
            for p in t.parts:
                p.layout = (float_layout, grid_layout)[p.kind - 1](p, t.rows, t.cols)
                need(p.layout.size == p.size, "size of a blob")
                t.numeric = t.numeric and p.layout.numeric
            need(t.numeric or t.n_parts == 1, "a sum of parts without values")
        need(next_part == len(self.parts), "parts that belong to nothing")

    def blob(self, r):
        return self.m[r.offset:r.offset + r.size]

    def check(self):
        for r in self.metas:
            need(xxh3(self.blob(r)) == r.xxh3, "checksum of metadata `%s'" % r.name.decode(errors="replace"))
        for t in self.tensors:
            for p in t.parts:
                need(xxh3(self.blob(p)) == p.xxh3, "checksum of tensor `%s'" % t.name.decode(errors="replace"))
        for begin, end in self.gaps:
            need(zero(self.m[begin:end]), "bytes between blobs")

    def decode(self, t):
        """f32 [rows, cols]; the bytes of the blob when there are no f32 values."""
        if not t.numeric:
            return np.frombuffer(self.blob(t.parts[0]), np.uint8)
        total = None
        for p in t.parts:
            w = (decode_float, decode_grid)[p.kind - 1](p.layout, self.blob(p), t.rows, t.cols)
            total = w if total is None else total + w
        return total


# ---------------------------------------------------------------- kinds (sections 7 to 9)

def float_layout(p, rows, cols):
    dtype = p.params[0]
    need(dtype in DTYPES and zero(p.params[1:]), "parameters of a float part")
    bits = rows * cols * DTYPES[dtype][1]
    need(bits % 8 == 0, "a float part that does not fill its last byte")
    return Record(size=bits // 8, dtype=dtype, numeric=dtype <= 3)


def decode_float(l, blob, rows, cols):
    if l.dtype == 1:
        v = np.frombuffer(blob, "<f4")
    elif l.dtype == 2:
        v = np.frombuffer(blob, "<f2").astype(np.float32)
    else:
        v = (np.frombuffer(blob, "<u2").astype(np.uint32) << 16).view(np.float32)
    return v.reshape(rows, cols)


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


def grid_layout(p, rows, cols):
    bits, scale_bits, zero_kind, scale_exp, group, zero_fixed = struct.unpack("<BBBbIf", p.params[:12])
    need(1 <= bits <= 8 and scale_bits <= 8 and scale_bits != 1 and zero_kind <= 1, "parameters of a grid part")
    need(-126 <= scale_exp <= 126 and rows >= 1 and 1 <= group <= cols, "parameters of a grid part")
    need(zero(p.params[12:]), "reserved parameters of a grid part")
    need(0 <= zero_fixed <= 2 ** bits - 1 and 2 * zero_fixed % 1 == 0 and p.params[11] < 128, "zero of a grid part")
    need(zero_kind == 0 or zero_fixed == 0, "zero of a grid part")
    groups = (cols + group - 1) // group
    up8 = lambda x: (x + 7) // 8 * 8
    scales = up8(rows * packed(cols, bits))
    size = scales + 2 * (rows if scale_bits else rows * groups)
    codes = zeros = 0
    if scale_bits:
        codes = up8(size)
        size = codes + packed(rows * groups, scale_bits)
    if zero_kind:
        zeros = up8(size)
        size = zeros + packed(rows * groups, bits)
    return Record(size=size, numeric=True, bits=bits, scale_bits=scale_bits, zero_kind=zero_kind, scale_exp=scale_exp,
                  group=group, groups=groups, zero_fixed=zero_fixed, scales=scales, codes=codes, zeros=zeros)


def decode_grid(l, blob, rows, cols):
    b = np.frombuffer(blob, np.uint8)
    stride = packed(cols, l.bits)
    q = np.stack([unpack(b[r * stride:(r + 1) * stride], cols, l.bits) for r in range(rows)])
    n_scales = rows if l.scale_bits else rows * l.groups
    s = np.frombuffer(blob, "<f2", n_scales, l.scales).astype(np.float32).reshape(rows, -1)
    with np.errstate(all="ignore"):
        s = s * np.float32(2.0 ** l.scale_exp)
        if l.scale_bits:
            s = s * unpack(b[l.codes:], rows * l.groups, l.scale_bits).reshape(rows, l.groups).astype(np.float32)
        z = np.full((rows, l.groups), l.zero_fixed, np.float32)
        if l.zero_kind:
            z = unpack(b[l.zeros:], rows * l.groups, l.bits).reshape(rows, l.groups).astype(np.float32)
        of = np.arange(cols) // l.group
        return s[:, of] * (q.astype(np.float32) - z[:, of])


# ---------------------------------------------------------------- program

def describe(p):
    if p.kind == 1:
        return "float " + DTYPES[p.layout.dtype][0]
    l = p.layout
    return "grid bits=%d group=%d scale_bits=%d zero=%s" % (
        l.bits, l.group, l.scale_bits, "int" if l.zero_kind else "%g" % l.zero_fixed)


def main(args):
    if len(args) < 2 or (args[1], len(args)) not in (("--list", 2), ("--check", 2), ("--dump", 4), ("--dump-all", 3)):
        sys.exit(__doc__)
    f = File(args[0])
    if args[1] == "--list":
        for t in f.tensors:
            print(t.name.decode(errors="replace"), list(t.dims), DTYPES[t.dtype][0], "error=%g" % t.error,
                  " + ".join(describe(p) for p in t.parts))
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
