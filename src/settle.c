#include "settle.h"

#include <stdlib.h>
#include <string.h>

#include "fold.h"

/* Recipes with options of their own, tensor by tensor: n == 0 where nothing is open. */
typedef struct settling {
    wc_plan *plan;
    const wc_config *config; /* NULL: an unknown architecture */
    const wc_plan_options *opt;
    wc_recipe *own; /* [plan->n] */
} settling;

/* ---- diagonals in what is in front ------------------------------------------------------------------------------ */

/* Candidates of a fold that step i of the tensor's recipe asks for; 0: none. */
static size_t choices(const settling *s, size_t t, size_t i)
{
    const wc_recipe *r = &s->own[t];
    const wc_folding *f = i < r->n ? r->step[i].method->folding : NULL;
    return f ? f->choices(r->step[i].opt) : 0;
}

static bool asks(const settling *s, size_t t)
{
    for (size_t i = 0; i < s->own[t].n; i++)
        if (choices(s, t, i)) return true;
    return false;
}

static size_t named(const wc_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n; i++)
        if (!strcmp(plan->tensor[i].source->name, name)) return i;
    return SIZE_MAX;
}

static size_t tensor_of(const wc_plan *plan, size_t layer, size_t linear)
{
    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensor[i].layer == layer && plan->tensor[i].linear == linear) return i;
    return SIZE_MAX;
}

/* A norm or a bias that is kept as it is, in numbers that can be multiplied. */
static bool kept_plain(const settling *s, size_t t)
{
    const wc_plan_tensor *v = t == SIZE_MAX ? NULL : &s->plan->tensor[t];
    return v && !v->recipe->n && !v->source->ggml && wc_dtype_is_float(v->source->dtype);
}

/* Whether all numbers of a row are chosen without the other rows, so that a row times a factor is stored as well as
 * without it. */
static bool rows_apart(const wc_plan_tensor *t)
{
    bool apart = true;
    for (size_t i = 0; i < t->recipe->n; i++) {
        const wc_recipe_step *step = &t->recipe->step[i];
        wc_place at = wc_recipe_place(t->recipe, i, t->source->rows, t->source->cols);
        wc_part part = {0};
        if (step->method->narrow) return false;
        step->method->plan(&at, step->opt, &part);
        if (part.kind == WC_PART_GRID)
            apart = apart && part.grid.tile < 2;
        else if (part.kind == WC_PART_LUT)
            apart = apart && part.lut.scope != WC_LUT_TENSOR;
        else
            apart = apart && (!part.kind || part.kind == WC_PART_GGML || wc_part_is_transform(part.kind));
        wc_part_free(&part);
    }
    return apart;
}

/* What the linears of one stage of a layer, and what is in front of them, make of a fold. */
typedef struct fold {
    size_t index[WC_N_LINEARS], n; /* the linears' tensors */
    size_t front, bias;            /* the norm, or the linear whose rows it is, and its bias; SIZE_MAX: none */
    bool rows;                     /* front is a linear */
} fold;

static fold fold_of(const settling *s, size_t layer, wc_stage stage)
{
    fold f = {.front = SIZE_MAX, .bias = SIZE_MAX};
    const size_t *linear;
    char name[WC_NAME_SIZE];
    f.n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < f.n; k++)
        f.index[k] = tensor_of(s->plan, layer, linear[k]);
    f.rows = !wc_fold_norm_name(s->config, layer, stage, name);
    if (!f.rows) {
        f.front = named(s->plan, name);
        return f;
    }
    wc_tensor_spec bias = {.role = WC_ROLE_BIAS, .index = wc_fold_rows_of(s->config, stage)};
    f.front = tensor_of(s->plan, layer, bias.index);
    wc_spec_name(&bias, layer, name);
    f.bias = named(s->plan, name);
    return f;
}

/* Why this cannot be, or NULL. */
static const char *no_fold(const settling *s, const fold *f)
{
    for (size_t k = 0; k < f->n; k++) {
        if (f->index[k] == SIZE_MAX || !choices(s, f->index[k], 0))
            return "not all linears with these inputs ask for them as their first step";
        if (choices(s, f->index[k], 0) != choices(s, f->index[0], 0)) return "not all of them try equally many";
    }
    if (!f->rows) return kept_plain(s, f->front) ? NULL : "the norm in front is not kept as it is";
    const wc_plan_tensor *front = f->front == SIZE_MAX ? NULL : &s->plan->tensor[f->front];
    if (!front || !front->recipe->n || front->recipe->step[0].method->survey)
        return "the linear in front is kept as it is";
    if (!rows_apart(front)) return "the rows of the linear in front are not rounded one by one";
    return f->bias == SIZE_MAX || kept_plain(s, f->bias) ? NULL : "the bias in front is not kept as it is";
}

/* Marks what takes the diagonals of a stage, and in folds [plan->n] the linears that need none of their own. Says once
 * for all layers where one was asked for and cannot be. */
static void fold_stage(wc_ctx *ctx, const settling *s, wc_stage stage, bool *folds)
{
    const char *why = NULL, *first = NULL;
    size_t refused = 0;
    for (size_t layer = 0; layer < s->config->layers; layer++) {
        fold f = fold_of(s, layer, stage);
        const char *reason = no_fold(s, &f);
        for (size_t k = 0; k < f.n && !reason; k++)
            folds[f.index[k]] = true;
        if (!reason) s->plan->tensor[f.front].folded = true;
        if (!reason && f.bias != SIZE_MAX) s->plan->tensor[f.bias].folded = true;
        for (size_t k = 0; k < f.n && reason; k++)
            if (f.index[k] != SIZE_MAX && asks(s, f.index[k])) {
                if (!refused++) why = reason, first = s->plan->tensor[f.index[k]].source->name;
            }
    }
    if (refused)
        wc_log(ctx, WC_LOG_INFO, "%s%s: scales are stored with it: %s", first, refused > 1 ? " and others like it" : "",
               why);
}

static wc_status settle_folds(wc_ctx *ctx, const settling *s)
{
    bool *folds;
    WC_TRY(WC_ALLOC(ctx, folds, s->plan->n, "the plan"));
    for (int stage = 0; s->config && stage < WC_N_STAGES; stage++)
        fold_stage(ctx, s, (wc_stage)stage, folds);
    for (size_t t = 0; t < s->plan->n; t++)
        for (size_t i = 0; i < s->own[t].n; i++)
            if (choices(s, t, i) && (i || !folds[t])) s->own[t].step[i].method->folding->refuse(s->own[t].step[i].opt);
    free(folds);
    return WC_OK;
}

/* ---- shares of a budget ----------------------------------------------------------------------------------------- */

typedef struct member_source {
    const settling *s;
    const wc_plan_tensor *tensor;
    wc_weight weight;
} member_source;

static wc_status member_rows(wc_ctx *ctx, const wc_member *m, size_t r0, size_t nr, float *dst)
{
    const member_source *from = m->source;
    return from->weight.read(ctx, &from->weight, r0, nr, dst);
}

static wc_status member_stats(wc_ctx *ctx, const wc_member *m, wc_stats *out)
{
    const member_source *from = m->source;
    const wc_plan_tensor *t = from->tensor;
    size_t layer;
    wc_stage stage;
    wc_model_role(from->s->config, t->source->name, &layer, &stage);
    return wc_saved_stats_get(ctx, from->s->opt->stats, layer, (size_t)stage, from->s->config->layers, m->at.cols, out);
}

/* The matrices whose recipe is r, as members for its step i. */
static wc_status allot_step(wc_ctx *ctx, const settling *s, const wc_recipe *r, size_t i)
{
    const wc_plan *plan = s->plan;
    size_t n = 0;
    wc_member *member = NULL;
    member_source *from = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, member, plan->n, "the plan"));
    WC_TRY_OUT(WC_ALLOC(ctx, from, plan->n, "the plan"));
    for (size_t t = 0; t < plan->n; t++) {
        const wc_plan_tensor *x = &plan->tensor[t];
        if (x->recipe != r) continue;
        bool known = s->opt->stats && x->linear != SIZE_MAX;
        from[n] = (member_source){s, x, {0}};
        WC_TRY_OUT(s->opt->source->find(ctx, s->opt->source->self, x->source->name, &from[n].weight));
        member[n] = (wc_member){.tensor = x->source->name,
                                .at = wc_recipe_place(r, i, x->source->rows, x->source->cols),
                                .first = !i,
                                .opt = s->own[t].step[i].opt,
                                .rows = member_rows,
                                .stats = known ? member_stats : NULL,
                                .source = &from[n]};
        n++;
    }
    if (n) WC_TRY_OUT(r->step[i].method->allot(ctx, member, n));
out:
    free(member), free(from);
    return status;
}

static wc_status settle_shares(wc_ctx *ctx, const settling *s)
{
    for (size_t k = 0; s->opt->source && k < s->plan->n_recipes; k++)
        for (size_t i = 0; i < s->plan->recipe[k].n; i++)
            if (s->plan->recipe[k].step[i].method->allot) WC_TRY(allot_step(ctx, s, &s->plan->recipe[k], i));
    return WC_OK;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

static bool open_ended(const wc_recipe *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->step[i].method->allot || r->step[i].method->folding) return true;
    return false;
}

/* The recipe with its settled options, where they differ from before. */
static wc_status write_recipe(wc_ctx *ctx, const wc_recipe *own, const char *before, wc_buf *text)
{
    WC_TRY(wc_recipe_print(ctx, own, text));
    if (!strcmp((char *)text->data, before)) wc_buf_free(text);
    return WC_OK;
}

wc_status wc_settle(wc_ctx *ctx, wc_plan *plan, const wc_config *config, const wc_plan_options *opt, wc_buf *text)
{
    settling s = {.plan = plan, .config = config, .opt = opt};
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, s.own, plan->n, "recipes"));
    for (size_t t = 0; t < plan->n; t++)
        if (open_ended(plan->tensor[t].recipe))
            WC_TRY_OUT(wc_recipe_parse(ctx, plan->tensor[t].recipe_text, &s.own[t]));
    WC_TRY_OUT(settle_folds(ctx, &s));
    WC_TRY_OUT(settle_shares(ctx, &s));
    for (size_t t = 0; t < plan->n; t++)
        if (s.own[t].n) WC_TRY_OUT(write_recipe(ctx, &s.own[t], plan->tensor[t].recipe_text, &text[t]));
out:
    for (size_t t = 0; s.own && t < plan->n; t++)
        wc_recipe_free(&s.own[t]);
    free(s.own);
    return status;
}
