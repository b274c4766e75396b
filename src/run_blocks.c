/* run_blocks.c - both streams through each block, stage by stage, and the linears of a stage once its statistics are
 * in; or, with statistics from a file, the linears alone. */
#include "run_state.h"

#include <stdlib.h>
#include <string.h>

#include "work.h"

size_t wc_run_n_blocks(const wc_run_state *r)
{
    return wc_min(r->model.config.layers,
                  r->plan->last_calibrated == SIZE_MAX ? SIZE_MAX : r->plan->last_calibrated + 1);
}

/* A source that has one tensor in compressed form: the embedding that the compressed stream starts from. */
typedef struct overlay {
    const wc_weight_source *base;
    const char *name;
    const wc_packed *packed;
} overlay;

static wc_status overlay_find(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    const overlay *o = self;
    if (o->name && !strcmp(o->name, name)) {
        *out = wc_packed_weight(o->packed, o->name);
        return WC_OK;
    }
    return o->base->find(ctx, o->base->self, name, out);
}

static wc_status embed_streams(wc_run_state *r)
{
    overlay o = {.base = &r->model.source};
    wc_packed packed = {0};
    wc_status status = WC_OK;
    for (size_t i = 0; status == WC_OK && i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (t->role != WC_ROLE_EMBED || t->copied) continue;
        const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
        if (!done) status = wc_fail(r->ctx, WC_BUG, "%s: not compressed before the first block", t->source->name);
        if (status == WC_OK) status = wc_run_restore_tensor(r, i, done, &packed);
        o.name = t->source->name;
        o.packed = &packed;
    }
    wc_weight_source compressed = {.find = overlay_find, .self = &o, .label = r->model.source.label};
    if (status == WC_OK) status = wc_pass_embed(r->ctx, &r->pass, 0, &compressed);
    if (status == WC_OK && r->pass.n_streams > 1) status = wc_pass_embed(r->ctx, &r->pass, 1, &r->model.source);
    wc_packed_free(&packed);
    return status;
}

static wc_status record_edge(wc_run_state *r, size_t layer, const uint64_t hash[])
{
    wc_journal_record edge = {.type = WC_JOURNAL_EDGE, .index = (uint32_t)layer, .a = hash[0], .b = hash[1]};
    return wc_journal_append(r->ctx, &r->journal, edge);
}

/* The inputs of the first block that is not finished: from the edge files of a killed run, or from the embeddings. */
static wc_status enter(wc_run_state *r, size_t *first)
{
    const wc_journal_record *edge = wc_journal_last(&r->journal, WC_JOURNAL_EDGE);
    wc_pass_options o = {.config = &r->model.config,
                         .windows = &r->windows,
                         .n_streams = r->opt->one_stream ? 1 : 2,
                         .chunk_tokens = r->budget.chunk_tokens,
                         .dir = r->work,
                         .edges_in_files = true,
                         .spill = r->budget.spill,
                         .attention = r->opt->attention,
                         .keep = edge != NULL};
    uint64_t hash[WC_PASS_MAX_STREAMS] = {0};
    WC_TRY(wc_pass_open(r->ctx, &o, &r->pass));
    *first = edge ? edge->index : 0;
    r->pass.now = (int)(*first % 2);
    if (!edge) WC_TRY(embed_streams(r));
    for (size_t s = 0; s < r->pass.n_streams; s++)
        WC_TRY(wc_pass_hash(r->ctx, &r->pass, s, &hash[s]));
    if (!edge) return record_edge(r, 0, hash);
    if (hash[0] != edge->a || hash[1] != edge->b)
        return wc_fail(r->ctx, WC_VERIFY, "%s: the activations of block %zu are damaged; use --fresh", r->work, *first);
    return WC_OK;
}

static void drop_packed(wc_run_block *work)
{
    for (int k = 0; k < WC_N_LINEARS; k++)
        wc_packed_free(&work->packed[k]);
}

static void drop_work(wc_run_block *work)
{
    drop_packed(work);
    for (int k = 0; k < WC_N_STAGES; k++)
        free(work->c[k]);
    for (int k = 0; k < WC_N_LINEARS; k++)
        free(work->rows[k]);
}

/* Compresses the linears of one stage; block's weights become the compressed ones, whose bytes are in *work. stats:
 * the caller's own; NULL when there is nothing left to do. */
static wc_status compress_stage(wc_run_state *r, size_t layer, wc_stage stage, wc_stats *stats, wc_block *block,
                                wc_run_block *work)
{
    float **c = &work->c[stage];
    WC_TRY(wc_run_fold_norm(r, layer, stage, stats, c));
    if (*c && stats) wc_fold_stats(r->ctx, stats, stats->r ? r->model.config.hidden : 0, *c);
    const size_t *linear;
    size_t n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < n; k++) {
        size_t i = wc_run_tensor_of(r, layer, linear[k]);
        if (i == SIZE_MAX || r->plan->tensor[i].copied) continue;
        WC_TRY(wc_run_interrupted(r));
        const float *rows = work->rows[linear[k]];
        WC_TRY(wc_run_compress_tensor(r, i, stats, *c, rows, &work->packed[linear[k]]));
        wc_weight w = wc_packed_weight(&work->packed[linear[k]], r->plan->tensor[i].source->name);
        work->scaled[linear[k]] = (wc_fold_scaled){.base = w, .c = *c, .rows = rows};
        if (block) block->linear[linear[k]] = *c || rows ? wc_fold_weight(&work->scaled[linear[k]]) : w;
        const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
        wc_report_step(r->report, "block %zu/%zu  %-10s err %.5f%s", layer + 1, r->model.config.layers,
                       strchr(wc_linear_suffix(linear[k]), '.') + 1, done->x,
                       done->flags & WCD_TENSOR_FALLBACK ? "  (fallback)" : "");
    }
    return WC_OK;
}

/* Whether any linear of the stage is still to be done: if not, its statistics need not be collected. */
static bool stage_wants_stats(const wc_run_state *r, size_t layer, wc_stage stage)
{
    const size_t *linear;
    size_t n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < n; k++) {
        size_t i = wc_run_tensor_of(r, layer, linear[k]);
        if (i != SIZE_MAX && !r->plan->tensor[i].copied &&
            !wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0))
            return true;
    }
    return false;
}

/* What the stage's linears, before they are compressed, bring to the next one: for the diagonal that goes into them. */
static wc_status look_ahead(wc_run_state *r, size_t layer, wc_stage stage, const wc_block *block, wc_run_block *work)
{
    wc_stats_sum sum = {0};
    wc_stats ahead = {0};
    wc_status status = WC_OK;
    if (wc_run_folded_rows(r, layer, stage) == SIZE_MAX) return WC_OK;
    r->per_token = wc_work_stage(&r->model.config, stage + 1, r->windows.seqlen, 1, true);
    WC_TRY_OUT(wc_stats_begin(r->ctx, wc_stage_width(&r->model.config, stage + 1), false, 0, &sum));
    WC_TRY_OUT(wc_pass_peek(r->ctx, &r->pass, block, stage, &sum));
    WC_TRY_OUT(wc_stats_finish(r->ctx, &sum, &ahead));
    WC_TRY_OUT(wc_run_fold_rows(r, layer, stage, &ahead, work));
out:
    wc_stats_drop(&sum);
    wc_stats_free(&ahead);
    return status;
}

static wc_status run_stage(wc_run_state *r, size_t layer, wc_stage stage, const wc_block *both[], wc_block *block,
                           wc_run_block *work)
{
    wc_stats_sum sum = {0};
    wc_stats stats = {0};
    bool collect = stage_wants_stats(r, layer, stage);
    wc_status status = WC_OK;
    bool to_residual = stage == WC_STAGE_O || stage == WC_STAGE_DOWN;
    if (collect)
        WC_TRY_OUT(wc_stats_begin(r->ctx, wc_stage_width(&r->model.config, stage), r->pass.n_streams > 1,
                                  to_residual ? r->model.config.hidden : 0, &sum));
    r->per_token = wc_work_stage(&r->model.config, stage, r->windows.seqlen, r->pass.n_streams, collect);
    WC_TRY_OUT(wc_pass_stage(r->ctx, &r->pass, both, stage, collect ? &sum : NULL));
    if (collect) WC_TRY_OUT(wc_stats_finish(r->ctx, &sum, &stats));
    WC_TRY_OUT(look_ahead(r, layer, stage, block, work));
    WC_TRY_OUT(compress_stage(r, layer, stage, collect ? &stats : NULL, block, work));
out:
    wc_checkpoint_release(&r->in.checkpoint);
    wc_stats_drop(&sum);
    wc_stats_free(&stats);
    return status;
}

static wc_status run_block(wc_run_state *r, size_t layer)
{
    wc_block original = {0}, compressed = {0};
    wc_run_block work = {0};
    uint64_t hash[WC_PASS_MAX_STREAMS] = {0};
    const wc_block *both[] = {&compressed, &original};
    wc_status status = WC_OK;
    r->layer = layer;
    WC_TRY_OUT(wc_block_open(r->ctx, &r->model.config, &r->model.source, layer, &original));
    WC_TRY_OUT(wc_block_open(r->ctx, &r->model.config, &r->model.source, layer, &compressed));
    for (int stage = 0; stage < WC_N_STAGES; stage++)
        WC_TRY_OUT(run_stage(r, layer, (wc_stage)stage, both, &compressed, &work));
    r->per_token = wc_work_stage(&r->model.config, WC_N_STAGES, r->windows.seqlen, r->pass.n_streams, false);
    WC_TRY_OUT(wc_pass_leave(r->ctx, &r->pass, both, hash));
    WC_TRY_OUT(record_edge(r, layer + 1, hash));
    char where[64];
    snprintf(where, sizeof where, "block %zu/%zu done", layer + 1, r->model.config.layers);
    wc_report_milestone(r->report, where);
out:
    wc_block_close(&original);
    wc_block_close(&compressed);
    drop_work(&work);
    wc_checkpoint_release(&r->in.checkpoint);
    return status;
}

/* Blocks that an earlier run finished are only checked. */
static wc_status restore_block(wc_run_state *r, size_t layer)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (t->layer == layer && t->folded && t->copied) WC_TRY(wc_run_copy_tensor(r, i));
        if (t->layer != layer || t->linear == SIZE_MAX || t->copied) continue;
        WC_TRY(wc_run_compress_tensor(r, i, NULL, NULL, NULL, NULL));
    }
    return WC_OK;
}

static void pass_progress(void *user, double tokens)
{
    wc_run_state *r = user;
    char where[64];
    snprintf(where, sizeof where, "block %zu/%zu  running the model", r->layer + 1, r->model.config.layers);
    wc_report_progress(r->report, tokens * r->per_token, where);
}

wc_status wc_run_blocks(wc_run_state *r)
{
    size_t first;
    WC_TRY(enter(r, &first));
    r->pass.progress = pass_progress;
    r->pass.progress_user = r;
    for (size_t layer = 0; layer < wc_run_n_blocks(r); layer++)
        WC_TRY(layer < first ? restore_block(r, layer) : run_block(r, layer));
    return WC_OK;
}

static wc_status saved_stats(wc_run_state *r, size_t layer, wc_stage stage, wc_stats *out)
{
    const wc_config *c = &r->model.config;
    return wc_saved_stats_get(r->ctx, &r->saved, layer, (size_t)stage, c->layers, wc_stage_width(c, stage), out);
}

static wc_status stage_from_file(wc_run_state *r, size_t layer, wc_stage stage, wc_run_block *work)
{
    wc_stats stats = {0}, ahead = {0};
    wc_status status = WC_OK;
    bool now = stage_wants_stats(r, layer, stage), rows = wc_run_folded_rows(r, layer, stage) != SIZE_MAX;
    if (rows && (now || stage_wants_stats(r, layer, stage + 1))) {
        WC_TRY_OUT(saved_stats(r, layer, stage + 1, &ahead));
        WC_TRY_OUT(wc_run_fold_rows(r, layer, stage, &ahead, work));
        wc_stats_free(&ahead);
    }
    if (now) WC_TRY_OUT(saved_stats(r, layer, stage, &stats));
    WC_TRY_OUT(compress_stage(r, layer, stage, now ? &stats : NULL, NULL, work));
out:
    drop_packed(work);
    wc_stats_free(&stats);
    wc_stats_free(&ahead);
    return status;
}

wc_status wc_run_blocks_from_file(wc_run_state *r)
{
    for (size_t layer = 0; layer < wc_run_n_blocks(r); layer++) {
        wc_run_block work = {0};
        wc_status status = WC_OK;
        for (int stage = 0; status == WC_OK && stage < WC_N_STAGES; stage++)
            status = stage_from_file(r, layer, (wc_stage)stage, &work);
        drop_work(&work);
        WC_TRY(status);
    }
    return WC_OK;
}
