#include "work.h"

static const double copy_byte = 100, check_byte = 10; /* 1 and 10 GB/s where products run at 100 GFLOP/s */
static const double transform_number = 250;           /* 2.5 ns */
static const double forward_factor = 1.3, moments_factor = 1.3, solver_factor = 1.5, error_factor = 1.5;

double wc_work_tensor(const wc_plan_tensor *t, bool drift)
{
    if (t->copied) return copy_byte * (double)t->bytes;
    double m = (double)t->source->rows, n = (double)t->source->cols, work = 0;
    bool stats = wc_recipe_needs_stats(t->recipe);
    for (size_t i = 0; i < t->recipe->n; i++) {
        const wc_recipe_step *s = &t->recipe->step[i];
        wc_place at = wc_recipe_place(t->recipe, i, t->source->rows, t->source->cols);
        if (s->method->flops) work += solver_factor * s->method->flops(&at, s->opt, drift && stats);
    }
    double moments = stats ? (drift ? 4 : 2) * n : 0; /* H and the cross moments change on both sides */
    work += transform_number * (double)t->n_transforms * n * (m + moments);
    return work + (stats ? 2 * error_factor * m * n * n : 0) + copy_byte * (double)t->bytes;
}

double wc_work_check(const wc_plan *plan)
{
    return check_byte * (double)plan->source_bytes;
}

double wc_work_stage(const wc_config *c, int stage, size_t seqlen, size_t n_streams, bool collect)
{
    double work = 0;
    if (stage > WC_STAGE_QKV) {
        double inputs = (double)wc_stage_width(c, (wc_stage)(stage - 1)), outputs = 0;
        wc_tensor_spec spec[WC_MAX_SPECS];
        size_t n = wc_block_specs(c, spec);
        for (size_t i = 0; i < n; i++)
            if (spec[i].role == WC_ROLE_LINEAR && (int)spec[i].stage == stage - 1) outputs += (double)spec[i].rows;
        work += 2 * inputs * outputs;
        if (stage - 1 == WC_STAGE_QKV) work += 2 * (double)(c->heads * c->head_dim) * (double)(seqlen + 1);
    }
    work *= forward_factor * (double)n_streams;
    if (!collect || stage == WC_N_STAGES) return work;
    double width = (double)wc_stage_width(c, (wc_stage)stage);
    return work + moments_factor * width * width * (n_streams > 1 ? 3 : 1);
}
