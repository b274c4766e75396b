/* lowrank_util.h - a random layer with its statistics, and what the tests of low-rank methods do to it. */
#ifndef LOWRANK_UTIL_H
#define LOWRANK_UTIL_H

#include "gptq_util.h"

struct layer {
    size_t m, n;
    float *w, *h, *abs_mean;
    wc_stats stats;
};

static inline struct layer make_layer(size_t m, size_t n)
{
    struct layer l = {m, n, util_normals(m * n), util_moments(n, 3 * n + 20, 2, 1e-3), malloc(n * sizeof(float)), {0}};
    for (size_t j = 0; j < n; j++)
        l.abs_mean[j] = (float)((0.5 + util_uniform()) * sqrt((double)l.h[j * n + j]));
    l.stats = (wc_stats){.n = n, .tokens = 1000, .h = l.h, .abs_mean = l.abs_mean};
    return l;
}

static inline void free_layer(struct layer *l)
{
    free(l->w), free(l->h), free(l->abs_mean);
}

/* The method on a copy of the weights, so that it may move them. */
static inline wc_status run_method(wc_ctx *ctx, const char *name, const char *options, const struct layer *l,
                                   wc_part *out)
{
    const wc_method *m = wc_method_find(name);
    assert_non_null(m);
    void *opt = util_options(m, options);
    float *w = malloc(l->m * l->n * sizeof *w);
    memcpy(w, l->w, l->m * l->n * sizeof *w);
    wc_job job = {.ctx = ctx, .tensor = "t", .at = {.rows = l->m, .cols = l->n}, .w = w, .stats = &l->stats};
    const char *why = m->applies(&job.at, opt);
    if (why) fail_msg("%s(%s) does not apply to %zu x %zu: %s", name, options, l->m, l->n, why);
    wc_status status = m->run(&job, opt, out);
    free(opt), free(w);
    return status;
}

#endif
