#include "plan.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/format.h"
#include "remodel.h"
#include "settle.h"

/* ---- recipes ---------------------------------------------------------------------------------------------------- */

/* Index of the recipe with this text, parsed once; equal canonical texts share one entry. */
static wc_status intern_recipe(wc_ctx *ctx, wc_plan *plan, const char *text, size_t *index)
{
    wc_recipe r;
    wc_buf canonical = {0};
    WC_TRY(wc_recipe_parse(ctx, text, &r));
    wc_status status = wc_recipe_print(ctx, &r, &canonical);
    for (size_t i = 0; status == WC_OK && i < plan->n_recipes; i++)
        if (!strcmp(plan->recipe_text[i], (char *)canonical.data)) {
            *index = i;
            wc_buf_free(&canonical);
            wc_recipe_free(&r);
            return WC_OK;
        }
    if (status == WC_OK) {
        *index = plan->n_recipes++;
        plan->recipe[*index] = r;
        plan->recipe_text[*index] = (char *)canonical.data;
        return WC_OK;
    }
    wc_buf_free(&canonical);
    wc_recipe_free(&r);
    return status;
}

/* ---- roles ------------------------------------------------------------------------------------------------------ */

enum {
    MOST_DEFAULTS = 24
};                      /* recipes besides those of rules: a mix has at most 9 types, with and without statistics */
enum { MIN_SIDE = 32 }; /* of a 2-D tensor in an unknown model, below which it is no weight matrix worth compressing */

static wc_role guess_role(const wc_st_tensor *t)
{
    if (t->n_dims != 2 || t->rows < MIN_SIDE || t->cols < MIN_SIDE) return WC_ROLE_OTHER;
    if (strstr(t->name, "lm_head") || strstr(t->name, "embed_out")) return WC_ROLE_HEAD;
    if (strstr(t->name, "embed") || strstr(t->name, "wte") || strstr(t->name, "wpe")) return WC_ROLE_EMBED;
    return WC_ROLE_LINEAR;
}

static void classify(wc_plan_tensor *t, const wc_config *config)
{
    wc_stage stage = WC_N_STAGES;
    t->layer = t->linear = SIZE_MAX;
    t->role = config ? wc_model_role(config, t->source->name, &t->layer, &stage) : guess_role(t->source);
    if (!config || t->role != WC_ROLE_LINEAR) return;
    const size_t *index;
    size_t n = wc_stage_linears(stage, &index);
    for (size_t i = 0; i < n; i++)
        if (strstr(t->source->name, wc_linear_suffix(index[i]))) t->linear = index[i];
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

/* An embedding has no inputs to calibrate with; the head of an untied model has. */
static const char *mixed_recipe(const wc_plan_tensor *t, const wc_plan_options *opt, const wc_config *config,
                                char dst[64])
{
    bool inputs = opt->calibrated && t->role != WC_ROLE_EMBED;
    snprintf(dst, 64, "%s(type=%s)", inputs ? "ggml" : "ggml_rtn",
             wc_mix_type(opt->mix, config, t->role, t->linear, t->layer)->name);
    return dst;
}

static const char *default_recipe(const wc_plan_tensor *t, const wc_plan_options *opt, const wc_config *config,
                                  char dst[64])
{
    const char *rest = opt->rest ? opt->rest : "keep";
    bool matrix = t->role == WC_ROLE_EMBED || t->role == WC_ROLE_HEAD || t->role == WC_ROLE_LINEAR;
    bool outside = t->layer != SIZE_MAX && (t->layer < opt->first_block || t->layer > opt->last_block);
    if (t->source->n_dims != 2 || !wc_dtype_is_float(t->source->dtype) || !matrix) return rest;
    if (t->role == WC_ROLE_LINEAR && outside) return rest;
    if (opt->mix && config) return mixed_recipe(t, opt, config, dst);
    return t->role == WC_ROLE_EMBED ? opt->embed : t->role == WC_ROLE_HEAD ? opt->head : opt->linear;
}

/* What the recipe cannot do with this tensor, or NULL. */
static const char *why_not(const wc_plan_tensor *t, const wc_recipe *r, const wc_config *config)
{
    if (!r->n) return NULL;
    if (r->step[0].method->survey)
        return wc_remodel_made(t->source) ? "a pass over the model has changed it: its own bytes are not wanted" : NULL;
    if (!wc_dtype_is_float(t->source->dtype)) return "only F32, F16 and BF16 values can be compressed";
    if (!t->source->rows || !t->source->cols) return "the tensor is empty";
    if (wc_recipe_needs_stats(r)) {
        if (!config) return "the architecture is unknown, so there are no calibration statistics";
        if (t->role == WC_ROLE_EMBED) return "calibration sees the outputs of an embedding, not its inputs: use rtn";
        if (t->role != WC_ROLE_LINEAR && t->role != WC_ROLE_HEAD) return "calibration has no inputs for it: use rtn";
    }
    for (size_t i = 0; i < r->n; i++) {
        const wc_method *m = r->step[i].method;
        wc_place at = wc_recipe_place(r, i, t->source->rows, t->source->cols);
        const char *reason = m->applies ? m->applies(&at, r->step[i].opt) : NULL;
        if (reason) return reason;
    }
    return NULL;
}

/* The recipe with what a pass over the model puts in front of it, where that applies. */
static wc_status put_before(wc_ctx *ctx, wc_plan *plan, const wc_plan_tensor *t, const wc_plan_options *opt,
                            const wc_config *config, size_t *index)
{
    const char *steps = opt->before && t->linear != SIZE_MAX ? opt->before[t->linear] : NULL;
    const wc_recipe *r = &plan->recipe[*index];
    wc_buf text = {0};
    size_t whole;
    if (!steps || !r->n || r->step[0].method->survey || wc_recipe_transforms(r)) return WC_OK;
    wc_status status = wc_buf_printf(ctx, &text, "%s | %s", steps, plan->recipe_text[*index]);
    if (status == WC_OK) status = intern_recipe(ctx, plan, (char *)text.data, &whole);
    if (status == WC_OK && !why_not(t, &plan->recipe[whole], config)) *index = whole;
    wc_buf_free(&text);
    return status;
}

static wc_status apply_rules(wc_ctx *ctx, wc_plan *plan, wc_plan_tensor *t, const wc_plan_options *opt,
                             const wc_config *config, bool *hit)
{
    char mixed[64];
    const char *text = default_recipe(t, opt, config, mixed);
    bool by_rule = false;
    for (size_t i = 0; i < opt->n_rules; i++)
        if (!fnmatch(opt->rule[i].pattern, t->source->name, 0)) {
            text = opt->rule[i].recipe;
            by_rule = hit[i] = true;
        }
    size_t index, keep;
    WC_TRY(intern_recipe(ctx, plan, text, &index));
    WC_TRY(intern_recipe(ctx, plan, "keep", &keep));
    WC_TRY(put_before(ctx, plan, t, opt, config, &index));
    const char *reason = why_not(t, &plan->recipe[index], config);
    if (reason && by_rule)
        return wc_fail(ctx, WC_OPTION, "%s, %llu x %llu: `%s' does not apply: %s", t->source->name,
                       (unsigned long long)t->source->rows, (unsigned long long)t->source->cols, text, reason);
    if (reason) {
        t->kept_because = reason;
        index = keep;
    }
    t->recipe = &plan->recipe[index];
    t->recipe_text = plan->recipe_text[index];
    return WC_OK;
}

/* ---- geometry --------------------------------------------------------------------------------------------------- */

/* Whether step i of the recipe makes a part: its geometry. */
static bool plan_step(const wc_plan_tensor *t, size_t i, wc_part *out)
{
    const wc_recipe_step *step = &t->recipe->step[i];
    wc_place at = wc_recipe_place(t->recipe, i, t->source->rows, t->source->cols);
    step->method->plan(&at, step->opt, out);
    return out->kind != 0;
}

static wc_status lay_out(wc_ctx *ctx, const wc_checkpoint *cp, wc_plan_tensor *t)
{
    const wc_st_tensor *s = t->source;
    const wc_recipe_step *first = t->recipe->n ? &t->recipe->step[0] : NULL;
    t->copied = !first || first->method->survey;
    if (t->copied) {
        wc_place at = {.rows = s->rows, .cols = s->cols, .kept = s->rows * s->cols};
        t->n_parts = 1;
        t->part[0] = (wc_part){.kind = WC_PART_FLOAT, .floats = {.rows = s->rows, .cols = s->cols, .dtype = s->dtype}};
        if (s->ggml)
            t->part[0] = (wc_part){.kind = WC_PART_GGML,
                                   .ggml = {.rows = s->rows, .cols = s->cols, .type = wc_ggml_type_by_id(s->ggml)}};
        if (first && (s->ggml || s->packed || s->interleaved))
            return wc_fail(ctx, WC_UNSUPPORTED, "tensor %s is %s: lossless keeps floats as they are stored", s->name,
                           s->interleaved ? "stored in another order of rows" : "quantized already");
        if (first)
            WC_TRY(first->method->survey(ctx, &at, s->dtype, wc_checkpoint_data(cp, s), first->opt, &t->part[0]));
    }
    size_t transforms = wc_recipe_transforms(t->recipe); /* they come first, and may be folded: then there is no part */
    for (size_t i = transforms; !t->copied && i < t->recipe->n; i++)
        if (plan_step(t, i, &t->part[t->n_parts])) t->n_parts++;
    for (size_t i = 0; i < transforms; i++)
        if (plan_step(t, i, &t->part[t->n_parts + t->n_transforms])) t->n_transforms++;
    for (size_t i = 0; i < t->n_parts + t->n_transforms; i++) {
        uint64_t bytes;
        WC_TRY(wc_part_bytes(ctx, &t->part[i], &bytes));
        t->bytes += bytes;
    }
    return WC_OK;
}

unsigned wc_plan_stack(const wc_plan_tensor *t)
{
    const wc_part *last = &t->part[t->n_parts - 1];
    return last->kind == WC_PART_SIGNS && last->signs.form == WC_SIGNS_PRODUCT ? last->signs.levels : 0;
}

static void add_up(wc_plan *plan, const wc_plan_tensor *t)
{
    uint64_t weights = t->source->rows * t->source->cols;
    plan->weights += weights;
    plan->levels += wc_plan_stack(t);
    plan->source_bytes += t->source->size;
    if (!t->recipe->n) return;
    if (t->role == WC_ROLE_LINEAR) {
        plan->n_linears++;
        plan->linear_weights += weights;
        plan->linear_bytes += t->bytes;
    }
    if (wc_recipe_needs_stats(t->recipe)) {
        /* the head has layer SIZE_MAX: it comes after every block */
        if (!plan->needs_stats || t->layer > plan->last_calibrated) plan->last_calibrated = t->layer;
        plan->needs_stats = true;
    }
}

/* Recipes whose options depend on several tensors get those of their own. */
static wc_status settle(wc_ctx *ctx, wc_plan *plan, const wc_config *config, const wc_plan_options *opt)
{
    wc_buf *text;
    WC_TRY(WC_ALLOC(ctx, text, plan->n, "recipes"));
    wc_status status = wc_settle(ctx, plan, config, opt, text);
    for (size_t i = 0; i < plan->n; i++) {
        wc_plan_tensor *t = &plan->tensor[i];
        size_t index;
        if (status == WC_OK && text[i].size) {
            status = intern_recipe(ctx, plan, (char *)text[i].data, &index);
            if (status == WC_OK) t->recipe = &plan->recipe[index], t->recipe_text = plan->recipe_text[index];
        }
        wc_buf_free(&text[i]);
    }
    free(text);
    return status;
}

/* A recipe that fits single tensors is a plan; one that fits none is a mistake. */
static wc_status check_use(wc_ctx *ctx, const wc_plan *plan)
{
    const wc_plan_tensor *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const wc_plan_tensor *t = &plan->tensor[i];
        if (t->role != WC_ROLE_LINEAR) continue;
        if (t->recipe->n) return WC_OK;
        if (t->kept_because && !n++) first = t;
    }
    if (!first) return WC_OK;
    return wc_fail(ctx, WC_OPTION, "the recipe applies to none of %zu linear layers: %s, %llu x %llu: %s", n,
                   first->source->name, (unsigned long long)first->source->rows,
                   (unsigned long long)first->source->cols, first->kept_because);
}

/* A range beyond the last block would leave out, in silence, what was asked for. */
static wc_status check_blocks(wc_ctx *ctx, const wc_plan *plan, const wc_plan_options *opt)
{
    size_t blocks = 0, asked = opt->last_block == SIZE_MAX ? opt->first_block : opt->last_block;
    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensor[i].layer != SIZE_MAX)
            blocks = plan->tensor[i].layer + 1 > blocks ? plan->tensor[i].layer + 1 : blocks;
    if (asked < blocks || (opt->first_block == 0 && opt->last_block == SIZE_MAX)) return WC_OK;
    return wc_fail(ctx, WC_OPTION, "--blocks: there is no block %zu among the %zu of the model, counted from 0", asked,
                   blocks);
}

wc_status wc_plan_make(wc_ctx *ctx, const wc_checkpoint *cp, const wc_config *config, const wc_plan_options *opt,
                       wc_plan **out)
{
    wc_plan *plan = NULL;
    bool *hit = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, plan, 1, "the plan"));
    WC_TRY_OUT(WC_ALLOC(ctx, plan->tensor, cp->n, "the plan"));
    plan->held = opt->held;
    /* Each with what stands before a linear, too; and those that are settled tensor by tensor. */
    size_t most = (opt->n_rules + MOST_DEFAULTS) * (1 + WC_N_LINEARS) + cp->n;
    WC_TRY_OUT(WC_ALLOC(ctx, plan->recipe, most, "recipes"));
    WC_TRY_OUT(WC_ALLOC(ctx, plan->recipe_text, most, "recipes"));
    WC_TRY_OUT(WC_ALLOC(ctx, hit, opt->n_rules, "rules"));
    for (size_t i = 0; i < cp->n; i++) {
        wc_plan_tensor *t = &plan->tensor[plan->n++];
        t->source = cp->tensor[i];
        classify(t, config);
        WC_TRY_OUT(apply_rules(ctx, plan, t, opt, config, hit));
    }
    WC_TRY_OUT(check_blocks(ctx, plan, opt));
    for (size_t i = 0; i < opt->n_rules; i++)
        if (!hit[i])
            WC_TRY_OUT(wc_fail(ctx, WC_OPTION, "rule `%s=%s' matches none of the %zu tensors", opt->rule[i].pattern,
                               opt->rule[i].recipe, cp->n));
    WC_TRY_OUT(check_use(ctx, plan));
    WC_TRY_OUT(settle(ctx, plan, config, opt));
    for (size_t i = 0; i < plan->n; i++) {
        WC_TRY_OUT(lay_out(ctx, cp, &plan->tensor[i]));
        add_up(plan, &plan->tensor[i]);
    }
    *out = plan;
    plan = NULL;
out:
    free(hit);
    wc_plan_free(&plan);
    return status;
}

void wc_plan_free(wc_plan **p)
{
    if (!p || !*p) return;
    wc_plan *plan = *p;
    for (size_t i = 0; i < plan->n; i++)
        for (size_t k = 0; k < plan->tensor[i].n_parts + plan->tensor[i].n_transforms; k++)
            wc_part_free(&plan->tensor[i].part[k]);
    for (size_t i = 0; i < plan->n_recipes; i++) {
        wc_recipe_free(&plan->recipe[i]);
        free(plan->recipe_text[i]);
    }
    free(plan->recipe);
    free(plan->recipe_text);
    free(plan->tensor);
    free(plan);
    *p = NULL;
}

wc_status wc_plan_layout(wc_ctx *ctx, const wc_plan *plan, const wc_wcz_meta *metas, size_t n_metas, wc_wcz **out)
{
    wc_wcz_tensor *t;
    WC_TRY(WC_ALLOC(ctx, t, plan->n, "the file layout"));
    for (size_t i = 0; i < plan->n; i++) {
        const wc_st_tensor *s = plan->tensor[i].source;
        t[i] = (wc_wcz_tensor){.name = s->name,
                               .source_dtype = s->dtype,
                               .n_dims = s->n_dims,
                               .n_parts = plan->tensor[i].n_parts,
                               .n_transforms = plan->tensor[i].n_transforms,
                               .parts = plan->tensor[i].part};
        memcpy(t[i].dims, s->dims, sizeof t[i].dims);
    }
    wc_status status = wc_wcz_layout(ctx, t, plan->n, metas, n_metas, out);
    free(t);
    return status;
}
