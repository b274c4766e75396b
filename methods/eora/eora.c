/* Low-rank repair of the output error in the eigenspace of the inputs. See README.md. */
#include "methods/factors.h"

static const wc_opt opts[] = {
    WC_FACTOR_OPTIONS(32, 0, 8),
    WC_FACTOR_METRIC(WC_METRIC_HESSIAN, 1),
    {0},
};

const wc_method wc_method_eora = {
    .name = "eora",
    .summary = "low-rank repair of the output error that earlier methods left: the best of its rank",
    .needs = WC_NEEDS_HESSIAN,
    .role = WC_STEP_PRODUCT,
    .opt_size = sizeof(wc_factor_options),
    .opts = opts,
    .applies = wc_factor_applies,
    .plan = wc_factor_plan,
    .run = wc_factor_run,
    .flops = wc_factor_flops,
    .scratch = wc_factor_scratch,
};
