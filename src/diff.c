#include "diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "io/escape.h"

enum { BLOCK = 1 << 20 }; /* elements of either side that are in memory at once, if a row is not more */

/* ---- one tensor of one side ------------------------------------------------------------------------------------- */

/* Strings belong to the input. */
typedef struct side {
    const wc_input *in;
    const char *name;
    wc_dtype dtype; /* of the checkpoint, or of the one that a .wcz was made from */
    uint32_t n_dims;
    uint64_t dims[WC_ST_MAX_DIMS], rows, cols;
    const char *stored;       /* how, in a word */
    const wc_st_tensor *file; /* of a checkpoint */
    wcd_tensor packed;        /* of a .wcz */
} side;

static void side_of_checkpoint(const wc_input *in, size_t i, side *out)
{
    const wc_st_tensor *t = in->checkpoint.tensor[i];
    *out = (side){.in = in,
                  .name = t->name,
                  .dtype = t->dtype,
                  .n_dims = t->n_dims,
                  .rows = t->rows,
                  .cols = t->cols,
                  .stored = t->packed ? wc_quant_text(t->packed)
                            : t->ggml ? wc_gguf_type_name(t->ggml)
                                      : wc_dtype_name(t->dtype),
                  .file = t};
    memcpy(out->dims, t->dims, sizeof out->dims);
}

static wc_status side_of_wcz(wc_ctx *ctx, const wc_input *in, size_t i, side *out)
{
    wcd_tensor t;
    wcd_part_info p;
    wcd_status s = wcd_at(&in->wcz.file, (uint32_t)i, &t);
    if (s != WCD_OK) return wc_fail(ctx, WC_BADFILE, "%s: tensor %zu: %s", in->path, i, wcd_status_text(s));
    *out = (side){.in = in,
                  .name = wc_wcz_name(&in->wcz, &t),
                  .dtype = (wc_dtype)t.source_dtype,
                  .n_dims = t.n_dims,
                  .rows = t.rows,
                  .cols = t.cols,
                  .stored = "parts",
                  .packed = t};
    for (uint32_t d = 0; d < t.n_dims && d < WC_ST_MAX_DIMS; d++)
        out->dims[d] = t.dims[d];
    if (t.n_parts == 1 && !t.n_transforms && wcd_part(&out->packed, 0, &p) == WCD_OK)
        out->stored = strcmp(p.kind_name, "float") ? p.kind_name : wc_dtype_name((wc_dtype)p.params[0]);
    return WC_OK;
}

/* Whether the elements lie there as they were in the checkpoint, so that they can be compared byte for byte. */
static bool is_raw(const side *s)
{
    if (!s->file) return wcd_raw_rows(&s->packed, 0, 0, NULL) == WCD_OK;
    return !s->file->ggml && !s->file->interleaved && !s->file->packed;
}

static bool is_numeric(const side *s)
{
    float nothing;
    if (s->file) return wc_dtype_is_float(s->file->dtype);
    return wcd_rows(&s->packed, 0, 0, &nothing, s->cols) == WCD_OK;
}

static wc_status read_values(wc_ctx *ctx, const side *s, uint64_t r0, uint64_t nr, float *dst)
{
    if (s->file) return wc_checkpoint_rows(ctx, &s->in->checkpoint, s->file, r0, nr, dst);
    wcd_status bad = WCD_OK;
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (uint64_t r = 0; r < nr; r++) {
        wcd_status one = wcd_rows(&s->packed, r0 + r, 1, dst + r * s->cols, s->cols);
        if (one != WCD_OK)
#pragma omp critical(wc_diff_rows)
            bad = one;
    }
    return bad == WCD_OK ? WC_OK : wc_fail(ctx, WC_BADFILE, "%s: `%s': %s", s->in->path, s->name, wcd_status_text(bad));
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

typedef struct diff {
    wc_ctx *ctx;
    const wc_diff_options *opt;
    wc_report *report;
    wc_input in[2];
    side *list[2]; /* sorted by name */
    size_t n[2];
    double diff2, norm2; /* sums over all compared tensors */
    double max_abs;
    wc_diff_result result;
} diff;

/* What a row adds. Rows are added up in their order, so that the sums do not depend on the number of threads. */
typedef struct row_sum {
    double diff2, norm2, max_abs;
    uint64_t col, n_different, n_not_finite;
} row_sum;

static void compare_row(const float *a, const float *b, uint64_t n, row_sum *out)
{
    row_sum s = {0};
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)a[i], d = x - (double)b[i];
        if (isfinite(x)) s.norm2 += x * x;
        if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
        s.n_different++;
        if (!isfinite(d)) {
            s.n_not_finite++;
            continue;
        }
        s.diff2 += d * d;
        if (fabs(d) > s.max_abs) s.max_abs = fabs(d), s.col = i;
    }
    *out = s;
}

typedef struct buffers {
    float *value[2];
    uint8_t *bytes;
    row_sum *sum;
    uint64_t block; /* rows of each */
} buffers;

static void buffers_free(buffers *b)
{
    free(b->value[0]), free(b->value[1]), free(b->bytes), free(b->sum);
}

static wc_status compare_values(diff *d, const side *a, const side *b, buffers *w, wc_diff_tensor *t)
{
    double diff2 = 0, norm2 = 0;
    for (uint64_t r0 = 0; r0 < a->rows; r0 += w->block) {
        uint64_t nr = wc_min(w->block, a->rows - r0);
        WC_TRY(read_values(d->ctx, a, r0, nr, w->value[0]));
        WC_TRY(read_values(d->ctx, b, r0, nr, w->value[1]));
#pragma omp parallel for schedule(static) num_threads(d->ctx->threads)
        for (uint64_t r = 0; r < nr; r++)
            compare_row(w->value[0] + r * a->cols, w->value[1] + r * a->cols, a->cols, &w->sum[r]);
        for (uint64_t r = 0; r < nr; r++) {
            const row_sum *s = &w->sum[r];
            diff2 += s->diff2, norm2 += s->norm2;
            t->n_different += s->n_different, t->n_not_finite += s->n_not_finite;
            if (s->max_abs > t->max_abs) t->max_abs = s->max_abs, t->row = r0 + r, t->col = s->col;
        }
        if (d->ctx->stop && *d->ctx->stop) return wc_fail(d->ctx, WC_INTERRUPTED, "interrupted");
    }
    t->error = diff2 > 0 ? sqrt(diff2 / norm2) : 0;
    d->diff2 += diff2, d->norm2 += norm2;
    d->max_abs = fmax(d->max_abs, t->max_abs);
    return WC_OK;
}

/* The bytes of rows r0 .. r0 + nr; of a .wcz they are made in buffer. NULL: they cannot be made. */
static const uint8_t *raw_rows(const side *s, uint64_t r0, uint64_t nr, uint64_t row_bytes, uint8_t *buffer)
{
    if (s->file) return wc_checkpoint_data(&s->in->checkpoint, s->file) + r0 * row_bytes;
    return wcd_raw_rows(&s->packed, r0, nr, buffer) == WCD_OK ? buffer : NULL;
}

static wc_status compare_bytes(diff *d, const side *a, const side *b, buffers *w, wc_diff_tensor *t)
{
    uint64_t row = a->cols * wc_dtype_bits(a->dtype) / 8, block = w->block * row;
    t->same_bytes = true;
    WC_TRY(WC_ALLOC(d->ctx, w->bytes, 2 * block, "rows to compare"));
    for (uint64_t r0 = 0; t->same_bytes && r0 < a->rows; r0 += w->block) {
        uint64_t nr = wc_min(w->block, a->rows - r0);
        const uint8_t *x = raw_rows(a, r0, nr, row, w->bytes), *y = raw_rows(b, r0, nr, row, w->bytes + block);
        if (!x || !y) return wc_fail(d->ctx, WC_BADFILE, "`%s': its bytes cannot be read", a->name);
        t->same_bytes = !memcmp(x, y, nr * row);
    }
    return WC_OK;
}

/* Both have the tensor, of one shape. Whatever has values is compared by them: A's norm belongs to the whole. */
static wc_status compare_tensor(diff *d, const side *a, const side *b, wc_diff_tensor *t)
{
    buffers w = {.block = a->cols < BLOCK ? BLOCK / (a->cols + !a->cols) : 1};
    wc_status status = WC_OK;
    t->raw = a->dtype == b->dtype && is_raw(a) && is_raw(b) && a->cols * wc_dtype_bits(a->dtype) % 8 == 0;
    t->numeric = is_numeric(a) && is_numeric(b);
    w.block = wc_min(w.block, a->rows);
    if (t->raw) WC_TRY_OUT(compare_bytes(d, a, b, &w, t));
    if (!t->numeric) goto out;
    WC_TRY_OUT(WC_ALLOC(d->ctx, w.value[0], w.block * a->cols, "rows to compare"));
    WC_TRY_OUT(WC_ALLOC(d->ctx, w.value[1], w.block * a->cols, "rows to compare"));
    WC_TRY_OUT(WC_ALLOC(d->ctx, w.sum, w.block, "rows to compare"));
    WC_TRY_OUT(compare_values(d, a, b, &w, t));
out:
    buffers_free(&w);
    return status;
}

/* ---- reporting -------------------------------------------------------------------------------------------------- */

typedef enum verdict { EQUAL, CLOSE, DIFFERENT, ONLY_A, ONLY_B } verdict;
static const char *const verdict_text[] = {"equal", "close", "different", "only in A", "only in B"};

static verdict judge(const wc_diff_tensor *t, double tolerance)
{
    if (!t->in_b) return ONLY_A;
    if (!t->in_a) return ONLY_B;
    if (!t->same_shape) return DIFFERENT;
    if (!t->numeric) return t->raw && t->same_bytes ? EQUAL : DIFFERENT;
    if (!t->n_different) return EQUAL;
    return !t->n_not_finite && t->error <= tolerance ? CLOSE : DIFFERENT;
}

static void shape_text(const side *s, char *dst, size_t size)
{
    int used = snprintf(dst, size, "%s [", s->stored);
    for (uint32_t i = 0; i < s->n_dims && used > 0 && (size_t)used < size; i++)
        used += snprintf(dst + used, size - (size_t)used, "%s%llu", i ? ", " : "", (unsigned long long)s->dims[i]);
    if (used > 0 && (size_t)used < size) snprintf(dst + used, size - (size_t)used, "]");
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "NaN" : "Infinity");
}

static json_t *facts_of(const char *name, const wc_diff_tensor *t, verdict v, const char *shape_a, const char *shape_b)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "name", name, "verdict", verdict_text[v], "a", shape_a, "b", shape_b);
    if (!t->in_a || !t->in_b || !t->same_shape) return o;
    json_object_set_new(o, "same_bytes", t->raw ? json_boolean(t->same_bytes) : json_null());
    if (!t->numeric) return o;
    json_object_set_new(o, "different_values", json_integer((json_int_t)t->n_different));
    json_object_set_new(o, "not_finite", json_integer((json_int_t)t->n_not_finite));
    json_object_set_new(o, "relative_error", number(t->error));
    json_object_set_new(o, "max_abs", number(t->max_abs));
    if (t->max_abs > 0) json_object_set_new(o, "at", json_pack("[I, I]", (json_int_t)t->row, (json_int_t)t->col));
    return o;
}

static void detail_text(const wc_diff_tensor *t, verdict v, char *dst, size_t size)
{
    *dst = 0;
    if (v == ONLY_A || v == ONLY_B) return;
    if (!t->same_shape) {
        snprintf(dst, size, "other shapes");
    } else if (!t->numeric) {
        snprintf(dst, size, t->raw ? t->same_bytes ? "same bytes" : "other bytes" : "other element types");
    } else if (!t->n_different) {
        snprintf(dst, size, t->raw && t->same_bytes ? "same bytes" : "same values");
    } else {
        int used = snprintf(dst, size, "error %.6f  max %.6g at [%llu, %llu]  %.4g%% of the values", t->error,
                            t->max_abs, (unsigned long long)t->row, (unsigned long long)t->col,
                            100 * (double)t->n_different / (double)t->elements);
        if (t->n_not_finite && used > 0 && (size_t)used < size)
            snprintf(dst + used, size - (size_t)used, "; %llu not finite", (unsigned long long)t->n_not_finite);
    }
}

static void note_tensor(diff *d, const side *a, const side *b, const wc_diff_tensor *t)
{
    size_t *const counter[] = {&d->result.equal, &d->result.close, &d->result.different, &d->result.only_a,
                               &d->result.only_b};
    char shape_a[192] = "", shape_b[192] = "", detail[192], shown[WC_SHOWN];
    verdict v = judge(t, d->opt->tolerance);
    ++*counter[v];
    d->result.tensors++;
    if (a) shape_text(a, shape_a, sizeof shape_a);
    if (b) shape_text(b, shape_b, sizeof shape_b);
    wc_escape_name(shown, sizeof shown, a ? a->name : b->name);
    json_array_append_new(json_object_get(d->report->facts, "tensors"), facts_of(shown, t, v, shape_a, shape_b));
    if (v == EQUAL && !d->opt->all) return;
    detail_text(t, v, detail, sizeof detail);
    bool both = a && b && strcmp(shape_a, shape_b);
    wc_report_result(d->report, "%-9s %-48s %s%s%s  %s", verdict_text[v], shown, a ? shape_a : shape_b,
                     both ? " and " : "", both ? shape_b : "", detail);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const side *)a)->name, ((const side *)b)->name);
}

static wc_status open_side(diff *d, int k, const char *path)
{
    wc_input *in = &d->in[k];
    WC_TRY(wc_input_open(d->ctx, path, in));
    size_t n = in->has_wcz ? wcd_count(&in->wcz.file) : in->checkpoint.n;
    WC_TRY(WC_ALLOC(d->ctx, d->list[k], n, "the list of tensors"));
    for (; d->n[k] < n; d->n[k]++)
        if (in->has_wcz)
            WC_TRY(side_of_wcz(d->ctx, in, d->n[k], &d->list[k][d->n[k]]));
        else
            side_of_checkpoint(in, d->n[k], &d->list[k][d->n[k]]);
    qsort(d->list[k], n, sizeof *d->list[k], by_name);
    return WC_OK;
}

static wc_status compare_one(diff *d, const side *a, const side *b)
{
    wc_diff_tensor t = {.in_a = a != NULL, .in_b = b != NULL, .elements = a ? a->rows * a->cols : 0};
    if (a && b) {
        t.same_shape = a->n_dims == b->n_dims && !memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims);
        if (t.same_shape) WC_TRY(compare_tensor(d, a, b, &t));
    }
    note_tensor(d, a, b, &t);
    wc_report_progress(d->report, 1, a ? a->name : b->name);
    for (int k = 0; k < 2; k++)
        if (d->in[k].source.release) d->in[k].source.release(d->in[k].source.self);
    return WC_OK;
}

/* Both lists are sorted: one walk meets every name once. */
static wc_status compare_all(diff *d)
{
    WC_TRY(open_side(d, 0, d->opt->a));
    WC_TRY(open_side(d, 1, d->opt->b));
    d->report->work = (double)(d->n[0] + d->n[1]);
    json_object_set_new(d->report->facts, "tensors", json_array());
    for (size_t i = 0, j = 0; i < d->n[0] || j < d->n[1];) {
        const side *a = i < d->n[0] ? &d->list[0][i] : NULL, *b = j < d->n[1] ? &d->list[1][j] : NULL;
        int order = !a ? 1 : !b ? -1 : strcmp(a->name, b->name);
        WC_TRY(compare_one(d, order <= 0 ? a : NULL, order >= 0 ? b : NULL));
        i += order <= 0, j += order >= 0;
    }
    d->result.error = d->diff2 > 0 ? sqrt(d->diff2 / d->norm2) : 0;
    d->result.max_abs = d->max_abs;
    return WC_OK;
}

static void summarize(diff *d)
{
    const wc_diff_result *r = &d->result;
    char size[2][32];
    wc_report_result(d->report, "A %s  %s, %zu tensors; B %s  %s, %zu tensors", d->opt->a,
                     wc_size_text(d->in[0].file_bytes, size[0]), d->n[0], d->opt->b,
                     wc_size_text(d->in[1].file_bytes, size[1]), d->n[1]);
    wc_report_result(d->report,
                     "%zu equal, %zu close, %zu different, %zu only in A, %zu only in B; relative error %.6f, max %.6g",
                     r->equal, r->close, r->different, r->only_a, r->only_b, r->error, r->max_abs);
    json_object_set_new(d->report->facts, "diff",
                        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:f}", "a",
                                  wc_report_text(d->opt->a), "b", wc_report_text(d->opt->b), "tensors",
                                  (json_int_t)r->tensors, "equal", (json_int_t)r->equal, "close", (json_int_t)r->close,
                                  "different", (json_int_t)r->different, "only_a", (json_int_t)r->only_a, "only_b",
                                  (json_int_t)r->only_b, "relative_error", number(r->error), "max_abs",
                                  number(r->max_abs), "tolerance", d->opt->tolerance));
}

wc_status wc_diff(wc_ctx *ctx, const wc_diff_options *opt, wc_report *report, wc_diff_result *out)
{
    diff d = {.ctx = ctx, .opt = opt, .report = report};
    wc_status status = compare_all(&d);
    if (status == WC_OK) {
        summarize(&d);
        *out = d.result;
    }
    for (int k = 0; k < 2; k++) {
        free(d.list[k]);
        wc_input_close(&d.in[k]);
    }
    return status;
}
