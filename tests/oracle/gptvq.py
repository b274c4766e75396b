#!/usr/bin/python3
"""Vector quantization with error feedback, by numpy and the published recurrences; no code shared with src/solve.

    gptvq.py FOLDER rows cols dim entries em damp       w.bin, h.bin -> what.bin: f16 entries, f16 row scales, natural order
    gptvq.py FOLDER --books rows cols dim books entries damp
                                                        w.bin, h.bin, code.bin (u16 [rows, books, cols / dim]),
                                                        scale.bin -> best.bin: [the least tr(E H E^T), damped H, that any
                                                        codebooks reach for these codes and scales]
FOLDER holds w.bin [rows, cols], h.bin [cols, cols], f32. dim divides cols; the moments are damped by damp * mean(diag).
"""
import sys
import numpy as np


def load(folder, rows, cols, damp):
    w = np.fromfile(folder + "/w.bin", np.float32).astype(np.float64).reshape(rows, cols)
    h = np.fromfile(folder + "/h.bin", np.float32).astype(np.float64).reshape(cols, cols)
    return w, h + damp * np.diag(h).mean() * np.eye(cols)


def half(x):
    return np.float64(np.float16(x))


def nearest(x, book, metric):
    """Entry of the smallest (x - c) A (x - c), differences written out."""
    e = x[:, None, :] - book[None, :, :]
    return np.einsum("rki,ij,rkj->rk", e, metric, e).argmin(1)


def seeds(x, entries):
    """Evenly spaced in the order of Mahalanobis distance."""
    cov = np.atleast_2d(np.cov(x.T))
    d = x - x.mean(0)
    order = np.argsort(np.einsum("ni,ij,nj->n", d, np.linalg.inv(cov), d), kind="stable")
    return x[order[(2 * np.arange(entries) + 1) * len(x) // (2 * entries)]].copy()


def em_round(x, s, metrics, book):
    """Weighted k-means: x [rows, vectors, dim], weights s^2 and the matrix metrics [vectors, dim, dim]."""
    k, d = book.shape
    den, num = np.zeros((k, d, d)), np.zeros((k, d))
    for v in range(x.shape[1]):
        for r, c in enumerate(nearest(x[:, v], book, metrics[v])):
            den[c] += s[r] ** 2 * metrics[v]
            num[c] += s[r] ** 2 * metrics[v] @ x[r, v]
    return np.stack([np.linalg.solve(den[c], num[c]) if den[c].any() else book[c] for c in range(k)])


def quantize(w, h, dim, entries, em):
    """h: damped."""
    rows, cols = w.shape
    t = np.linalg.cholesky(np.linalg.inv(h)).T  # H^-1 = T^T T, T upper
    blocks = [slice(b, b + dim) for b in range(0, cols, dim)]
    inverse = [np.linalg.inv(t[b, b]) for b in blocks]
    metrics = np.stack([i @ i.T for i in inverse])  # |(w - c) T_BB^-1|^2
    s = half(np.sqrt((w ** 2).mean(1)))
    x = (w / s[:, None]).reshape(rows, -1, dim)
    book = seeds(x.reshape(-1, dim), entries)
    for _ in range(em):
        book = em_round(x, s, metrics, book)
    book = half(book)
    work, what = w.copy(), np.zeros((rows, cols))
    for v, b in enumerate(blocks):
        what[:, b] = s[:, None] * book[nearest(work[:, b] / s[:, None], book, metrics[v])]
        work[:, b.stop:] -= (work[:, b] - what[:, b]) @ inverse[v] @ t[b, b.stop:]
    return what


def best_books(folder, rows, cols, dim, books, entries, damp):
    """Rows of W R = (s sum of one-hot codes times entries) R: least squares in all entries at once."""
    w, h = load(folder, rows, cols, damp)
    root = np.linalg.cholesky(h)
    code = np.fromfile(folder + "/code.bin", np.uint16).reshape(rows, books, cols // dim)
    s = np.fromfile(folder + "/scale.bin", np.float32).astype(np.float64)
    design = np.zeros((rows, cols, books * entries * dim))
    for r in range(rows):
        for m in range(books):
            for v in range(cols // dim):
                for j in range(dim):
                    design[r, v * dim + j, (m * entries + code[r, m, v]) * dim + j] += s[r]
    a = np.einsum("rnp,nk->rkp", design, root).reshape(rows * cols, -1)
    b = (w @ root).reshape(-1)
    x = np.linalg.lstsq(a, b, rcond=1e-12)[0]
    np.array([((a @ x - b) ** 2).sum()]).tofile(folder + "/best.bin")


if __name__ == "__main__":
    if sys.argv[2] == "--books":
        best_books(sys.argv[1], *map(int, sys.argv[3:8]), float(sys.argv[8]))
    else:
        made = quantize(*load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[7])), *map(int, sys.argv[4:7]))
        made.astype(np.float32).tofile(sys.argv[1] + "/what.bin")
