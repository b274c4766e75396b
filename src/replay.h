/* replay.h - the recipes that a file was made by, as rules for another run. */
#ifndef WC_REPLAY_H
#define WC_REPLAY_H

#include "plan.h"

typedef struct wc_replay {
    wc_buf recipe;      /* of all other tensors: "keep", behind the passes over the model that the file was made with */
    wc_plan_rule *rule; /* [n] one per compressed tensor: its name, its recipe */
    size_t n;
    void *facts; /* whose text the rules point to */
} wc_replay;

/* From the provenance of the .wcz at path. WC_BADFILE when it is no list of recipes. Free with wc_replay_free, also
 * after a failure. */
wc_status wc_replay_read(wc_ctx *ctx, const char *path, wc_replay *out);
void wc_replay_free(wc_replay *r);

#endif
