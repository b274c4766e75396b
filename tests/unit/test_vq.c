/* gptvq and aqlm: against exhaustive search, a numpy oracle, known figures and identities. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "kernels/vq.h"
#include "lut_util.h"
#include "solve/vq_solve.h"

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

/* Value k of entry `code' of codebook m of a block, in the arithmetic of base/part.h. */
static float entry_value(const wc_vq *v, size_t block, size_t m, size_t code, size_t k)
{
    size_t book = block * v->books + m, at = ((book << v->bits) + code) * v->dim + k;
    return v->entry ? wc_f16_f32(v->entry[at]) : wc_f16_f32(v->step[book]) * (float)v->small_entry[at];
}

static float scale_value(const wc_vq *v, size_t r, size_t c)
{
    size_t groups = wc_vq_groups(v), at = r * groups + c / v->group;
    float s = ldexpf(v->scaled ? wc_f16_f32(v->scale[v->scale_bits ? r : at]) : 1, v->scale_exp);
    return v->scale_bits ? s * (float)v->scale_code[at] : s;
}

static float *vq_dense(const wc_vq *v)
{
    float *w = malloc(v->rows * v->cols * sizeof *w);
    size_t vectors = (v->cols + v->dim - 1) / v->dim, across = (v->cols + v->block_cols - 1) / v->block_cols;
    for (size_t r = 0; r < v->rows; r++)
        for (size_t c = 0; c < v->cols; c++) {
            size_t block = r / v->block_rows * across + c / v->block_cols;
            float t = 0;
            for (size_t m = 0; m < v->books; m++)
                t += entry_value(v, block, m, v->code[(r * v->books + m) * vectors + c / v->dim], c % v->dim);
            t *= scale_value(v, r, c);
            w[r * v->cols + c] = v->signs && v->sign[r * v->cols + c] ? -t : t;
        }
    return w;
}

static wc_vq vq_of(const char *method, const char *options, const float *w, size_t rows, size_t cols, const float *h,
                   int threads)
{
    struct made r = make_part(method, options, w, rows, cols, h, 0, threads);
    if (r.status != WC_OK) fail_msg("%s(%s): %s", method, options, r.error);
    assert_int_equal(r.part.kind, WC_PART_VQ);
    return r.part.vq;
}

static void free_vq(wc_vq *v)
{
    wc_part part = {.kind = WC_PART_VQ, .vq = *v};
    wc_part_free(&part);
}

static double error_of(const char *method, const char *options, const float *w, size_t rows, size_t cols,
                       const float *h, const float *measure)
{
    wc_vq v = vq_of(method, options, w, rows, cols, h, 2);
    float *q = vq_dense(&v);
    double e = util_error(w, q, rows, cols, measure);
    free(q), free_vq(&v);
    return e;
}

static void assert_same_vq(const wc_vq *a, const wc_vq *b)
{
    size_t books = wc_vq_blocks(a) * a->books, entries = (books << a->bits) * a->dim;
    assert_int_equal(a->scale_exp, b->scale_exp);
    assert_memory_equal(a->code, b->code, a->rows * a->books * wc_vq_vectors(a) * sizeof *a->code);
    if (a->entry) assert_memory_equal(a->entry, b->entry, entries * sizeof *a->entry);
    if (a->small_entry) assert_memory_equal(a->small_entry, b->small_entry, entries);
    if (a->step) assert_memory_equal(a->step, b->step, books * sizeof *a->step);
    if (a->scale)
        assert_memory_equal(a->scale, b->scale, a->rows * (a->scale_bits ? 1 : wc_vq_groups(a)) * sizeof *a->scale);
    if (a->scale_code) assert_memory_equal(a->scale_code, b->scale_code, a->rows * wc_vq_groups(a));
    if (a->sign) assert_memory_equal(a->sign, b->sign, a->rows * a->cols);
}

/* H of the solver, in its units: what wc_vq_solve gets. */
static wc_hessian factor_of(const float *h, size_t n, double damp, wc_order order, size_t width)
{
    wc_ctx ctx;
    wc_hessian out;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_hessian_make(&ctx, "t", h, n, damp, order, width, &out), WC_OK);
    return out;
}

/* ---- search ----------------------------------------------------------------------------------------------------- */

/* x A x^T for the distance of columns first .. first + d of row r from the sum of entries that `codes' names. */
static double cost_of(const wc_vq *v, const float *w, size_t r, size_t vector, const size_t *codes, const float *h)
{
    size_t first = vector * v->dim, d = wc_min(v->dim, v->cols - first);
    double e[16], sum = 0;
    for (size_t j = 0; j < d; j++) {
        e[j] = 0;
        for (size_t m = 0; m < v->books; m++)
            e[j] += (double)entry_value(v, 0, m, codes[m], j);
        e[j] = (double)w[r * v->cols + first + j] - e[j] * (double)scale_value(v, r, first);
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            sum += e[i] * (double)h[(first + i) * v->cols + first + j] * e[j];
    return sum;
}

/* With room for all sums the search is exhaustive: no choice of codes costs less in the block's own metric. With room
 * for one it is the usual greedy residual quantization, which loses on some vectors. */
static void full_beam_is_exhaustive(void **unused)
{
    (void)unused;
    enum { ROWS = 16, COLS = 11, K = 8 };
    float *w = util_normals(ROWS * COLS), *h = util_moments(COLS, 60, 1, 0.01), *hd = util_damped(h, COLS, 0.01);
    double greedy = 0, full = 0;
    for (int beam = 1; beam <= 64; beam += 63) {
        char options[96];
        snprintf(options, sizeof options, "dim=4,bits=1.5,code_bits=3,feedback=0,cd=0,entry_bits=16,beam=%d", beam);
        wc_vq v = vq_of("aqlm", options, w, ROWS, COLS, h, 1);
        assert_int_equal(v.books, 2);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < 3; i++) {
                size_t ours[2] = {v.code[(r * 2) * 3 + i], v.code[(r * 2 + 1) * 3 + i]}, all[2];
                double least = INFINITY, got = cost_of(&v, w, r, i, ours, hd);
                for (all[0] = 0; all[0] < K; all[0]++)
                    for (all[1] = 0; all[1] < K; all[1]++)
                        least = fmin(least, cost_of(&v, w, r, i, all, hd));
                if (beam > 1) assert_true(got <= least * (1 + 1e-4) + 1e-6);
                *(beam > 1 ? &full : &greedy) += got;
            }
        free_vq(&v);
    }
    print_message("greedy %.5g, all sums kept %.5g\n", greedy, full);
    assert_true(full < 0.99 * greedy);
    free(w), free(h), free(hd);
}

/* The lists are those of a sort, at every level the same bits. */
static void kernel_keeps_the_best(void **unused)
{
    (void)unused;
    enum { K = 37, F = 5, BEAM = 6, L = WCK_VQ_LANES };
    float *table = util_normals(K * F), *norm = util_normals(K), *g = util_normals(F * L), *base = util_normals(L);
    float score[2][BEAM * L];
    uint32_t pick[2][BEAM * L];
    wck_vq_table t = {K, F, table, norm};
    for (wck_level l = 0; l <= wck_level_supported(); l++)
        for (size_t beam = 1; beam <= BEAM; beam++) {
            int at = l != 0;
            for (size_t i = 0; i < BEAM * L; i++)
                score[at][i] = INFINITY, pick[at][i] = 0;
            wck_vq_at(l)->search(&t, g, base, 100, beam, score[at], pick[at]);
            for (size_t r = 0; r < L && !at; r++)
                for (size_t b = 0; b < beam; b++) {
                    size_t better = 0, k = pick[0][b * L + r] - 100;
                    float own = score[0][b * L + r];
                    for (size_t i = 0; i < K; i++) {
                        float s = base[r] + norm[i];
                        for (size_t j = 0; j < F; j++)
                            s += table[i * F + j] * g[j * L + r];
                        better += s < own;
                        if (i == k) assert_true(s == own);
                    }
                    assert_int_equal(better, b);
                }
            if (beam < BEAM) continue;
            assert_memory_equal(score[at], score[0], sizeof score[0]);
            assert_memory_equal(pick[at], pick[0], sizeof pick[0]);
        }
    free(table), free(norm), free(g), free(base);
}

/* ---- the oracle ------------------------------------------------------------------------------------------------- */

static void file(const char *folder, const char *name, const char *mode, void *x, size_t bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(*mode == 'w' ? fwrite(x, 1, bytes, f) : fread(x, 1, bytes, f), bytes);
    fclose(f);
}

static void run_oracle(const char *folder, const char *arguments)
{
    char command[512];
    snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/gptvq.py %s %s", folder, arguments);
    assert_int_equal(system(command), 0);
}

static void drop_folder(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* Seeds, rounds of EM in the metric of the blocks and the sweep with exact block feedback, written in numpy with the
 * factor of the inverse: the same weights but for near ties (usually all; a wrong metric or order leaves under 60 %).
 */
static void em_and_feedback_are_the_oracles(void **unused)
{
    (void)unused;
    static const struct {
        size_t rows, cols, dim, entries, em;
    } cases[] = {{24, 24, 2, 8, 0}, {40, 32, 4, 16, 1}, {60, 24, 2, 16, 3}, {30, 20, 1, 4, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t rows = cases[i].rows, cols = cases[i].cols, size = rows * cols, same = 0;
        char folder[] = "/tmp/wc_gptvq_XXXXXX", text[128];
        assert_non_null(mkdtemp(folder));
        float *w = util_normals(size), *h = util_moments(cols, 4 * cols, 1, 0.01), *hd = util_damped(h, cols, 0.01);
        float *oracle = malloc(size * sizeof *oracle);
        file(folder, "w.bin", "wb", w, size * sizeof *w);
        file(folder, "h.bin", "wb", h, cols * cols * sizeof *h);
        snprintf(text, sizeof text, "%zu %zu %zu %zu %zu 0.01", rows, cols, cases[i].dim, cases[i].entries,
                 cases[i].em);
        run_oracle(folder, text);
        file(folder, "what.bin", "rb", oracle, size * sizeof *oracle);
        snprintf(text, sizeof text, "dim=%zu,bits=%g,em=%zu,cd=0,order=0,entry_bits=16", cases[i].dim,
                 log2((double)cases[i].entries) / (double)cases[i].dim, cases[i].em);
        wc_vq v = vq_of("gptvq", text, w, rows, cols, h, 2);
        float *q = vq_dense(&v);
        for (size_t a = 0; a < size; a++)
            same += fabsf(q[a] - oracle[a]) <= 2e-3f * fabsf(oracle[a]) + 1e-6f;
        double ours = util_error(w, q, rows, cols, hd), theirs = util_error(w, oracle, rows, cols, hd);
        print_message("%s: ours / oracle %.5f, equal weights %.1f %%\n", text, ours / theirs,
                      100 * (double)same / (double)size);
        assert_true(same > 0.97 * (double)size && fabs(ours / theirs - 1) < 0.01);
        drop_folder(folder);
        free(w), free(h), free(hd), free(oracle), free(q), free_vq(&v);
    }
}

/* For the codes and scales that come out, conjugate gradients reach the least squares optimum over all codebooks at
 * once (numpy's lstsq): within 1e-4 with 60 steps, and an eighth of them is nearly there. */
static void codebooks_are_least_squares(void **unused)
{
    (void)unused;
    enum { ROWS = 32, COLS = 16 };
    static const struct {
        const char *method, *options;
        unsigned dim, books, entries;
        double room;
    } cases[] = {{"gptvq", "dim=2,bits=2,order=0,cd=1,steps=60,entry_bits=16", 2, 1, 16, 1e-4},
                 {"aqlm", "dim=4,bits=2,code_bits=4,cd=2,steps=60,entry_bits=16", 4, 2, 16, 1e-3},
                 {"aqlm", "dim=4,bits=2,code_bits=4,cd=2,entry_bits=16", 4, 2, 16, 0.05}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[] = "/tmp/wc_gptvq_XXXXXX", text[128];
        float *w = util_normals(ROWS * COLS), *h = util_moments(COLS, 64, 1, 0.01), *hd = util_damped(h, COLS, 0.01);
        float scale[ROWS];
        double best;
        wc_vq v = vq_of(cases[i].method, cases[i].options, w, ROWS, COLS, h, 1);
        float *q = vq_dense(&v);
        for (size_t r = 0; r < ROWS; r++)
            scale[r] = scale_value(&v, r, 0);
        assert_non_null(mkdtemp(folder));
        file(folder, "w.bin", "wb", w, ROWS * COLS * sizeof *w);
        file(folder, "h.bin", "wb", h, COLS * COLS * sizeof *h);
        file(folder, "scale.bin", "wb", scale, sizeof scale);
        file(folder, "code.bin", "wb", v.code, ROWS * v.books * wc_vq_vectors(&v) * sizeof *v.code);
        snprintf(text, sizeof text, "--books %d %d %u %u %u 0.01", ROWS, COLS, cases[i].dim, cases[i].books,
                 cases[i].entries);
        run_oracle(folder, text);
        file(folder, "best.bin", "rb", &best, sizeof best);
        double ours = util_error(w, q, ROWS, COLS, hd);
        print_message("%s(%s): %.6g, least squares %.6g\n", cases[i].method, cases[i].options, ours, best);
        assert_true(ours > best * (1 - 1e-5) && ours < best * (1 + cases[i].room));
        drop_folder(folder);
        free(w), free(h), free(hd), free(q), free_vq(&v);
    }
}

/* ---- known figures ---------------------------------------------------------------------------------------------- */

/* Relative squared error on N(0, 1): one column per vector is the quantizer of Lloyd and Max; several are what k-means
 * in numpy leaves of 200000 samples (two runs with 2 x 16: 0.1078, 0.1091; 2 x 64: 0.0295; 4 x 256: 0.0959), which is
 * where codebooks on as few samples as here end. */
static void gaussian_errors(void **unused)
{
    (void)unused;
    static const struct {
        const char *method, *options;
        double truth, tolerance;
    } table[] = {
        {"gptvq", "dim=1,bits=2,feedback=0,cd=0,em=60", 0.1175, 0.01},
        {"gptvq", "dim=1,bits=3,feedback=0,cd=0,em=60", 0.03455, 0.02},
        {"gptvq", "dim=2,bits=2,feedback=0,cd=0,em=60", 0.1085, 0.02},
        {"gptvq", "dim=2,bits=3,feedback=0,cd=0,em=60", 0.0295, 0.02},
    };
    size_t rows = 96, cols = 512;
    float *w = util_normals(rows * cols), *zero = calloc(rows * cols, sizeof *zero),
          *h = calloc(cols * cols, sizeof *h);
    for (size_t j = 0; j < cols; j++)
        h[j * cols + j] = 1;
    double all = util_error(w, zero, rows, cols, NULL);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double e = error_of(table[i].method, table[i].options, w, rows, cols, h, NULL) / all;
        print_message("%s(%s): %.5f, known %.5f\n", table[i].method, table[i].options, e, table[i].truth);
        assert_true(fabs(e / table[i].truth - 1) < table[i].tolerance);
    }
    free(w), free(zero), free(h);
}

/* Bits of a part as it is stored, with everything. */
static double all_bits(const wc_vq *v)
{
    double books = (double)(wc_vq_blocks(v) * v->books);
    double bits =
        (double)(v->rows * v->books * wc_vq_vectors(v) * v->bits) + (v->signs ? (double)(v->rows * v->cols) : 0);
    bits += books * (ldexp(v->dim, (int)v->bits) * v->entry_bits + (v->entry_bits == 8 ? 16 : 0));
    if (v->scaled)
        bits += v->scale_bits ? (double)v->rows * (16 + v->scale_bits * (double)wc_vq_groups(v))
                              : 16 * (double)(v->rows * wc_vq_groups(v));
    return bits / (double)(v->rows * v->cols);
}

/* At equal bits, codebooks and scales counted, vectors beat the uniform grid (GPTVQ, table 2; usually 0.8 to 0.9 for
 * two columns, less for four), and sums of vectors beat it further. */
static void vectors_beat_the_grid(void **unused)
{
    (void)unused;
    static const struct {
        const char *grid, *method, *options;
        double grid_bits, ratio;
    } table[] = {
        {"bits=3,group=0,scale_bits=0", "gptvq", "bits=3,dim=2", 3 + 16. / 256, 0.95},
        {"bits=2,group=0,scale_bits=0", "gptvq", "bits=2,dim=2", 2 + 16. / 256, 0.92},
        {"bits=2,group=64,scale_bits=4", "gptvq", "bits=2", 2 + 16. / 256 + 4. / 64, 0.8},
        {"bits=2,group=32,scale_bits=4", "aqlm", "bits=2,dim=4,code_bits=4,beam=8", 2 + 16. / 256 + 4. / 32, 0.95},
    };
    size_t rows = 256, cols = 256;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 2 * cols, 1, 0.01), *hd = util_damped(h, cols, 0.01);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct made r = make_part("gptq", table[i].grid, w, rows, cols, h, 0, 2);
        assert_int_equal(r.status, WC_OK);
        float *q = util_dequantize(&r.part.grid);
        double grid = util_error(w, q, rows, cols, hd);
        wc_vq v = vq_of(table[i].method, table[i].options, w, rows, cols, h, 2);
        float *p = vq_dense(&v);
        double ours = util_error(w, p, rows, cols, hd);
        print_message("%s(%s) at %.3f bits: %.4g, gptq(%s) at %.3f: %.4g, ratio %.3f\n", table[i].method,
                      table[i].options, all_bits(&v), ours, table[i].grid, table[i].grid_bits, grid, ours / grid);
        assert_true(all_bits(&v) < table[i].grid_bits + 0.07 && ours < table[i].ratio * grid);
        free(q), free(p), free_vq(&v), wc_part_free(&r.part);
    }
    free(w), free(h), free(hd);
}

/* ---- identities ------------------------------------------------------------------------------------------------- */

static const char *const variants[][2] = {
    {"gptvq", "bits=2"},
    {"gptvq", "bits=3,dim=2,order=0,area=600"},
    {"gptvq", "bits=2,dim=3,group=30,scale_bits=4,feedback=0"},
    {"gptvq", "bits=2,dim=4,signs=1"},
    {"gptvq", "bits=2.5,dim=2,unscaled=1,entry_bits=16,area=5000"},
    {"aqlm", "bits=2,dim=4,code_bits=4"},
    {"aqlm", "bits=3,dim=5,code_bits=5,beam=1,group=50,feedback=0"},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* Every round lowers the damped objective, and the loss that comes back is that objective, from decoded values. */
static void rounds_never_raise_the_error(void **unused)
{
    (void)unused;
    size_t rows = 70, cols = 130;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 2 * cols, 1.5, 0), *hd = util_damped(h, cols, 0.01);
    for (size_t i = 0; i < VARIANTS; i++) {
        double last = INFINITY, first = 0;
        for (int cd = 0; cd < 5; cd++) {
            char options[128];
            snprintf(options, sizeof options, "%s,cd=%d,em=6", variants[i][1], cd);
            double e = error_of(variants[i][0], options, w, rows, cols, h, hd);
            if (!cd) first = e;
            if (!(e <= last * (1 + 1e-5))) fail_msg("%s(%s): %g after %g", variants[i][0], options, e, last);
            last = e;
        }
        print_message("%s(%s): %.4g, after 4 rounds %.4g\n", variants[i][0], variants[i][1], first, last);
        assert_true(last < 0.97 * first);
    }
    free(w), free(h), free(hd);
}

static void the_loss_is_the_damped_error(void **unused)
{
    (void)unused;
    size_t rows = 33, cols = 50;
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    float *w = util_normals(rows * cols), *h = util_moments(cols, 2 * cols, 1.5, 0), *hd = util_damped(h, cols, 0.02);
    for (int rounds = 0; rounds < 3; rounds++) {
        wc_hessian factor = factor_of(h, cols, 0.02, WC_ORDER_ACT, 4);
        wc_vq v = {.rows = rows, .cols = cols, .dim = 4, .books = 1, .bits = 5, .block_rows = rows, .block_cols = cols};
        v.entry_bits = 8, v.scaled = true, v.group = cols;
        wc_vq_problem p = {.tensor = "t", .w = w, .h = &factor, .feedback = true, .em = 5, .beam = 1, .block = 64};
        p.rounds = rounds, p.steps = 6, p.refit = true;
        double loss;
        assert_int_equal(wc_vq_solve(&ctx, &p, &v, &loss), WC_OK);
        float *q = vq_dense(&v);
        double truth = util_error(w, q, rows, cols, hd);
        assert_true(fabs(loss / truth - 1) < 1e-4);
        free(q), free_vq(&v), wc_hessian_free(&factor);
    }
    free(w), free(h), free(hd);
}

/* Runs of `width' columns stay together, those with the largest inputs first, a short one last. */
static void act_order_keeps_vectors_whole(void **unused)
{
    (void)unused;
    enum { N = 23, WIDTH = 4 };
    float *h = util_moments(N, 100, 2, 0.01);
    wc_hessian f = factor_of(h, N, 0.01, WC_ORDER_ACT, WIDTH);
    double last = INFINITY;
    for (size_t b = 0; b < N; b += WIDTH) {
        double sum = 0;
        assert_int_equal(f.order[b] % WIDTH, 0);
        for (size_t j = b; j < wc_min(b + WIDTH, N); j++) {
            assert_int_equal(f.order[j], f.order[b] + (j - b));
            sum += (double)h[f.order[j] * (N + 1)];
        }
        if (b + WIDTH <= N) assert_true(sum <= last);
        last = sum;
    }
    assert_int_equal(f.order[N - 1], N - 1);
    wc_hessian_free(&f), free(h);
}

/* Inputs that do not correlate leave nothing to feed back: sweep and nearest codes agree. */
static void diagonal_moments_need_no_feedback(void **unused)
{
    (void)unused;
    size_t rows = 37, cols = 60;
    float *w = util_normals(rows * cols), *h = calloc(cols * cols, sizeof *h);
    for (size_t j = 0; j < cols; j++)
        h[j * (cols + 1)] = (float)(0.1 + util_uniform());
    wc_vq near = vq_of("aqlm", "dim=4,code_bits=4,feedback=0,cd=0", w, rows, cols, h, 1),
          fed = vq_of("aqlm", "dim=4,code_bits=4,cd=0", w, rows, cols, h, 1);
    size_t same = 0, count = rows * near.books * wc_vq_vectors(&near);
    for (size_t i = 0; i < count; i++)
        same += near.code[i] == fed.code[i];
    assert_true(same > 0.99 * (double)count);
    free_vq(&near), free_vq(&fed);
    free(w), free(h);
}

/* ---- every input ------------------------------------------------------------------------------------------------ */

static void same_bytes_for_any_threads(void **unused)
{
    (void)unused;
    size_t rows = 150, cols = 96;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1.5, 0.01);
    for (size_t i = 0; i < VARIANTS; i++) {
        char options[128];
        snprintf(options, sizeof options, "%s,cd=2,em=4", variants[i][1]);
        wc_vq one = vq_of(variants[i][0], options, w, rows, cols, h, 1),
              three = vq_of(variants[i][0], options, w, rows, cols, h, 3);
        assert_same_vq(&one, &three);
        free_vq(&one), free_vq(&three);
    }
    free(w), free(h);
}

/* Odd shapes, rows of zeros, dead columns, magnitudes from f32's smallest to its largest. */
static void every_shape_and_magnitude(void **unused)
{
    (void)unused;
    static const size_t shapes[][2] = {{1, 1}, {1, 50}, {33, 1}, {17, 41}, {40, 3}};
    static const float magnitudes[] = {1e-42f, 1e-30f, 1, 1e30f, 3e37f};
    for (size_t i = 0; i < 5; i++)
        for (size_t m = 0; m < 5; m++)
            for (size_t o = 0; o < VARIANTS; o++) {
                char options[128];
                size_t rows = shapes[i][0], cols = shapes[i][1];
                float *w = util_normals(rows * cols), *h = util_moments(cols, 100, 1, 0.01);
                for (size_t a = 0; a < rows * cols; a++)
                    w[a] *= a / cols == 2 ? 0 : magnitudes[m];
                for (size_t j = 0; j < cols && cols > 5; j++)
                    h[j * cols + 3] = h[3 * cols + j] = 0;
                snprintf(options, sizeof options, "%s,cd=1,em=2,beam=3", variants[o][1]);
                wc_vq v = vq_of(variants[o][0], options, w, rows, cols, h, 2);
                float *q = vq_dense(&v);
                for (size_t a = 0; a < rows * cols; a++) {
                    if (!isfinite(q[a]))
                        fail_msg("%s %zu x %zu: %g of %g", options, rows, cols, (double)q[a], (double)w[a]);
                    if (a / cols == 2 && v.scaled) assert_true(q[a] == 0);
                }
                free_vq(&v);
                free(w), free(h), free(q);
            }
}

static void trouble_is_named(void **unused)
{
    (void)unused;
    static const struct {
        const char *method, *options, *why;
    } refused[] = {{"gptvq", "bits=2.3,dim=4", "whole number"},    {"gptvq", "bits=4,dim=4", "whole number"},
                   {"gptvq", "bits=1,signs=1", "more than 1 bit"}, {"gptvq", "entry_bits=12", "8 or 16"},
                   {"gptvq", "scale_bits=1", "0 or 2 to 8"},       {"aqlm", "bits=2,dim=5", "one to eight times"},
                   {"aqlm", "bits=8,dim=16", "one to eight times"}};
    size_t rows = 6, cols = 20;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 100, 1, 0.01);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const wc_method *m = wc_method_find(refused[i].method);
        void *opt = util_options(m, refused[i].options);
        const char *why = m->applies(&(wc_place){.rows = rows, .cols = cols}, opt);
        assert_non_null(why);
        assert_non_null(strstr(why, refused[i].why));
        free(opt);
    }
    w[2 * cols + 5] = NAN;
    struct made r = make_part("gptvq", "", w, rows, cols, h, 0, 1);
    assert_int_equal(r.status, WC_BADFILE);
    assert_non_null(strstr(r.error, "row 2, column 5"));
    assert_null(r.part.vq.code);
    w[2 * cols + 5] = 1;
    h[4 * cols + 4] = -1;
    r = make_part("aqlm", "dim=4,code_bits=4", w, rows, cols, h, 0, 1);
    assert_int_equal(r.status, WC_OK);
    assert_true(r.job.fell_back);
    assert_string_equal(r.error, "");
    wc_part_free(&r.part);
    free(w), free(h);
}

/* dim=0 takes the longest vectors whose codes fit a byte. */
static void the_length_of_vectors_follows_from_bits(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        unsigned dim, bits;
    } table[] = {{"bits=2", 4, 8},         {"bits=3", 2, 6},    {"bits=2.5", 2, 5},       {"bits=2.25", 4, 9},
                 {"bits=1", 8, 8},         {"bits=0.5", 16, 8}, {"bits=2,signs=1", 8, 8}, {"bits=1.5,signs=1", 16, 8},
                 {"bits=3,signs=1", 4, 8}, {"bits=4", 2, 8}};
    const wc_method *m = wc_method_find("gptvq");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *opt = util_options(m, table[i].options);
        wc_place at = {.rows = 64, .cols = 64};
        wc_part part;
        assert_null(m->applies(&at, opt));
        m->plan(&at, opt, &part);
        assert_int_equal(part.vq.dim, table[i].dim);
        assert_int_equal(part.vq.bits, table[i].bits);
        assert_true(m->flops(&at, opt, true) > 0 && m->scratch(&at, opt) > 64 * 64 * 8);
        free(opt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_beam_is_exhaustive),
        cmocka_unit_test(kernel_keeps_the_best),
        cmocka_unit_test(em_and_feedback_are_the_oracles),
        cmocka_unit_test(codebooks_are_least_squares),
        cmocka_unit_test(gaussian_errors),
        cmocka_unit_test(vectors_beat_the_grid),
        cmocka_unit_test(rounds_never_raise_the_error),
        cmocka_unit_test(the_loss_is_the_damped_error),
        cmocka_unit_test(act_order_keeps_vectors_whole),
        cmocka_unit_test(diagonal_moments_need_no_feedback),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(every_shape_and_magnitude),
        cmocka_unit_test(trouble_is_named),
        cmocka_unit_test(the_length_of_vectors_follows_from_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
