/* run.h - the main job: a model in, a .wcz out. */
#ifndef WC_RUN_H
#define WC_RUN_H

#include "calib/tokens.h"
#include "plan.h"
#include "report.h"

typedef struct wc_run_options {
    const char *model;      /* file or folder */
    const char *output;     /* NULL: model.wcz beside the input */
    const char *work_dir;   /* NULL: <output>.work */
    const char *stats_file; /* saved statistics instead of a forward pass, or NULL */
    wc_plan_options plan; /* linear NULL: gptq at `bits', or rtn when the model cannot be run; mix: with error feedback
                           * when it can */
    double bits;
    wc_text_options calib; /* seqlen 0: default */
    uint64_t memory;       /* 0: default */
    double attention;      /* wc_pass_options; 0: all tokens alike */
    bool one_stream;       /* do not run the original model beside the compressed one: no drift statistics */
    bool force, fresh, dry_run;
} wc_run_options;

typedef struct wc_run_result {
    char *output; /* owned; free with wc_run_result_free */
    uint64_t source_bytes, bytes, weights;
    double bits, linear_bits; /* per weight: the whole file; the compressed linears */
    double error_mean, error_max;
    size_t fallbacks, escalations;
    double seconds;
} wc_run_result;

/* The whole job, in the order that the top of run.c shows. All outcomes are in the report; *result is filled unless
 * dry_run. */
wc_status wc_run(wc_ctx *ctx, const wc_run_options *opt, wc_report *report, wc_run_result *result);
void wc_run_result_free(wc_run_result *r);

#endif
