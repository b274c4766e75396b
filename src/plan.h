/* plan.h - what happens to which tensor, and the exact size of the result, before any work is done.
 *
 * The plan is data: every tensor of the checkpoint, its role in the model, its recipe, the geometry of its parts.
 * Policy is a list of rules (pattern -> recipe), the defaults first, the user's after them; the last that matches wins.
 */
#ifndef WC_PLAN_H
#define WC_PLAN_H

#include "io/checkpoint.h"
#include "io/wcz.h"
#include "mix.h"
#include "model/model.h"
#include "recipe.h"
#include "saved_stats.h"

typedef struct wc_plan_rule {
    const char *pattern; /* fnmatch(3) glob over the whole tensor name */
    const char *recipe;  /* text */
} wc_plan_rule;

typedef struct wc_plan_options {
    const char *linear, *embed, *head; /* recipe texts for the three roles */
    const char *rest;                  /* for everything else; NULL: keep */
    const wc_mix *mix;                 /* NULL, or what decides over all three, for a known architecture */
    bool calibrated;                   /* with a mix: error feedback; else nearest */
    const wc_plan_rule *rule;          /* overrides */
    size_t n_rules;
    size_t first_block, last_block; /* linears outside these blocks are kept; 0, SIZE_MAX: all */
    const char *const
        *before;   /* NULL, or [WC_N_LINEARS] steps for the front of a recipe that has no transform, or NULL */
    uint64_t held; /* bytes that reading the tensors holds (remodel.h) */
    const wc_weight_source *source; /* of the tensors' values, for methods that share something out; NULL: none do */
    const wc_saved_stats *stats;    /* NULL, or what is known of the inputs already */
} wc_plan_options;

typedef struct wc_plan_tensor {
    const wc_st_tensor *source;
    wc_role role;
    size_t layer, linear; /* linear: index in wc_block.linear; SIZE_MAX where it does not apply */
    const wc_recipe *recipe;
    const char *recipe_text;     /* canonical */
    const char *kept_because;    /* a rule asked for a recipe that does not apply: why; else NULL */
    wc_part part[WC_RECIPE_MAX]; /* geometry: n_parts of the sum, one float part when kept; then n_transforms */
    size_t n_parts, n_transforms;
    uint64_t bytes; /* of all its blobs, without padding */
    bool folded;    /* a norm, or a linear's rows and its bias: stored times a diagonal of what reads them (fold.h) */
    bool copied;    /* stored from the checkpoint's own bytes: keep, or a method of role WC_STEP_COPY */
} wc_plan_tensor;

typedef struct wc_plan {
    wc_plan_tensor *tensor; /* [n] in the order of checkpoint->tensor */
    size_t n;
    wc_recipe *recipe; /* the distinct recipes; recipe_text beside them */
    char **recipe_text;
    size_t n_recipes;
    bool needs_stats;                      /* some recipe needs calibration */
    size_t last_calibrated;                /* the last block with such a recipe */
    size_t n_linears;                      /* tensors of role LINEAR that are compressed */
    uint64_t linear_weights, linear_bytes; /* over those */
    uint64_t weights, source_bytes;        /* over all tensors */
    size_t levels;                         /* of all stacks: what can be cut later (cut.h) */
    uint64_t held;                         /* as in the options */
} wc_plan;

/* config NULL: an unknown architecture; then every 2-D float tensor of at least 32 x 32 counts as a linear, names with
 * "embed"/"wte" as embedding and "lm_head"/"embed_out" as head. Rules that match nothing, recipes that do not parse:
 * WC_OPTION. */
wc_status wc_plan_make(wc_ctx *ctx, const wc_checkpoint *cp, const wc_config *config, const wc_plan_options *opt,
                       wc_plan **out);
void wc_plan_free(wc_plan **plan);

/* Levels of the tensor's stack, its last part; 0 without one. */
unsigned wc_plan_stack(const wc_plan_tensor *t);

/* The file that the plan makes, with these metadata entries: exact offsets and size. */
wc_status wc_plan_layout(wc_ctx *ctx, const wc_plan *plan, const wc_wcz_meta *metas, size_t n_metas, wc_wcz **out);

#endif
