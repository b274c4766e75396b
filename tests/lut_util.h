/* lut_util.h - one call of any method on copies, and its part as plain numbers. */
#ifndef LUT_UTIL_H
#define LUT_UTIL_H

#include "gptq_util.h"

struct made {
    wc_status status;
    wc_part part; /* the caller frees it */
    wc_job job;
    char error[1024];
};

/* Names come from `tensor', options from "name=value,..."; h [cols, cols] or NULL: no statistics. */
static inline struct made make_part(const char *method, const char *options, const float *w, size_t rows, size_t cols,
                                    const float *h, size_t stage, int threads)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, threads);
    const wc_method *m = wc_method_find(method);
    void *opt = util_options(m, options);
    float *copy = malloc((rows * cols + 1) * sizeof *copy);
    memcpy(copy, w, rows * cols * sizeof *copy);
    wc_stats stats = {.n = cols, .tokens = 1000, .h = h};
    struct made r = {
        .job = {.ctx = &ctx, .tensor = "layer.7", .at = {.rows = rows, .cols = cols}, .w = copy, .stage = stage}};
    if (h) r.job.stats = &stats;
    assert_true(!m->applies || !m->applies(&(wc_place){.rows = rows, .cols = cols}, opt));
    r.status = m->run(&r.job, opt, &r.part);
    strcpy(r.error, ctx.error);
    free(opt), free(copy);
    return r;
}

/* W^ [rows, cols] in the arithmetic of base/part.h. */
static inline float *lut_dense(const wc_lut *l)
{
    float *w = malloc(l->rows * l->cols * sizeof *w);
    size_t groups = (l->cols + l->group - 1) / l->group, k = (size_t)1 << l->bits;
    for (size_t i = 0; i < l->rows; i++)
        for (size_t j = 0; j < l->cols; j++) {
            size_t at = i * groups + j / l->group;
            size_t table = l->scope == WC_LUT_TENSOR ? 0 : l->scope == WC_LUT_ROW ? i : at;
            if (l->holes && !l->mask[i * l->cols + j]) {
                w[i * l->cols + j] = 0;
                continue;
            }
            float s = ldexpf(l->scaled ? wc_f16_f32(l->scale[at]) : 1, l->scale_exp);
            w[i * l->cols + j] = s * wc_f16_f32(l->table[table * k + l->code[i * l->cols + j]]);
        }
    return w;
}

static inline float *sparse_dense(const wc_sparse *s)
{
    float *w = calloc(s->rows * s->cols, sizeof *w);
    const uint16_t *value = s->value;
    for (size_t i = 0; i < s->rows; i++)
        for (uint64_t a = s->row_start[i]; a < s->row_start[i + 1]; a++)
            w[i * s->cols + s->col[a]] = ldexpf(wc_f16_f32(value[a]), s->scale_exp);
    return w;
}

/* H + damp * mean(diag) I */
static inline float *util_damped(const float *h, size_t n, double damp)
{
    float *d = malloc(n * n * sizeof *d);
    double mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)h[i * n + i] / (double)n;
    for (size_t i = 0; i < n * n; i++)
        d[i] = (float)((double)h[i] + (i % (n + 1) ? 0 : damp * mean));
    return d;
}

#endif
