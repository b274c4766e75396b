#!/usr/bin/python3
"""libwcdecode from Python: ctypes and numpy.

    import wcdecode
    with wcdecode.File("model.wcz") as f:
        for t in f:                                   # file order
            print(t.name, t.shape, t.parts)
        w = f["model.layers.0.mlp.up_proj.weight"]
        w.array()                                     # f32, in the shape of the original checkpoint
        w.rows(0, 8)                                  # f32 [8, cols], only those are decoded
        y = w.matvec(x)                               # f32 [rows], without decoding W
        f.meta("config.json")                         # bytes, decompressed if a zstandard module is there

The file is mapped, not read. Errors of the library are wcdecode.Error, with .code (an int of wcd_status) and a text; names
that are not there are KeyError; a closed file is ValueError. Arrays are copies and outlive the file, tensors do not.
WCDECODE_LIBRARY names the library if it is not where the loader looks.

    wcdecode.py FILE                 lists the tensors
"""
import ctypes
import mmap
import os
import sys

import numpy as np

OK, ARGUMENT, TRUNCATED, NOT_WCZ, VERSION, CORRUPT, NOT_FOUND, NOT_NUMERIC, TRANSFORM = range(9)
_MAX_DIMS = 8
_BITS = {1: 32, 2: 16, 3: 16, 4: 64, 5: 64, 6: 32, 7: 16, 8: 8, 9: 64, 10: 32, 11: 16, 12: 8, 13: 8, 14: 8, 15: 8, 16: 8,
         17: 8, 18: 8, 19: 6, 20: 6, 21: 4, 22: 64}  # of an element: docs/FORMAT.md, "dtypes"
_u8, _u16, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
_bytes_p = ctypes.POINTER(_u8)
_float_p = ctypes.POINTER(ctypes.c_float)


class Error(Exception):
    def __init__(self, code, what):
        super().__init__("%s: %s" % (what, _lib().wcd_status_text(code).decode()))
        self.code = code


# ---------------------------------------------------------------- include/wcdecode.h, field by field


class _File(ctypes.Structure):
    _fields_ = [("data", _bytes_p), ("size", _u64), ("tensors", _bytes_p), ("parts", _bytes_p), ("metas", _bytes_p),
                ("names", _bytes_p), ("n_tensors", _u32), ("n_parts", _u32), ("n_metas", _u32), ("names_size", _u32)]


class _Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_size", _u32), ("n_dims", _u32), ("dims", _u64 * _MAX_DIMS),
                ("rows", _u64), ("cols", _u64), ("source_dtype", _u32), ("n_parts", _u32), ("n_transforms", _u32),
                ("error", ctypes.c_double), ("flags", _u32), ("index", _u32), ("file", ctypes.POINTER(_File)),
                ("first_part", _u32)]


class _Part(ctypes.Structure):
    _fields_ = [("kind", _u16), ("version", _u16), ("kind_name", ctypes.c_char_p), ("params", _bytes_p),
                ("blob", _bytes_p), ("blob_size", _u64), ("xxh3", _u64), ("rows", _u64), ("cols", _u64),
                ("n_children", _u32), ("index", _u32)]


class _Meta(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_size", _u32), ("codec", _u32), ("data", _bytes_p), ("size", _u64),
                ("raw_size", _u64), ("xxh3", _u64)]


_PROTOTYPES = {
    "wcd_status_text": (ctypes.c_char_p, [ctypes.c_int]),
    "wcd_version": (ctypes.c_char_p, []),
    "wcd_open": (ctypes.c_int, [ctypes.POINTER(_File), ctypes.c_void_p, _u64]),
    "wcd_open_reason": (ctypes.c_char_p, [ctypes.c_void_p, _u64]),
    "wcd_at": (ctypes.c_int, [ctypes.POINTER(_File), _u32, ctypes.POINTER(_Tensor)]),
    "wcd_find": (ctypes.c_int, [ctypes.POINTER(_File), ctypes.c_char_p, ctypes.POINTER(_Tensor)]),
    "wcd_rows": (ctypes.c_int, [ctypes.POINTER(_Tensor), _u64, _u64, _float_p, ctypes.c_size_t]),
    "wcd_raw_rows": (ctypes.c_int, [ctypes.POINTER(_Tensor), _u64, _u64, ctypes.c_void_p]),
    "wcd_transform": (ctypes.c_int, [ctypes.POINTER(_Tensor), _float_p, _float_p]),
    "wcd_matvec_transformed": (ctypes.c_int, [ctypes.POINTER(_Tensor), _u64, _u64, _float_p, _float_p]),
    "wcd_part": (ctypes.c_int, [ctypes.POINTER(_Tensor), _u32, ctypes.POINTER(_Part)]),
    "wcd_verify": (ctypes.c_int, [ctypes.POINTER(_File), ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_u32)]),
    "wcd_meta_count": (_u32, [ctypes.POINTER(_File)]),
    "wcd_meta_at": (ctypes.c_int, [ctypes.POINTER(_File), _u32, ctypes.POINTER(_Meta)]),
    "wcd_meta_find": (ctypes.c_int, [ctypes.POINTER(_File), ctypes.c_char_p, ctypes.POINTER(_Meta)]),
}
_loaded = None


def _lib():
    global _loaded
    if _loaded is None:
        lib = ctypes.CDLL(os.environ.get("WCDECODE_LIBRARY", "libwcdecode.so.0"))
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        _loaded = lib
    return _loaded


def version():
    return _lib().wcd_version().decode()


def _text(address, size):
    return ctypes.string_at(address, size).decode("utf-8", "surrogateescape") if size else ""


def _floats(a):
    return a.ctypes.data_as(_float_p)


# ---------------------------------------------------------------- what a user sees


class Tensor:
    """One tensor of an open file. name, shape, rows, cols, source_dtype (a number of docs/FORMAT.md), error (NaN: not
    measured), parts (names of kinds), transforms."""

    def __init__(self, owner, raw):
        self._owner, self._raw = owner, raw
        self.name = _text(raw.name, raw.name_size)
        self.shape = tuple(raw.dims[i] for i in range(raw.n_dims))
        self.rows_count, self.cols = raw.rows, raw.cols
        self.source_dtype, self.error, self.flags = raw.source_dtype, raw.error, raw.flags
        kinds = [self._kind(i) for i in range(raw.n_parts + raw.n_transforms)]
        self.parts, self.transforms = kinds[:raw.n_parts], kinds[raw.n_parts:]

    def _kind(self, i):
        part = _Part()
        self._call("wcd_part", i, ctypes.byref(part))
        return part.kind_name.decode()

    def _call(self, name, *arguments):
        self._owner._alive()
        code = getattr(_lib(), name)(ctypes.byref(self._raw), *arguments)
        if code != OK:
            raise Error(code, self.name)

    def _range(self, first, count):
        count = self.rows_count - first if count is None else count
        if not 0 <= first <= self.rows_count or not 0 <= count <= self.rows_count - first:
            raise Error(ARGUMENT, "%s: rows %d, %d of %d" % (self.name, first, count, self.rows_count))
        return count

    def rows(self, first=0, count=None):
        """f32 [count, cols]: the sum over all parts, transforms included."""
        count = self._range(first, count)
        out = np.empty((count, self.cols), np.float32)
        self._call("wcd_rows", first, count, _floats(out), self.cols)
        return out

    def array(self):
        """f32, in the shape of the original."""
        return self.rows().reshape(self.shape)

    def raw_rows(self, first=0, count=None):
        """The bytes of the rows as the original had them, for tensors kept or compressed without loss."""
        count = self._range(first, count)
        bits = _BITS.get(self.source_dtype)
        if bits is None:
            raise Error(VERSION, "%s: element type %d" % (self.name, self.source_dtype))
        out = np.empty((count * self.cols * bits + 7) // 8, np.uint8)
        self._call("wcd_raw_rows", first, count, out.ctypes.data)
        return out.tobytes()

    def matvec(self, x, first=0, count=None):
        """f32 [count] = W[first : first + count] x, x [cols]: weights are decoded on the way."""
        count = self._range(first, count)
        x = np.ascontiguousarray(x, np.float32)
        if x.shape != (self.cols,):
            raise Error(ARGUMENT, "%s: x has shape %s, not (%d,)" % (self.name, x.shape, self.cols))
        z, y = np.empty_like(x), np.empty(count, np.float32)
        self._call("wcd_transform", _floats(x), _floats(z))
        self._call("wcd_matvec_transformed", first, count, _floats(z), _floats(y))
        return y


class File:
    """An open .wcz; len(f), f[name], name in f, iteration over tensors."""

    def __init__(self, path):
        self._map = self._view = None
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise Error(NOT_WCZ, path)
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        self._view = np.frombuffer(self._map, np.uint8)
        self._raw = _File()
        address = self._view.ctypes.data
        code = _lib().wcd_open(ctypes.byref(self._raw), address, size)
        if code != OK:
            reason = _lib().wcd_open_reason(address, size).decode()
            self.close()
            raise Error(code, "%s: %s" % (path, reason))

    def close(self):
        """Tensors of the file raise ValueError from here on."""
        self._view = None
        if self._map is not None:
            self._map.close()
            self._map = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _alive(self):
        if self._map is None:
            raise ValueError("the file is closed")

    def __len__(self):
        self._alive()
        return self._raw.n_tensors

    def _at(self, i):
        self._alive()
        raw = _Tensor()
        code = _lib().wcd_at(ctypes.byref(self._raw), i, ctypes.byref(raw))
        if code != OK:
            raise Error(code, "tensor %d" % i)
        return Tensor(self, raw)

    def __iter__(self):
        return (self._at(i) for i in range(len(self)))

    def _find(self, name):
        self._alive()
        raw, key = _Tensor(), name.encode("utf-8", "surrogateescape")
        found = b"\0" not in key and _lib().wcd_find(ctypes.byref(self._raw), key, ctypes.byref(raw)) == OK
        return raw if found else None

    def __getitem__(self, name):
        raw = self._find(name)
        if raw is None:
            raise KeyError(name)
        return Tensor(self, raw)

    def __contains__(self, name):
        return self._find(name) is not None

    def verify(self):
        """Reads every byte; raises Error with the name of what is damaged."""
        self._alive()
        bad, size = ctypes.c_void_p(), _u32()
        code = _lib().wcd_verify(ctypes.byref(self._raw), ctypes.byref(bad), ctypes.byref(size))
        if code != OK:
            raise Error(code, _text(bad.value, size.value) if bad.value else "header, index or padding")

    def metas(self):
        """Names of the metadata."""
        self._alive()
        names, m = [], _Meta()
        for i in range(_lib().wcd_meta_count(ctypes.byref(self._raw))):
            _lib().wcd_meta_at(ctypes.byref(self._raw), i, ctypes.byref(m))
            names.append(_text(m.name, m.name_size))
        return names

    def meta(self, name, most=1 << 28):
        """The bytes of a metadata entry. Compressed ones need a zstandard module; most: bytes accepted."""
        self._alive()
        m = _Meta()
        if _lib().wcd_meta_find(ctypes.byref(self._raw), name.encode(), ctypes.byref(m)) != OK:
            raise KeyError(name)
        stored = ctypes.string_at(m.data, m.size) if m.size else b""
        if m.codec == 0:
            return stored
        if m.codec != 1 or m.raw_size > most:
            raise Error(CORRUPT, "%s: codec %d, %d bytes" % (name, m.codec, m.raw_size))
        import zstandard
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=m.raw_size)


def main(arguments):
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        with File(arguments[0]) as f:
            for t in f:
                print("%-60s %-20s %s" % (t.name.encode("ascii", "backslashreplace").decode(), list(t.shape),
                                          " + ".join(t.parts) + "".join(" * " + k for k in t.transforms)))
    except (Error, OSError) as e:
        print("wcdecode.py: %s" % e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
