/* provenance.h - the part of a .wcz that explains it: what it was made from, how, and the files that belong to the
 * model.
 *
 * Everything in it is known before the first tensor is compressed and none of it depends on time or machine, so the
 * layout and size of the output are exact beforehand and the same run gives the same bytes. Results (errors, fallbacks)
 * are fields of the file's index. */
#ifndef WC_PROVENANCE_H
#define WC_PROVENANCE_H

#include "calib/statsfile.h"
#include "calib/tokens.h"
#include "input.h"
#include "plan.h"

typedef struct wc_provenance {
    const wc_input *input;
    const wc_plan *plan;
    const char *mode;               /* "sequential", "fixed statistics", "data-free" */
    uint64_t model;                 /* fingerprint of the checkpoint */
    const wc_windows *windows;      /* NULL: none */
    const wc_statsfile_info *stats; /* NULL: no saved statistics */
    bool two_streams;
    double attention;   /* wc_pass_options; stored when it is not 0 */
    const char *passes; /* the passes over the model, as recipes print them; "": none */
    bool untied;        /* they gave the model a head of its own: config.json has to say so */
} wc_provenance;

/* The layout of the output with all its metadata: provenance.json, and config.json, tokenizer.json and their like
 * copied from the model's folder. *fingerprint: xxh3 of everything that decides the output's bytes. */
wc_status wc_provenance_layout(wc_ctx *ctx, const wc_provenance *p, wc_wcz **out, uint64_t *fingerprint);

#endif
