#!/usr/bin/python3
"""Iterative absolute value decomposition (BitStack, arXiv 2410.23918) in float64 with whole SVDs. Oracle of
tests/unit/test_bitstack.c.

usage: bitstack.py FOLDER rows cols levels rank
FOLDER holds w.bin [rows, cols] and h.bin [cols, cols], f32; error.bin, f64 [levels], is written there: the squared
error of W diag(s), s_j = sqrt(H_jj), after each level.
"""
import sys
import numpy as np


def rests(r, levels, rank):
    """What is left of r after each level."""
    for _ in range(levels):
        u, s, vt = np.linalg.svd(np.abs(r), full_matrices=False)
        r = r - np.where(r < 0, -1, 1) * ((u[:, :rank] * s[:rank]) @ vt[:rank])
        yield r


def main(folder, rows, cols, levels, rank):
    w = np.fromfile(folder + "/w.bin", np.float32).reshape(rows, cols).astype(np.float64)
    h = np.fromfile(folder + "/h.bin", np.float32).reshape(cols, cols).astype(np.float64)
    errors = [(r ** 2).sum() for r in rests(w * np.sqrt(np.diag(h)), levels, rank)]
    np.array(errors).tofile(folder + "/error.bin")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
