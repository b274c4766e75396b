/* The forms of low rank: pivot rows, saes, curing, rocket, mpo; against an oracle in numpy, identities, brute force.
 * The plain product is tested in test_factors.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "linalg/linalg.h"
#include "lowrank_util.h"
#include "parts_util.h"
#include "solve/blend.h"

/* Drift: C = E[(x - x~) x~^T] = K H for x - x~ = K x~, K a fifth of a random matrix of norm about 1. */
static float *make_drift(const struct layer *l)
{
    size_t n = l->n;
    float *k = util_normals(n * n), *c = calloc(n * n, sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t t = 0; t < n; t++)
                c[i * n + j] += 0.1f / sqrtf((float)n) * k[i * n + t] * l->h[t * n + j];
    free(k);
    return c;
}

static float *expand(const wc_part *p)
{
    size_t rows, cols;
    wc_part_shape(p, &rows, &cols);
    float *w = malloc(rows * cols * sizeof *w);
    for (size_t i = 0; i < rows * cols; i++)
        w[i] = part_value(p, i / cols, i % cols);
    return w;
}

static float *result_of(const char *name, const char *options, const struct layer *l)
{
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 1);
    if (run_method(&ctx, name, options, l, &part) != WC_OK) fail_msg("%s(%s): %s", name, options, ctx.error);
    float *w = expand(&part);
    wc_part_free(&part);
    return w;
}

/* tr(D H D^T) of what the method leaves; h NULL: of the identity. */
static double left(const char *name, const char *options, const struct layer *l, const float *h)
{
    float *w = result_of(name, options, l);
    double error = util_error(l->w, w, l->m, l->n, h);
    free(w);
    return error;
}

static double whole(const struct layer *l, const float *h)
{
    float *zero = calloc(l->m * l->n, sizeof *zero);
    double sum = util_error(l->w, zero, l->m, l->n, h);
    free(zero);
    return sum;
}

/* |x - y|^2 / |y|^2 in the metric. */
static double apart(const float *x, const float *y, const struct layer *l, const float *h)
{
    float *zero = calloc(l->m * l->n, sizeof *zero);
    double d = util_error(x, y, l->m, l->n, h) / util_error(y, zero, l->m, l->n, h);
    free(zero);
    return d;
}

/* ---- the oracle ------------------------------------------------------------------------------------------------- */

static void dump(const char *folder, const char *name, const float *x, size_t count)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(x, sizeof *x, count, f), count);
    fclose(f);
}

/* [cases, m, n]; cases: each quoted, see the script. */
static float *oracle(const struct layer *l, const float *c, const char *cases, size_t count)
{
    static const char *const files[] = {"w.bin", "h.bin", "c.bin", "what.bin"};
    char folder[] = "/tmp/wc_lowrank_XXXXXX", command[2048], path[64];
    size_t size = count * l->m * l->n;
    float *what = malloc(size * sizeof *what);
    assert_non_null(mkdtemp(folder));
    dump(folder, "w.bin", l->w, l->m * l->n);
    dump(folder, "h.bin", l->h, l->n * l->n);
    dump(folder, "c.bin", c, l->n * l->n);
    snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/lowrank.py %s %zu %zu 1e-3 %s", folder, l->m, l->n,
             cases);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/what.bin", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(what, sizeof *what, size, f), size);
    fclose(f);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
    rmdir(folder);
    return what;
}

/* The stored matrix is the oracle's up to f16: usually 1e-7 of it in squares, 1e-14 for the CUR, whose rows and columns
 * the oracle rounds; a wrong index or a forgotten step gives 1e-2 and more. */
static void every_method_is_the_published_one(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *options, *oracle;
        double tolerance;
    } cases[] = {
        {"fwsvd", "rank=9", "fwsvd 9", 1e-6},
        {"svdllm", "rank=9,damp=1e-3", "svdllm 9", 1e-6},
        {"svdllm", "rank=9,damp=1e-3,storage=1", "svdllm 9", 1e-6},
        {"svd", "rank=20,storage=1", "svd 20", 1e-6},
        {"saes", "rank=9,damp=1e-3,move_damp=1e-3,drift=1", "saes 9 1", 1e-6},
        {"saes", "rank=9,damp=1e-3,move_damp=1e-3,drift=0.5,storage=1", "saes 9 0.5", 1e-6},
        {"saes", "rank=9,damp=1e-3,move_damp=1e-3,drift=1,adaptive=1", "aces 9 1", 1e-5},
        {"curing", "rank=9,damp=1e-3,link=0", "curing 9 weights", 1e-9},
        {"curing", "rank=9,damp=1e-3,link=1", "curing 9 outputs", 1e-9},
        {"rocket", "rank=12,damp=1e-3", "rocket 12 2 0.005", 1e-5},
        {"rocket", "rank=12,damp=1e-3,kappa=3,restore=0.1", "rocket 12 3 0.1", 1e-5},
        {"mpo", "rank=9,m2=6,n2=5", "mpo 9 6 5", 1e-6},
        {"mpo", "rank=9,m2=3,n2=20", "mpo 9 3 20", 1e-6},
    };
    enum { N_CASES = sizeof cases / sizeof *cases };
    char list[1024] = "";
    for (size_t t = 0; t < N_CASES; t++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "'%s' ", cases[t].oracle);
    for (int wide = 0; wide < 2; wide++) {
        struct layer l = wide ? make_layer(48, 80) : make_layer(96, 40);
        float *c = make_drift(&l), *theirs = oracle(&l, c, list, N_CASES);
        l.stats.c = c;
        for (size_t t = 0; t < N_CASES; t++) {
            float *ours = result_of(cases[t].name, cases[t].options, &l);
            double d = apart(ours, theirs + t * l.m * l.n, &l, NULL);
            print_message("%s(%s): %.1e\n", cases[t].name, cases[t].options, d);
            if (!(d < cases[t].tolerance)) fail_msg("%s(%s): %g apart", cases[t].name, cases[t].options, d);
            free(ours);
        }
        free(theirs), free(c), free_layer(&l);
    }
}

/* ---- identities ------------------------------------------------------------------------------------------------- */

/* Nothing is left at full rank, up to f16: usually 1e-7 of the matrix in squares. */
static void full_rank_is_exact(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *options;
        size_t m, n;
        double tolerance;
    } cases[] = {
        {"svdllm", "rank=40,storage=1", 48, 40, 1e-6}, {"svd", "rank=40,storage=1,factor_bits=8", 48, 40, 1e-3},
        {"curing", "rank=40", 48, 40, 1e-6},           {"curing", "rank=40,link=0", 40, 48, 1e-6},
        {"rocket", "rank=40,kappa=1", 40, 48, 1e-6},   {"rocket", "rank=40,kappa=2,restore=1", 48, 40, 1e-6},
        {"mpo", "rank=30,m2=6,n2=5", 48, 40, 1e-6},    {"mpo", "rank=30,m2=8,n2=8", 48, 40, 1e-6},
        {"mpo", "rank=41,m2=0,n2=0", 43, 41, 1e-6},    {"mpo", "rank=40,m2=1,n2=40", 48, 40, 1e-6},
        {"mpo", "rank=1,m2=48,n2=40", 48, 40, 1e-6},   {"saes", "rank=40,storage=1", 48, 40, 1e-6},
    };
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
        struct layer l = make_layer(cases[t].m, cases[t].n);
        double d = left(cases[t].name, cases[t].options, &l, NULL) / whole(&l, NULL);
        if (!(d < cases[t].tolerance)) fail_msg("%s(%s) leaves %g", cases[t].name, cases[t].options, d);
        free_layer(&l);
    }
}

/* Pivot rows are the product in r (m + n - r) numbers and a bit per row; the coefficients stay small, so f16 loses as
 * little as it does in the product. */
static void pivot_rows_are_the_same_product(void **unused)
{
    (void)unused;
    static const size_t shapes[][3] = {{48, 40, 20}, {40, 48, 20}, {30, 90, 29}, {90, 30, 30}, {33, 1, 1}, {2, 5, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t m = shapes[s][0], n = shapes[s][1], r = shapes[s][2];
        struct layer l = make_layer(m, n);
        char options[64];
        wc_ctx ctx;
        wc_part product, pivots;
        uint64_t bytes, more;
        wc_ctx_init(&ctx, 1);
        snprintf(options, sizeof options, "rank=%zu", r);
        assert_int_equal(run_method(&ctx, "svdllm", options, &l, &product), WC_OK);
        snprintf(options, sizeof options, "rank=%zu,storage=1", r);
        assert_int_equal(run_method(&ctx, "svdllm", options, &l, &pivots), WC_OK);
        float *x = expand(&product), *y = expand(&pivots);
        assert_true(apart(x, y, &l, NULL) < 1e-5);
        assert_int_equal(wc_part_bytes(&ctx, &product, &more), WC_OK);
        assert_int_equal(wc_part_bytes(&ctx, &pivots, &bytes), WC_OK);
        assert_int_equal(more, 2 * r * (m + n));
        assert_int_equal(bytes, 2 * r * (m + n - r) + (m + 7) / 8);
        const wc_part *k = pivots.lowrank.a;
        for (size_t i = 0; i < (m - r) * r; i++)
            assert_true(fabsf(part_value(k, i / r, i % r)) < 8); /* of random spaces: usually below 3 */
        double e = util_error(l.w, y, m, n, l.h), e0 = util_error(l.w, x, m, n, l.h);
        assert_true(e < 1.001 * e0 + 1e-6 * whole(&l, l.h));
        free(x), free(y);
        wc_part_free(&product), wc_part_free(&pivots), free_layer(&l);
    }
}

/* |(W (X~ + X - X~) - W^ X~|^2 up to a constant: what the drifted layer should come near to. With K as in make_drift,
 * tr((W (I + K) - W^) H (W (I + K) - W^)^T) = tr(W^ H W^^T) - 2 tr(W (H + C) W^^T) + const. */
static double against_original(const struct layer *l, const float *c, const float *what)
{
    double sum = 0;
    for (size_t i = 0; i < l->m; i++)
        for (size_t j = 0; j < l->n; j++) {
            double hw = 0, tw = 0;
            for (size_t k = 0; k < l->n; k++) {
                hw += (double)what[i * l->n + k] * (double)l->h[k * l->n + j];
                tw += (double)l->w[i * l->n + k] * ((double)l->h[k * l->n + j] + (double)c[k * l->n + j]);
            }
            sum += (double)what[i * l->n + j] * (hw - 2 * tw);
        }
    return sum;
}

static void saes_is_best_against_the_original(void **unused)
{
    (void)unused;
    for (int seed = 0; seed < 4; seed++) {
        struct layer l = make_layer(40 + 20 * (size_t)seed, 56);
        float *c = make_drift(&l);
        l.stats.c = c;
        float *plain = result_of("svdllm", "rank=8", &l);
        float *full = result_of("saes", "rank=8,drift=1,move_damp=1e-4", &l),
              *none = result_of("saes", "rank=8,drift=0", &l);
        double of_plain = against_original(&l, c, plain), of_full = against_original(&l, c, full);
        assert_true(of_full < of_plain);
        assert_memory_equal(plain, none, l.m * l.n * sizeof *plain);
        assert_true(util_error(l.w, full, l.m, l.n, l.h) > util_error(l.w, plain, l.m, l.n, l.h));
        free(plain), free(full), free(none), free(c), free_layer(&l);
    }
}

/* The least of the quotient on a fine grid is not below the one found; no drift and flat quotients give 0. */
static void the_best_blend_is_found(void **unused)
{
    (void)unused;
    for (int t = 0; t < 2000; t++) {
        double g0[3], g1[3], x[6]; /* of 3 dimensions the last two are what rank 1 leaves */
        for (int i = 0; i < 3; i++)
            g0[i] = util_normal(), g1[i] = util_normal() * (t % 3 ? 1 : 0.01f);
        x[0] = g1[1] * g1[1] + g1[2] * g1[2], x[1] = 2 * (g0[1] * g1[1] + g0[2] * g1[2]);
        x[2] = g0[1] * g0[1] + g0[2] * g0[2], x[3] = x[0] + g1[0] * g1[0], x[4] = x[1] + 2 * g0[0] * g1[0];
        x[5] = x[2] + g0[0] * g0[0];
        double b = wc_blend_least(x[0], x[1], x[2], x[3], x[4], x[5]);
        assert_true(b >= 0 && b <= 1);
        double f = ((x[0] * b + x[1]) * b + x[2]) / ((x[3] * b + x[4]) * b + x[5]);
        for (int i = 0; i <= 1000; i++) {
            double at = i / 1000.0;
            assert_true(f <= ((x[0] * at + x[1]) * at + x[2]) / ((x[3] * at + x[4]) * at + x[5]) + 1e-12);
        }
    }
    assert_true(wc_blend_least(0, 0, 1, 0, 0, 2) == 0);
    assert_true(wc_blend_least(1e-14, 0, 1, 1e-13, 0, 2) == 0);
    assert_true(wc_blend_least(0, 0, 0, 1, 1, 1) == 0);
}

/* Columns and rows of the weights, in order; the link better than any scaled one. */
static void curing_keeps_weights(void **unused)
{
    (void)unused;
    struct layer l = make_layer(30, 50);
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(run_method(&ctx, "curing", "rank=7", &l, &part), WC_OK);
    assert_int_equal(part.lowrank.form, WC_LOWRANK_CUR);
    assert_int_equal(part.lowrank.link->floats.dtype, WC_F32);
    size_t found = 0;
    for (size_t j = 0; j < l.n && found < 7; j++) {
        size_t same = 0;
        while (same < l.m && wc_f16_f32(wc_f32_f16(l.w[same * l.n + j])) == part_value(part.lowrank.a, same, found))
            same++;
        found += same == l.m;
    }
    assert_int_equal(found, 7);
    found = 0;
    for (size_t i = 0; i < l.m && found < 7; i++) {
        size_t same = 0;
        while (same < l.n && wc_f16_f32(wc_f32_f16(l.w[i * l.n + same])) == part_value(part.lowrank.b, found, same))
            same++;
        found += same == l.n;
    }
    assert_int_equal(found, 7);
    float *w = expand(&part), *scaled = malloc(l.m * l.n * sizeof *scaled);
    double best = util_error(l.w, w, l.m, l.n, l.h);
    for (int s = -1; s <= 1; s += 2) {
        for (size_t i = 0; i < l.m * l.n; i++)
            scaled[i] = w[i] * (1 + 0.02f * (float)s);
        assert_true(util_error(l.w, scaled, l.m, l.n, l.h) > best);
    }
    assert_true(left("curing", "rank=7,link=1", &l, l.h) < left("curing", "rank=7,link=0", &l, l.h));
    assert_true(left("curing", "rank=7,link=0", &l, NULL) < left("curing", "rank=7,link=1", &l, NULL));
    free(w), free(scaled), wc_part_free(&part), free_layer(&l);
}

/* kappa = 1 keeps every coefficient: svdllm. Else as many as planned, in every row at least its share; more of them are
 * never worse, and the same number of values in a larger rank is better on weights that have no gap in their spectrum.
 */
static void rocket_keeps_the_largest_coefficients(void **unused)
{
    (void)unused;
    struct layer l = make_layer(64, 80);
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 3);
    float *dense = result_of("svdllm", "rank=16", &l), *all = result_of("rocket", "rank=16,kappa=1", &l);
    assert_true(apart(dense, all, &l, NULL) < 1e-6);
    assert_int_equal(run_method(&ctx, "rocket", "rank=16,kappa=2,restore=0.1", &l, &part), WC_OK);
    const wc_sparse *s = &part.lowrank.a->sparse;
    assert_int_equal(s->nnz, 64 * 8 + 51); /* 0.1 of the 64 x 8 dropped */
    for (size_t i = 0; i < 64; i++)
        assert_true(s->row_start[i + 1] - s->row_start[i] >= 8);
    wc_part_free(&part);
    double last = INFINITY;
    static const char *const options[] = {"rank=16,kappa=4", "rank=16,kappa=2", "rank=16,kappa=1.3", "rank=16,kappa=1"};
    for (size_t t = 0; t < 4; t++) {
        double e = left("rocket", options[t], &l, l.h);
        assert_true(e < last);
        last = e;
    }
    assert_true(left("rocket", "rank=24,kappa=2,restore=0", &l, l.h) < left("svdllm", "rank=16", &l, l.h));
    free(dense), free(all), free_layer(&l);
}

/* ---- what is odd ------------------------------------------------------------------------------------------------ */

static const char *const names[] = {"curing", "rocket", "mpo", "svdllm", "saes"};
enum { N_NAMES = sizeof names / sizeof *names };

static void ratio_is_kept_in_bytes(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{64, 64}, {100, 37}, {37, 1000}, {4096, 11008}};
    static const char *const options[] = {"ratio=0.3", "ratio=0.8,storage=1", "ratio=0.5,factor_bits=4,storage=1"};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t i = 0; i < N_NAMES; i++)
            for (size_t t = 0; t < sizeof options / sizeof *options; t++) {
                const wc_method *m = wc_method_find(names[i]);
                void *opt = util_options(m, options[t]);
                wc_place at = {.rows = shapes[s][0], .cols = shapes[s][1]};
                double room = 2 * atof(options[t] + 6) * (double)at.rows * (double)at.cols;
                wc_part part;
                wc_ctx ctx;
                uint64_t bytes, next;
                wc_ctx_init(&ctx, 1);
                const char *why = m->applies(&at, opt);
                if (why) {
                    assert_non_null(strstr(why, "no room for rank 1"));
                    free(opt);
                    continue;
                }
                m->plan(&at, opt, &part);
                assert_int_equal(wc_part_bytes(&ctx, &part, &bytes), WC_OK);
                size_t rank = part.lowrank.rank;
                wc_part_free(&part), free(opt);
                assert_true((double)bytes <= room + 8.0 * (double)(at.rows + rank) + 64); /* padding of grids' rows */
                char more[96];
                snprintf(more, sizeof more, "rank=%zu%s", rank + 1,
                         strchr(options[t], ',') ? strchr(options[t], ',') : "");
                opt = util_options(m, more);
                if (!m->applies(&at, opt)) {
                    m->plan(&at, opt, &part);
                    assert_int_equal(wc_part_bytes(&ctx, &part, &next), WC_OK);
                    if ((double)next <= room)
                        fail_msg("%s(%s) of %zu x %zu: rank %zu has room", names[i], options[t], at.rows, at.cols,
                                 rank + 1);
                    wc_part_free(&part);
                }
                free(opt);
            }
}

static void impossible_options_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *options;
        size_t m, n;
        const char *why;
    } cases[] = {
        {"svd", "rank=32,storage=1", 32, 64, "storage=pifa needs a rank below the number of rows"},
        {"svd", "ratio=1,storage=1", 1, 64, "storage=pifa needs a rank below the number of rows"},
        {"svd", "rank=64,storage=1", 32, 64, "the rank exceeds min(rows, cols)"},
        {"svd", "rank=32,storage=1", 64, 32, NULL},
        {"curing", "rank=33", 32, 64, "the rank exceeds min(rows, cols)"},
        {"curing", "ratio=0.001", 32, 64, "the ratio has no room for rank 1"},
        {"curing", "ratio=0.001,floor=3", 32, 64, NULL},
        {"curing", "ratio=0", 32, 64, "neither a rank nor a ratio is given"},
        {"rocket", "rank=3,factor_bits=12", 32, 64, "factor_bits is 4 to 8, or 16"},
        {"rocket", "rank=40", 32, 64, "the rank exceeds min(rows, cols)"},
        {"mpo", "rank=4,m2=5", 32, 64, "m2 does not divide the rows"},
        {"mpo", "rank=4,n2=128", 32, 64, "n2 does not divide the columns"},
        {"mpo", "rank=33", 32, 64, "the rank exceeds the smaller side of the two cores"},
        {"mpo", "rank=2,m2=1,n2=1", 32, 64, "the rank exceeds the smaller side of the two cores"},
        {"mpo", "ratio=0.5", 31, 61, NULL},
    };
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
        const wc_method *m = wc_method_find(cases[t].name);
        void *opt = util_options(m, cases[t].options);
        const char *why = m->applies(&(wc_place){.rows = cases[t].m, .cols = cases[t].n}, opt);
        if (cases[t].why) {
            assert_non_null(why);
            assert_string_equal(why, cases[t].why);
        } else if (why) {
            fail_msg("%s(%s): %s", cases[t].name, cases[t].options, why);
        }
        free(opt);
    }
    const wc_method *svd = wc_method_find("svd");
    void *opt = util_options(svd, "ratio=0.01,floor=50");
    wc_part part;
    svd->plan(&(wc_place){.rows = 100, .cols = 40}, opt, &part);
    assert_int_equal(part.lowrank.rank, 40);
    wc_part_free(&part), free(opt);
    opt = util_options(svd, "ratio=0.8,storage=1"); /* the figure of the paper's formula */
    svd->plan(&(wc_place){.rows = 4096, .cols = 4096}, opt, &part);
    assert_int_equal(part.lowrank.rank, 2264);
    wc_part_free(&part), free(opt);
}

/* One row, one column, one element, dead inputs, too few tokens, zero and rank-deficient weights, numbers far from 1.
 */
static void odd_matrices_are_met(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{2, 1}, {9, 1}, {16, 40}, {40, 16}, {7, 13}, {1, 9}};
    static const char *const options[] = {"rank=1", "rank=1,factor_bits=4", "rank=1,storage=1",
                                          "rank=1,factor_bits=4,storage=1"};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t i = 0; i < N_NAMES; i++)
            for (int t = 0; t < 4; t++) {
                if (shapes[s][0] == 1 && i > 2 && t > 1) continue; /* no pivots of one row */
                struct layer l = make_layer(shapes[s][0], shapes[s][1]);
                for (size_t j = 0; j < l.n; j++)
                    l.h[j * l.n] = l.h[j] = 0;
                double before = whole(&l, NULL), after = left(names[i], options[t], &l, NULL);
                assert_true(isfinite(after) && (i == 0 || after < 1.2 * before));
                for (size_t k = 0; k < l.m * l.n; k++)
                    l.w[k] *= 1e-3f;
                assert_true(left(names[i], options[t], &l, NULL) < 1.1e-6 * (after > before ? after : before));
                memset(l.w, 0, l.m * l.n * sizeof *l.w);
                assert_true(left(names[i], options[t], &l, NULL) == 0);
                free_layer(&l);
            }
}

static void deficient_matrices_are_met(void **unused)
{
    (void)unused;
    static const char *const options[] = {"rank=12", "rank=12,storage=1", "rank=20"};
    for (int deficient = 0; deficient < 2; deficient++)
        for (size_t i = 0; i < N_NAMES; i++)
            for (int t = 0; t < 3; t++) {
                if (t == 2 && i > 2) continue;
                struct layer l = make_layer(20, 30);
                if (deficient) { /* weights of rank 2 */
                    for (size_t k = 0; k < l.m * l.n; k++)
                        l.w[k] = (float)(sin((double)(k % l.n)) + 0.3 * (double)(k / l.n) * cos((double)(k % l.n)));
                } else { /* 9 tokens for 30 inputs */
                    free(l.h);
                    l.h = util_moments(30, 9, 1, 0);
                    l.stats.h = l.h;
                }
                double e = left(names[i], options[t], &l, l.h) / whole(&l, l.h);
                if (deficient && i != 2 && !(e < 1e-3)) fail_msg("%s(%s) leaves %g", names[i], options[t], e);
                assert_true(e < 0.9);
                free_layer(&l);
            }
}

static void bad_numbers_are_refused(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < N_NAMES; i++) {
        struct layer l = make_layer(16, 20);
        l.w[7] = NAN;
        assert_int_equal(run_method(&ctx, names[i], "rank=2", &l, &part), WC_NUMERIC);
        wc_clear_error(&ctx);
        l.w[7] = 0;
        for (size_t k = 0; k < l.m * l.n; k++)
            l.w[k] *= 1e20f;
        assert_int_equal(run_method(&ctx, names[i], "rank=2", &l, &part), WC_NUMERIC);
        assert_non_null(strstr(ctx.error, "exceeds 65504"));
        wc_clear_error(&ctx);
        free_layer(&l);
    }
}

/* Every byte of every factor for 1 and 3 threads. */
static void threads_change_nothing(void **unused)
{
    (void)unused;
    static const char *const options[] = {"rank=12", "rank=12,factor_bits=4", "rank=12,storage=1"};
    struct layer l = make_layer(300, 48);
    float *c = make_drift(&l);
    l.stats.c = c;
    for (size_t i = 0; i < N_NAMES; i++)
        for (int t = 0; t < 3; t++) {
            wc_ctx ctx[2];
            wc_part part[2];
            float *w[2];
            for (int k = 0; k < 2; k++) {
                wc_ctx_init(&ctx[k], k ? 3 : 1);
                assert_int_equal(run_method(&ctx[k], names[i], options[t], &l, &part[k]), WC_OK);
                w[k] = expand(&part[k]);
                wc_part_free(&part[k]);
            }
            assert_memory_equal(w[0], w[1], l.m * l.n * sizeof *w[0]);
            free(w[0]), free(w[1]);
        }
    free(c), free_layer(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_is_the_published_one),
        cmocka_unit_test(full_rank_is_exact),
        cmocka_unit_test(pivot_rows_are_the_same_product),
        cmocka_unit_test(saes_is_best_against_the_original),
        cmocka_unit_test(the_best_blend_is_found),
        cmocka_unit_test(curing_keeps_weights),
        cmocka_unit_test(rocket_keeps_the_largest_coefficients),
        cmocka_unit_test(ratio_is_kept_in_bytes),
        cmocka_unit_test(impossible_options_are_refused),
        cmocka_unit_test(odd_matrices_are_met),
        cmocka_unit_test(deficient_matrices_are_met),
        cmocka_unit_test(bad_numbers_are_refused),
        cmocka_unit_test(threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
