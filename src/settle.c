#include "settle.h"

#include <stdlib.h>
#include <string.h>

/* Recipes with options of their own, tensor by tensor: n == 0 where nothing is open. */
typedef struct settling {
    wc_plan *plan;
    const wc_config *config; /* NULL: an unknown architecture */
    const wc_plan_options *opt;
    wc_recipe *own; /* [plan->n] */
} settling;

/* ---- diagonals in the norm -------------------------------------------------------------------------------------- */

/* Candidates of a fold that step i of the tensor's recipe asks for; 0: none. */
static size_t choices(const settling *s, size_t t, size_t i)
{
    const wc_recipe *r = &s->own[t];
    const wc_folding *f = i < r->n ? r->step[i].method->folding : NULL;
    return f ? f->choices(r->step[i].opt) : 0;
}

static size_t norm_of(const wc_plan *plan, size_t layer, wc_stage stage)
{
    wc_tensor_spec spec = {.role = WC_ROLE_NORM, .index = stage == WC_STAGE_QKV ? WC_NORM_ATTENTION : WC_NORM_MLP};
    char name[WC_NAME_SIZE];
    wc_spec_name(&spec, layer, name);
    for (size_t i = 0; i < plan->n; i++)
        if (!strcmp(plan->tensor[i].source->name, name)) return i;
    return SIZE_MAX;
}

/* Whether all linears behind the norm ask for a diagonal in it, first of all, from equally many candidates, and the
 * norm is stored as it is. index [n]: the linears' tensors. */
static bool can_fold(const settling *s, size_t norm, const size_t *index, size_t n)
{
    const wc_plan_tensor *g = norm == SIZE_MAX ? NULL : &s->plan->tensor[norm];
    if (!g || g->recipe->n || g->source->ggml || !wc_dtype_is_float(g->source->dtype)) return false;
    for (size_t k = 0; k < n; k++)
        if (index[k] == SIZE_MAX || !choices(s, index[k], 0) || choices(s, index[k], 0) != choices(s, index[0], 0))
            return false;
    return true;
}

static size_t tensor_of(const wc_plan *plan, size_t layer, size_t linear)
{
    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensor[i].layer == layer && plan->tensor[i].linear == linear) return i;
    return SIZE_MAX;
}

/* Marks the norms of a layer that take a diagonal, and in folds [plan->n] the linears behind them. */
static void fold_layer(const settling *s, size_t layer, bool *folds)
{
    static const wc_stage behind_norms[] = {WC_STAGE_QKV, WC_STAGE_GATE_UP};
    for (size_t k = 0; k < sizeof behind_norms / sizeof *behind_norms; k++) {
        const size_t *linear;
        size_t n = wc_stage_linears(behind_norms[k], &linear), index[WC_N_LINEARS];
        size_t norm = norm_of(s->plan, layer, behind_norms[k]);
        for (size_t i = 0; i < n; i++)
            index[i] = tensor_of(s->plan, layer, linear[i]);
        if (!can_fold(s, norm, index, n)) continue;
        s->plan->tensor[norm].folded = true;
        for (size_t i = 0; i < n; i++)
            folds[index[i]] = true;
    }
}

static wc_status settle_folds(wc_ctx *ctx, const settling *s)
{
    bool *folds;
    WC_TRY(WC_ALLOC(ctx, folds, s->plan->n, "the plan"));
    for (size_t layer = 0; s->config && layer < s->config->layers; layer++)
        fold_layer(s, layer, folds);
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
