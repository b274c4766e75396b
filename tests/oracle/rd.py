#!/usr/bin/python3
"""Entropy-coded trellis quantization of a layer in float64, written from the mathematics. Oracle of tests/unit/test_rd.c.

usage: rd.py FOLDER rows cols memory step lambda
FOLDER holds w.bin [rows, cols] and h.bin [cols, cols], f32. Prints the entropy of the points in bits per weight, given
class and parity, and tr(E H E^T). One tile; classes are quarter octaves of a column's spread; laws are counts.
"""
import sys
import numpy as np

# parity-check polynomials, octal, of Ungerboeck's codes: the machine in observer form
H0 = {2: 0o5, 3: 0o13, 4: 0o23, 5: 0o45, 6: 0o103}
H1 = {2: 0o2, 3: 0o4, 4: 0o4, 5: 0o10, 6: 0o24}
MOST = 200


def machine(memory):
    """next[s, z1], and for each state its two predecessors as (state, z1)."""
    states = 1 << memory
    step = np.array([[(s >> 1) ^ (H0[memory] >> 1) * (s & 1) ^ (H1[memory] >> 1) * z for z in (0, 1)]
                     for s in range(states)])
    before = [[(s, z) for s in range(states) for z in (0, 1) if step[s, z] == t] for t in range(states)]
    return np.array(before)


def viterbi(u, bits, price, before):
    """The path with the least sum (u - j)^2 + price bits[j & 1, j >> 1]."""
    n, states = len(u), len(before)
    cost, point = np.zeros((n, 4)), np.zeros((n, 4), int)
    for r in range(4):
        low = r + 4 * np.floor((u - r) / 4).astype(int)
        both = np.stack([low, low + 4])
        c = (u - both) ** 2 + price * bits[r & 1, (both >> 1) + MOST]
        best = c.argmin(0)
        cost[:, r], point[:, r] = c[best, range(n)], both[best, range(n)]
    s0, z0 = before[:, 0, 0], before[:, 0, 1]
    s1, z1 = before[:, 1, 0], before[:, 1, 1]
    r0, r1 = (s0 & 1) + 2 * z0, (s1 & 1) + 2 * z1
    total, choice = np.full(states, np.inf), np.zeros((n, states), bool)
    total[0] = 0
    for t in range(n):
        a, b = total[s0] + cost[t, r0], total[s1] + cost[t, r1]
        choice[t] = b < a
        total = np.where(choice[t], b, a)
    s, j = total.argmin(), np.zeros(n, int)
    for t in reversed(range(n)):
        j[t] = point[t, r1[s] if choice[t, s] else r0[s]]
        s = s1[s] if choice[t, s] else s0[s]
    return j


def encode(w, h, memory, step, price):
    rows, cols = w.shape
    r = np.linalg.cholesky(h[::-1, ::-1])[::-1, ::-1]  # H = R R^T, R upper
    before, pivot = machine(memory), np.diag(r)
    k = np.arange(-MOST, MOST)
    laws, means = {}, {}
    spread = np.sqrt((w ** 2).mean(0)) * pivot / step
    for _ in range(3):
        e, counts, sizes, length = np.zeros_like(w), {}, {}, 0
        for c in range(cols):
            t = w[:, c] + e[:, :c] @ r[:c, c] / pivot[c]
            name, u = int(np.floor(4 * np.log2(spread[c]))), t * pivot[c] / step
            if name not in laws:
                p = np.exp(-np.stack([2 * k, 2 * k + 1]) ** 2 / 2 / (2 ** (name / 4 + 0.125)) ** 2) + 1e-6
                laws[name], means[name] = p / p.sum(1)[:, None], np.zeros(4)
            j = viterbi(u, -np.log2(laws[name]), price, before)
            size = np.minimum(abs(j), 3)
            e[:, c] = w[:, c] - (j - np.sign(j) * means[name][size]) * step / pivot[c]
            n = counts.setdefault(name, np.zeros((2, 2 * MOST)))
            np.add.at(n, (j & 1, (j >> 1) + MOST), 1)
            m = sizes.setdefault(name, np.zeros((2, 4)))
            np.add.at(m[0], size, 1)
            np.add.at(m[1], size, abs(j) - np.sign(j) * u)
            spread[c] = np.sqrt((u ** 2).mean())
        for name, n in counts.items():
            total = n.sum(1)[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                length -= np.nansum(n * np.log2(n / total))
            laws[name] = (n + 0.02) / (total + 0.04 * MOST)
            means[name] = np.where(np.arange(4) > 0, sizes[name][1] / (sizes[name][0] + 1), 0)
    return length / rows / cols, np.einsum("ri,ij,rj", e, h, e)


def main():
    folder, (rows, cols, memory), (step, price) = sys.argv[1], map(int, sys.argv[2:5]), map(float, sys.argv[5:7])
    w = np.fromfile(folder + "/w.bin", "<f4").reshape(rows, cols).astype(float)
    h = np.fromfile(folder + "/h.bin", "<f4").reshape(cols, cols).astype(float)
    print(*encode(w, h, memory, step, price))


if __name__ == "__main__":
    main()
