/* calibrate.h - statistics of the original model for every group of linears, saved for later runs. */
#ifndef WC_CALIBRATE_H
#define WC_CALIBRATE_H

#include "calib/tokens.h"
#include "report.h"

/* Our own file; or only the diagonals, as an importance matrix of llama.cpp in GGUF or in its older form. */
typedef enum wc_stats_form { WC_STATS_OWN, WC_STATS_IMATRIX, WC_STATS_IMATRIX_DAT, WC_N_STATS_FORMS } wc_stats_form;

typedef struct wc_calibrate_options {
    const char *model, *output; /* output NULL: model.wcstats beside the input, or as the form is called */
    wc_stats_form form;
    const char *work_dir;
    wc_text_options calib;
    uint64_t memory;
    bool force, fresh;
} wc_calibrate_options;

/* One pass of the original model over the text; or none, when model is a file of statistics that only changes its form.
 * Restartable like wc_run; the output appears when it is complete. */
wc_status wc_calibrate(wc_ctx *ctx, const wc_calibrate_options *opt, wc_report *report);

#endif
