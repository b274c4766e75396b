#include "bench.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_rows.h"
#include "linalg/linalg.h"
#include "linalg/reference.h"

static const struct {
    const char *name, *unit;
} ceilings[] = {{"sgemm", "GFLOP/s"}, {"dgemm", "GFLOP/s"}, {"read", "GB/s"}, {"copy", "GB/s"}, {"", ""},
                {"", "MB/s"},         {"", "M/s"}};

/* ---- frame ------------------------------------------------------------------------------------------------------ */

bool wc_bench_wants(const wc_bench_frame *f, const char *name)
{
    for (size_t i = 0; i < f->opt->n_only; i++)
        if (strstr(name, f->opt->only[i])) return true;
    return !f->opt->n_only;
}

void wc_bench_random(uint64_t seed, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) { /* splitmix64 */
        uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        x[i] = (float)((int32_t)((z ^ z >> 31) >> 32)) * 0x1p-31f;
    }
}

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some runs: up to ten short ones, two of those that take seconds (one of a brief row), one of those that
 * take much longer. CPU time has its own best. */
static wc_status best_run(wc_bench_frame *f, const wc_bench_row *row, double *seconds, double *cpu_seconds,
                          double *busy)
{
    enum { MOST = 10 };
    double total = 0, enough = f->opt->quick ? 0 : f->brief ? 1 : 3, most = f->opt->quick || f->brief ? 0 : 12;
    *seconds = *cpu_seconds = INFINITY;
    for (int run = 0; run == 0 || (run < MOST && total < enough) || (run == 1 && total < most); run++) {
        if (row->before) row->before(row->arg);
        double start = wc_now(), cpu_start = cpu_now();
        WC_TRY(row->work(f->ctx, row->arg));
        double took = wc_now() - start, cpu = cpu_now() - cpu_start;
        total += took;
        *cpu_seconds = fmin(*cpu_seconds, cpu);
        if (took >= *seconds) continue;
        *seconds = took;
        *busy = cpu / (took * f->ctx->threads);
    }
    return WC_OK;
}

static wc_status measure(wc_bench_frame *f, const wc_bench_row *row, bool is_ceiling)
{
    double seconds, cpu, busy = 0;
    WC_TRY(best_run(f, row, &seconds, &cpu, &busy));
    double rate = row->amount / seconds, unit = row->against >= WC_NO_CEILING ? 1e6 : 1e9;
    const char *unit_name = ceilings[row->against].unit, *ceiling = ceilings[row->against].name;
    json_t *j = json_pack("{s:s, s:s, s:f, s:f, s:f, s:s, s:f}", "name", row->name, "what", row->what, "amount",
                          row->amount, "seconds", seconds, "rate", rate / unit, "unit", unit_name, "busy", busy);
    char text[64] = "";
    if (is_ceiling) {
        f->ceiling[row->against] = fmax(f->ceiling[row->against], rate);
        f->ceiling_cpu[row->against] = fmax(f->ceiling_cpu[row->against], row->amount / cpu);
        snprintf(text, sizeof text, "       = %s", ceiling);
    } else if (row->against < WC_NO_CEILING) {
        double share = rate / f->ceiling[row->against], cpu_share = row->amount / cpu / f->ceiling_cpu[row->against];
        snprintf(text, sizeof text, "%3.0f %% of %-6s %3.0f %%", 100 * share, ceiling, 100 * cpu_share);
        json_object_update_new(
            j, json_pack("{s:s, s:f, s:f}", "ceiling", ceiling, "share", share, "cpu_share", cpu_share));
    }
    wc_report_result(f->report, "%-24s %-47s %8.2f %-7s %8.3f s  %3.0f %%  %s", row->name, row->what, rate / unit,
                     unit_name, seconds, 100 * busy, text);
    fflush(stdout);
    json_array_append_new(f->rows, j);
    return WC_OK;
}

wc_status wc_bench_measure(wc_bench_frame *f, const wc_bench_row *row)
{
    return measure(f, row, false);
}

wc_status wc_bench_ceiling(wc_bench_frame *f, const wc_bench_row *row)
{
    return measure(f, row, true);
}

/* ---- ceilings: products -------------------------------------------------------------------------------------------
 */

typedef struct squares {
    size_t n;
    float *a, *b, *c;
} squares;

static wc_status ours_sgemm(wc_ctx *ctx, void *arg)
{
    squares *s = arg;
    wc_gemm(ctx, WC_N, WC_N, s->n, s->n, s->n, 1, s->a, s->n, s->b, s->n, 0, s->c, s->n);
    return WC_OK;
}

static wc_status blas_sgemm(wc_ctx *ctx, void *arg)
{
    squares *s = arg;
    wc_reference_sgemm(ctx->threads, s->n, s->a, s->b, s->c);
    return WC_OK;
}

static wc_status blas_dgemm(wc_ctx *ctx, void *arg)
{
    squares *s = arg;
    size_t n = s->n / 2;
    wc_reference_dgemm(ctx->threads, n, (double *)(void *)s->a, (double *)(void *)s->b, (double *)(void *)s->c);
    return WC_OK;
}

/* Doubles of ordinary size in the same memory. */
static void as_doubles(squares *s)
{
    size_t n = s->n / 2 * (s->n / 2);
    for (size_t i = 0; i < n; i++) {
        double v = (double)(i % 1000) * 1e-3 - 0.5;
        memcpy(s->a + 2 * i, &v, sizeof v);
        memcpy(s->b + 2 * i, &v, sizeof v);
    }
}

/* The sgemm ceiling is the better of two: our tiles on one-threaded BLAS, and BLAS threading one product by itself. */
static wc_status product_ceilings(wc_bench_frame *f)
{
    squares s = {.n = f->opt->quick ? 512 : 4096};
    size_t n = s.n;
    double flops = 2 * pow((double)n, 3);
    char cube[64], tiles[64], half[64];
    wc_status status = WC_OK;
    snprintf(cube, sizeof cube, "BLAS's own threads, %zu cubed", n);
    snprintf(tiles, sizeof tiles, "wc_gemm: tiles on one-threaded BLAS, %zu cubed", n);
    snprintf(half, sizeof half, "BLAS's own threads, %zu cubed", n / 2);
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.a, n * n, "a matrix"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.b, n * n, "a matrix"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.c, n * n, "a matrix"));
    wc_bench_random(1, n * n, s.a);
    wc_bench_random(2, n * n, s.b);
    WC_TRY_OUT(wc_bench_ceiling(f, &(wc_bench_row){"sgemm-blas", cube, flops, WC_CEILING_SGEMM, blas_sgemm, NULL, &s}));
    WC_TRY_OUT(
        wc_bench_ceiling(f, &(wc_bench_row){"sgemm-ours", tiles, flops, WC_CEILING_SGEMM, ours_sgemm, NULL, &s}));
    as_doubles(&s);
    WC_TRY_OUT(
        wc_bench_ceiling(f, &(wc_bench_row){"dgemm-blas", half, flops / 8, WC_CEILING_DGEMM, blas_dgemm, NULL, &s}));
out:
    free(s.a), free(s.b), free(s.c);
    return status;
}

/* ---- ceilings: memory -----------------------------------------------------------------------------------------------
 */

enum { PIECE = 1 << 17 }; /* u64 words that a thread takes at a time */

typedef struct stretch {
    size_t n;     /* words, a multiple of PIECE */
    uint64_t *a;  /* [n] */
    uint64_t sum; /* keeps the compiler from dropping the reads */
} stretch;

static wc_status read_all(wc_ctx *ctx, void *arg)
{
    stretch *s = arg;
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) num_threads(ctx->threads) reduction(+ : sum)
    for (size_t p = 0; p < s->n; p += PIECE) {
        uint64_t lane[32] = {0};
        for (size_t i = p; i < p + PIECE; i += 32)
            for (size_t j = 0; j < 32; j++)
                lane[j] += s->a[i + j];
        for (size_t j = 0; j < 32; j++)
            sum += lane[j];
    }
    s->sum += sum;
    return WC_OK;
}

static wc_status copy_half(wc_ctx *ctx, void *arg)
{
    stretch *s = arg;
    size_t half = s->n / 2;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t p = 0; p < half; p += PIECE)
        memcpy(s->a + half + p, s->a + p, PIECE * sizeof *s->a);
    return WC_OK;
}

static wc_status memory_ceilings(wc_bench_frame *f)
{
    stretch s = {.n = (f->opt->quick ? (size_t)4 : (size_t)1024) * PIECE}; /* 1 GiB: beyond any cache */
    double bytes = (double)(s.n * sizeof *s.a);
    WC_TRY(WC_ALLOC(f->ctx, s.a, s.n, "a stretch of memory"));
    for (size_t i = 0; i < s.n; i++)
        s.a[i] = i;
    wc_status status = wc_bench_ceiling(
        f, &(wc_bench_row){"read", "sum of one long array, all threads", bytes, WC_CEILING_READ, read_all, NULL, &s});
    if (status == WC_OK)
        status = wc_bench_ceiling(f, &(wc_bench_row){"copy", "memcpy, all threads; bytes read + written", bytes,
                                                     WC_CEILING_COPY, copy_half, NULL, &s});
    free(s.a);
    return status;
}

/* ---- linear algebra ---------------------------------------------------------------------------------------------- */

typedef struct symmetric {
    size_t n, t;
    float *a;    /* [n, n] */
    float *x;    /* [t, n] */
    double *acc; /* packed */
} symmetric;

/* Positive definite without the cost of a product: off-diagonal entries small against the diagonal. */
static void fill_positive(void *arg)
{
    symmetric *s = arg;
    wc_bench_random(3, s->n * s->n, s->a);
    for (size_t i = 0; i < s->n; i++)
        s->a[i * s->n + i] = 2 * (float)s->n;
}

static wc_status ours_cholesky(wc_ctx *ctx, void *arg)
{
    symmetric *s = arg;
    return wc_cholesky(ctx, s->a, s->n) ? wc_fail(ctx, WC_BUG, "bench: the matrix is not positive") : WC_OK;
}

static wc_status lapack_cholesky(wc_ctx *ctx, void *arg)
{
    symmetric *s = arg;
    return wc_reference_cholesky(ctx->threads, s->n, s->a) ? wc_fail(ctx, WC_BUG, "bench: the matrix is not positive")
                                                           : WC_OK;
}

static wc_status moments(wc_ctx *ctx, void *arg)
{
    symmetric *s = arg;
    return wc_syrk_accumulate(ctx, s->x, s->t, s->n, s->acc);
}

static wc_status bench_cholesky(wc_bench_frame *f, size_t n, bool lapack)
{
    symmetric s = {.n = n};
    char name[32], what[64];
    double flops = pow((double)n, 3) / 3;
    snprintf(name, sizeof name, "%s-%zu", lapack ? "cholesky-lapack" : "cholesky", n);
    snprintf(what, sizeof what, lapack ? "LAPACKE spotrf, its own threads, f32" : "wc_cholesky, f32");
    if (!wc_bench_wants(f, name)) return WC_OK;
    WC_TRY(WC_ALLOC(f->ctx, s.a, n * n, "a matrix"));
    wc_bench_row row = {name,          what, flops, WC_CEILING_SGEMM, lapack ? lapack_cholesky : ours_cholesky,
                        fill_positive, &s};
    wc_status status = wc_bench_measure(f, &row);
    free(s.a);
    return status;
}

static wc_status bench_moments(wc_bench_frame *f, size_t n)
{
    symmetric s = {.n = n, .t = f->opt->quick ? 64 : 4096};
    char name[32], what[64];
    wc_status status = WC_OK;
    snprintf(name, sizeof name, "moments-%zu", n);
    snprintf(what, sizeof what, "wc_syrk_accumulate, %zu tokens, into f64", s.t);
    if (!wc_bench_wants(f, name)) return WC_OK;
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.x, s.t * n, "activations"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.acc, n * (n + 1) / 2, "second moments"));
    wc_bench_random(4, s.t * n, s.x);
    double flops = (double)s.t * (double)n * (double)(n + 1);
    WC_TRY_OUT(wc_bench_measure(f, &(wc_bench_row){name, what, flops, WC_CEILING_SGEMM, moments, NULL, &s}));
out:
    free(s.x), free(s.acc);
    return status;
}

static wc_status linear_algebra(wc_bench_frame *f)
{
    size_t small = f->opt->quick ? 256 : 4096, large = f->opt->quick ? 688 : 11008;
    WC_TRY(bench_cholesky(f, small, true));
    WC_TRY(bench_cholesky(f, small, false));
    WC_TRY(bench_cholesky(f, large, false));
    WC_TRY(bench_moments(f, small));
    return bench_moments(f, large);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

wc_status wc_bench(wc_ctx *ctx, const wc_bench_options *opt, wc_report *report)
{
    wc_bench_frame f = {.ctx = ctx, .opt = opt, .report = report, .rows = json_array()};
    json_object_set_new(report->facts, "bench", f.rows);
    json_object_set_new(report->facts, "threads", json_integer(ctx->threads));
    json_object_set_new(report->facts, "blas", json_string(wc_blas_config()));
    wc_report_note(report, "bench", "%d threads, %s%s", ctx->threads, wc_blas_config(),
                   opt->quick ? "; --quick: sizes too small for ratios to mean much" : "");
    wc_report_result(report, "%-24s %-47s %8s %-7s %10s  busy   share of ceiling, and by CPU time", "row", "what",
                     "rate", "", "time");
    WC_TRY(product_ceilings(&f));
    WC_TRY(memory_ceilings(&f));
    size_t before = json_array_size(f.rows);
    WC_TRY(linear_algebra(&f));
    WC_TRY(wc_bench_work(&f));
    if (opt->n_only && json_array_size(f.rows) == before)
        return wc_fail(ctx, WC_OPTION, "--only %s: no row beyond the ceilings has this in its name", opt->only[0]);
    return WC_OK;
}
