#!/usr/bin/python3
"""GPTQ as published, in float64, with the upper Cholesky factor of H^-1. Oracle of tests/unit/test_gptq.c.

usage: gptq.py FOLDER rows cols bits group order(natural|act) grid(asym|sym|asym-mse) damp
FOLDER holds w.bin [rows, cols] and h.bin [cols, cols], f32; what.bin, the dequantized result, is written there.
"""
import sys
import numpy as np


def minmax_grid(w, bits, sym):
    """w [rows, group] -> step, zero per row; steps rounded to f16 as they are stored."""
    top = 2 ** bits - 1
    if sym:  # the element of largest magnitude meets the longer (negative) end
        i = np.abs(w).argmax(1)
        s, z = -w[np.arange(len(w)), i] / 2 ** (bits - 1), np.full(len(w), 2.0 ** (bits - 1))
    else:
        lo, hi = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
        s = (hi - lo) / top
        z = np.rint(-lo / np.where(s == 0, 1, s))
    return np.float64(np.float16(s)), z


def assign(w, s, z, bits):
    s1 = np.where(s == 0, 1, s)
    return (np.clip(np.rint(w / s1 + z), 0, 2 ** bits - 1) - z) * s


def mse_grid(w, bits, weight):
    """The scan of the GPTQ code: both ends of the range shrunk to p = 1 - i/100, i < 80; weighted squared error."""
    top = 2 ** bits - 1
    best = np.full(len(w), np.inf)
    lo, hi = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    bs, bz = np.zeros(len(w)), np.zeros(len(w))
    for i in range(80):
        p = 1 - i / 100
        s = np.float64(np.float16(p * (hi - lo) / top))
        z = np.clip(np.rint(-p * lo / s), 0, top)
        err = (weight * (assign(w, s[:, None], z[:, None], bits) - w) ** 2).sum(1)
        better = err < best
        best[better], bs[better], bz[better] = err[better], s[better], z[better]
    return bs, bz


def grids(w, weight, bits, group, grid):
    """Steps and zeros [rows, cols] of static groups, fitted to the original weights."""
    rows, cols = w.shape
    step, zero = np.zeros((rows, cols)), np.zeros((rows, cols))
    for g in range(0, cols, group):
        e = min(g + group, cols)
        if grid == "asym-mse":
            s, z = mse_grid(w[:, g:e], bits, weight[g:e])
        else:
            s, z = minmax_grid(w[:, g:e], bits, grid == "sym")
        step[:, g:e], zero[:, g:e] = s[:, None], z[:, None]
    return step, zero


def quantize(w, h, bits, group, order, grid, damp):
    rows, cols = w.shape
    mean = np.diag(h).mean()
    weight = (np.diag(h) + 0.01 * mean) / mean
    h = h + damp * mean * np.eye(cols)

    step, zero = grids(w, weight, bits, group, grid)
    perm = np.argsort(-np.diag(h), kind="stable") if order == "act" else np.arange(cols)
    t = np.linalg.cholesky(np.linalg.inv(h[np.ix_(perm, perm)])).T  # H^-1 = T^T T, T upper
    work, what = w[:, perm].copy(), np.zeros((rows, cols))
    for i, j in enumerate(perm):
        what[:, j] = assign(work[:, i], step[:, j], zero[:, j], bits)
        err = (work[:, i] - what[:, j]) / t[i, i]
        work[:, i + 1:] -= err[:, None] * t[i, i + 1:]
    return what


def main():
    folder, rows, cols, bits, group = sys.argv[1], *map(int, sys.argv[2:6])
    order, grid, damp = sys.argv[6], sys.argv[7], float(sys.argv[8])
    w = np.fromfile(folder + "/w.bin", np.float32).astype(np.float64).reshape(rows, cols)
    h = np.fromfile(folder + "/h.bin", np.float32).astype(np.float64).reshape(cols, cols)
    quantize(w, h, bits, group, order, grid, damp).astype(np.float32).tofile(folder + "/what.bin")


if __name__ == "__main__":
    main()
