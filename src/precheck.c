#include "precheck.h"

#include <stdlib.h>
#include <string.h>

#include "remodel.h"

/* The schemes that a plan gives the tensors of a model, in the order of wc_schemes. */
static wc_status planned(wc_ctx *ctx, const wc_input *in, const wc_plan_options *options, wc_scheme **list, size_t *n)
{
    wc_plan_options opt = *options;
    wc_recipe passes = {0};
    wc_remodel model = {0};
    wc_plan *plan = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_recipe_split(ctx, opt.linear, &passes, &opt.linear));
    WC_TRY_OUT(wc_remodel_open(ctx, &in->checkpoint, &in->config, &in->source, &passes, &model));
    opt.before = model.before;
    WC_TRY_OUT(wc_plan_make(ctx, &model.checkpoint, &model.config, &opt, &plan));
    WC_TRY_OUT(wc_schemes(ctx, in, list, n));
    for (size_t i = 0; i < *n; i++)
        for (size_t k = 0; k < plan->n; k++) {
            const wc_plan_tensor *t = &plan->tensor[k];
            if (!strcmp(t->source->name, (*list)[i].name))
                wc_scheme_of_parts(&(*list)[i], t->part, t->n_parts, t->n_transforms);
        }
out:
    wc_plan_free(&plan);
    wc_remodel_close(&model);
    wc_recipe_free(&passes);
    return status;
}

wc_status wc_precheck(wc_ctx *ctx, const wc_input *in, const wc_plan_options *plan, const wc_check_options *opt,
                      wc_findings *out)
{
    wc_scheme *list = NULL;
    size_t n = 0;
    WC_TRY(wc_input_need_forward(ctx, in));
    wc_status status = plan ? planned(ctx, in, plan, &list, &n) : wc_schemes(ctx, in, &list, &n);
    if (status == WC_OK) status = wc_check(ctx, in, list, n, opt, out);
    free(list);
    return status;
}

void wc_precheck_show(wc_report *report, const wc_findings *f)
{
    enum { SHOWN = 12 };
    json_t *list = json_array();
    for (size_t i = 0; i < f->n; i++) {
        const wc_finding *x = &f->list[i];
        if (i < SHOWN)
            wc_report_result(report, "%s %s%s%s; %s", x->fatal ? "refused" : "note   ", x->tensor,
                             *x->tensor ? ": " : "", x->text, x->mend);
        json_array_append_new(list, json_pack("{s:b, s:s, s:s, s:s}", "fatal", x->fatal, "tensor", x->tensor, "text",
                                              x->text, "mend", x->mend));
    }
    if (f->n > SHOWN) wc_report_result(report, "and %zu more; --json lists all", f->n - SHOWN);
    json_object_set_new(report->facts, "findings", list);
    json_object_set_new(report->facts, "fatal", json_integer((json_int_t)f->fatal));
}

const char *wc_precheck_grid(const char *target, double bits)
{
    if (!strcmp(target, "llama.cpp")) return "";
    return bits <= 2 ? ",group=128,scale_bits=0,sym=no"
                     : ",group=128,scale_bits=0"; /* 2 bits have no code in the middle */
}
