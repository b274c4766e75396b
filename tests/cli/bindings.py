"""The values of scripts/wcdecode.py are those of scripts/wcz_reader.py, bit for bit; what is wrong raises.

usage: bindings.py SCRATCH FILE.wcz...      (from the repository root; WCDECODE_LIBRARY names the library; the
first file has a grid)"""
import sys

import numpy as np

sys.path.insert(0, "scripts")
import wcdecode  # noqa: E402
import wcz_reader  # noqa: E402


def same_values(path):
    second, checked = wcz_reader.File(path), 0
    with wcdecode.File(path) as f:
        f.verify()
        assert len(f) == len(second.tensors) and f.metas() == [m.name.decode() for m in second.metas]
        for t, want in zip(f, second.tensors):
            assert t.name == want.name.decode() and t.shape == tuple(want.dims) and t.name in f
            assert (t.rows_count, t.cols, len(t.parts)) == (want.rows, want.cols, want.n_parts)
            if not want.numeric:
                raises(wcdecode.NOT_NUMERIC, t.rows)
                continue
            w = second.decode(want)
            got = t.array()
            assert got.shape == t.shape and got.tobytes() == w.tobytes(), t.name
            if t.rows_count > 2:
                assert t.rows(1, 2).tobytes() == w[1:3].tobytes(), t.name
            if not np.isfinite(w).all():
                continue
            x = np.cos(np.arange(t.cols))
            y, exact = t.matvec(x), w.astype(np.float64) @ x
            scale = np.abs(w.astype(np.float64)) @ np.abs(x) + 1e-30  # sums of f32: 1e-7 of this is usual, a fault gives 1e-2
            assert np.all(np.abs(y - exact) <= 1e-5 * scale), t.name
            checked += 1
    assert checked, path


def raises(code, call, *arguments):
    try:
        call(*arguments)
    except wcdecode.Error as e:
        assert e.code == code and str(e), (e.code, code)
    else:
        raise AssertionError("no error")


def fails(kind, call, *arguments):
    try:
        call(*arguments)
    except kind:
        return
    raise AssertionError("no %s" % kind.__name__)


def misuse(path):
    f = wcdecode.File(path)
    t = next(t for t in f if t.parts == ["grid"] and not t.transforms)
    for first, count in ((0, t.rows_count + 1), (t.rows_count + 1, 0), (-1, 1), (0, -1), (1 << 70, 1)):
        raises(wcdecode.ARGUMENT, t.rows, first, count)
    for x in (np.zeros(t.cols + 1), np.zeros((1, t.cols)), np.zeros(0)):
        raises(wcdecode.ARGUMENT, t.matvec, x)
    raises(wcdecode.NOT_NUMERIC, t.raw_rows)
    assert t.rows(0, 0).shape == (0, t.cols) and t.matvec(np.zeros(t.cols), 1, 0).shape == (0,)
    fails(KeyError, f.__getitem__, "no such tensor")
    fails(KeyError, f.__getitem__, t.name + "\0")
    fails(KeyError, f.meta, "no such text")
    tensors = iter(f)
    kept = t.rows(0, 1)
    f.close()
    f.close()
    for call in (t.rows, f.verify, f.metas, lambda: len(f), lambda: f[t.name], lambda: next(tensors)):
        fails(ValueError, call)
    assert kept.shape == (1, t.cols)


def damage(path, scratch):
    image = open(path, "rb").read()

    def with_bytes(data):
        open(scratch, "wb").write(data)
        return wcdecode.File(scratch)

    raises(wcdecode.NOT_WCZ, with_bytes, b"")
    raises(wcdecode.NOT_WCZ, with_bytes, b"nothing of the kind")
    raises(wcdecode.TRUNCATED, with_bytes, image[:-64])
    raises(wcdecode.CORRUPT, with_bytes, image[:100] + bytes([image[100] ^ 1]) + image[101:])
    with with_bytes(image[:-65] + bytes([image[-65] ^ 1]) + image[-64:]) as f:
        raises(wcdecode.CORRUPT, f.verify)
    fails(OSError, wcdecode.File, "/nonexistent/file")


for name in sys.argv[2:]:
    same_values(name)
misuse(sys.argv[2])
damage(sys.argv[2], sys.argv[1])
