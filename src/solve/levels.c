#include "solve/levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- published tables -------------------------------------------------------------------------------------------- */

const char *wc_levels_refusal(wc_levels kind, unsigned bits)
{
    switch (kind) {
    case WC_LEVELS_NF4: return bits == 4 ? NULL : "levels=nf4 needs bits=4";
    case WC_LEVELS_FP4: return bits == 4 ? NULL : "levels=fp4 needs bits=4";
    case WC_LEVELS_APOT: return bits >= 3 && bits <= 7 ? NULL : "levels=apot needs bits=3 to 7";
    case WC_LEVELS_TWINLOG: return bits >= 3 ? NULL : "levels=twinlog needs bits=3 to 8";
    default: return NULL;
    }
}

/* half [count] ascending magnitudes -> both signs. */
static void mirror(const float *half, size_t count, float *level)
{
    for (size_t i = 0; i < count; i++) {
        level[count + i] = half[i] / half[count - 1];
        level[count - 1 - i] = -level[count + i];
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* All sums of one term per set; sets as exponents -e of 2, 0 for the term 0. */
static void apot(unsigned bits, float *level)
{
    static const struct {
        unsigned char n, e[4];
    } sets[5][3] = {
        {{4, {0, 1, 2, 3}}},
        {{4, {0, 1, 2, 4}}, {2, {0, 3}}},
        {{4, {0, 1, 3, 5}}, {4, {0, 2, 4, 6}}},
        {{4, {0, 1, 3, 6}}, {4, {0, 2, 4, 7}}, {2, {0, 5}}},
        {{4, {0, 1, 4, 7}}, {4, {0, 2, 5, 8}}, {4, {0, 3, 6, 9}}},
    };
    float sum[64] = {0};
    size_t n = 1;
    for (int set = 0; set < 3 && sets[bits - 3][set].n; set++) {
        size_t terms = sets[bits - 3][set].n;
        for (size_t t = terms; t-- > 0;) {
            unsigned e = sets[bits - 3][set].e[t];
            for (size_t i = 0; i < n; i++)
                sum[t * n + i] = sum[i] + (e ? ldexpf(1, -(int)e) : 0);
        }
        n *= terms;
    }
    qsort(sum, n, sizeof *sum, ascending);
    mirror(sum, n, level);
}

/* Lloyd's condition for N(0, 1) and x > 0: x_i = c(b_i, b_{i+1}), the mean of the cell between b_i = (x_{i-1} + x_i) /
 * 2, b_0 = 0 and b_k = infinity. With phi the density and P = Phi(b) - Phi(a), c = (phi(a) - phi(b)) / P and dc/da =
 * phi(a) (c - a) / P,   dc/db = phi(b) (b - c) / P, so Newton's matrix for F_i = x_i - c_i is tridiagonal. It is
 * diagonally dominant (phi is log-concave, so that dc/da + dc/db < 1), and elimination needs no pivots. Newton starts
 * from Panter and Dite's asymptotic levels, the quantiles of N(0, 3); Lloyd's own iteration would need thousands of
 * rounds for 256 levels. */
static double normal_density(double x)
{
    return exp(-x * x / 2) / sqrt(2 * M_PI);
}

static double newton_step(double *x, size_t k)
{
    double upper[128], move[128], most = 0; /* the matrix's superdiagonal after elimination, and the right-hand side */
    for (size_t i = 0; i < k; i++) {
        double a = i ? (x[i - 1] + x[i]) / 2 : 0, b = i + 1 < k ? (x[i] + x[i + 1]) / 2 : INFINITY;
        double fa = normal_density(a), fb = i + 1 < k ? normal_density(b) : 0;
        double p = (erfc(a / M_SQRT2) - erfc(b / M_SQRT2)) / 2, c = (fa - fb) / p;
        double da = i ? fa * (c - a) / p / 2 : 0, db = i + 1 < k ? fb * (b - c) / p / 2 : 0;
        double pivot = 1 - da - db + (i ? da * upper[i - 1] : 0);
        upper[i] = -db / pivot;
        move[i] = (x[i] - c + (i ? da * move[i - 1] : 0)) / pivot;
    }
    for (size_t i = k; i-- > 0;) {
        if (i + 1 < k) move[i] -= upper[i] * move[i + 1];
        most = fmax(most, fabs(move[i]));
    }
    for (size_t i = 0; i < k; i++)
        x[i] -= move[i];
    return most;
}

/* The point below which N(0, 1) has probability p > 1/2, by bisection. */
static double quantile(double p)
{
    double lo = 0, hi = 8;
    for (int i = 0; i < 60; i++) {
        double mid = (lo + hi) / 2;
        if (1 - erfc(mid / M_SQRT2) / 2 < p)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void gaussian(unsigned bits, float *level)
{
    size_t k = (size_t)1 << (bits - 1);
    double x[128];
    float half[128];
    for (size_t i = 0; i < k; i++)
        x[i] = sqrt(3) * quantile(0.5 + ((double)i + 0.5) / (double)(2 * k));
    for (int i = 0; i < 50; i++)
        if (newton_step(x, k) < 1e-12) break;
    for (size_t i = 0; i < k; i++)
        half[i] = (float)x[i];
    mirror(half, k, level);
}

/* The same for the density exp(-x^shape), x > 0, by Lloyd's rounds on its running integrals, from levels as dense as
 * the cube root of the density (Panter and Dite). Integrals are over t, x = top t^power, in cells of equal width:
 * narrow where the density is steep, and linear between their ends. */
enum { CELLS = 16384, ROUNDS = 2000 };

typedef struct density {
    double power, top;                                   /* x = top t^power */
    double p[CELLS + 1], px[CELLS + 1], root[CELLS + 1]; /* of the density, of it times x, of its cube root */
} density;

static void integrate(density *d, double shape)
{
    double power = d->power = fmax(2 / shape, 1);
    d->top = pow(40, 1 / shape); /* exp(-40) and beyond count as nothing */
    d->p[0] = d->px[0] = d->root[0] = 0;
    for (size_t i = 0; i < CELLS; i++) {
        double t = ((double)i + 0.5) / CELLS, x = d->top * pow(t, power), width = pow(t, power - 1);
        double p = exp(-pow(x, shape));
        d->p[i + 1] = d->p[i] + p * width;
        d->px[i + 1] = d->px[i] + p * width * x;
        d->root[i + 1] = d->root[i] + cbrt(p) * width;
    }
}

static double integral(const double *sum, double cell)
{
    size_t i = (size_t)fmin(cell, CELLS - 1);
    return sum[i] + (cell - (double)i) * (sum[i + 1] - sum[i]);
}

/* x [k] <- means of their cells; returns the largest move, relative to the largest level. */
static double lloyd_round(const density *d, double *x, size_t k)
{
    double most = 0, last = x[k - 1], p0 = 0, px0 = 0;
    for (size_t i = 0; i < k; i++) {
        double end = i + 1 < k ? CELLS * pow((x[i] + x[i + 1]) / 2 / d->top, 1 / d->power) : CELLS;
        double p1 = integral(d->p, end), px1 = integral(d->px, end), to = p1 > p0 ? (px1 - px0) / (p1 - p0) : x[i];
        most = fmax(most, fabs(to - x[i]) / last);
        x[i] = to, p0 = p1, px0 = px1;
    }
    return most;
}

static wc_status generalized(wc_ctx *ctx, unsigned bits, double shape, float *level)
{
    size_t k = (size_t)1 << (bits - 1), cell = 0;
    double x[128];
    float half[128];
    density *d;
    WC_TRY(WC_ALLOC(ctx, d, 1, "a density"));
    integrate(d, shape);
    for (size_t i = 0; i < k; i++) {
        while (d->root[cell + 1] < d->root[CELLS] * ((double)i + 0.5) / (double)k)
            cell++;
        x[i] = d->top * pow(((double)cell + 0.5) / CELLS, d->power);
    }
    for (int i = 0; i < ROUNDS; i++)
        if (lloyd_round(d, x, k) < 1e-8) break;
    free(d);
    for (size_t i = 0; i < k; i++)
        half[i] = (float)x[i];
    mirror(half, k, level);
    return WC_OK;
}

double wc_levels_shape(double ratio)
{
    double lo = 0.25, hi = 8; /* the ratio falls with the shape */
    if (!isfinite(ratio)) return 2;
    for (int i = 0; i < 60; i++) {
        double b = (lo + hi) / 2, of_b = tgamma(1 / b) * tgamma(3 / b) / pow(tgamma(2 / b), 2);
        if (of_b > ratio)
            lo = b;
        else
            hi = b;
    }
    return (lo + hi) / 2;
}

/* From 1 downwards: half of the magnitudes a factor `outer' apart, where most weights of a group end up under its
 * scale, the smaller ones a factor `inner'. */
static void twinlog(unsigned bits, float *level)
{
    static const struct {
        float inner, outer;
    } ratio[] = {{3.098f, 1.667f}, {1.723f, 1.330f}, {1.348f, 1.174f},
                 {1.183f, 1.093f}, {1.100f, 1.050f}, {1.056f, 1.027f}};
    size_t k = (size_t)1 << (bits - 1);
    float half[128], x = 1;
    for (size_t i = k; i-- > 0;) {
        half[i] = x;
        x /= i >= k / 2 ? ratio[bits - 3].outer : ratio[bits - 3].inner;
    }
    mirror(half, k, level);
}

wc_status wc_levels_fixed(wc_ctx *ctx, wc_levels kind, unsigned bits, double shape, float *level)
{
    static const float nf4[16] = {-1.0f,       -0.6961928f, -0.5250731f, -0.3949175f, -0.2844414f, -0.1847734f,
                                  -0.0910500f, 0.0f,        0.0795803f,  0.1609302f,  0.2461123f,  0.3379152f,
                                  0.4407098f,  0.5626170f,  0.7229568f,  1.0f};
    static const float fp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    switch (kind) {
    case WC_LEVELS_NF4: memcpy(level, nf4, sizeof nf4); break;
    case WC_LEVELS_FP4: mirror(fp4, 8, level); break;
    case WC_LEVELS_APOT: apot(bits, level); break;
    case WC_LEVELS_TWINLOG: twinlog(bits, level); break;
    default:
        if (shape != 2) return generalized(ctx, bits, shape, level);
        gaussian(bits, level);
    }
    return WC_OK;
}

/* ---- k-means on the line ----------------------------------------------------------------------------------------- */

/* Runs of neighbouring samples that the start partitions. With 32 per level and at least 512 the start is the optimum
 * of rows up to 512 columns, and Lloyd's rounds end within 1 % of the optimum of longer ones (test_levels). */
static size_t max_runs(size_t k)
{
    return k * 32 < 512 ? 512 : k * 32 > 2048 ? 2048 : k * 32;
}

wc_status wc_kmeans_alloc(wc_ctx *ctx, size_t max_n, size_t k, wc_kmeans *m)
{
    size_t runs = wc_min(max_runs(k), max_n);
    *m = (wc_kmeans){.max_n = max_n, .k = k};
    for (int i = 0; i < 3; i++)
        WC_TRY(WC_ALLOC(ctx, m->sum[i], max_n + 1, "running sums"));
    for (int i = 0; i < 2; i++)
        WC_TRY(WC_ALLOC(ctx, m->cost[i], runs + 1, "partition costs"));
    WC_TRY(WC_ALLOC(ctx, m->first, k * (runs + 1), "back pointers"));
    WC_TRY(WC_ALLOC(ctx, m->bounds, runs + 1, "run bounds"));
    WC_TRY(WC_ALLOC(ctx, m->cell, k + 1, "cell bounds"));
    return WC_ALLOC(ctx, m->sample, max_n, "samples");
}

void wc_kmeans_free(wc_kmeans *m)
{
    if (!m) return;
    for (int i = 0; i < 3; i++)
        free(m->sum[i]);
    free(m->cost[0]), free(m->cost[1]), free(m->first), free(m->bounds), free(m->cell), free(m->sample);
    memset(m, 0, sizeof *m);
}

static int by_value(const void *a, const void *b)
{
    const wc_sample *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight); /* equal samples then give equal sums */
}

/* The least squared error of samples a .. b around one level. */
static double spread(const wc_kmeans *m, size_t a, size_t b)
{
    double w = m->sum[0][b] - m->sum[0][a], x = m->sum[1][b] - m->sum[1][a], xx = m->sum[2][b] - m->sum[2][a];
    double cost = w > 0 ? xx - x * x / w : 0;
    return cost > 0 ? cost : 0; /* cancellation */
}

/* cost[to][j], lo <= j < hi, the best partition of j runs into `cells' cells, from cost[!to] for one cell less. The
 * best start of the last cell never falls when j grows (the cost is concave Monge), so the middle's start splits the
 * search: runs log runs evaluations. Depth log2 runs. */
static void partition(wc_kmeans *m, size_t runs, size_t cells, size_t lo, size_t hi, size_t start, size_t end)
{
    if (lo >= hi) return;
    size_t mid = (lo + hi) / 2, best = start;
    const double *from = m->cost[cells % 2];
    double least = INFINITY;
    for (size_t i = start; i <= wc_min(end, mid); i++) {
        double c = from[i] + spread(m, m->bounds[i], m->bounds[mid]);
        if (c < least) least = c, best = i;
    }
    m->cost[!(cells % 2)][mid] = least;
    m->first[(cells - 1) * (runs + 1) + mid] = (uint32_t)best;
    partition(m, runs, cells, lo, mid, start, best);
    partition(m, runs, cells, mid + 1, hi, best, end);
}

/* cell [k + 1] = the optimum over partitions of runs of about equal length. */
static void best_start(wc_kmeans *m, size_t n)
{
    size_t runs = wc_min(max_runs(m->k), n);
    for (size_t i = 0; i <= runs; i++)
        m->bounds[i] = (uint32_t)((uint64_t)n * i / runs);
    for (size_t i = 0; i <= runs; i++) {
        m->cost[0][i] = spread(m, 0, m->bounds[i]);
        m->first[i] = 0;
    }
    for (size_t cells = 2; cells <= m->k; cells++)
        partition(m, runs, cells, 0, runs + 1, 0, runs);
    size_t at = runs;
    m->cell[m->k] = (uint32_t)n;
    for (size_t cells = m->k; cells-- > 0;) {
        at = m->first[cells * (runs + 1) + at];
        m->cell[cells] = m->bounds[at];
    }
}

/* The means of the cells; a cell without weight keeps the value beside it. Returns the objective. */
static double means(const wc_kmeans *m, float *level)
{
    double total = 0;
    for (size_t i = 0; i < m->k; i++) {
        size_t a = m->cell[i], b = m->cell[i + 1];
        double w = m->sum[0][b] - m->sum[0][a], x = m->sum[1][b] - m->sum[1][a];
        level[i] = w > 0 ? (float)(x / w) : i ? level[i - 1] : m->sample[a < b ? a : 0].value;
        if (i && level[i] < level[i - 1]) level[i] = level[i - 1]; /* running sums of unequal weights may round */
        total += spread(m, a, b);
    }
    return total;
}

/* Cells = the samples nearest to each level. False when none has changed. */
static bool assign(const wc_kmeans *m, size_t n, const float *level)
{
    bool changed = false;
    for (size_t i = 1; i < m->k; i++) {
        float edge = level[i - 1] / 2 + level[i] / 2;
        size_t lo = 0, hi = n;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (m->sample[mid].value > edge)
                hi = mid;
            else
                lo = mid + 1;
        }
        changed = changed || lo != m->cell[i];
        m->cell[i] = (uint32_t)lo;
    }
    return changed;
}

double wc_kmeans_fit(wc_kmeans *m, size_t n, int rounds, float *level)
{
    qsort(m->sample, n, sizeof *m->sample, by_value);
    for (size_t i = 0; i < n; i++) {
        double w = (double)m->sample[i].weight, x = (double)m->sample[i].value;
        m->sum[0][i + 1] = m->sum[0][i] + w;
        m->sum[1][i + 1] = m->sum[1][i] + w * x;
        m->sum[2][i + 1] = m->sum[2][i] + w * x * x;
    }
    best_start(m, n);
    double total = means(m, level);
    for (int i = 0; i < rounds && assign(m, n, level); i++)
        total = means(m, level);
    return total;
}
