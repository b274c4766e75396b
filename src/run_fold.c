/* run_fold.c - the diagonals of fold.h in a run: chosen when the statistics are in, stored in a norm, a bias or the
 * choice of rows before the first linear that they are for, and found again by a run that goes on. */
#include "run_state.h"

#include <stdlib.h>
#include <string.h>

#include "model/linear.h"

static size_t folded_vector(const wc_run_state *r, const char *name)
{
    for (size_t i = 0; i < r->plan->n; i++)
        if (r->plan->tensor[i].folded && !strcmp(r->plan->tensor[i].source->name, name)) return i;
    return SIZE_MAX;
}

/* The norm that takes the diagonal of this stage's inputs. */
static size_t folded_norm(const wc_run_state *r, size_t layer, wc_stage stage)
{
    char name[WC_NAME_SIZE];
    return wc_fold_norm_name(&r->model.config, layer, stage, name) ? folded_vector(r, name) : SIZE_MAX;
}

size_t wc_run_folded_rows(const wc_run_state *r, size_t layer, wc_stage stage)
{
    size_t linear = stage == WC_STAGE_DOWN ? SIZE_MAX : wc_fold_rows_of(&r->model.config, stage + 1);
    size_t i = linear == SIZE_MAX ? SIZE_MAX : wc_run_tensor_of(r, layer, linear);
    return i != SIZE_MAX && r->plan->tensor[i].folded ? i : SIZE_MAX;
}

/* The linears of a stage, for a choice among diagonals. */
typedef struct readers {
    wc_weight weight[WC_N_LINEARS];
    wc_fold_linear linear[WC_N_LINEARS];
    size_t n;
} readers;

static wc_status find_readers(wc_run_state *r, size_t layer, wc_stage stage, readers *out)
{
    const size_t *linear;
    out->n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < out->n; k++) {
        const wc_plan_tensor *t = &r->plan->tensor[wc_run_tensor_of(r, layer, linear[k])];
        WC_TRY(r->model.source.find(r->ctx, r->model.source.self, t->source->name, &out->weight[k]));
        out->linear[k] = (wc_fold_linear){&out->weight[k], &t->recipe->step[0]};
    }
    return WC_OK;
}

/* Puts vector i, g [n] times c, into the file: before any linear that it is for, so that a killed run goes on with the
 * same. */
static wc_status store_vector(wc_run_state *r, size_t i, const float *g, const float *c, wc_packed *packed)
{
    wc_part part = r->plan->tensor[i].part[0];
    wc_wcz_blob blob = {0};
    WC_TRY(wc_float_alloc(r->ctx, &part.floats));
    wc_fold_norm(g, c, part.floats.cols, part.floats.dtype, part.floats.owned);
    wc_status status = wc_wcz_put(r->ctx, r->wcz, i, 0, &part, &blob);
    if (status == WC_OK) status = wc_packed_add(r->ctx, packed, &blob);
    if (status == WC_OK) {
        wc_wcz_describe(r->wcz, i, 0, 0);
        status = wc_run_journal_tensor(r, i, packed, (wc_journal_record){0});
    }
    wc_wcz_blob_free(&blob);
    wc_part_free(&part);
    return status;
}

/* A folded norm or bias: as it was and as it is in the file. */
typedef struct vector {
    float *was, *stored;
} vector;

static void vector_free(vector *v)
{
    free(v->was), free(v->stored);
}

/* *out (to be freed in any case) = vector i times c; c is not looked at where an earlier run has stored it. */
static wc_status fold_vector(wc_run_state *r, size_t i, const float *c, vector *out)
{
    const wc_st_tensor *source = r->plan->tensor[i].source;
    const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    wc_packed packed = {.rows = 1, .cols = source->cols};
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_vector_read(r->ctx, &r->model.source, source->name, source->cols, &out->was));
    WC_TRY_OUT(WC_ALLOC(r->ctx, out->stored, source->cols, "a vector"));
    if (done)
        WC_TRY_OUT(wc_run_restore_tensor(r, i, done, &packed));
    else
        WC_TRY_OUT(store_vector(r, i, out->was, c, &packed));
    WC_TRY_OUT(wc_packed_rows(r->ctx, &packed, 0, 1, out->stored));
out:
    wc_packed_free(&packed);
    return status;
}

wc_status wc_run_fold_norm(wc_run_state *r, size_t layer, wc_stage stage, const wc_stats *stats, float **c)
{
    size_t i = folded_norm(r, layer, stage), best;
    vector norm = {0};
    readers behind;
    wc_status status = WC_OK;
    if (i == SIZE_MAX) return WC_OK;
    size_t n = r->plan->tensor[i].source->cols;
    WC_TRY_OUT(WC_ALLOC(r->ctx, *c, n, "a diagonal"));
    if (!wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0)) {
        if (!stats) WC_TRY_OUT(wc_fail(r->ctx, WC_BUG, "block %zu: linears are done before their norm", layer));
        WC_TRY_OUT(find_readers(r, layer, stage, &behind));
        WC_TRY_OUT(wc_fold_choose(r->ctx, behind.linear, behind.n, stats, &best));
        WC_TRY_OUT(wc_fold_candidate(r->ctx, behind.linear, stats, best, *c));
    }
    WC_TRY_OUT(fold_vector(r, i, *c, &norm));
    wc_fold_diagonal(norm.was, norm.stored, n, *c);
out:
    vector_free(&norm);
    return status;
}

/* rows [n], the factors of the rows of a linear, as its bias has them. */
static wc_status fold_bias(wc_run_state *r, size_t layer, size_t linear, size_t n, float *rows)
{
    wc_tensor_spec spec = {.role = WC_ROLE_BIAS, .index = linear};
    char name[WC_NAME_SIZE];
    vector bias = {0};
    wc_spec_name(&spec, layer, name);
    size_t i = folded_vector(r, name);
    if (i == SIZE_MAX) return WC_OK;
    wc_status status = fold_vector(r, i, rows, &bias);
    if (status == WC_OK) wc_fold_bias(bias.was, bias.stored, n, rows);
    vector_free(&bias);
    return status;
}

/* Which candidate it is: in the journal before anything is stored times it. */
static wc_status choose_rows(wc_run_state *r, size_t front, const readers *behind, const wc_stats *ahead, size_t *best)
{
    wc_journal_record chosen = {.type = WC_JOURNAL_FOLD, .index = (uint32_t)front};
    const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_FOLD, chosen.index, 0);
    if (done) {
        *best = done->count;
        return WC_OK;
    }
    WC_TRY(wc_fold_choose(r->ctx, behind->linear, behind->n, ahead, best));
    chosen.count = (uint32_t)*best;
    return wc_journal_append(r->ctx, &r->journal, chosen);
}

wc_status wc_run_fold_rows(wc_run_state *r, size_t layer, wc_stage stage, wc_stats *ahead, wc_run_block *work)
{
    const wc_config *config = &r->model.config;
    wc_stage next = stage + 1;
    size_t linear = wc_fold_rows_of(config, next), front = wc_run_tensor_of(r, layer, linear), best;
    size_t n = r->plan->tensor[front].source->rows;
    readers behind;
    WC_TRY(WC_ALLOC(r->ctx, work->rows[linear], n, "factors of rows"));
    WC_TRY(WC_ALLOC(r->ctx, work->c[next], ahead->n, "a diagonal"));
    float *rows = work->rows[linear], *c = work->c[next];
    wc_fold_tie(config, next, ahead);
    WC_TRY(find_readers(r, layer, next, &behind));
    WC_TRY(choose_rows(r, front, &behind, ahead, &best));
    WC_TRY(wc_fold_candidate(r->ctx, behind.linear, ahead, best, c));
    for (size_t j = 0; j < ahead->n; j++)
        rows[wc_fold_row(config, next, j)] = c[j];
    WC_TRY(fold_bias(r, layer, linear, n, rows));
    for (size_t j = 0; j < ahead->n; j++)
        c[j] = rows[wc_fold_row(config, next, j)];
    return WC_OK;
}
