#include "compress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "basis.h"
#include "linalg/linalg.h"

enum { PANEL_ROWS = 512 };

/* ---- parts as a weight ------------------------------------------------------------------------------------------ */

wc_status wc_packed_add(wc_ctx *ctx, wc_packed *p, wc_wcz_blob *blob)
{
    bool transform = wc_part_is_transform((wc_part_kind)blob->kind);
    size_t *n = transform ? &p->n_transforms : &p->n_parts;
    if (*n == WC_RECIPE_MAX) return wc_fail(ctx, WC_BUG, "more than %d parts", WC_RECIPE_MAX);
    wc_wcz_blob *b = transform ? &p->transform_blob[*n] : &p->blob[*n];
    wcd_view *v = transform ? &p->transform[*n] : p->view[*n];
    ++*n;
    *b = *blob;
    memset(blob, 0, sizeof *blob);
    uint64_t rows = transform ? 1 : p->rows;
    wcd_status s = wcd_view_open(b->kind, b->version, b->params, b->data, b->size, rows, p->cols, v);
    if (s == WCD_OK && v->n_children != b->n_children) s = WCD_E_CORRUPT;
    for (unsigned k = 0; s == WCD_OK && k < b->n_children; k++) {
        const wc_wcz_blob *c = &b->child[k];
        s = wcd_view_child(v, k, c->kind, c->version, c->params, c->data, c->size);
    }
    if (s != WCD_OK) return wc_fail(ctx, WC_BUG, "a part just encoded does not open: %s", wcd_status_text(s));
    return WC_OK;
}

wc_status wc_packed_rows(wc_ctx *ctx, const wc_packed *p, size_t r0, size_t nr, float *dst)
{
    for (size_t i = 0; i < p->n_parts; i++) {
        wcd_status s = (i ? wcd_view_add_rows : wcd_view_set_rows)(p->view[i], r0, nr, dst, p->cols);
        if (s != WCD_OK) return wc_fail(ctx, WC_BUG, "cannot decode rows %zu+%zu: %s", r0, nr, wcd_status_text(s));
    }
    for (size_t k = p->n_transforms; k--;)
        for (size_t i = 0; i < nr; i++)
            p->transform[k].d->row(&p->transform[k], dst + i * p->cols);
    return WC_OK;
}

static wc_status read_packed(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    return wc_packed_rows(ctx, w->source, r0, nr, dst);
}

wc_weight wc_packed_weight(const wc_packed *p, const char *name)
{
    return (wc_weight){.rows = p->rows, .cols = p->cols, .name = name, .read = read_packed, .source = p};
}

void wc_packed_free(wc_packed *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n_parts; i++)
        wc_wcz_blob_free(&p->blob[i]);
    for (size_t i = 0; i < p->n_transforms; i++)
        wc_wcz_blob_free(&p->transform_blob[i]);
    memset(p, 0, sizeof *p);
}

/* ---- whole matrices in panels ----------------------------------------------------------------------------------- */

static wc_status read_matrix(wc_ctx *ctx, const wc_weight *w, float *dst)
{
    size_t panels = wc_ceil_div(w->rows, PANEL_ROWS);
    wc_status worst = WC_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t p = 0; p < panels; p++) {
        size_t r0 = p * PANEL_ROWS;
        wc_status s = w->read(ctx, w, r0, wc_min(PANEL_ROWS, w->rows - r0), dst + r0 * w->cols);
        if (s != WC_OK) {
#pragma omp atomic write
            worst = s;
        }
    }
    return worst;
}

/* w [rows, cols] -= the decoded part. */
static wc_status subtract(wc_ctx *ctx, const wcd_view *v, float *w)
{
    size_t rows = v->rows, cols = v->cols, panels = wc_ceil_div(rows, PANEL_ROWS);
    wc_status worst = WC_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t p = 0; p < panels; p++) {
        size_t r0 = p * PANEL_ROWS, nr = wc_min(PANEL_ROWS, rows - r0);
        float *dense = malloc(nr * cols * sizeof *dense);
        wcd_status s = dense ? wcd_view_set_rows(v, r0, nr, dense, cols) : WCD_OK;
        if (dense && s == WCD_OK) {
            for (size_t i = 0; i < nr * cols; i++)
                w[r0 * cols + i] -= dense[i];
        } else {
#pragma omp atomic write
            worst = WC_NOMEM;
        }
        free(dense);
    }
    if (worst != WC_OK) return wc_fail(ctx, worst, "no memory to decode a panel of %d rows", PANEL_ROWS);
    return WC_OK;
}

/* tr(D H D^T), or ||D||^2 without H. */
static wc_status energy(wc_ctx *ctx, const float *d, size_t rows, size_t cols, const wc_stats *stats, double *out)
{
    double sum = 0;
    if (stats && stats->h) {
        sum = wc_quadratic_form(ctx, d, rows, stats->h, cols);
        if (isnan(sum))
            return wc_fail(ctx, WC_NUMERIC, "the layer error of a %zu x %zu matrix is not a number", rows, cols);
    } else {
        for (size_t i = 0; i < rows * cols; i++)
            sum += (double)d[i] * (double)d[i];
    }
    *out = sum;
    return WC_OK;
}

/* w [rows, cols] -= the decoded tensor. */
static wc_status subtract_all(wc_ctx *ctx, const wc_packed *packed, float *w)
{
    size_t rows = packed->rows, cols = packed->cols, panels = wc_ceil_div(rows, PANEL_ROWS);
    wc_status worst = WC_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t p = 0; p < panels; p++) {
        size_t r0 = p * PANEL_ROWS, nr = wc_min(PANEL_ROWS, rows - r0);
        float *dense = malloc(nr * cols * sizeof *dense);
        wc_status s = dense ? wc_packed_rows(ctx, packed, r0, nr, dense) : WC_NOMEM;
        for (size_t i = 0; s == WC_OK && i < nr * cols; i++)
            w[r0 * cols + i] -= dense[i];
        if (s != WC_OK) {
#pragma omp atomic write
            worst = s;
        }
        free(dense);
    }
    if (worst == WC_NOMEM) return wc_fail(ctx, worst, "no memory to decode a panel of %d rows", PANEL_ROWS);
    return worst;
}

/* *error of w [rows, cols], what is left of a matrix of energy `whole'. */
static wc_status relative_error(wc_ctx *ctx, const float *w, const wc_packed *p, const wc_stats *stats, double whole,
                                double *error)
{
    double left;
    WC_TRY(energy(ctx, w, p->rows, p->cols, stats, &left));
    *error = whole > 0 ? left / whole : left > 0 ? INFINITY : 0;
    return WC_OK;
}

/* w: scratch [rows, cols]. When the last part is a stack, its levels are taken off one by one. */
static wc_status layer_error_in(wc_ctx *ctx, const wc_weight *weight, const wc_packed *p, const wc_stats *stats,
                                float *w, wc_tensor_result *out)
{
    double whole;
    const wcd_view *last = p->view[p->n_parts - 1];
    out->levels = wcd_stack_levels(last);
    WC_TRY(read_matrix(ctx, weight, w));
    WC_TRY(energy(ctx, w, weight->rows, weight->cols, stats, &whole));
    if (!out->levels) {
        WC_TRY(subtract_all(ctx, p, w));
        return relative_error(ctx, w, p, stats, whole, &out->error);
    }
    wc_packed some = *p; /* borrowed: the parts before the stack, then one level at a time */
    some.n_parts--;
    if (some.n_parts) WC_TRY(subtract_all(ctx, &some, w));
    some.n_parts = 1;
    for (unsigned l = 0; l < out->levels; l++) {
        some.view[0][0] = wcd_stack_level(last, l);
        WC_TRY(subtract_all(ctx, &some, w));
        WC_TRY(relative_error(ctx, w, p, stats, whole, &out->level_error[l]));
    }
    out->error = out->level_error[out->levels - 1];
    return WC_OK;
}

/* ---- the recipe ------------------------------------------------------------------------------------------------- */

/* One step; when the mathematics fails and the method names a fallback, that runs instead, with the same options. */
static wc_status run_step(wc_job *job, const wc_recipe_step *step, wc_part *part, wc_tensor_result *result)
{
    wc_ctx *ctx = job->ctx;
    wc_status status = step->method->run(job, step->opt, part);
    if (status != WC_NUMERIC || !step->method->fallback) return status;
    const wc_method *fallback = wc_method_find(step->method->fallback);
    if (!fallback) return wc_fail(ctx, WC_BUG, "%s: unknown fallback %s", step->method->name, step->method->fallback);
    wc_log(ctx, WC_LOG_WARN, "%s; %s is used for this tensor", ctx->error, fallback->name);
    wc_clear_error(ctx);
    void *opt;
    WC_TRY(wc_opt_defaults(ctx, fallback, &opt));
    wc_opt_inherit(step->method, step->opt, fallback, opt);
    status = fallback->run(job, opt, part);
    free(opt);
    result->fallback = true;
    return status;
}

/* Encodes a part into its place in the file, and opens it in packed. */
static wc_status store(wc_ctx *ctx, const wc_compress_job *cj, const wc_part *part, wc_packed *packed)
{
    wc_wcz_blob blob = {0};
    size_t number = packed->n_parts;
    if (wc_part_is_transform(part->kind)) number = wc_wcz_n_parts(cj->wcz, cj->tensor) + packed->n_transforms;
    wc_status status = wc_wcz_put(ctx, cj->wcz, cj->tensor, number, part, &blob);
    if (status == WC_OK) status = wc_packed_add(ctx, packed, &blob);
    wc_wcz_blob_free(&blob);
    return status;
}

/* The job in the basis that the newest transform makes: the target, the whole W beside it, the statistics, which are in
 * *own from then on. */
static wc_status change_basis(wc_ctx *ctx, const wc_packed *packed, wc_job *job, float *whole, wc_stats *own)
{
    const wcd_view *c = &packed->transform[packed->n_transforms - 1];
    WC_TRY(wc_basis_weights(ctx, c, job->w, job->at.rows));
    if (whole) memcpy(whole, job->w, job->at.rows * job->at.cols * sizeof *whole);
    if (!job->stats) return WC_OK;
    wc_stats changed;
    WC_TRY(wc_basis_stats(ctx, c, job->stats, job->at.rows, &changed));
    wc_stats_free(own);
    *own = changed;
    job->stats = own;
    return WC_OK;
}

/* whole [rows, cols]: W for the methods after the first, or NULL where none of them asks for it. */
static wc_status run_steps(wc_ctx *ctx, const wc_compress_job *cj, float *w, float *whole, wc_packed *packed,
                           wc_tensor_result *result)
{
    wc_job job = {.ctx = ctx, .tensor = cj->weight->name, .w = w, .stats = cj->stats};
    wc_stats transformed = {0};
    wc_status status = WC_OK;
    for (size_t i = 0; i < cj->recipe->n; i++) {
        wc_part part = {0};
        job.stage = i;
        job.at = wc_recipe_place(cj->recipe, i, cj->weight->rows, cj->weight->cols);
        job.whole = i ? whole : NULL;
        status = run_step(&job, &cj->recipe->step[i], &part, result);
        bool none = status == WC_OK && !part.kind; /* a pruner whose survivors a later step stores */
        if (none) continue;
        bool transform = wc_part_is_transform(part.kind);
        if (status == WC_OK) status = store(ctx, cj, &part, packed);
        wc_part_free(&part);
        if (status == WC_OK && transform)
            status = change_basis(ctx, packed, &job, whole, &transformed);
        else if (status == WC_OK && i + 1 < cj->recipe->n)
            status = subtract(ctx, packed->view[packed->n_parts - 1], w);
        if (status == WC_OK && job.survivors && !transform)
            status = subtract(ctx, packed->view[packed->n_parts - 1], job.survivors);
        WC_TRY_OUT(status);
    }
    result->damping = job.damping_used;
    result->escalations = job.escalations;
    result->fallback = result->fallback || job.fell_back;
out:
    wc_stats_free(&transformed);
    free(job.mask);
    free(job.survivors);
    return status;
}

/* Nothing of the original's outputs came from a matrix of zeros: it is not used to make up for a drift, and its error
 * stays one relative to something. */
static bool is_zero(const float *w, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (w[i] != 0) return false;
    return true;
}

wc_status wc_compress(wc_ctx *ctx, const wc_compress_job *asked, wc_packed *out, wc_tensor_result *result)
{
    wc_compress_job own = *asked, *cj = &own;
    wc_stats still;
    double start = wc_now();
    wc_packed packed = {.rows = cj->weight->rows, .cols = cj->weight->cols};
    wc_tensor_result r = {.error_plain = !cj->stats || !cj->stats->h};
    bool want_whole = cj->recipe->n > 1 && cj->stats && (cj->stats->c || cj->stats->r);
    size_t size = packed.rows * packed.cols;
    float *w = NULL, *whole = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, w, size, "a weight matrix"));
    WC_TRY_OUT(read_matrix(ctx, cj->weight, w));
    if (cj->stats && is_zero(w, size)) {
        still = *cj->stats;
        still.c = still.r = NULL;
        cj->stats = &still;
    }
    if (want_whole) WC_TRY_OUT(WC_ALLOC(ctx, whole, size, "a weight matrix"));
    if (want_whole) memcpy(whole, w, size * sizeof *w);
    WC_TRY_OUT(run_steps(ctx, cj, w, whole, &packed, &r));
    WC_TRY_OUT(layer_error_in(ctx, cj->weight, &packed, cj->stats, w, &r));
    r.seconds = wc_now() - start;
    wc_wcz_describe(cj->wcz, cj->tensor, r.error,
                    (r.fallback ? WCD_TENSOR_FALLBACK : 0u) | (r.error_plain ? WCD_TENSOR_ERROR_PLAIN : 0u));
    *out = packed;
    *result = r;
    memset(&packed, 0, sizeof packed);
out:
    free(w);
    free(whole);
    wc_packed_free(&packed);
    return status;
}

/* W and, one after the other: the factor R and the damped H, with the drift correction's product; the solver's codes,
 * scales and one workspace per thread (targets in both orders, errors, codes, scales: 16 bytes per weight of at most
 * 512 rows); codes and their packed bytes; the layer error's panels. */
uint64_t wc_compress_scratch(const wc_ctx *ctx, size_t rows, size_t cols, bool needs_stats)
{
    uint64_t matrix = (uint64_t)rows * cols, square = needs_stats ? 2 * 4 * (uint64_t)cols * cols : 0;
    uint64_t in_work = wc_min((size_t)ctx->threads * 512, rows), solver = 2 * matrix + 16 * in_work * cols;
    uint64_t drift = needs_stats ? 4 * matrix : 0, panels = (uint64_t)ctx->threads * PANEL_ROWS * cols * 4;
    uint64_t most = square + (solver > drift ? solver : drift), packing = 3 * matrix;
    most = packing > most ? packing : most;
    return 4 * matrix + (panels > most ? panels : most);
}
