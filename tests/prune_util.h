/* prune_util.h - a recipe on one matrix, as the driver runs it but without bytes. Include after cmocka.h. */
#ifndef PRUNE_UTIL_H
#define PRUNE_UTIL_H

#include "lut_util.h"
#include "recipe.h"

struct pruned {
    wc_status status;
    float *what;   /* [rows, cols] the sum of the parts */
    uint8_t *mask; /* [rows, cols] or NULL */
    uint64_t kept; /* of the last step's place */
    wc_part part;  /* the last one */
    wc_job job;    /* its pointers are gone */
    char error[1024];
};

static inline void free_pruned(struct pruned *p)
{
    wc_part_free(&p->part);
    free(p->what), free(p->mask);
}

static inline float *part_dense(const wc_part *p)
{
    return p->kind == WC_PART_GRID  ? util_dequantize(&p->grid)
           : p->kind == WC_PART_LUT ? lut_dense(&p->lut)
                                    : sparse_dense(&p->sparse);
}

/* How many values a part has at positions, and n of its n:m. */
static inline const wc_positions *part_positions(const wc_part *p, wc_positions *sparse)
{
    *sparse = (wc_positions){.nnz = p->sparse.nnz, .n = p->sparse.n};
    return p->kind == WC_PART_GRID ? &p->grid.at : p->kind == WC_PART_LUT ? &p->lut.at : sparse;
}

/* Any recipe of pruners and of quantizers that keep masks; h [cols, cols] or NULL. */
static inline struct pruned prune(const char *text, const float *w, size_t rows, size_t cols, const float *h,
                                  int threads)
{
    wc_ctx ctx;
    wc_recipe recipe;
    size_t count = rows * cols;
    wc_ctx_init(&ctx, threads);
    if (wc_recipe_parse(&ctx, text, &recipe) != WC_OK) fail_msg("%s", ctx.error);
    wc_stats stats = {.n = cols, .tokens = 1000, .h = h};
    struct pruned r = {.what = calloc(count, sizeof(float)),
                       .job = {.ctx = &ctx, .tensor = "layer.7", .w = malloc(count * sizeof(float))}};
    if (h) r.job.stats = &stats;
    memcpy(r.job.w, w, count * sizeof *w);
    for (size_t i = 0; i < recipe.n && r.status == WC_OK; i++) {
        const wc_recipe_step *s = &recipe.step[i];
        wc_part part = {0}, plan = {0};
        r.job.stage = i;
        r.job.at = wc_recipe_place(&recipe, i, rows, cols);
        if (s->method->applies) assert_null(s->method->applies(&r.job.at, s->opt));
        s->method->plan(&r.job.at, s->opt, &plan);
        r.status = s->method->run(&r.job, s->opt, &part);
        if (r.status != WC_OK) break;
        assert_int_equal(part.kind, plan.kind);
        if (!part.kind) continue;
        wc_positions sparse[2];
        const wc_positions *planned = part_positions(&plan, &sparse[0]), *made = part_positions(&part, &sparse[1]);
        assert_true(planned->nnz == made->nnz && planned->n == made->n);
        float *dense = part_dense(&part);
        for (size_t k = 0; k < count; k++) {
            r.what[k] += dense[k];
            r.job.w[k] -= dense[k];
            if (r.job.survivors) r.job.survivors[k] -= dense[k];
        }
        free(dense);
        wc_part_free(&r.part);
        r.part = part;
    }
    wc_place end = wc_recipe_place(&recipe, recipe.n, rows, cols);
    r.kept = end.kept;
    r.mask = r.job.mask;
    strcpy(r.error, ctx.error);
    free(r.job.w), free(r.job.survivors);
    wc_recipe_free(&recipe);
    return r;
}

#endif
