/* remodel.h - a checkpoint as the passes of a recipe leave it: what there is, what it holds, how it runs.
 *
 * Without passes it is the checkpoint itself. */
#ifndef WC_REMODEL_H
#define WC_REMODEL_H

#include "io/checkpoint.h"
#include "recipe.h"
#include "remodel/step.h"

typedef struct wc_remodel {
    wc_checkpoint checkpoint; /* a shallow copy, with the tensors of the new model; shards are borrowed */
    wc_config config;
    wc_weight_source source;
    const char *before[WC_N_LINEARS]; /* transforms in front of a linear's recipe, see wc_remodel_step; or NULL */
    uint64_t held;                    /* bytes that the passes hold at most */
    size_t n_steps;
    wc_remodel_step *step[WC_RECIPE_MAX];
    const wc_st_tensor **list; /* owned; NULL without passes */
    wc_st_tensor *made;        /* owned: entries of changed tensors, which lie in no file */
    size_t n_made;
} wc_remodel;

/* config may be NULL (an unknown architecture) when there are no passes. source: of the checkpoint's tensors. The
 * checkpoint must outlive *out, which must stay where it is. WC_OPTION: a pass that does not apply. */
wc_status wc_remodel_open(wc_ctx *ctx, const wc_checkpoint *cp, const wc_config *config, const wc_weight_source *source,
                          const wc_recipe *passes, wc_remodel *out);
void wc_remodel_close(wc_remodel *m); /* zeroed and NULL are fine */

/* Whether the tensor is made by a pass: its numbers come from m->source, not from a file. */
bool wc_remodel_made(const wc_st_tensor *t);

#endif
