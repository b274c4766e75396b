/* run_state.h - a run in progress, and what the files that make one share: run.c (the order of things), run_plan.c,
 * run_blocks.c, run_tensor.c, run_fold.c. */
#ifndef WC_RUN_STATE_H
#define WC_RUN_STATE_H

#include "budget.h"
#include "calib/pass.h"
#include "compress.h"
#include "fold.h"
#include "input.h"
#include "journal.h"
#include "remodel.h"
#include "run.h"
#include "saved_stats.h"

typedef struct wc_run_state {
    wc_ctx *ctx;
    const wc_run_options *opt;
    wc_report *report;
    wc_input in;
    wc_recipe passes; /* over the whole model */
    wc_buf pass_text; /* as recipes print them */
    wc_remodel model; /* what they make of the checkpoint */
    wc_plan *plan;
    wc_windows windows;
    wc_saved_stats saved;
    wc_budget budget;
    wc_wcz *wcz;
    wc_journal journal;
    wc_pass pass;
    char *output, *partial, *work;
    char linear_recipe[128];
    const char *mode; /* "sequential", "fixed statistics", "data-free" */
    bool calibrated;  /* a forward pass is needed */
    double per_token; /* work of a token in the stage that runs now */
    size_t layer;     /* the block that runs now */
    uint64_t fingerprint;
    double error_sum, error_max; /* over compressed linears */
    const char *error_max_name;
    size_t n_errors, n_fallbacks, n_escalations;
} wc_run_state;

/* ---- run_plan.c ------------------------------------------------------------------------------------------------- */

/* Fills in: the model to compress, which must not be compressed already. */
wc_status wc_run_open_input(wc_run_state *r);

/* Fills everything from passes to budget, wcz (laid out, not created) and fingerprint. */
wc_status wc_run_make_plan(wc_run_state *r);

/* The plan in words and, with --dry-run or --json, tensor by tensor. */
void wc_run_show_plan(wc_run_state *r);

/* ---- run_tensor.c ----------------------------------------------------------------------------------------------- */

/* Whether statistics have cross moments of two streams. */
bool wc_run_has_drift(const wc_run_state *r);

/* WC_INTERRUPTED once the context's stop flag is set. */
wc_status wc_run_interrupted(wc_run_state *r);

/* The index in the plan of a linear (model/model.h) of a block; SIZE_MAX: the model has no such tensor. */
size_t wc_run_tensor_of(const wc_run_state *r, size_t layer, size_t linear);

/* Compresses tensor i (or finds it done). c: NULL, or a diagonal of its inputs that is in what is in front of it, and
 * in stats already. rows: NULL, or what its own rows are multiplied by. packed: NULL, or gets the parts. */
wc_status wc_run_compress_tensor(wc_run_state *r, size_t i, const wc_stats *stats, const float *c, const float *rows,
                                 wc_packed *packed);

/* Stores tensor i as it is (or finds it done): its values, in the form that the plan says. */
wc_status wc_run_copy_tensor(wc_run_state *r, size_t i);

/* The tensor is already in the file: checks its bytes and, if packed is given, makes them usable as a weight.
 * WC_VERIFY when the journal or the bytes are damaged. */
wc_status wc_run_restore_tensor(wc_run_state *r, size_t i, const wc_journal_record *done, wc_packed *packed);

/* The bytes of tensor i to disk, then the records of its parts, then `done' (type and index are filled in). */
wc_status wc_run_journal_tensor(wc_run_state *r, size_t i, const wc_packed *packed, wc_journal_record done);

/* ---- run_fold.c ------------------------------------------------------------------------------------------------- */

/* A block in work: its compressed linears, and how the streams, whose inputs are those before any fold, see them. */
typedef struct wc_run_block {
    wc_packed packed[WC_N_LINEARS];
    wc_fold_scaled scaled[WC_N_LINEARS];
    float *c[WC_N_STAGES];     /* the diagonal of the inputs of a stage that is in front of it; NULL: none */
    float *rows[WC_N_LINEARS]; /* what the rows of a linear are multiplied by; NULL: nothing */
} wc_run_block;

/* *c [n]: the diagonal in the norm in front of the stage, if the plan says so: chosen by stats, or, where these are
 * NULL since nothing is left to be done behind it, found. */
wc_status wc_run_fold_norm(wc_run_state *r, size_t layer, wc_stage stage, const wc_stats *stats, float **c);

/* The linear of this stage, as a tensor of the plan, whose rows take the diagonal of the next one's inputs; SIZE_MAX:
 * none does. */
size_t wc_run_folded_rows(const wc_run_state *r, size_t layer, wc_stage stage);

/* The diagonal that goes into rows of a linear of this stage, for the inputs of the next one, by what is known of those
 * (the caller's own): into work->rows and, input by input, work->c. */
wc_status wc_run_fold_rows(wc_run_state *r, size_t layer, wc_stage stage, wc_stats *ahead, wc_run_block *work);

/* ---- run_blocks.c ----------------------------------------------------------------------------------------------- */

/* How many blocks, from the first, have linears that ask for statistics or lie before one that does. */
size_t wc_run_n_blocks(const wc_run_state *r);

/* All of them: from the block edge that an earlier run has reached, or from the embeddings. */
wc_status wc_run_blocks(wc_run_state *r);

/* Fixed statistics: every linear on its own, no forward pass. */
wc_status wc_run_blocks_from_file(wc_run_state *r);

#endif
