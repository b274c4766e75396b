/* How far above the rate-distortion function methods end: `wcompress bench --bound'.
 *
 * W is [n, n] with independent normal numbers. With eigenvalues l_k of H, R(D) of tr(E H E^T) / n at variance 1 is
 * reverse water-filling: D = sum min(l_k, level), R = mean of max(0, log2(l_k / level) / 2). Every method's bits are
 * those of its encoded bytes, and its error that of the decoded ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_rows.h"
#include "decode/decoder.h"
#include "formats/format.h"
#include "linalg/linalg.h"
#include "recipe.h"

typedef struct source {
    size_t n;
    float *w, *copy, *h; /* [n, n] */
    double *eigenvalue;  /* [n] */
} source;

static void fill_normals(size_t n, float *w)
{
    wc_bench_random(61, n, w);
    for (size_t i = 0; i + 1 < n; i += 2) { /* Box and Muller, in place */
        double size = sqrt(-2 * log(0.5 + 0.5 * (double)w[i] + 1e-12)), angle = M_PI * (double)w[i + 1];
        w[i] = (float)(size * cos(angle)), w[i + 1] = (float)(size * sin(angle));
    }
}

/* Eigenvalues condition^(-k / (n - 1)), mixed, in the basis of the cosine transform. */
static wc_status colour(wc_ctx *ctx, double condition, source *s)
{
    size_t n = s->n;
    float *basis = NULL;
    WC_TRY(WC_ALLOC(ctx, basis, n * n, "a basis"));
    for (size_t k = 0; k < n; k++) {
        s->eigenvalue[k] = pow(condition, -(double)(k * 77 % n) / (double)(n - 1)); /* n is a power of 2 */
        double scale = sqrt((k ? 2.0 : 1.0) / (double)n * s->eigenvalue[k]);
        for (size_t i = 0; i < n; i++)
            basis[k * n + i] = (float)(scale * cos(M_PI / (double)n * ((double)i + 0.5) * (double)k));
    }
    wc_gemm(ctx, WC_T, WC_N, n, n, n, 1, basis, n, basis, n, 0, s->h, n);
    free(basis);
    return WC_OK;
}

/* R(D), d = D / n */
static double bound(const source *s, double d)
{
    double lo = 1e-15, hi = 1e6, rate = 0;
    for (int round = 0; round < 200; round++) {
        double level = sqrt(lo * hi), sum = 0;
        for (size_t k = 0; k < s->n; k++)
            sum += fmin(s->eigenvalue[k], level);
        if (sum > d)
            hi = level;
        else
            lo = level;
    }
    for (size_t k = 0; k < s->n; k++)
        rate += fmax(0, 0.5 * log2(s->eigenvalue[k] / lo));
    return rate / (double)s->n;
}

/* s->copy = w - w^, w^ from the bytes of the part. */
static wc_status decoded_error(wc_ctx *ctx, const wc_part *part, source *s, uint64_t *size)
{
    const wc_encoder *e = wc_encoder_for(part->kind);
    wc_status status = WC_OK;
    uint8_t *blob = NULL, params[WC_PARAMS_SIZE];
    wcd_view view;
    WC_TRY_OUT(e->size(ctx, part, size));
    WC_TRY_OUT(WC_ALLOC(ctx, blob, *size, "an encoded part"));
    WC_TRY_OUT(e->encode(ctx, part, blob, params));
    if (wcd_view_open(e->id, e->version, params, blob, *size, s->n, s->n, &view) != WCD_OK ||
        wcd_view_set_rows(&view, 0, s->n, s->copy, s->n) != WCD_OK)
        WC_TRY_OUT(wc_fail(ctx, WC_BUG, "bench: a part does not decode"));
    for (size_t i = 0; i < s->n * s->n; i++)
        s->copy[i] = s->w[i] - s->copy[i];
out:
    free(blob);
    return status;
}

static wc_status measure(wc_bench_frame *f, source *s, const char *name, const wc_recipe_step *step)
{
    wc_stats stats = {.n = s->n, .tokens = s->n, .h = s->h};
    wc_job job = {.ctx = f->ctx,
                  .tensor = name,
                  .at = {.rows = s->n, .cols = s->n, .kept = (uint64_t)s->n * s->n},
                  .w = s->copy,
                  .stats = &stats};
    wc_part part = {0};
    uint64_t size = 0;
    memcpy(s->copy, s->w, s->n * s->n * sizeof *s->copy);
    double start = wc_now();
    wc_status status = step->method->run(&job, step->opt, &part);
    double took = wc_now() - start;
    if (status == WC_OK) status = decoded_error(f->ctx, &part, s, &size);
    wc_part_free(&part);
    WC_TRY(status);
    double n = (double)s->n, bits = 8 * (double)size / (n * n);
    double rate = bound(s, wc_quadratic_form(f->ctx, s->copy, s->n, s->h, s->n) / n);
    wc_report_result(f->report, "%-44s %8.4f %8.4f %8.4f %9.2f s", name, bits, rate, bits - rate, took);
    fflush(stdout);
    json_array_append_new(f->rows, json_pack("{s:s, s:f, s:f, s:f, s:f}", "name", name, "bits", bits, "bound", rate,
                                             "gap", bits - rate, "seconds", took));
    return WC_OK;
}

static wc_status measure_recipe(wc_bench_frame *f, source *s, double condition, const char *recipe)
{
    char name[160];
    wc_recipe r;
    snprintf(name, sizeof name, "%g: %s", condition, recipe);
    if (!wc_bench_wants(f, name)) return WC_OK;
    WC_TRY(wc_recipe_parse(f->ctx, recipe, &r));
    wc_status status = measure(f, s, name, &r.step[0]);
    wc_recipe_free(&r);
    return status;
}

static wc_status measure_rate(wc_bench_frame *f, source *s, double condition, int bits)
{
    char recipe[96];
    size_t tile = wc_min(s->n, 4096);
    for (size_t i = 0; i < f->opt->n_states; i++) {
        snprintf(recipe, sizeof recipe, "rd(bits=%d,states=%s,tile=%zu,damp=1e-6)", bits, f->opt->states[i], tile);
        WC_TRY(measure_recipe(f, s, condition, recipe));
    }
    snprintf(recipe, sizeof recipe, "rd(bits=%d,states=1,tile=%zu,damp=1e-6)", bits, tile);
    WC_TRY(measure_recipe(f, s, condition, recipe));
    snprintf(recipe, sizeof recipe, "gptq(bits=%d,damp=1e-6)", bits);
    if (bits > 1) WC_TRY(measure_recipe(f, s, condition, recipe));
    snprintf(recipe, sizeof recipe, "lut(bits=%d,damp=1e-6)", bits);
    return bits > 1 ? measure_recipe(f, s, condition, recipe) : WC_OK;
}

wc_status wc_bench_bound(wc_ctx *ctx, const wc_bench_options *opt, wc_report *report)
{
    static const double conditions[] = {1, 1e4};
    wc_bench_frame f = {.ctx = ctx, .opt = opt, .report = report, .rows = json_array()};
    source s = {.n = opt->size};
    wc_status status = WC_OK;
    json_object_set_new(report->facts, "bound", f.rows);
    if (s.n < 128 || s.n > 8192 || (s.n & (s.n - 1)))
        WC_TRY_OUT(wc_fail(ctx, WC_OPTION, "--size %zu: a power of 2 from 128 to 8192 is wanted", s.n));
    WC_TRY_OUT(WC_ALLOC(ctx, s.w, s.n * s.n, "weights"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.copy, s.n * s.n, "weights"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.h, s.n * s.n, "second moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.eigenvalue, s.n, "eigenvalues"));
    fill_normals(s.n * s.n, s.w);
    wc_report_note(report, "bench", "%zu x %zu normal weights, %d threads; bits with everything", s.n, s.n,
                   ctx->threads);
    wc_report_result(report, "%-44s %8s %8s %8s %11s", "condition of H: recipe", "bits", "R(D)", "gap", "time");
    for (size_t i = 0; i < 2; i++) {
        WC_TRY_OUT(colour(ctx, conditions[i], &s));
        for (int bits = i ? 2 : 1; bits <= 4; bits++)
            WC_TRY_OUT(measure_rate(&f, &s, conditions[i], bits));
    }
out:
    free(s.w), free(s.copy), free(s.h), free(s.eigenvalue);
    return status;
}
