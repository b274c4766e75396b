#!/usr/bin/python3
"""Masks of published pruners, in float64, as their papers write them; shares nothing with the C code.

    prune.py FOLDER ROWS COLS METHOD FRAC [BLOCK | POWER]

reads FOLDER/w.bin, h.bin (f32, row-major), writes FOLDER/what.bin (f32): W with pruned weights 0, for sparsegpt also
updated. METHOD: magnitude (whole layer), wanda (per row), ria (whole layer), sparsegpt (per block of columns: the
recurrence with the upper Cholesky factor of the inverse of H + 0.01 mean(diag) I), n:m for `wanda 2:4'. FRAC is 0.5 or
2:4."""
import sys

import numpy as np


def drop_smallest(score, k):
    """bool, flat: the k smallest, of equal ones the first."""
    gone = np.zeros(score.size, bool)
    gone[np.argsort(score.reshape(-1), kind="stable")[:k]] = True
    return gone.reshape(score.shape)


def count(frac, n):
    return int(np.floor(frac * n + 0.5))


def pruned(score, frac, per_row):
    if ":" in frac:
        n, m = map(int, frac.split(":"))
        groups = score.reshape(-1, m)
        return np.stack([drop_smallest(g, m - n) for g in groups]).reshape(score.shape)
    if per_row:
        return np.stack([drop_smallest(row, count(float(frac), row.size)) for row in score])
    return drop_smallest(score, count(float(frac), score.size))


def sparsegpt(w, h, frac, block):
    w = w.copy()
    d = len(h)
    h = h + 0.01 * np.mean(np.diag(h)) * np.eye(d)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    n, m = map(int, frac.split(":")) if ":" in frac else (0, 0)
    for b in range(0, d, block):
        cols = slice(b, min(b + block, d))
        score = w[:, cols] ** 2 / np.diag(u)[cols] ** 2
        gone = np.zeros(score.shape, bool)
        if not m:
            gone = drop_smallest(score, count(float(frac), score.size))
        errors = np.zeros(score.shape)
        for j in range(b, cols.stop):
            if m and (j - b) % m == 0:
                now = w[:, j:j + m] ** 2 / np.diag(u)[j:j + m] ** 2
                gone[:, j - b:j - b + m] = pruned(now, frac, True)
            q = np.where(gone[:, j - b], 0, w[:, j])
            errors[:, j - b] = (w[:, j] - q) / u[j, j]
            w[:, j:cols.stop] -= np.outer(errors[:, j - b], u[j, j:cols.stop])
            w[:, j] = q
        w[:, cols.stop:] -= errors @ u[cols, cols.stop:]
    return w


def main(folder, rows, cols, method, frac, extra="0"):
    rows, cols = int(rows), int(cols)
    w = np.fromfile(folder + "/w.bin", np.float32).astype(np.float64).reshape(rows, cols)
    h = np.fromfile(folder + "/h.bin", np.float32).astype(np.float64).reshape(cols, cols)
    norm, a = np.sqrt(np.diag(h)), np.abs(w)
    if method == "sparsegpt":
        out = sparsegpt(w, h, frac, int(extra))
    elif method == "magnitude":
        out = np.where(pruned(a, frac, False), 0, w)
    elif method == "wanda":
        out = np.where(pruned(a * norm, frac, True), 0, w)
    else:
        score = (a / a.sum(0) + a / a.sum(1, keepdims=True)) * norm ** float(extra)
        out = np.where(pruned(score, frac, False), 0, w)
    out.astype(np.float32).tofile(folder + "/what.bin")


if __name__ == "__main__":
    main(*sys.argv[1:])
