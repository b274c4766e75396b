/* step.h - what a pass over the model is.
 *
 * A pass changes the model before anything is compressed and leaves an ordinary one behind: the same architecture, the
 * same function (or nearly), other numbers, maybe other sizes. It is nothing but another source of weights over the one
 * before it, so that a changed model is never whole in memory either, and nothing after it knows. Passes stand first in
 * a recipe: `rotate | gptq(bits=3)'. Adding one is a file here and a line in remodel.def. */
#ifndef WC_REMODEL_STEP_H
#define WC_REMODEL_STEP_H

#include "methods/method.h"
#include "model/model.h"

/* The model that an opened pass makes. */
typedef struct wc_remodel_step {
    wc_config config;
    wc_weight_source source; /* of all tensors, also those that are as they were. The weights of a block stay valid
                              * until one of another block is asked for */
    wc_dtype kept;           /* in which changed tensors are stored that no recipe compresses */
    const char *adds;        /* name of a tensor that the model before may lack, or NULL */
    const char *before[WC_N_LINEARS]; /* steps put in front of the recipe of this linear, if it is compressed and has no
                                       * transform of its own; or NULL */
    uint64_t held;                    /* bytes that it holds at most while it is read */
    /* Whether this tensor's numbers are others than in the model before. */
    bool (*changes)(const struct wc_remodel_step *s, const char *name);
    void (*close)(struct wc_remodel_step *s); /* frees the step too */
} wc_remodel_step;

typedef struct wc_remodel_pass {
    wc_method face; /* name, summary and options, as those of a method; the rest of it is not used */
    /* NULL, or why this model cannot be changed in that way. */
    const char *(*applies)(const wc_config *config, const void *opt);
    /* config and base: the model before, copied. Reads what it needs to know (norms), not the linears. */
    wc_status (*open)(wc_ctx *ctx, const wc_config *config, const wc_weight_source *base, const void *opt,
                      wc_remodel_step **out);
} wc_remodel_pass;

/* remodel.def expanded: all passes, ended by NULL. */
extern const wc_remodel_pass *const wc_remodel_passes[];
const wc_remodel_pass *wc_remodel_find(const char *name);

#endif
