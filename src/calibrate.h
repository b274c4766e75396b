/* calibrate.h - statistics of the original model for every group of linears, saved for later runs. */
#ifndef WC_CALIBRATE_H
#define WC_CALIBRATE_H

#include "calib/tokens.h"
#include "report.h"

typedef struct wc_calibrate_options {
    const char *model, *output; /* output NULL: model.wcstats beside the input */
    const char *work_dir;
    wc_text_options calib;
    uint64_t memory;
    bool force, fresh;
} wc_calibrate_options;

/* One pass of the original model over the text. Restartable like wc_run; the output appears when it is complete. */
wc_status wc_calibrate(wc_ctx *ctx, const wc_calibrate_options *opt, wc_report *report);

#endif
