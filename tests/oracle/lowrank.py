#!/usr/bin/python3
"""Low-rank methods as published, in float64 with numpy's SVD. Oracle of tests/unit/test_lowrank.c.

usage: lowrank.py FOLDER rows cols damp CASE...
FOLDER holds w.bin [rows, cols], h.bin [cols, cols] and c.bin [cols, cols], f32; what.bin, the matrices that the methods store,
[cases, rows, cols], is written there. A case is 'METHOD rank extra':
    svd, fwsvd, svdllm              truncated SVD of W, of W diag(sqrt(h_jj)), of W L; H = L L^T; times the inverse
    saes BETA                       target W (H + BETA C), truncated SVD of target L^-T, times L^-1
    aces BETA                       the same with the part of BETA that is best, found on a grid
    curing weights|outputs          DEIM step by step, C and R in f16
    rocket KAPPA RESTORE            dictionary of eigenvectors, largest codes per column and anywhere, refitted
    mpo M2 N2                       tensor train of two cores
"""
import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # small matrices: waiting for each other costs more than it gains
import numpy as np  # noqa: E402


def truncate(g, rank):
    u, s, v = np.linalg.svd(g, full_matrices=False)
    return u[:, :rank] * s[:rank] @ v[:rank]


def times_inverse(g, l):
    """G L^-1"""
    return np.linalg.solve(l.T, g.T).T


def regression(target, l, rank):
    """Best product for the target T = W Sigma in the metric H = L L^T."""
    return times_inverse(truncate(np.linalg.solve(l, target.T).T, rank), l)


def best_blend(g0, g1, rank):
    """beta on a grid: relative to all, the least outside the first singular vectors of g0."""
    u, _, v = np.linalg.svd(g0)
    r0, r1 = (u[:, rank:].T @ g @ v[rank:].T for g in (g0, g1))
    grid = np.linspace(0, 1, 501)
    return grid[np.argmin([np.sum((r0 + x * r1) ** 2) / np.sum((g0 + x * g1) ** 2) for x in grid])]


def deim(v, rank):
    p = [int(np.argmax(np.abs(v[:, 0])))]
    for k in range(1, rank):
        c = np.linalg.solve(v[p, :k], v[p, k])
        p.append(int(np.argmax(np.abs(v[:, k] - v[:, :k] @ c))))
    assert len(set(p)) == rank
    return p


def curing(w, h, hd, rank, link):
    s = np.abs(w) * np.sqrt(np.diag(h))
    u, _, v = np.linalg.svd(s, full_matrices=False)
    rows, cols = sorted(deim(u, rank)), sorted(deim(v.T, rank))
    c, r = np.float64(np.float16(w[:, cols])), np.float64(np.float16(w[rows]))
    if link == "weights":
        middle = np.linalg.pinv(c) @ w @ np.linalg.pinv(r)
    else:
        middle = np.linalg.pinv(c) @ w @ hd @ r.T @ np.linalg.inv(r @ hd @ r.T)
    return c @ middle @ r


def rocket(w, l, rank, kappa, restore):
    m = l.T @ w.T  # [cols, rows]
    u = np.linalg.svd(m)[0][:, :rank]
    codes = u.T @ m  # [rank, rows]
    importance = np.abs(codes) * np.sqrt(np.linalg.norm(np.linalg.solve(l.T, u), axis=0))[:, None]
    s = max(int(np.rint(rank / kappa)), 1)
    keep = np.zeros(codes.shape, bool)
    for j in range(codes.shape[1]):
        keep[np.argsort(-importance[:, j], kind="stable")[:s], j] = True
    more = int(np.rint(restore * codes.shape[1] * (rank - s)))
    rest = np.where(keep, -1, importance)
    keep.ravel()[np.argsort(-rest.ravel(), kind="stable")[:more]] = True
    v = np.where(keep, codes, 0)
    d = m @ v.T @ np.linalg.pinv(v @ v.T)
    return (np.linalg.solve(l.T, d) @ v).T


def mpo(w, rank, m2, n2):
    m, n = w.shape
    t = w.reshape(m // m2, m2, n // n2, n2).transpose(0, 2, 1, 3)
    e = truncate(t.reshape(m // m2 * (n // n2), m2 * n2), rank)
    return e.reshape(m // m2, n // n2, m2, n2).transpose(0, 2, 1, 3).reshape(m, n)


def solve(w, h, hd, c, l, method, rank, *extra):
    rank = int(rank)
    if method == "svd":
        return truncate(w, rank)
    if method == "fwsvd":
        scale = np.sqrt(np.diag(h))
        return truncate(w * scale, rank) / scale
    if method == "svdllm":
        return times_inverse(truncate(w @ l, rank), l)
    if method in ("saes", "aces"):
        beta = float(extra[0])
        if method == "aces":
            beta *= best_blend(w @ l, np.linalg.solve(l, (w @ c).T).T * beta, rank)
        return regression(w @ (hd + beta * c), l, rank)
    if method == "curing":
        return curing(w, h, hd, rank, extra[0])
    if method == "rocket":
        return rocket(w, l, rank, float(extra[0]), float(extra[1]))
    return mpo(w, rank, int(extra[0]), int(extra[1]))


def main():
    folder, rows, cols, damp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    load = lambda name, r: np.fromfile(folder + name, np.float32).astype(np.float64).reshape(r, cols)
    w, h, c = load("/w.bin", rows), load("/h.bin", cols), load("/c.bin", cols)
    hd = h + damp * np.diag(h).mean() * np.eye(cols)
    l = np.linalg.cholesky(hd)
    what = np.stack([solve(w, h, hd, c, l, *case.split()) for case in sys.argv[5:]])
    what.astype(np.float32).tofile(folder + "/what.bin")


if __name__ == "__main__":
    main()
