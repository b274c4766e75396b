/* SVD weighted by the Fisher information of the columns, as far as it is known without gradients. See README.md. */
#include "methods/factors.h"

static const wc_opt opts[] = {
    WC_FACTOR_OPTIONS(0, 0.8, 16),
    WC_FACTOR_METRIC(WC_METRIC_RMS, 1),
    WC_FACTOR_BUDGET,
    {0},
};

const wc_method wc_method_fwsvd = {
    .name = "fwsvd",
    .summary = "product of two thin factors, columns weighted by E[x_j^2]: Fisher weights without gradients",
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
