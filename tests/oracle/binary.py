#!/usr/bin/python3
"""Binary planes with error feedback as published (BiLLM's propagation with GPTQ's recurrence), in float64, with the
upper Cholesky factor of H^-1. Oracle of tests/unit/test_binary.c.

usage: binary.py FOLDER rows cols group split damp
FOLDER holds w.bin [rows, cols] and h.bin [cols, cols], f32; what.bin, the values, is written there. Scales are fitted
to w before feedback, natural order: of a group the mean of |w| weighted with H_jj + 1 %, or with split the two means of
the best threshold, found by trying all.
"""
import sys
import numpy as np


def means(m, h, split):
    mean = lambda s: (m[s] * h[s]).sum() / h[s].sum() if s.any() else 0.0
    if not split:
        return [mean(np.ones(len(m), bool))]
    best = None
    for t in np.sort(m)[1:]:
        a = mean(m < t), mean(m >= t)
        e = (h * np.where(m < t, m - a[0], m - a[1]) ** 2).sum()
        if best is None or e < best[0]:
            best = e, a
    return best[1] if best else [m[0]]


def quantize(w, h, group, split, damp):
    (rows, cols), w = w.shape, w.copy()
    diag = np.diag(h)
    weight = diag + 0.01 * diag.mean()
    levels = {}
    for r in range(rows):
        for g in range(0, cols, group):
            a = np.array(means(np.abs(w[r, g:g + group]), weight[g:g + group], split)).astype(np.float16).astype(np.float64)
            levels[r, g // group] = np.concatenate([a, -a])
    h = h + damp * diag.mean() * np.eye(cols)
    t = np.linalg.cholesky(np.linalg.inv(h)).T  # upper, H^-1 = T^T T
    out = np.zeros_like(w)
    for j in range(cols):
        for r in range(rows):
            v = levels[r, j // group]
            out[r, j] = v[np.abs(v - w[r, j]).argmin()]
        w[:, j + 1:] -= np.outer((w[:, j] - out[:, j]) / t[j, j], t[j, j + 1:])
    return out


def main(folder, rows, cols, group, split, damp):
    w = np.fromfile(folder + "/w.bin", np.float32).reshape(int(rows), int(cols)).astype(np.float64)
    h = np.fromfile(folder + "/h.bin", np.float32).reshape(int(cols), int(cols)).astype(np.float64)
    quantize(w, h, int(group), int(split), float(damp)).astype(np.float32).tofile(folder + "/what.bin")


if __name__ == "__main__":
    main(*sys.argv[1:7])
