#!/usr/bin/python3
"""HQQ as published (grid dossier section 4), in float64, per group. Oracle of tests/unit/test_hqq.c.

usage: hqq.py FOLDER rows cols bits group power beta kappa iterations
FOLDER holds w.bin [rows, cols] f32; phi.bin [rows, groups, 2] f64 is written there: sum |w - w^|^p of each group with the
range's own zero, and the least over the iterates. Steps and zeros are rounded to f16 (as numbers, no exponent), as they
are stored; the loop itself goes on with the real zero.
"""
import sys
import numpy as np


def f16(x):
    return np.float64(np.float16(x))


def group_iterates(w, bits, power, beta, kappa, iterations):
    """w [rows, g]: the objective of each row, and the values, after 0, 1, .. iterations."""
    top = 2 ** bits - 1
    lo, hi = w.min(1, keepdims=True), w.max(1, keepdims=True)
    s = f16((hi - lo) / top)
    z = -lo / s
    for _ in range(iterations + 1):
        stored = f16(z)
        q = np.clip(np.rint(w / s + stored), 0, top)
        yield (np.abs(w - s * (q - stored)) ** power).sum(1), s * (q - stored)
        q = np.clip(np.rint(w / s + z), 0, top)
        d = w - s * (q - z)
        with np.errstate(divide="ignore"):
            e = np.sign(d) * np.maximum(0, np.abs(d) - np.abs(d) ** (power - 1) / beta)
        z = (q - (w - e) / s).mean(1, keepdims=True)
        beta *= kappa


def main(folder, rows, cols, bits, group, power, beta, kappa, iterations):
    w = np.fromfile(folder + "/w.bin", np.float32).astype(np.float64).reshape(rows, cols)
    out = []
    for g in range(0, cols, group):
        phi = [phi for phi, _ in group_iterates(w[:, g:g + group], bits, power, beta, kappa, iterations)]
        out.append((phi[0], np.min(phi, 0)))
    np.array(out).transpose(2, 0, 1).copy().tofile(folder + "/phi.bin")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]), *map(float, sys.argv[6:9]), int(sys.argv[9]))
