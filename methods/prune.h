/* prune.h - what all pruners do: options, the exact number of survivors, their values, the sparse part. A method only
 * says what a weight is worth, or chooses the mask itself. */
#ifndef WC_METHODS_PRUNE_H
#define WC_METHODS_PRUNE_H

#include "methods/job.h"
#include "solve/select.h"

enum wc_update { WC_UPDATE_NONE, WC_UPDATE_OBS, WC_UPDATE_ADMM, WC_UPDATE_LS };
enum wc_compare { WC_COMPARE_LAYER, WC_COMPARE_ROW }; /* whose scores compete when a part is pruned */

/* What every pruner's option struct begins with. A method that does not offer an option leaves it 0. */
typedef struct wc_prune_options {
    wc_pattern pattern;
    int update; /* enum wc_update */
    int steps;
    double damp, drift, residual;
    int compare; /* enum wc_compare */
    int span;    /* only so many consecutive columns compete; 0: all */
    int unit;    /* so many consecutive columns go together; 0, 1: single ones */
} wc_prune_options;

/* The lines of an option table. */
/* clang-format off */
#define WC_PRUNE_OPTIONS                                                                                             \
    {"pattern", WC_OPT_PATTERN, offsetof(wc_prune_options, pattern), 0.5, 0, 1, NULL,                                             \
     "50%: the part that is pruned; 2:4: two of every four columns are kept"},                                       \
    {"update", WC_OPT_WORD, offsetof(wc_prune_options, update), WC_UPDATE_LS, 0, 3, "none|obs|admm|ls",                           \
     "survivors keep their values, or make up for the pruned: SparseGPT's sweep, ADMM, least squares"},              \
    {"steps", WC_OPT_INT, offsetof(wc_prune_options, steps), 50, 1, 1000, NULL, "of admm; of ls at most"},                        \
    {"damp", WC_OPT_REAL, offsetof(wc_prune_options, damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"}, \
    {"drift", WC_OPT_REAL, offsetof(wc_prune_options, drift), 0.75, 0, 1, NULL,                                                   \
     "part of the drift of the inputs that an update corrects for"},                                                 \
    {"residual", WC_OPT_REAL, offsetof(wc_prune_options, residual), 0.5, 0, 1, NULL,                                              \
     "part of the drift of the residual stream, in layers that write to it"}
#define WC_PRUNE_COMPARE(def)                                                                                        \
    {"compare", WC_OPT_WORD, offsetof(wc_prune_options, compare), def, 0, 1, "layer|row",                                         \
     "whose weights compete when a part is pruned"}
/* clang-format on */

/* What a pruner sees: W in units that make the largest |w| about 2^8, so that squares stay inside f32. */
typedef struct wc_prune_target {
    wc_job *job;
    wc_mask_rule rule;
    const void *opt;     /* the method's options */
    const float *w;      /* [rows, cols] */
    const wc_hessian *h; /* damped, natural order, width 1; NULL: no statistics, or they allow no factor */
} wc_prune_target;

/* What a method is beside its options: one of both. WC_NUMERIC: the mask is made by magnitude, under the same rule,
 * with a warning. */
typedef struct wc_pruner {
    wc_status (*score)(const wc_prune_target *t,
                       float *score); /* [rows, cols / rule.block] >= 0: what a place is worth */
    wc_status (*choose)(const wc_prune_target *t, uint8_t *mask); /* [rows, cols] */
} wc_pruner;

/* Callbacks of wc_method, for options that begin with wc_prune_options. */
const char *wc_prune_applies(const wc_place *at, const void *opt);
void wc_prune_narrow(wc_place *at, const void *opt);
void wc_prune_plan(const wc_place *at, const void *opt, wc_part *out);
double wc_prune_flops(const wc_place *at, const void *opt, bool drift); /* without the mask */
uint64_t wc_prune_scratch(const wc_place *at, const void *opt);

/* The methods' run: chooses job->mask and updates the survivors. When later steps store the values, leaves job->w and
 * hands what they should aim at to job->survivors (nothing with update=none: then their error feedback is all);
 * else makes the sparse part, f16. Without statistics, or when they allow no factor, survivors keep their values. */
wc_status wc_prune_run(wc_job *job, const void *opt, const wc_pruner *p, wc_part *out);

/* norm [cols] = sqrt(H_jj), 1 without statistics. WC_NUMERIC: a moment is negative or not finite. */
wc_status wc_prune_norms(const wc_job *job, float *norm);

#endif
