#!/usr/bin/python3
"""AWQ's scale search (grid dossier section 3) in float64 on real inputs. Oracle of tests/unit/test_awq.c.

usage: awq.py FOLDER rows cols tokens bits group points
FOLDER holds w.bin [rows, cols] and x.bin [tokens, cols], f32. errors.bin [points] f64 is written there, |(W - W^) X|^2 / tokens
for alpha = i / points, and c.bin [points, cols], the column factors 1/s rounded to f16.
"""
import sys
import numpy as np


def round_to_nearest(w, bits, group):
    """Asymmetric, integer zeros, f16 steps."""
    out, top = np.zeros_like(w), 2 ** bits - 1
    for g in range(0, w.shape[1], group):
        part = w[:, g:g + group]
        lo, hi = np.minimum(part.min(1, keepdims=True), 0), np.maximum(part.max(1, keepdims=True), 0)
        s = np.float64(np.float16((hi - lo) / top))
        z = np.clip(np.rint(-lo / ((hi - lo) / top)), 0, top)
        out[:, g:g + group] = s * (np.clip(np.rint(part / s + z), 0, top) - z)
    return out


def candidates(w, size, bits, group, points):
    """c and the values for alpha = 0, 1 / points, ..; size [cols]: E|x_j|"""
    for i in range(points):
        s = np.maximum(size ** (i / points), 1e-4)
        s /= np.sqrt(s.max() * s.min())
        c = np.float64(np.float16(1 / s))
        yield c, round_to_nearest(w / c, bits, group) * c


def main(folder, rows, cols, tokens, bits, group, points):
    w = np.fromfile(folder + "/w.bin", np.float32).astype(np.float64).reshape(rows, cols)
    x = np.fromfile(folder + "/x.bin", np.float32).astype(np.float64).reshape(tokens, cols)
    size = np.abs(x).mean(0)
    size[size == 0] = size[size > 0].mean()
    errors, factors = [], []
    for c, what in candidates(w, size, bits, group, points):
        errors.append((((w - what) @ x.T) ** 2).sum() / tokens)
        factors.append(c)
    np.array(errors).tofile(folder + "/errors.bin")
    np.array(factors).tofile(folder + "/c.bin")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:8]))
