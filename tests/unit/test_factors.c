/* svd, asvd, fwsvd, svdllm, saes, lqer, qera, eora: one method under eight names. The theorem itself is tested in
 * test_projector.c. */
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
#include "solve/projector.h"

static const char *const names[] = {"svd", "asvd", "fwsvd", "svdllm", "saes", "lqer", "qera", "eora"};
enum { N_NAMES = sizeof names / sizeof *names };

static float *factor(const wc_part *p)
{
    if (p->kind == WC_PART_GRID) return util_dequantize(&p->grid);
    const wc_float *f = &p->floats;
    float *x = malloc(f->rows * f->cols * sizeof *x);
    for (size_t i = 0; i < f->rows * f->cols; i++)
        x[i] = wc_f16_f32((uint16_t)(f->data[2 * i] | f->data[2 * i + 1] << 8));
    return x;
}

/* A B [rows, cols] by three loops. */
static float *product(const wc_lowrank *l)
{
    float *a = factor(l->a), *b = factor(l->b), *w = malloc(l->rows * l->cols * sizeof *w);
    for (size_t i = 0; i < l->rows; i++)
        for (size_t j = 0; j < l->cols; j++) {
            double sum = 0;
            for (size_t k = 0; k < l->rank; k++)
                sum += (double)a[i * l->rank + k] * (double)b[k * l->cols + j];
            w[i * l->cols + j] = (float)sum;
        }
    free(a), free(b);
    return w;
}

/* tr(D H D^T) that the method leaves; h NULL: of the identity. */
static double left(const char *name, const char *options, const struct layer *l, const float *h)
{
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 2);
    assert_int_equal(run_method(&ctx, name, options, l, &part), WC_OK);
    float *w = product(&part.lowrank);
    double error = util_error(l->w, w, l->m, l->n, h);
    free(w);
    wc_part_free(&part);
    return error;
}

static double tail(const struct layer *l, const float *h, size_t rank)
{
    wc_ctx ctx;
    wc_projector p;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_projector_make(&ctx, "t", l->w, l->m, l->n, &(wc_metric){.h = h}, rank, &p), WC_OK);
    double sum = p.total;
    for (size_t j = 0; j < rank; j++)
        sum -= p.lambda[j];
    wc_projector_free(&p);
    return sum;
}

/* What the bytes leave is the sum of the discarded eigenvalues, and at full rank (all 40 of 48 x 40) nothing, up to the
 * factors' rounding, as a part of tr(W H W^T): 1e-7 for f16; 4e-5 for 8 bits; 1e-2 for 4. */
static void error_is_that_of_the_theorem(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        size_t rank;
        double rounding;
    } cases[] = {
        {"rank=6", 6, 1e-6},
        {"rank=40", 40, 1e-6},
        {"rank=6,factor_bits=8", 6, 3e-4},
        {"rank=40,factor_bits=8", 40, 3e-4},
        {"rank=6,factor_bits=4", 6, 4e-2},
    };
    static const size_t shapes[][2] = {{48, 40}, {40, 48}};
    for (size_t s = 0; s < 2; s++) {
        struct layer l = make_layer(shapes[s][0], shapes[s][1]);
        float *zero = calloc(l.m * l.n, sizeof *zero);
        for (int full = 0; full < 2; full++)
            for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
                const float *h = full ? l.h : NULL;
                double truth = tail(&l, h, cases[t].rank), whole = util_error(l.w, zero, l.m, l.n, h);
                double error = left(full ? "svdllm" : "svd", cases[t].options, &l, h);
                assert_true(error >= truth - 1e-6 * whole && error <= truth + cases[t].rounding * whole);
            }
        free(zero), free_layer(&l);
    }
}

/* What is repaired is what rtn left at 3 bits. Exact below diagonal below nothing, always; 8-bit factors lose less than
 * 2 % of the best possible, 4-bit ones cannot beat them. */
static void compensation_reduces_the_error(void **unused)
{
    (void)unused;
    for (int seed = 0; seed < 6; seed++) {
        struct layer l = make_layer(seed % 2 ? 48 : 96, 64);
        const wc_method *rtn = wc_method_find("rtn");
        void *opt = util_options(rtn, "bits=3");
        wc_ctx ctx;
        wc_part part;
        wc_ctx_init(&ctx, 1);
        wc_job job = {.ctx = &ctx, .tensor = "t", .at = {.rows = l.m, .cols = l.n}, .w = l.w, .stats = &l.stats};
        assert_int_equal(rtn->run(&job, opt, &part), WC_OK);
        float *q = util_dequantize(&part.grid), *zero = calloc(l.m * l.n, sizeof *zero);
        for (size_t i = 0; i < l.m * l.n; i++)
            l.w[i] -= q[i];
        double before = util_error(l.w, zero, l.m, l.n, l.h), best = tail(&l, l.h, 8);
        double eora = left("eora", "rank=8", &l, l.h), four = left("eora", "rank=8,factor_bits=4", &l, l.h);
        double rms = left("qera", "rank=8,metric=2", &l, l.h);
        assert_true(best < 0.8 * before); /* there is something to repair */
        assert_true(eora < 1.02 * best && four > eora && four < before);
        assert_true(rms > eora && rms < before);
        assert_true(left("eora", "rank=1", &l, l.h) < before);
        assert_true(left("lqer", "rank=8", &l, l.h) < before);
        assert_true(left("svd", "rank=8,factor_bits=8", &l, NULL) < left("eora", "rank=8", &l, NULL));
        free(q), free(zero), free(opt);
        wc_part_free(&part), free_layer(&l);
    }
}

static void assert_same_part(const wc_part *x, const wc_part *y)
{
    assert_int_equal(x->kind, y->kind);
    if (x->kind == WC_PART_LOWRANK) {
        assert_int_equal(x->lowrank.rank, y->lowrank.rank);
        assert_same_part(x->lowrank.a, y->lowrank.a);
        assert_same_part(x->lowrank.b, y->lowrank.b);
    } else if (x->kind == WC_PART_FLOAT) {
        assert_memory_equal(x->floats.data, y->floats.data, 2 * x->floats.rows * x->floats.cols);
    } else {
        assert_memory_equal(x->grid.code, y->grid.code, x->grid.rows * x->grid.cols);
        assert_int_equal(x->grid.scale_exp, y->grid.scale_exp);
    }
}

/* Names that the papers' algebra makes equal give equal numbers, and so do 1 and 3 threads. */
static void presets_that_are_equal_are_equal(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *options, *other, *others;
    } cases[] = {
        {"eora", "", "qera", ""},
        {"eora", "", "svdllm", "rank=32,factor_bits=8"},
        {"asvd", "rank=5,alpha=0", "svd", "rank=5"},
        {"lqer", "rank=7", "asvd", "rank=7,factor_bits=8,alpha=1"},
        {"qera", "rank=7,metric=0", "svd", "rank=7,factor_bits=8"},
        {"svdllm", "ratio=0.5", "svdllm", "ratio=0.5"},
        {"svdllm", "rank=9,storage=1", "svdllm", "rank=9,storage=1"},
        {"fwsvd", "rank=9", "qera", "rank=9,factor_bits=16,metric=2"},
        {"saes", "rank=9", "svdllm", "rank=9"}, /* without drift */
    };
    struct layer l = make_layer(300, 64);
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
        wc_ctx one, three;
        wc_part x, y;
        wc_ctx_init(&one, 1), wc_ctx_init(&three, 3);
        assert_int_equal(run_method(&one, cases[t].name, cases[t].options, &l, &x), WC_OK);
        assert_int_equal(run_method(&three, cases[t].other, cases[t].others, &l, &y), WC_OK);
        assert_same_part(&x, &y);
        wc_part_free(&x), wc_part_free(&y);
    }
    for (size_t i = 0; i < l.n; i++) /* a diagonal H is no more than its diagonal */
        for (size_t j = 0; j < l.n; j++)
            if (i != j) l.h[i * l.n + j] = 0;
    double full = left("qera", "rank=7,factor_bits=16", &l, l.h);
    assert_true(fabs(left("qera", "rank=7,factor_bits=16,metric=2", &l, l.h) / full - 1) < 1e-4);
    free_layer(&l);
}

/* Bits by the card of docs/FORMAT.md, without the padding of sections. */
static double bits_of(const wc_part *p)
{
    if (p->kind == WC_PART_FLOAT) return 16.0 * (double)(p->floats.rows * p->floats.cols);
    const wc_grid *g = &p->grid;
    size_t groups = wc_grid_groups(g);
    return (double)g->rows *
           ((double)(g->cols * g->bits) + 16 + (g->scale_bits ? (double)(groups * g->scale_bits) : 0));
}

static void ratio_gives_the_largest_rank(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{1, 1}, {64, 64}, {100, 37}, {37, 1000}, {4096, 11008}};
    static const char *const ratios[] = {"ratio=0.01", "ratio=0.3", "ratio=0.8", "ratio=1"};
    static const int bits[] = {4, 8, 16};
    const wc_method *svd = wc_method_find("svd");
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t t = 0; t < 4; t++)
            for (size_t b = 0; b < 3; b++) {
                size_t m = shapes[s][0], n = shapes[s][1], rank = 0;
                char text[64], next[64];
                snprintf(text, sizeof text, "%s,factor_bits=%d", ratios[t], bits[b]);
                double most = atof(ratios[t] + 6) * 16 * (double)m * (double)n, over = INFINITY;
                void *opt = util_options(svd, text);
                wc_part part;
                if (!svd->applies(&(wc_place){.rows = m, .cols = n}, opt)) {
                    svd->plan(&(wc_place){.rows = m, .cols = n}, opt, &part);
                    rank = part.lowrank.rank;
                    assert_true(bits_of(part.lowrank.a) + bits_of(part.lowrank.b) <= most);
                    wc_part_free(&part);
                }
                free(opt);
                if (rank == wc_min(m, n)) continue;
                snprintf(next, sizeof next, "rank=%zu,factor_bits=%d", rank + 1, bits[b]);
                opt = util_options(svd, next);
                svd->plan(&(wc_place){.rows = m, .cols = n}, opt, &part);
                over = bits_of(part.lowrank.a) + bits_of(part.lowrank.b);
                assert_true(over > most);
                wc_part_free(&part), free(opt);
            }
    void *opt = util_options(svd, ""); /* SVD-LLM's figure for a keep ratio of 0.8 */
    wc_part part;
    svd->plan(&(wc_place){.rows = 4096, .cols = 4096}, opt, &part);
    assert_int_equal(part.lowrank.rank, 1638);
    wc_part_free(&part), free(opt);
}

static void impossible_options_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        const char *options, *why;
    } cases[] = {
        {"rank=33", "the rank exceeds min(rows, cols)"},
        {"rank=2,factor_bits=12", "factor_bits is 4 to 8, or 16"},
        {"rank=0,ratio=0", "neither a rank nor a ratio is given"},
        {"rank=0,ratio=0.0001", "the ratio has no room for rank 1"},
        {"rank=32", NULL},
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        const wc_method *m = wc_method_find(names[i]);
        assert_non_null(m);
        assert_int_equal(m->needs, i ? WC_NEEDS_HESSIAN : 0);
        for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
            void *opt = util_options(m, cases[t].options);
            const char *why = m->applies(&(wc_place){.rows = 32, .cols = 64}, opt);
            if (cases[t].why)
                assert_string_equal(why, cases[t].why);
            else
                assert_null(why);
            free(opt);
        }
    }
}

/* Zero matrices, one element, one row, dead inputs, ranks above the matrix's own, numbers far from 1. */
static void odd_matrices_are_met(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {16, 40}, {40, 16}};
    static const char *const options[] = {"rank=1,factor_bits=16", "rank=1,factor_bits=4"};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t i = 0; i < N_NAMES; i++)
            for (int t = 0; t < 2; t++) {
                struct layer l = make_layer(shapes[s][0], shapes[s][1]);
                float *zero = calloc(l.m * l.n, sizeof *zero);
                for (size_t j = 0; j < l.n; j++)
                    l.h[j * l.n] = l.h[j] = 0;
                l.abs_mean[0] = 0;
                double before = util_error(l.w, zero, l.m, l.n, NULL);
                assert_true(left(names[i], options[t], &l, NULL) < 1.05 * before);
                for (size_t k = 0; k < l.m * l.n; k++)
                    l.w[k] *= 1e-6f;
                assert_true(left(names[i], options[t], &l, NULL) < 1.05e-12 * before);
                memset(l.w, 0, l.m * l.n * sizeof *l.w);
                assert_true(left(names[i], options[t], &l, NULL) == 0);
                free(zero), free_layer(&l);
            }
    struct layer l = make_layer(20, 30);
    for (size_t i = 0; i < l.m; i++)
        for (size_t j = 0; j < l.n; j++)
            l.w[i * l.n + j] = (float)((double)(i + 1) * sin((double)j)); /* rank 1 */
    double norm = 0;
    for (size_t i = 0; i < l.m * l.n; i++)
        norm += (double)l.w[i] * (double)l.w[i];
    assert_true(tail(&l, NULL, 1) < 1e-10 * norm);
    assert_true(left("svd", "rank=20,factor_bits=16", &l, NULL) < 1e-6 * norm);
    assert_true(left("eora", "rank=20,factor_bits=8", &l, NULL) < 1e-3 * norm);
    wc_ctx ctx;
    wc_part part;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < l.m * l.n; i++)
        l.w[i] *= 1e20f;
    assert_int_equal(run_method(&ctx, "svd", "rank=2", &l, &part), WC_NUMERIC);
    assert_non_null(strstr(ctx.error, "exceeds 65504"));
    wc_clear_error(&ctx);
    l.w[7] = NAN;
    assert_int_equal(run_method(&ctx, "eora", "rank=2", &l, &part), WC_NUMERIC);
    free_layer(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_that_of_the_theorem),     cmocka_unit_test(compensation_reduces_the_error),
        cmocka_unit_test(presets_that_are_equal_are_equal), cmocka_unit_test(ratio_gives_the_largest_rank),
        cmocka_unit_test(impossible_options_are_refused),   cmocka_unit_test(odd_matrices_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
