/* The smallest weights go. See README.md. */
#include <math.h>
#include <stdlib.h>

#include "methods/prune.h"
#include "solve/floors.h"

enum scale { SCALE_RMS, SCALE_NONE };
enum { COMPARE_MODEL = WC_COMPARE_ROW + 1 };

struct options {
    wc_prune_options prune;
    double floor;
    int scale; /* enum scale */
};

static const wc_opt opts[] = {
    WC_PRUNE_OPTIONS,
    {"compare", WC_OPT_WORD, offsetof(wc_prune_options, compare), WC_COMPARE_LAYER, 0, 2, "layer|row|model",
     "whose weights compete when a part is pruned; model: all matrices with this recipe"},
    {"floor", WC_OPT_REAL, offsetof(struct options, floor), 0.0005, 0, 1, NULL,
     "compare=model: the part of all weights that every matrix keeps at least"},
    {"scale", WC_OPT_WORD, offsetof(struct options, scale), SCALE_RMS, 0, 1, "rms|none",
     "compare=model: weights are compared in units of their matrix's root mean square, or as they are"},
    {0},
};

static const char *applies(const wc_place *at, const void *opt)
{
    const wc_prune_options *o = opt;
    if (o->compare == COMPARE_MODEL && o->pattern.m) return "compare=model prunes a part, not n of every m columns";
    return wc_prune_applies(at, opt);
}

static wc_status score(const wc_prune_target *t, float *out)
{
    for (size_t i = 0; i < t->rule.rows * t->rule.cols; i++)
        out[i] = fabsf(t->w[i]);
    return WC_OK;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    static const wc_pruner pruner = {.score = score};
    return wc_prune_run(job, opt, &pruner, out);
}

/* ---- over the whole model --------------------------------------------------------------------------------------- */

enum { PANEL_ROWS = 256 };

/* The matrices while they are looked at. */
struct share {
    const wc_member *member;
    size_t n;
    uint64_t *most, *go; /* [n] */
    double *square;      /* [n] sum of squares */
    wc_floors floors;
};

/* Shows the scores of matrix l to the selection; with sum adds up its squares instead. */
static wc_status look(wc_ctx *ctx, struct share *s, size_t l, bool scaled, bool sum)
{
    const wc_member *m = &s->member[l];
    size_t cols = m->at.cols;
    double size = (double)m->at.rows * (double)cols;
    float unit = scaled && s->square[l] > 0 ? (float)(1 / sqrt(s->square[l] / size)) : 1, *w;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, w, PANEL_ROWS * cols, "a panel of weights"));
    for (size_t r0 = 0; status == WC_OK && r0 < m->at.rows; r0 += PANEL_ROWS) {
        size_t nr = wc_min(PANEL_ROWS, m->at.rows - r0);
        status = m->rows(ctx, m, r0, nr, w);
        for (size_t i = 0; status == WC_OK && i < nr * cols; i++) {
            if (sum) s->square[l] += (double)w[i] * (double)w[i];
            w[i] = fabsf(w[i]) * unit;
        }
        if (status == WC_OK && !sum) wc_floors_show(&s->floors, l, w, nr * cols);
    }
    free(w);
    return status;
}

static wc_status look_at_all(wc_ctx *ctx, struct share *s, bool scaled, bool sum)
{
    int worst = WC_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads) reduction(max : worst)
    for (size_t l = 0; l < s->n; l++) {
        int status = look(ctx, s, l, scaled, sum);
        if (status > worst) worst = status;
    }
    return (wc_status)worst;
}

/* *want = how many go, most [n] = how many of each may: floor [weights] of every matrix stay. */
static wc_status room(wc_ctx *ctx, const struct share *s, const struct options *o, uint64_t *want)
{
    uint64_t all = 0, may = 0;
    for (size_t l = 0; l < s->n; l++)
        all += (uint64_t)s->member[l].at.rows * s->member[l].at.cols;
    uint64_t floor = (uint64_t)(o->floor * (double)all);
    for (size_t l = 0; l < s->n; l++) {
        uint64_t size = (uint64_t)s->member[l].at.rows * s->member[l].at.cols;
        may += s->most[l] = size > floor ? size - floor : 0;
    }
    *want = all - wc_mask_survivors(o->prune.pattern.frac, all);
    if (*want <= may) return WC_OK;
    return wc_fail(
        ctx, WC_OPTION,
        "magnitude: %g of %llu weights cannot be pruned when each of %zu matrices keeps %llu: floor=%g is too "
        "much",
        o->prune.pattern.frac, (unsigned long long)all, s->n, (unsigned long long)floor, o->floor);
}

/* Every matrix gets the part of its own that one threshold, for all that are above their floor, leaves it. */
static wc_status allot(wc_ctx *ctx, const wc_member *member, size_t n)
{
    struct options o = *(const struct options *)member->opt; /* all have the same */
    struct share s = {.member = member, .n = n};
    uint64_t want;
    wc_status status = WC_OK;
    if (o.prune.compare != COMPARE_MODEL) return WC_OK;
    if (!member->first)
        return wc_fail(ctx, WC_OPTION,
                       "magnitude: compare=model is for the first step of a recipe: what other steps "
                       "leave of the weights is not known while the run is planned");
    WC_TRY_OUT(WC_ALLOC(ctx, s.most, n, "counts of weights"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.go, n, "counts of weights"));
    WC_TRY_OUT(WC_ALLOC(ctx, s.square, n, "sums of squares"));
    WC_TRY_OUT(room(ctx, &s, &o, &want));
    WC_TRY_OUT(wc_floors_begin(ctx, n, s.most, want, &s.floors));
    if (o.scale == SCALE_RMS) WC_TRY_OUT(look_at_all(ctx, &s, false, true));
    for (int pass = 0; pass < WC_FLOORS_PASSES; pass++) {
        WC_TRY_OUT(look_at_all(ctx, &s, o.scale == SCALE_RMS, false));
        wc_floors_next(&s.floors);
    }
    wc_floors_take(&s.floors, s.go);
    for (size_t l = 0; l < n; l++) {
        wc_prune_options *own = member[l].opt;
        own->pattern.frac = (double)s.go[l] / ((double)member[l].at.rows * (double)member[l].at.cols);
        own->compare = WC_COMPARE_LAYER;
    }
out:
    free(s.most), free(s.go), free(s.square);
    wc_floors_free(&s.floors);
    return status;
}

const wc_method wc_method_magnitude = {
    .name = "magnitude",
    .summary = "prunes the smallest weights; needs no calibration, updates the survivors if there is any",
    .role = WC_STEP_PRUNE,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .applies = applies,
    .plan = wc_prune_plan,
    .narrow = wc_prune_narrow,
    .allot = allot,
    .run = run,
    .flops = wc_prune_flops,
    .scratch = wc_prune_scratch,
};
