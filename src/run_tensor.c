/* run_tensor.c - one tensor of a run: compressed or copied, its bytes in the file before its records are in the
 * journal; or found there and checked. */
#include "run_state.h"

#include <stdlib.h>
#include <string.h>

#include "work.h"

size_t wc_run_tensor_of(const wc_run_state *r, size_t layer, size_t linear)
{
    for (size_t i = 0; i < r->plan->n; i++)
        if (r->plan->tensor[i].layer == layer && r->plan->tensor[i].linear == linear) return i;
    return SIZE_MAX;
}

bool wc_run_has_drift(const wc_run_state *r)
{
    return r->calibrated && !r->opt->one_stream;
}

wc_status wc_run_interrupted(wc_run_state *r)
{
    return r->ctx->stop && *r->ctx->stop ? wc_fail(r->ctx, WC_INTERRUPTED, "interrupted") : WC_OK;
}

static void note_result(wc_run_state *r, const wc_plan_tensor *t, const wc_journal_record *done)
{
    bool fallback = done->flags & WCD_TENSOR_FALLBACK;
    json_t *list = json_object_get(r->report->facts, "tensors");
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:I, s:o, s:b, s:f, s:i}", "name", t->source->name, "recipe",
                                    t->recipe_text, "bytes", (json_int_t)t->bytes, "error", wc_report_number(done->x),
                                    "fallback", fallback, "damping", done->y, "escalations", (int)done->count));
    r->n_fallbacks += fallback;
    r->n_escalations += done->count;
    if (t->role != WC_ROLE_LINEAR) return;
    r->error_sum += done->x;
    r->n_errors++;
    if (!r->error_max_name || done->x > r->error_max) {
        r->error_max = done->x;
        r->error_max_name = t->source->name;
    }
}

/* What the journal knows about a blob: parameters and checksum. */
static wc_status recall(wc_run_state *r, size_t i, uint32_t part, wc_wcz_blob *out)
{
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_PART, (uint32_t)i, part);
    if (!found)
        return wc_fail(r->ctx, WC_VERIFY, "%s: the journal lacks part %u; use --fresh", r->plan->tensor[i].source->name,
                       part & 0xffff);
    memcpy(out->params, found->params, sizeof out->params);
    out->xxh3 = found->a;
    return WC_OK;
}

static wc_status restore_part(wc_run_state *r, size_t i, uint32_t p, wc_packed *packed)
{
    const wc_part *ignored[WC_PART_CHILDREN];
    wc_wcz_blob child[WC_PART_CHILDREN] = {{0}}, blob = {0};
    wc_wcz_blob sealed = {.child = child, .n_children = wc_part_children(&r->plan->tensor[i].part[p], ignored)};
    WC_TRY(recall(r, i, p, &sealed));
    for (uint32_t k = 0; k < sealed.n_children; k++)
        WC_TRY(recall(r, i, wc_journal_child(p, k), &child[k]));
    WC_TRY(wc_wcz_get(r->ctx, r->wcz, i, p, &sealed, packed ? &blob : NULL));
    wc_status status = packed ? wc_packed_add(r->ctx, packed, &blob) : WC_OK;
    wc_wcz_blob_free(&blob);
    return status;
}

wc_status wc_run_restore_tensor(wc_run_state *r, size_t i, const wc_journal_record *done, wc_packed *packed)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    wc_packed local = {.rows = t->source->rows, .cols = t->source->cols};
    wc_status status = WC_OK;
    for (size_t p = 0; status == WC_OK && p < t->n_parts + t->n_transforms; p++)
        status = restore_part(r, i, (uint32_t)p, packed ? &local : NULL);
    if (status == WC_OK) wc_wcz_describe(r->wcz, i, done->x, done->flags);
    if (status == WC_OK && packed)
        *packed = local;
    else
        wc_packed_free(&local);
    return status;
}

static wc_status journal_blob(wc_run_state *r, size_t i, uint32_t part, const wc_wcz_blob *b)
{
    wc_journal_record record = {.type = WC_JOURNAL_PART,
                                .index = (uint32_t)i,
                                .part = part,
                                .kind = b->kind,
                                .version = b->version,
                                .a = b->xxh3};
    memcpy(record.params, b->params, sizeof record.params);
    return wc_journal_append(r->ctx, &r->journal, record);
}

static wc_status journal_levels(wc_run_state *r, size_t i, const wc_tensor_result *result)
{
    for (unsigned l = 0; l < result->levels; l++)
        WC_TRY(wc_journal_append(
            r->ctx, &r->journal,
            (wc_journal_record){
                .type = WC_JOURNAL_LEVEL, .index = (uint32_t)i, .part = l + 1, .x = result->level_error[l]}));
    return WC_OK;
}

wc_status wc_run_journal_tensor(wc_run_state *r, size_t i, const wc_packed *packed, wc_journal_record done)
{
    WC_TRY(wc_wcz_sync(r->ctx, r->wcz));
    for (uint32_t p = 0; p < packed->n_parts; p++) {
        const wc_wcz_blob *b = &packed->blob[p];
        WC_TRY(journal_blob(r, i, p, b));
        for (uint32_t k = 0; k < b->n_children; k++)
            WC_TRY(journal_blob(r, i, wc_journal_child(p, k), &b->child[k]));
    }
    for (uint32_t k = 0; k < packed->n_transforms; k++)
        WC_TRY(journal_blob(r, i, (uint32_t)packed->n_parts + k, &packed->transform_blob[k]));
    done.type = WC_JOURNAL_TENSOR;
    done.index = (uint32_t)i;
    return wc_journal_append(r->ctx, &r->journal, done);
}

wc_status wc_run_compress_tensor(wc_run_state *r, size_t i, const wc_stats *stats, const float *c, const float *rows,
                                 wc_packed *packed)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    wc_journal_record done = {0};
    if (found) {
        done = *found;
        WC_TRY(wc_run_restore_tensor(r, i, &done, packed));
        note_result(r, t, &done);
        return WC_OK;
    }
    wc_weight w;
    wc_packed local = {0};
    wc_tensor_result result;
    WC_TRY(r->model.source.find(r->ctx, r->model.source.self, t->source->name, &w));
    wc_fold_scaled scaled = {.base = w, .c = c, .rows = rows, .divide = true};
    if (c || rows) w = wc_fold_weight(&scaled);
    wc_compress_job job = {.weight = &w, .recipe = t->recipe, .stats = stats, .wcz = r->wcz, .tensor = i};
    wc_status status = wc_compress(r->ctx, &job, &local, &result);
    if (status == WC_OK) {
        done.x = result.error;
        done.y = result.damping;
        done.count = (uint32_t)result.escalations;
        done.flags = (result.fallback ? WCD_TENSOR_FALLBACK : 0u) | (result.error_plain ? WCD_TENSOR_ERROR_PLAIN : 0u);
        status = journal_levels(r, i, &result);
        if (status == WC_OK) status = wc_run_journal_tensor(r, i, &local, done);
    }
    if (status == WC_OK) {
        note_result(r, t, &done);
        char where[256];
        snprintf(where, sizeof where, "%s  err %.4f", t->source->name, result.error);
        wc_report_progress(r->report, wc_work_tensor(t, wc_run_has_drift(r)), where);
    }
    if (status == WC_OK && packed)
        *packed = local;
    else
        wc_packed_free(&local);
    return status;
}

/* A tensor of a GGUF file whose rows are stored in another order. */
static wc_status copy_in_order(wc_run_state *r, size_t i, wc_wcz_blob *out)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    wc_part part = t->part[0];
    wc_buf bytes = {0};
    wc_status status = wc_checkpoint_raw(r->ctx, &r->in.checkpoint, t->source, &bytes);
    if (part.kind == WC_PART_GGML)
        part.ggml.blocks = bytes.data;
    else
        part.floats.data = bytes.data;
    if (status == WC_OK) status = wc_wcz_put(r->ctx, r->wcz, i, 0, &part, out);
    wc_buf_free(&bytes);
    return status;
}

wc_status wc_run_copy_tensor(wc_run_state *r, size_t i)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    if (found) return wc_run_restore_tensor(r, i, found, NULL);
    if (t->folded) return wc_fail(r->ctx, WC_BUG, "%s: the linears behind it come first", t->source->name);
    wc_packed packed = {.n_parts = 1};
    wc_part coded = t->part[0]; /* the plan's: borrowed */
    wc_journal_record done = {0};
    if (wc_remodel_made(t->source) || t->source->packed) {
        wc_weight w;
        WC_TRY(r->model.source.find(r->ctx, r->model.source.self, t->source->name, &w));
        WC_TRY(wc_wcz_copy_weight(r->ctx, r->wcz, i, 0, &w, &packed.blob[0]));
    } else if (t->source->interleaved) {
        WC_TRY(copy_in_order(r, i, &packed.blob[0]));
    } else if (coded.kind == WC_PART_FLOAT && coded.floats.code) {
        const wc_map *map = &r->in.checkpoint.shard[t->source->shard].map;
        coded.floats.data = map->data + t->source->offset;
        done.x = coded.floats.code->error;
        if (done.x > 0) done.flags = WCD_TENSOR_ERROR_PLAIN;
        WC_TRY(wc_wcz_put(r->ctx, r->wcz, i, 0, &coded, &packed.blob[0]));
        wc_map_release(map, t->source->offset, t->source->size);
    } else {
        const wc_map *map = &r->in.checkpoint.shard[t->source->shard].map;
        WC_TRY(wc_wcz_copy(r->ctx, r->wcz, i, 0, map, t->source->offset, &packed.blob[0]));
    }
    wc_wcz_describe(r->wcz, i, done.x, done.flags);
    wc_status status = wc_run_journal_tensor(r, i, &packed, done);
    wc_wcz_blob_free(&packed.blob[0]);
    WC_TRY(status);
    wc_report_progress(r->report, wc_work_tensor(t, false), t->source->name);
    return WC_OK;
}
