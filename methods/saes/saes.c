/* Reduced-rank regression to the outputs of the original model. See README.md. */
#include "methods/factors.h"

static const wc_opt opts[] = {
    WC_FACTOR_OPTIONS(0, 0.8, 16),
    WC_FACTOR_METRIC(WC_METRIC_HESSIAN, 1),
    WC_FACTOR_BUDGET,
    {"drift", WC_OPT_REAL, offsetof(wc_factor_options, drift), 0.75, 0, 1, NULL,
     "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, offsetof(wc_factor_options, residual), 0.5, 0, 1, NULL,
     "the same for the drift of the residual stream, in layers that write to it"},
    {"adaptive", WC_OPT_BOOL, offsetof(wc_factor_options, adaptive), 0, 0, 1, NULL,
     "of these corrections take the part that a product of this rank can follow best (ACES)"},
    {"move_damp", WC_OPT_REAL, offsetof(wc_factor_options, move_damp), 0.01, 0, 10, NULL,
     "of the correction: added to the diagonal of H, relative to its mean"},
    {0},
};

const wc_method wc_method_saes = {
    .name = "saes",
    .summary = "product of two thin factors, best for the outputs of the original model in spite of drifted inputs",
    .fallback = "svdllm",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRODUCT,
    .opt_size = sizeof(wc_factor_options),
    .opts = opts,
    .applies = wc_factor_applies,
    .plan = wc_factor_plan,
    .allot = wc_factor_allot,
    .run = wc_factor_run,
    .flops = wc_factor_flops,
    .scratch = wc_factor_scratch,
};
