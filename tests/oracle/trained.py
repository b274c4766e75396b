#!/usr/bin/python3
"""Every method on a layer of a trained model, beside its published form in float64. Oracle of tests/cli/trained.sh.

    trained.py rules                                  a line for each case of the table below: number of a run, and a --rule
    trained.py check MODEL STATS [FILE REPORT]...     the layer errors in each run's compressed FILE, as the second reader decodes
                                                      it, from the moments in STATS; REPORT: what the run said (--json)

A case holds when the error that the program reported is the one of the file's bytes, and its ratio to the oracle's is in the
range of the table: around 1 where the recipe is the published method, below 1 where a refinement of ours is on. Oracles share
no code with the program: the modules beside this one, numpy, and what stands here."""
import json
import struct
import sys
from math import gamma
from statistics import NormalDist

sys.path[:0] = ["tests/oracle", "scripts"]
import lowrank  # noqa: E402  (sets the number of BLAS threads: first)
import numpy as np  # noqa: E402
import awq  # noqa: E402
import binary  # noqa: E402
import bitstack  # noqa: E402
import gptq  # noqa: E402
import gptvq  # noqa: E402
import hqq  # noqa: E402
import prune  # noqa: E402
import rd  # noqa: E402
import wcz_reader  # noqa: E402


class Layer:
    """w [m, n], h [n, n] = E[x x^T], hd: damped by 1 %, root: hd = root root^T, size [n]: E|x|"""

    def __init__(self, w, h, size):
        self.w, self.h, self.size = w, h, size
        self.mean = np.diag(h).mean()
        self.hd = h + 0.01 * self.mean * np.eye(len(h))
        self.root = np.linalg.cholesky(self.hd)
        self.weight = np.diag(h) + 0.01 * self.mean
        self.root6 = np.linalg.cholesky(h + 1e-6 * self.mean * np.eye(len(h)))

    def error(self, what):
        d = self.w - what
        return np.sum((d @ self.h) * d) / np.sum((self.w @ self.h) * self.w)


def half(x):
    return np.float64(np.float16(x))


# ---- grids ------------------------------------------------------------------------------------------------------------

def rtn(l, bits=3, group=32):
    return awq.round_to_nearest(l.w, bits, group)


def half_quadratic(l, bits, group):
    out = np.zeros_like(l.w)
    for g in range(0, l.w.shape[1], group):
        made = list(hqq.group_iterates(l.w[:, g:g + group], bits, 0.7, 10, 1.01, 20))
        best = np.argmin([phi for phi, _ in made], 0)
        out[:, g:g + group] = np.stack([made[b][1][r] for r, b in enumerate(best)])
    return out


def activation_aware(l, bits, group):
    return min((what for _, what in awq.candidates(l.w, l.size, bits, group, 20)), key=l.error)


def one_step(l, bits):
    """The symmetric step for the whole tensor with the least squared error, by a scan."""
    def with_step(s):
        return s * np.clip(np.rint(l.w / s), -2 ** (bits - 1), 2 ** (bits - 1) - 1)
    top = np.abs(l.w).max() / 2 ** (bits - 1)
    return min((with_step(top * k / 1000) for k in range(50, 1001, 4)), key=lambda q: ((l.w - q) ** 2).sum())


# ---- outliers ---------------------------------------------------------------------------------------------------------

def largest(score, frac):
    keep = np.zeros(score.size, bool)
    keep[np.argsort(-score.reshape(-1), kind="stable")[:round(frac * score.size)]] = True
    return keep.reshape(score.shape)


def gain(l, frac):
    """Places with the largest D^2 / H_jj after rounding, values by least squares in every row."""
    base = rtn(l)
    e = l.w - base
    keep = largest((e @ l.hd) ** 2 / np.diag(l.hd), frac)
    v = np.zeros_like(e)
    for r in range(len(e)):
        s = np.flatnonzero(keep[r])
        v[r, s] = np.linalg.solve(l.hd[np.ix_(s, s)], (e[r] @ l.hd)[s]) if len(s) else 0
    return base + v


def on_codes(x, bits, axis):
    lo, hi = x.min(axis, keepdims=True), x.max(axis, keepdims=True)
    step = np.where(hi > lo, (hi - lo) / (2 ** bits - 1), 1)
    return lo + step * np.rint((x - lo) / step)


def spqr(l, bits, group, frac):
    """Leave-one-out outliers, min-max statistics of 3 bits in tiles of 16 rows, then feedback with outliers exact."""
    perm = np.argsort(-np.diag(l.hd), kind="stable")
    t = np.linalg.cholesky(np.linalg.inv(l.hd[np.ix_(perm, perm)])).T
    cost = np.empty(len(perm))
    cost[perm] = 1 / np.diag(t) ** 2
    top = 2 ** bits - 1

    def grid_error(part, weight):
        lo, hi = part.min(), part.max()
        s = (hi - lo) / top if hi > lo else 1
        return (weight * (lo + s * np.rint((part - lo) / s) - part) ** 2).sum()

    rows, cols = l.w.shape
    score, lo, hi = np.zeros((rows, cols)), np.zeros((rows, cols // group)), np.zeros((rows, cols // group))
    for r in range(rows):
        for g in range(0, cols, group):
            part, c, places = l.w[r, g:g + group], cost[g:g + group], np.arange(group)
            whole = grid_error(part, c)
            for j in (part.argmin(), part.argmax()):
                score[r, g + j] = whole - grid_error(part[places != j], c[places != j])
    out = largest(score, frac)
    for g in range(0, cols, group):
        rest = np.ma.array(l.w[:, g:g + group], mask=out[:, g:g + group])
        lo[:, g // group], hi[:, g // group] = rest.min(1), rest.max(1)
    step = (hi - lo) / top
    tiles = [slice(r, r + 16) for r in range(0, rows, 16)]
    step = np.concatenate([on_codes(step[k], 3, 0) for k in tiles])
    zero = np.concatenate([on_codes((-lo / step)[k], 3, 0) for k in tiles])
    work, what = l.w.copy(), np.zeros_like(l.w)
    for i, j in enumerate(perm):
        s, z = step[:, j // group], zero[:, j // group]
        q = s * (np.clip(np.rint(work[:, j] / s + z), 0, top) - z)
        what[:, j] = np.where(out[:, j], l.w[:, j], q)
        work[:, perm[i + 1:]] -= np.outer((work[:, j] - what[:, j]) / t[i, i], t[i, i + 1:])
    return what


# ---- tables of levels -------------------------------------------------------------------------------------------------

def sensitive_kmeans(l, bits):
    """The optimum of weighted k-means in every row: dynamic programming over all cell borders."""
    out, n, k = np.zeros_like(l.w), l.w.shape[1], 2 ** bits
    for r, row in enumerate(l.w):
        order = np.argsort(row)
        x, h = row[order], l.weight[order]
        s = [np.concatenate([[0], np.cumsum(h * x ** p)]) for p in range(3)]
        a, b = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]
        weight = np.where(b > a, s[0][b] - s[0][a], 1)
        cost = np.where(b > a, s[2][b] - s[2][a] - (s[1][b] - s[1][a]) ** 2 / weight, np.inf)
        best, back = cost[0], []
        for _ in range(k - 1):
            total = np.concatenate([[np.inf], best[:-1]])[:, None] + cost
            back.append(total.argmin(0))
            best = total.min(0)
        ends = [n]
        for choice in reversed(back):
            ends.append(choice[ends[-1] - 1])
        ends = sorted(set(ends + [0]))
        for lo, hi in zip(ends, ends[1:]):
            out[r, order[lo:hi]] = half((s[1][hi] - s[1][lo]) / (s[0][hi] - s[0][lo]))
    return out


def table(l, levels, group):
    """Nearest of s T, s the largest magnitude of the group over that of T."""
    levels, out = half(levels / np.abs(levels).max()), np.zeros_like(l.w)
    for g in range(0, l.w.shape[1], group):
        part = l.w[:, g:g + group]
        s = half(np.abs(part).max(1))[:, None, None]
        q = np.abs(part[:, :, None] - s * levels).argmin(2)
        out[:, g:g + group] = s[:, :, 0] * levels[q]
    return out


def normal_float():
    q = NormalDist().inv_cdf
    top = 0.9677083
    positive = [q(top + (0.5 - top) * k / 8) for k in range(8)]
    negative = [-q(top + (0.5 - top) * k / 7) for k in range(7)]
    levels = np.array(sorted(positive + [0] + negative))
    return levels / np.abs(levels).max()


def both_signs(magnitudes):
    return np.array([-m for m in magnitudes] + list(magnitudes))


def lloyd_max(count, shape):
    """Levels above 0 for the density exp(-|x|^shape), by Lloyd's rounds on a fine grid."""
    t = (np.arange(40000) + 0.5) / 40000
    x = (40 ** (1 / shape)) * t ** (2 / shape)
    p = np.exp(-x ** shape) * t ** (2 / shape - 1)
    s0, s1 = np.concatenate([[0], np.cumsum(p)]), np.concatenate([[0], np.cumsum(p * x)])
    level = np.interp((np.arange(count) + 0.5) / count, s0[1:] / s0[-1], x)
    for _ in range(4000):
        ends = np.concatenate([[0], np.searchsorted(x, (level[1:] + level[:-1]) / 2), [len(x)]])
        level = (s1[ends[1:]] - s1[ends[:-1]]) / (s0[ends[1:]] - s0[ends[:-1]])
    return level


def shape_of(w):
    """Of the generalized Gaussian with these moments, by a scan."""
    grid = np.arange(0.25, 8, 0.001)
    ratio = [gamma(1 / b) * gamma(3 / b) / gamma(2 / b) ** 2 for b in grid]
    return grid[np.abs(np.array(ratio) - (w ** 2).mean() / np.abs(w).mean() ** 2).argmin()]


# ---- vectors, signs ---------------------------------------------------------------------------------------------------

def additive(l, dim, books, entries, rounds):
    """AQLM without fine-tuning: residual k-means, then least squares for the codebooks and the best of every code in turn."""
    m, n = l.w.shape
    s = half(np.sqrt((l.w ** 2).mean(1)))[:, None]
    x, book, code = (l.w / s).reshape(m, -1, dim), [], []
    rest = x.copy()
    for _ in range(books):
        flat = rest.reshape(-1, dim)
        c = flat[np.argsort(flat @ np.arange(1, dim + 1))[(2 * np.arange(entries) + 1) * len(flat) // (2 * entries)]].copy()
        for _ in range(15):
            q = ((flat[:, None] - c) ** 2).sum(2).argmin(1)
            for k in range(entries):
                if (q == k).any():
                    c[k] = flat[q == k].mean(0)
        book.append(c), code.append(q.reshape(m, -1))
        rest = rest - c[q].reshape(rest.shape)

    def value():
        return s * sum(b[q] for b, q in zip(book, code)).reshape(m, n)

    for _ in range(rounds):
        a, b = 1e-9 * np.eye(books * entries * dim), np.zeros(books * entries * dim)
        for r in range(m):  # P: [n, unknowns], w^ = s P c
            p = np.zeros((n, books, entries, dim))
            for k in range(books):
                for j in range(dim):
                    p[np.arange(n // dim) * dim + j, k, code[k][r], j] = s[r, 0]
            p = p.reshape(n, -1)
            hp = l.hd @ p
            a += p.T @ hp
            b += l.w[r] @ hp
        book = list(np.linalg.solve(a, b).reshape(books, entries, dim))
        d = (l.w - value()) @ l.hd
        for v in range(n // dim):
            at = slice(v * dim, v * dim + dim)
            for k in range(books):
                step = s[:, :, None] * (book[k][None] - book[k][code[k][:, v]][:, None])
                change = np.einsum("rki,ij,rkj->rk", step, l.hd[at, at], step) - 2 * np.einsum("rki,ri->rk", step, d[:, at])
                best = change.argmin(1)
                d -= step[np.arange(m), best] @ l.hd[at]
                code[k][:, v] = best
    return value()


def one_bit(l):
    """sign(W) times the best rank one of |W| (OneBit), columns counted by the size of their inputs."""
    scale = np.sqrt(l.weight)
    return np.where(l.w < 0, -1, 1) * lowrank.truncate(np.abs(l.w) * scale, 1) / scale


def stack(l, levels, rank):
    scale = np.sqrt(np.diag(l.h))
    return l.w - list(bitstack.rests(l.w * scale, levels, rank))[-1] / scale


def trellis(l, bits):
    """Entropy-coded, 8 states, a step for about `bits'; its error at exactly so many, 6.02 dB a bit."""
    pivots = np.diag(np.linalg.cholesky(l.hd[::-1, ::-1]))[::-1]
    step = np.sqrt(2 * np.pi * np.e) * 2 ** np.log2(np.sqrt((l.w ** 2).mean(0)) * pivots).mean() * 2.0 ** -bits
    rate, error = rd.encode(l.w, l.hd, 3, step, 0.15)
    return error / np.sum((l.w @ l.hd) * l.w) * 2 ** (2 * (rate - bits))


# ---- pruned -----------------------------------------------------------------------------------------------------------

def masked(l, keep, hd=None):
    """Survivors by least squares in every row."""
    hd, out = l.hd if hd is None else hd, np.zeros_like(l.w)
    for r in range(len(l.w)):
        s = np.flatnonzero(keep[r])
        out[r, s] = np.linalg.solve(hd[np.ix_(s, s)], (l.w[r] @ hd)[s])
    return out


def wanda(l, frac):
    return prune.pruned(np.abs(l.w) * np.sqrt(np.diag(l.h)), frac, True)


def ria(l):
    a = np.abs(l.w)
    return prune.pruned((a / a.sum(0) + a / a.sum(1, keepdims=True)) * np.diag(l.h) ** 0.25, "0.5", False)


def groups_of(l, size, frac):
    score = (l.w ** 2 / np.diag(np.linalg.inv(l.hd)) ** 2).reshape(len(l.w), -1, size).mean(2)
    return np.repeat(prune.pruned(score, frac, False), size, 1)


def sparse_and_rounded(l, bits, group):
    """SparseGPT's joint sweep: its mask, survivors on a grid fitted to the dense weights, all errors fed back."""
    gone = prune.sparsegpt(l.w, l.h, "0.5", 128) == 0
    step, zero = gptq.grids(l.w, l.weight, bits, group, "asym")
    u, work = np.linalg.cholesky(np.linalg.inv(l.hd)).T, l.w.copy()
    what = np.zeros_like(work)
    for j in range(len(u)):
        what[:, j] = np.where(gone[:, j], 0, gptq.assign(work[:, j], step[:, j], zero[:, j], bits))
        work[:, j + 1:] -= np.outer((work[:, j] - what[:, j]) / u[j, j], u[j, j + 1:])
    return what


# ---- products ---------------------------------------------------------------------------------------------------------

def repaired(l, rank, scale):
    """Rounded, plus the best product for what is left after columns (or a root of H) have been scaled."""
    base = rtn(l)
    g = lowrank.truncate((l.w - base) @ scale, rank)
    return base + lowrank.times_inverse(g, scale)


def hadamard(n):
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h / np.sqrt(n)


def turned(l):
    """Rounded in a randomly turned basis: another one than the program's, so equal only on average."""
    q = hadamard(len(l.h)) * np.random.default_rng(1).choice([-1, 1], len(l.h))
    return awq.round_to_nearest(l.w @ q.T, 3, 32) @ q


PLAIN = "sym=no,scale_bits=0,search=minmax"
FEEDBACK = "drift=0,residual=0"
GRID = "rtn(bits=3,group=32," + PLAIN + ")"

# layer kind, recipe, oracle, least and largest ratio of the errors. Inputs have a large mean, so that errors of one sign add up:
# the rounding of a table's levels is worth a percent.
CASES = [
    ("k", GRID, rtn, 0.999, 1.001),
    ("k", "rtn(bits=3)", rtn, 0.4, 1.25),  # fewer bits: 3.18 against 3.59
    ("k", "rtn(bits=4,group=0,scale_bits=0,search=slim)", lambda l: one_step(l, 4), 0.9, 1.05),
    ("k", "hqq(bits=4)", lambda l: half_quadratic(l, 4, 64), 0.98, 1.02),
    ("k", "gptq(bits=3,group=128,cd=0,%s,%s)" % (FEEDBACK, PLAIN),
     lambda l: gptq.quantize(l.w, l.h, 3, 128, "act", "asym", 0.01), 0.98, 1.02),
    ("q", "gptq(bits=3)", lambda l: gptq.quantize(l.w, l.h, 3, 128, "act", "asym", 0.01), 0.3, 0.95),
    ("k", "awq(fold=no) | rtn(bits=3,group=64,%s)" % PLAIN, lambda l: activation_aware(l, 3, 64), 0.98, 1.02),
    ("k", "outliers(frac=0.005,criterion=spqr) | gptq(bits=3,group=16,sym=no,scale_bits=3,zero_bits=3,tile=16,search=minmax,"
     "cd=0,%s)" % FEEDBACK, lambda l: spqr(l, 3, 16, 0.005), 0.5, 1.05),
    ("k", "spqr(bits=3)", lambda l: spqr(l, 3, 16, 0.005), 0.3, 0.9),
    ("k", "outliers(frac=5%,criterion=sensitivity)", lambda l: half(l.w) * largest(l.w ** 2 * l.weight, 0.05), 0.999, 1.001),
    ("k", "outliers(frac=5%,criterion=magnitude)", lambda l: half(l.w) * largest(np.abs(l.w), 0.05), 0.999, 1.001),
    ("k", GRID + " | outliers(frac=2%,criterion=gain)", lambda l: gain(l, 0.02), 0.99, 1.01),
    ("k", "squeezellm(bits=3)", lambda l: sensitive_kmeans(l, 3), 0.99, 1.01),
    ("k", "lut(bits=3)", lambda l: sensitive_kmeans(l, 3), 0.2, 0.8),
    ("k", "nf4", lambda l: table(l, normal_float(), 64), 0.99, 1.01),
    ("k", "lut(levels=fp4,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs([0, .5, 1, 1.5, 2, 3, 4, 6]), 64), 0.99, 1.01),
    ("k", "lut(levels=apot,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs([a + b for a in (0, 1 / 2, 1 / 4, 1 / 16) for b in (0, 1 / 8)]), 64), 0.97, 1.03),
    ("k", "lut(levels=gaussian,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs(lloyd_max(8, 2)), 64), 0.97, 1.03),
    ("k", "lut(levels=gaussian,shape=1,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs(lloyd_max(8, 1)), 64), 0.97, 1.03),
    ("k", "lut(levels=gaussian,shape=0,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs(lloyd_max(8, shape_of(l.w))), 64), 0.97, 1.03),
    ("k", "lut(levels=twinlog,bits=4,group=64,minmax=yes,weigh=none,feedback=no)",
     lambda l: table(l, both_signs(1.33 ** -np.minimum(np.arange(8), 4) * 1.723 ** -np.maximum(np.arange(8) - 4, 0)), 64),
     0.97, 1.03),
    ("k", "gptvq(bits=2,dim=2,em=3,cd=0,order=natural,entry_bits=16,%s)" % FEEDBACK,
     lambda l: gptvq.quantize(l.w, l.hd, 2, 16, 3), 0.97, 1.03),
    ("k", "aqlm(bits=2,dim=4,code_bits=4)", lambda l: additive(l, 4, 2, 16, 3), 0.5, 1.0),
    ("q", "bitstack(levels=2,rank=2)", lambda l: stack(l, 2, 2), 0.98, 1.02),
    ("k", "binary(split=false,salient=0,group=64,passes=0,order=natural,%s)" % FEEDBACK,
     lambda l: binary.quantize(l.w, l.h, 64, 0, 0.01), 0.97, 1.03),
    ("k", "binary", lambda l: binary.quantize(l.w, l.h, 64, 1, 0.01), 0.3, 0.9),
    ("k", "binarymos", one_bit, 0.2, 0.8),
    ("k", "rd(bits=3,states=8,kappa=0,%s)" % FEEDBACK, lambda l: trellis(l, 2.8), 0.8, 1.2),  # 0.2 bits are tables
    ("q", "hadamard | " + GRID, turned, 0.8, 1.25),
    ("k", "svd(rank=16)", lambda l: lowrank.truncate(l.w, 16), 0.999, 1.005),
    ("k", "asvd(rank=16)", lambda l: lowrank.truncate(l.w * l.size ** 0.5, 16) / l.size ** 0.5, 0.999, 1.005),
    ("k", "fwsvd(rank=16)", lambda l: lowrank.solve(l.w, l.h, 0, 0, 0, "fwsvd", 16), 0.999, 1.005),
    ("k", "svdllm(rank=16)", lambda l: lowrank.solve(l.w, l.h, 0, 0, l.root6, "svdllm", 16), 0.999, 1.005),
    ("k", "saes(rank=16)", lambda l: lowrank.solve(l.w, l.h, 0, 0, l.root6, "svdllm", 16), 0.999, 1.005),  # no drift
    ("k", "svdllm(rank=16,storage=pifa)", lambda l: lowrank.solve(l.w, l.h, 0, 0, l.root6, "svdllm", 16), 0.999, 1.005),
    ("k", "curing(rank=32,link=weights)",
     lambda l: lowrank.curing(l.w, l.h, l.hd, 32, "weights"), 0.98, 1.02),
    ("k", "rocket(rank=32)", lambda l: lowrank.rocket(l.w, l.root6, 32, 2, 0.005), 0.98, 1.02),
    ("k", "mpo(rank=16,m2=8,n2=16)", lambda l: lowrank.mpo(l.w, 16, 8, 16), 0.999, 1.005),
    ("k", GRID + " | svd(rank=8)", lambda l: repaired(l, 8, np.eye(len(l.h))), 0.99, 1.01),
    ("o", GRID + " | lqer(rank=8,factor_bits=16)", lambda l: repaired(l, 8, np.diag(l.size)), 0.99, 1.01),
    ("k", GRID + " | slim(rank=8,factor_bits=16)", lambda l: repaired(l, 8, np.diag(l.size)), 0.99, 1.01),
    ("k", GRID + " | qera(rank=8,factor_bits=16)", lambda l: repaired(l, 8, l.root6), 0.99, 1.01),
    ("o", GRID + " | qera(rank=8,factor_bits=16,metric=rms)", lambda l: repaired(l, 8, np.diag(np.diag(l.h) ** .5)), 0.99, 1.01),
    ("o", GRID + " | eora(rank=8,factor_bits=16)", lambda l: repaired(l, 8, l.root6), 0.99, 1.01),
    ("k", GRID + " | eora(rank=8)", lambda l: repaired(l, 8, l.root6), 0.99, 1.02),
    ("k", "magnitude(50%,update=none)", lambda l: l.w * ~prune.pruned(np.abs(l.w), "0.5", False), 0.999, 1.001),
    ("k", "wanda(50%,update=none)", lambda l: l.w * ~wanda(l, "0.5"), 0.999, 1.001),
    ("k", "wanda(2:4,update=none)", lambda l: l.w * ~wanda(l, "2:4"), 0.999, 1.001),
    ("k", "wanda(50%)", lambda l: masked(l, ~wanda(l, "0.5")), 0.995, 1.005),
    ("k", "wanda(50%,update=admm)", lambda l: masked(l, ~wanda(l, "0.5")), 0.995, 1.01),
    ("k", "ria(50%,update=none)", lambda l: l.w * ~ria(l), 0.999, 1.001),
    ("k", "sparsegpt(50%,update=obs,block=128)", lambda l: prune.sparsegpt(l.w, l.h, "0.5", 128), 0.99, 1.01),
    ("k", "sparsegpt(2:4,update=obs,block=128)", lambda l: prune.sparsegpt(l.w, l.h, "2:4", 128), 0.99, 1.01),
    ("k", "sparsegpt(50%,block=128)", lambda l: masked(l, prune.sparsegpt(l.w, l.h, "0.5", 128) != 0), 0.99, 1.01),
    ("k", "sparsegpt(50%) | gptq(bits=4)", lambda l: sparse_and_rounded(l, 4, 32), 0.2, 0.9),
    ("k", "gqsa(30%,group=8,saliency=diagonal,block=0,update=none)", lambda l: l.w * ~groups_of(l, 8, "0.3"), 0.99, 1.01),
    ("k", "gqsa(30%,group=8)", lambda l: masked(l, ~groups_of(l, 8, "0.3")), 0.3, 1.0),
]

TENSORS = {"q": ["self_attn.q_proj"], "k": ["self_attn.k_proj", "self_attn.v_proj"], "o": ["self_attn.o_proj"]}
LAYERS = 4


def places():
    """(run, tensor's name, layer, stage) of every case: each run has one case per matrix."""
    used = {}
    for kind, *_ in CASES:
        k = used[kind] = used.get(kind, -1) + 1
        names = TENSORS[kind]
        run, at = divmod(k, LAYERS * len(names))
        layer, name = divmod(at, len(names))
        yield run, "model.layers.%d.%s.weight" % (layer, names[name]), layer, int(kind == "o")


def read_stats(path):
    """{(layer, stage): (H, E|x|)}: mean, mean of magnitudes, lower triangle of H, row after row; f32"""
    raw, out = open(path, "rb").read(), {}
    for i in range(struct.unpack_from("<I", raw, 12)[0]):
        layer, stage, n, offset, size, _ = struct.unpack_from("<IIQQQQ", raw, 320 + 40 * i)
        blob = np.frombuffer(raw[offset:offset + size], "<f4").astype(np.float64)
        h = np.zeros((n, n))
        h[np.tril_indices(n)] = blob[2 * n:]
        out[layer, stage] = h + np.tril(h, -1).T, blob[n:2 * n]
    return out


def read_weights(path):
    raw = open(path, "rb").read()
    size = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + size])

    def tensor(name):
        begin, end = header[name]["data_offsets"]
        return np.frombuffer(raw[8 + size + begin:8 + size + end], "<f2").astype(np.float64).reshape(header[name]["shape"])
    return tensor


def check(model, stats, *pairs):
    weights, moments = read_weights(model), read_stats(stats)
    files = [wcz_reader.File(f) for f in pairs[::2]]
    said = [{t["name"]: t["error"] for t in json.load(open(r))["tensors"]} for r in pairs[1::2]]
    for (run, name, layer, stage), (_, recipe, oracle, lo, hi) in zip(places(), CASES):
        l = Layer(weights(name), *moments[layer, stage])
        found = next(t for t in files[run].tensors if t.name.decode() == name)
        ours, published = l.error(files[run].decode(found).astype(np.float64)), oracle(l)
        published = l.error(published) if np.ndim(published) else published
        same = abs(said[run][name] / ours - 1) < 1e-3
        ok = same and lo <= ours / published <= hi
        print("%s %s: %.5f, oracle %.5f, ratio %.4f in %g .. %g%s" % (
            "ok" if ok else "FAIL", recipe, ours, published, ours / published, lo, hi,
            "" if same else "; said %g" % said[run][name]))


if sys.argv[1] == "rules":
    for (run, name, _, _), (_, recipe, *_) in zip(places(), CASES):
        print(run, "%s=%s" % (name, recipe))
else:
    check(*sys.argv[2:])
