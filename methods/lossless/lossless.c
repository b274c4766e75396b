/* The checkpoint's own bytes in fewer of them: exponents coded, mantissas as they are. See README.md. */
#include "methods/method.h"

#include "solve/plane_code.h"

struct options {
    int mantissa;
};

static const wc_opt opts[] = {
    {"mantissa", WC_OPT_INT, offsetof(struct options, mantissa), 23, 0, 23, NULL,
     "mantissa bits to keep; below 23 (F32), 10 (F16), 7 (BF16) with loss"},
    {0},
};

static wc_status survey(wc_ctx *ctx, const wc_place *at, wc_dtype dtype, const uint8_t *data, const void *opt,
                        wc_part *out)
{
    const struct options *o = opt;
    return wc_float_survey(ctx, dtype, data, (uint64_t)at->rows * at->cols, (unsigned)o->mantissa, &out->floats.code);
}

const wc_method wc_method_lossless = {
    .name = "lossless",
    .summary = "the same bytes in two thirds of the room (BF16): entropy-coded exponents; any element type",
    .role = WC_STEP_COPY,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .survey = survey,
};
