/* run.c - load, plan, then block by block: calibrate, compress, write.
 *
 *     open_input     model folder, config, tokenizer
 *     make_plan      which tensor gets which recipe; token windows; memory; exact layout of the output
 *     open_output    NAME.partial and the journal of an earlier, killed run
 *     plain_tensors  everything that needs no statistics: kept tensors, embeddings, data-free recipes
 *     blocks         both streams through each block, stage by stage; the linears of a stage once its statistics are in
 *     head           an output head that asked for statistics
 *     finish         index, header, fsync, rename; the report
 */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"

#include "budget.h"
#include "calib/pass.h"
#include "compress.h"
#include "cut.h"
#include "fold.h"
#include "input.h"
#include "journal.h"
#include "model/linear.h"
#include "provenance.h"
#include "remodel.h"
#include "saved_stats.h"
#include "version.h"
#include "work.h"

typedef struct run {
    wc_ctx *ctx;
    const wc_run_options *opt;
    wc_report *report;
    wc_input in;
    wc_recipe passes; /* over the whole model */
    wc_buf pass_text; /* as recipes print them */
    wc_remodel model; /* what they make of the checkpoint */
    wc_plan *plan;
    wc_windows windows;
    wc_saved_stats saved;
    wc_budget budget;
    wc_wcz *wcz;
    wc_journal journal;
    wc_pass pass;
    char *output, *partial, *work;
    char linear_recipe[128];
    const char *mode; /* "sequential", "fixed statistics", "data-free" */
    bool calibrated;  /* a forward pass is needed */
    double per_token; /* work of a token in the stage that runs now */
    size_t layer;     /* the block that runs now */
    uint64_t fingerprint;
    double error_sum, error_max; /* over compressed linears */
    const char *error_max_name;
    size_t n_errors, n_fallbacks, n_escalations;
} run;

/* ---- open_input, make_plan -------------------------------------------------------------------------------------- */

static wc_status open_input(run *r)
{
    WC_TRY(wc_input_open(r->ctx, r->opt->model, &r->in));
    if (!r->in.has_checkpoint)
        return wc_fail(r->ctx, WC_UNSUPPORTED, "%s: already compressed; give the original model", r->opt->model);
    if (r->in.checkpoint.gguf)
        wc_log(r->ctx, WC_LOG_WARN,
               "%s: a GGUF file; what was lost when it was made cannot come back: better start from "
               "the original model",
               r->opt->model);
    if (r->in.checkpoint.quant)
        wc_log(r->ctx, WC_LOG_WARN,
               "%s: %zu layers are quantized already (%s); what was lost cannot come back: better start from the "
               "original model",
               r->opt->model, wc_quant_count(r->in.checkpoint.quant), wc_quant_method(r->in.checkpoint.quant));
    char size[32];
    if (r->in.has_config)
        wc_report_note(r->report, "model", "%s, %llu blocks, width %zu, %.2f M weights, %s", r->in.config.model_type,
                       (unsigned long long)r->in.config.layers, r->in.config.hidden, (double)r->in.weights / 1e6,
                       wc_size_text(r->in.file_bytes, size));
    else
        wc_report_note(r->report, "model", "%.2f M weights, %s; %s", (double)r->in.weights / 1e6,
                       wc_size_text(r->in.file_bytes, size), r->in.no_config);
    return WC_OK;
}

static bool can_be_run(const run *r)
{
    return r->in.has_config && (r->in.tokenizer || r->opt->calib.ids_file || r->opt->stats_file);
}

/* The default recipe: gptq when the model can be run, rtn (and a word about it) when it cannot. */
static const char *choose_linear_recipe(run *r)
{
    if (r->opt->plan.linear) return r->opt->plan.linear;
    bool can_run = can_be_run(r);
    if (!can_run)
        wc_report_note(r->report, "plan", "data-free: %s, so weights are rounded to nearest without calibration",
                       r->in.has_config ? r->in.no_tokenizer : r->in.no_config);
    if (r->opt->plan.mix)
        snprintf(r->linear_recipe, sizeof r->linear_recipe, "keep"); /* the mix decides */
    else
        snprintf(r->linear_recipe, sizeof r->linear_recipe, "%s(bits=%g)", can_run ? "gptq" : "rtn", r->opt->bits);
    return r->linear_recipe;
}

/* A calibrated recipe that was asked for and cannot be had is refused: keeping every linear as it is would hardly be
 * what was meant. */
static wc_status check_recipe(run *r, const char *linear)
{
    wc_recipe recipe;
    WC_TRY(wc_recipe_parse(r->ctx, linear, &recipe));
    bool calibrated = wc_recipe_needs_stats(&recipe);
    wc_recipe_free(&recipe);
    return calibrated ? wc_input_need_forward(r->ctx, &r->in) : WC_OK;
}

static wc_status make_windows(run *r)
{
    wc_text_options text = r->opt->calib;
    text.seqlen = wc_input_seqlen(&r->in, text.seqlen);
    text.bos_per_window = true;
    WC_TRY(wc_input_need_forward(r->ctx, &r->in));
    if (!text.ids_file) WC_TRY(wc_input_need_tokenizer(r->ctx, &r->in));
    if (text.seqlen > r->in.config.max_positions)
        wc_log(r->ctx, WC_LOG_WARN, "--seqlen %zu is beyond the %zu positions that the model was made for", text.seqlen,
               r->in.config.max_positions);
    WC_TRY(wc_windows_make(r->ctx, r->in.tokenizer, r->in.config.vocab, &text, &r->windows));
    wc_report_note(r->report, "calib", "%s, %zu windows of %zu tokens%s", r->windows.source, r->windows.n,
                   r->windows.seqlen, r->windows.bos ? ", each with BOS" : "");
    if (r->windows.n * r->windows.seqlen < 4 * r->in.config.hidden)
        wc_log(r->ctx, WC_LOG_WARN, "only %zu calibration tokens for inputs of width %zu: give more text (--calib)",
               r->windows.n * r->windows.seqlen, r->in.config.hidden);
    return WC_OK;
}

static wc_status open_stats_file(run *r, uint64_t model)
{
    WC_TRY(wc_saved_stats_open(r->ctx, r->opt->stats_file, &r->saved));
    if (r->saved.diagonal || r->saved.info.model == model) return WC_OK;
    return wc_fail(r->ctx, WC_RESUME, "%s: was made with another model than %s; run wcompress calibrate on this one",
                   r->opt->stats_file, r->opt->model);
}

static wc_status use_stats_file(run *r)
{
    const wc_statsfile_info *info = &r->saved.info;
    if (r->windows.n && info->windows != r->windows.hash)
        return wc_fail(r->ctx, WC_RESUME, "%s: was made with other tokens (%s) than those asked for now (%s)",
                       r->opt->stats_file, info->source, r->windows.source);
    if (r->saved.diagonal)
        wc_report_note(r->report, "calib",
                       "%s (%s): of H only the diagonal is known: columns are weighted, but errors are not fed back; "
                       "`wcompress calibrate' measures all of it",
                       info->source, r->opt->stats_file);
    else
        wc_report_note(r->report, "calib", "statistics of %llu tokens (%s) from %s: the forward pass is not run again",
                       (unsigned long long)info->tokens, info->source, r->opt->stats_file);
    return WC_OK;
}

/* Takes the passes off the front of the recipe, and opens the model that they make. */
static wc_status remodel(run *r, const char **recipe)
{
    WC_TRY(wc_recipe_split(r->ctx, *recipe, &r->passes, recipe));
    if (r->passes.n) {
        WC_TRY(wc_input_need_forward(r->ctx, &r->in));
        WC_TRY(wc_recipe_print(r->ctx, &r->passes, &r->pass_text));
        wc_report_note(r->report, "model", "changed by %s", (char *)r->pass_text.data);
    }
    if (r->passes.n && r->opt->stats_file)
        return wc_fail(r->ctx, WC_OPTION, "--stats: the statistics are those of the model before %s",
                       r->passes.step[0].method->name);
    return wc_remodel_open(r->ctx, &r->in.checkpoint, r->in.has_config ? &r->in.config : NULL, &r->in.source,
                           &r->passes, &r->model);
}

static wc_status make_plan(run *r)
{
    wc_plan_options plan = r->opt->plan;
    uint64_t model;
    plan.linear = choose_linear_recipe(r);
    plan.calibrated = can_be_run(r);
    if (plan.mix) WC_TRY(wc_input_need_forward(r->ctx, &r->in)); /* roles and layers come from the config */
    WC_TRY(remodel(r, &plan.linear));
    plan.before = r->model.before;
    plan.held = r->model.held;
    plan.source = &r->model.source;
    WC_TRY(check_recipe(r, plan.linear));
    WC_TRY(wc_checkpoint_fingerprint(r->ctx, &r->in.checkpoint, &model));
    if (r->opt->stats_file) {
        WC_TRY(open_stats_file(r, model));
        plan.stats = &r->saved;
    }
    WC_TRY(wc_plan_make(r->ctx, &r->model.checkpoint, r->in.has_config ? &r->model.config : NULL, &plan, &r->plan));
    bool asked_text = r->opt->calib.n_files || r->opt->calib.ids_file;
    r->calibrated = r->plan->needs_stats && !r->opt->stats_file;
    r->mode = r->calibrated ? "sequential" : r->plan->needs_stats ? "fixed statistics" : "data-free";
    if (r->calibrated || (r->plan->needs_stats && asked_text)) WC_TRY(make_windows(r));
    if (r->plan->needs_stats && r->opt->stats_file) WC_TRY(use_stats_file(r));
    WC_TRY(wc_budget_make(r->ctx, r->plan, &r->model.config, r->calibrated ? &r->windows : NULL,
                          r->opt->one_stream ? 1 : 2, r->opt->memory, &r->budget));
    wc_provenance facts = {.input = &r->in,
                           .plan = r->plan,
                           .mode = r->mode,
                           .model = model,
                           .windows = r->windows.n ? &r->windows : NULL,
                           .stats = r->opt->stats_file && r->plan->needs_stats ? &r->saved.info : NULL,
                           .two_streams = r->calibrated && !r->opt->one_stream,
                           .attention = r->calibrated ? r->opt->attention : 0,
                           .passes = r->passes.n ? (char *)r->pass_text.data : "",
                           .untied = r->in.config.tied && !r->model.config.tied};
    WC_TRY(wc_provenance_layout(r->ctx, &facts, &r->wcz, &r->fingerprint));
    r->fingerprint = XXH3_64bits_withSeed(&r->budget.chunk_tokens, sizeof r->budget.chunk_tokens, r->fingerprint);
    return WC_OK;
}

/* The plan in words and, with --dry-run or --json, tensor by tensor. */
static void show_plan(run *r)
{
    char size[32], memory[32], disk[32];
    const wc_plan *p = r->plan;
    uint64_t bytes = wc_wcz_size(r->wcz);
    enum { MOST_SHOWN = 8 }; /* settled ones may be as many as there are tensors */
    size_t used = 0;
    for (size_t i = 0; i < p->n_recipes; i++) {
        size_t n = 0;
        for (size_t t = 0; t < p->n; t++)
            n += p->tensor[t].recipe == &p->recipe[i];
        if (n && used++ < MOST_SHOWN) wc_report_note(r->report, "plan", "%zu tensors  %s", n, p->recipe_text[i]);
    }
    if (used > MOST_SHOWN)
        wc_report_note(r->report, "plan", "and %zu more recipes; --dry-run shows those of all tensors",
                       used - MOST_SHOWN);
    wc_report_note(r->report, "", "-> %s exactly (%llu bytes), needs %s memory, %s scratch disk",
                   wc_size_text(bytes, size), (unsigned long long)bytes, wc_size_text(r->budget.memory, memory),
                   wc_size_text(r->budget.disk, disk));
    json_t *tensors = json_array();
    for (size_t t = 0; t < p->n; t++) {
        const wc_plan_tensor *x = &p->tensor[t];
        if (x->kept_because)
            wc_log(r->ctx, WC_LOG_WARN, "%s, %llu x %llu, is kept as it is: %s", x->source->name,
                   (unsigned long long)x->source->rows, (unsigned long long)x->source->cols, x->kept_because);
        if (r->opt->dry_run)
            wc_report_result(r->report, "%-52s %10llu x %-8llu %12llu B  %s", x->source->name,
                             (unsigned long long)x->source->rows, (unsigned long long)x->source->cols,
                             (unsigned long long)x->bytes, x->recipe_text);
        json_array_append_new(tensors, json_pack("{s:s, s:I, s:I, s:I, s:s}", "name", x->source->name, "rows",
                                                 (json_int_t)x->source->rows, "cols", (json_int_t)x->source->cols,
                                                 "bytes", (json_int_t)x->bytes, "recipe", x->recipe_text));
    }
    json_object_set_new(r->report->facts, "plan",
                        json_pack("{s:o, s:I, s:I, s:I, s:s, s:I, s:I}", "tensors", tensors, "output_bytes",
                                  (json_int_t)bytes, "memory_bytes", (json_int_t)r->budget.memory, "scratch_disk_bytes",
                                  (json_int_t)r->budget.disk, "mode", r->mode, "calibration_windows",
                                  (json_int_t)r->windows.n, "seqlen", (json_int_t)r->windows.seqlen));
    if (r->opt->dry_run) wc_report_result(r->report, "total %llu bytes", (unsigned long long)bytes);
}

/* ---- open_output ------------------------------------------------------------------------------------------------ */

static wc_status name_output(run *r)
{
    WC_TRY(wc_output_names(r->ctx, r->opt->model, ".wcz", r->opt->output, r->opt->work_dir, &r->output, &r->partial,
                           &r->work));
    return wc_output_check(r->ctx, &r->in, r->output, r->opt->force || r->opt->dry_run);
}

/* NaN and Inf anywhere in what is computed with would surface hours later as a failed factorisation: look first. */
static wc_status check_weights(run *r)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (!wc_dtype_is_float(t->source->dtype) || (t->copied && t->role == WC_ROLE_OTHER)) continue;
        if (t->copied && t->recipe->n && !r->calibrated) continue; /* without loss, whatever the bits are */
        const wc_st_tensor *source = wc_checkpoint_find(&r->in.checkpoint, t->source->name); /* before any pass */
        if (source) WC_TRY(wc_checkpoint_check_finite(r->ctx, &r->in.checkpoint, source));
    }
    wc_report_progress(r->report, wc_work_check(r->plan), "checked the weights");
    return WC_OK;
}

static bool has_drift(const run *r)
{
    return r->calibrated && !r->opt->one_stream;
}

static size_t blocks_to_run(const run *r)
{
    return wc_min(r->model.config.layers,
                  r->plan->last_calibrated == SIZE_MAX ? SIZE_MAX : r->plan->last_calibrated + 1);
}

/* What is left to do, so that percentage and time left are believable also after a restart. */
static void estimate_work(run *r)
{
    const wc_journal_record *edge = wc_journal_last(&r->journal, WC_JOURNAL_EDGE);
    size_t streams = r->opt->one_stream ? 1 : 2, seqlen = r->windows.seqlen, first = edge ? edge->index : 0;
    double work = r->journal.resumed ? 0 : wc_work_check(r->plan), per_token = 0;
    for (size_t i = 0; i < r->plan->n; i++)
        if (!wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0))
            work += wc_work_tensor(&r->plan->tensor[i], has_drift(r));
    for (int stage = 0; r->calibrated && stage <= WC_N_STAGES; stage++)
        per_token += wc_work_stage(&r->model.config, stage, seqlen, streams, true);
    for (size_t layer = first; r->calibrated && layer < blocks_to_run(r); layer++)
        work += per_token * (double)(r->windows.n * seqlen);
    for (size_t i = 0; r->calibrated && i < r->plan->n; i++) { /* looks ahead */
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (!t->folded || t->copied || t->layer < first) continue;
        wc_stage next = t->linear == wc_fold_rows_of(&r->model.config, WC_STAGE_O) ? WC_STAGE_O : WC_STAGE_DOWN;
        work += wc_work_stage(&r->model.config, next, seqlen, 1, true) * (double)(r->windows.n * seqlen);
    }
    r->report->work = work;
}

static wc_status open_output(run *r)
{
    if (mkdir(r->work, 0777) && errno != EEXIST)
        return wc_fail(r->ctx, WC_IO, "%s: cannot make the work folder: %s", r->work, strerror(errno));
    char *path = wc_path_join(r->work, "journal");
    if (!path) return wc_fail(r->ctx, WC_NOMEM, "no memory for a path");
    wc_status status = wc_journal_open(r->ctx, path, r->partial, r->fingerprint, r->opt->fresh, &r->journal);
    free(path);
    WC_TRY(status);
    if (r->journal.resumed) wc_report_note(r->report, "resume", "an unfinished run of the same command is continued");
    if (r->journal.lost) wc_report_note(r->report, "resume", "%s is gone: the run starts over", r->partial);
    estimate_work(r);
    if (!r->journal.resumed) WC_TRY(check_weights(r));
    return wc_wcz_create(r->ctx, r->wcz, r->partial);
}

/* ---- one tensor ------------------------------------------------------------------------------------------------- */

static wc_status interrupted(run *r)
{
    return r->ctx->stop && *r->ctx->stop ? wc_fail(r->ctx, WC_INTERRUPTED, "interrupted") : WC_OK;
}

static void note_result(run *r, const wc_plan_tensor *t, const wc_journal_record *done)
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
static wc_status recall(run *r, size_t i, uint32_t part, wc_wcz_blob *out)
{
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_PART, (uint32_t)i, part);
    if (!found)
        return wc_fail(r->ctx, WC_VERIFY, "%s: the journal lacks part %u; use --fresh", r->plan->tensor[i].source->name,
                       part & 0xffff);
    memcpy(out->params, found->params, sizeof out->params);
    out->xxh3 = found->a;
    return WC_OK;
}

static wc_status restore_part(run *r, size_t i, uint32_t p, wc_packed *packed)
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

/* The tensor is already in the file: check its bytes and, if packed is given, make them usable as a weight. */
static wc_status restore_tensor(run *r, size_t i, const wc_journal_record *done, wc_packed *packed)
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

static wc_status journal_blob(run *r, size_t i, uint32_t part, const wc_wcz_blob *b)
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

static wc_status journal_levels(run *r, size_t i, const wc_tensor_result *result)
{
    for (unsigned l = 0; l < result->levels; l++)
        WC_TRY(wc_journal_append(
            r->ctx, &r->journal,
            (wc_journal_record){
                .type = WC_JOURNAL_LEVEL, .index = (uint32_t)i, .part = l + 1, .x = result->level_error[l]}));
    return WC_OK;
}

static wc_status journal_tensor(run *r, size_t i, const wc_packed *packed, wc_journal_record done)
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

/* Compresses tensor i (or finds it done). c: NULL, or a diagonal of its inputs that is in what is in front of it, and
 * in stats already. rows: NULL, or what its own rows are multiplied by. packed: NULL, or gets the parts. */
static wc_status compress_tensor(run *r, size_t i, const wc_stats *stats, const float *c, const float *rows,
                                 wc_packed *packed)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    wc_journal_record done = {0};
    if (found) {
        done = *found;
        WC_TRY(restore_tensor(r, i, &done, packed));
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
        if (status == WC_OK) status = journal_tensor(r, i, &local, done);
    }
    if (status == WC_OK) {
        note_result(r, t, &done);
        char where[256];
        snprintf(where, sizeof where, "%s  err %.4f", t->source->name, result.error);
        wc_report_progress(r->report, wc_work_tensor(t, has_drift(r)), where);
    }
    if (status == WC_OK && packed)
        *packed = local;
    else
        wc_packed_free(&local);
    return status;
}

/* A tensor of a GGUF file whose rows are stored in another order. */
static wc_status copy_in_order(run *r, size_t i, wc_wcz_blob *out)
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

static wc_status copy_tensor(run *r, size_t i)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    if (found) return restore_tensor(r, i, found, NULL);
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
    wc_status status = journal_tensor(r, i, &packed, done);
    wc_wcz_blob_free(&packed.blob[0]);
    WC_TRY(status);
    wc_report_progress(r->report, wc_work_tensor(t, false), t->source->name);
    return WC_OK;
}

/* ---- plain_tensors ---------------------------------------------------------------------------------------------- */

static bool in_a_calibrated_block(const run *r, const wc_plan_tensor *t)
{
    return r->plan->needs_stats && t->linear != SIZE_MAX && t->layer <= r->plan->last_calibrated;
}

static wc_status plain_tensors(run *r)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        WC_TRY(interrupted(r));
        if (t->folded) continue; /* with the linears that it is stored for */
        if (t->copied) {
            WC_TRY(copy_tensor(r, i));
        } else if (!in_a_calibrated_block(r, t) && !wc_recipe_needs_stats(t->recipe)) {
            WC_TRY(compress_tensor(r, i, NULL, NULL, NULL, NULL));
            wc_report_step(r->report, "done    %s", t->source->name);
        }
        if (i % 16 == 15) wc_checkpoint_release(&r->in.checkpoint);
    }
    wc_checkpoint_release(&r->in.checkpoint);
    return WC_OK;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

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

static wc_status embed_streams(run *r)
{
    overlay o = {.base = &r->model.source};
    wc_packed packed = {0};
    wc_status status = WC_OK;
    for (size_t i = 0; status == WC_OK && i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (t->role != WC_ROLE_EMBED || t->copied) continue;
        const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
        if (!done) status = wc_fail(r->ctx, WC_BUG, "%s: not compressed before the first block", t->source->name);
        if (status == WC_OK) status = restore_tensor(r, i, done, &packed);
        o.name = t->source->name;
        o.packed = &packed;
    }
    wc_weight_source compressed = {.find = overlay_find, .self = &o, .label = r->model.source.label};
    if (status == WC_OK) status = wc_pass_embed(r->ctx, &r->pass, 0, &compressed);
    if (status == WC_OK && r->pass.n_streams > 1) status = wc_pass_embed(r->ctx, &r->pass, 1, &r->model.source);
    wc_packed_free(&packed);
    return status;
}

static wc_status record_edge(run *r, size_t layer, const uint64_t hash[])
{
    wc_journal_record edge = {.type = WC_JOURNAL_EDGE, .index = (uint32_t)layer, .a = hash[0], .b = hash[1]};
    return wc_journal_append(r->ctx, &r->journal, edge);
}

/* The inputs of the first block that is not finished: from the edge files of a killed run, or from the embeddings. */
static wc_status enter(run *r, size_t *first)
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

static size_t tensor_of(const run *r, size_t layer, size_t linear)
{
    for (size_t i = 0; i < r->plan->n; i++)
        if (r->plan->tensor[i].layer == layer && r->plan->tensor[i].linear == linear) return i;
    return SIZE_MAX;
}

/* A block in work: its compressed linears, and how the streams, whose inputs are those before any fold, see them. */
typedef struct block_work {
    wc_packed packed[WC_N_LINEARS];
    wc_fold_scaled scaled[WC_N_LINEARS];
    float *c[WC_N_STAGES];     /* the diagonal of the inputs of a stage that is in front of it; NULL: none */
    float *rows[WC_N_LINEARS]; /* what the rows of a linear are multiplied by; NULL: nothing */
} block_work;

static void drop_packed(block_work *work)
{
    for (int k = 0; k < WC_N_LINEARS; k++)
        wc_packed_free(&work->packed[k]);
}

static void drop_work(block_work *work)
{
    drop_packed(work);
    for (int k = 0; k < WC_N_STAGES; k++)
        free(work->c[k]);
    for (int k = 0; k < WC_N_LINEARS; k++)
        free(work->rows[k]);
}

static size_t folded_vector(const run *r, const char *name)
{
    for (size_t i = 0; i < r->plan->n; i++)
        if (r->plan->tensor[i].folded && !strcmp(r->plan->tensor[i].source->name, name)) return i;
    return SIZE_MAX;
}

/* The norm that takes the diagonal of this stage's inputs. */
static size_t folded_norm(const run *r, size_t layer, wc_stage stage)
{
    char name[WC_NAME_SIZE];
    return wc_fold_norm_name(&r->model.config, layer, stage, name) ? folded_vector(r, name) : SIZE_MAX;
}

/* The linear of this stage, as a tensor, whose rows take the diagonal of the next one's inputs. */
static size_t folded_rows(const run *r, size_t layer, wc_stage stage)
{
    size_t linear = stage == WC_STAGE_DOWN ? SIZE_MAX : wc_fold_rows_of(&r->model.config, stage + 1);
    size_t i = linear == SIZE_MAX ? SIZE_MAX : tensor_of(r, layer, linear);
    return i != SIZE_MAX && r->plan->tensor[i].folded ? i : SIZE_MAX;
}

/* The linears of a stage, for a choice among diagonals. */
typedef struct readers {
    wc_weight weight[WC_N_LINEARS];
    wc_fold_linear linear[WC_N_LINEARS];
    size_t n;
} readers;

static wc_status find_readers(run *r, size_t layer, wc_stage stage, readers *out)
{
    const size_t *linear;
    out->n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < out->n; k++) {
        const wc_plan_tensor *t = &r->plan->tensor[tensor_of(r, layer, linear[k])];
        WC_TRY(r->model.source.find(r->ctx, r->model.source.self, t->source->name, &out->weight[k]));
        out->linear[k] = (wc_fold_linear){&out->weight[k], &t->recipe->step[0]};
    }
    return WC_OK;
}

/* Puts vector i, g [n] times c, into the file: before any linear that it is for, so that a killed run goes on with the
 * same. */
static wc_status store_vector(run *r, size_t i, const float *g, const float *c, wc_packed *packed)
{
    wc_part part = r->plan->tensor[i].part[0];
    wc_wcz_blob blob = {0};
    WC_TRY(wc_float_alloc(r->ctx, &part.floats));
    wc_fold_norm(g, c, part.floats.cols, part.floats.dtype, part.floats.owned);
    wc_status status = wc_wcz_put(r->ctx, r->wcz, i, 0, &part, &blob);
    if (status == WC_OK) status = wc_packed_add(r->ctx, packed, &blob);
    if (status == WC_OK) {
        wc_wcz_describe(r->wcz, i, 0, 0);
        status = journal_tensor(r, i, packed, (wc_journal_record){0});
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
static wc_status fold_vector(run *r, size_t i, const float *c, vector *out)
{
    const wc_st_tensor *source = r->plan->tensor[i].source;
    const wc_journal_record *done = wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0);
    wc_packed packed = {.rows = 1, .cols = source->cols};
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_vector_read(r->ctx, &r->model.source, source->name, source->cols, &out->was));
    WC_TRY_OUT(WC_ALLOC(r->ctx, out->stored, source->cols, "a vector"));
    if (done)
        WC_TRY_OUT(restore_tensor(r, i, done, &packed));
    else
        WC_TRY_OUT(store_vector(r, i, out->was, c, &packed));
    WC_TRY_OUT(wc_packed_rows(r->ctx, &packed, 0, 1, out->stored));
out:
    wc_packed_free(&packed);
    return status;
}

/* *c [n]: the diagonal in the norm in front of the stage, if the plan says so: chosen by stats, or, where these are
 * NULL since nothing is left to be done behind it, found. */
static wc_status fold_norm(run *r, size_t layer, wc_stage stage, const wc_stats *stats, float **c)
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
static wc_status fold_bias(run *r, size_t layer, size_t linear, size_t n, float *rows)
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
static wc_status choose_rows(run *r, size_t front, const readers *behind, const wc_stats *ahead, size_t *best)
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

/* The diagonal that goes into rows of a linear of this stage, for the inputs of the next one, by what is known of those
 * (the caller's own): into work->rows and, input by input, work->c. */
static wc_status fold_rows(run *r, size_t layer, wc_stage stage, wc_stats *ahead, block_work *work)
{
    const wc_config *config = &r->model.config;
    wc_stage next = stage + 1;
    size_t linear = wc_fold_rows_of(config, next), front = tensor_of(r, layer, linear), best;
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

/* Compresses the linears of one stage; block's weights become the compressed ones, whose bytes are in *work. stats:
 * the caller's own; NULL when there is nothing left to do. */
static wc_status compress_stage(run *r, size_t layer, wc_stage stage, wc_stats *stats, wc_block *block,
                                block_work *work)
{
    float **c = &work->c[stage];
    WC_TRY(fold_norm(r, layer, stage, stats, c));
    if (*c && stats) wc_fold_stats(r->ctx, stats, stats->r ? r->model.config.hidden : 0, *c);
    const size_t *linear;
    size_t n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < n; k++) {
        size_t i = tensor_of(r, layer, linear[k]);
        if (i == SIZE_MAX || r->plan->tensor[i].copied) continue;
        WC_TRY(interrupted(r));
        const float *rows = work->rows[linear[k]];
        WC_TRY(compress_tensor(r, i, stats, *c, rows, &work->packed[linear[k]]));
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
static bool stage_wants_stats(const run *r, size_t layer, wc_stage stage)
{
    const size_t *linear;
    size_t n = wc_stage_linears(stage, &linear);
    for (size_t k = 0; k < n; k++) {
        size_t i = tensor_of(r, layer, linear[k]);
        if (i != SIZE_MAX && !r->plan->tensor[i].copied &&
            !wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0))
            return true;
    }
    return false;
}

/* What the stage's linears, before they are compressed, bring to the next one: for the diagonal that goes into them. */
static wc_status look_ahead(run *r, size_t layer, wc_stage stage, const wc_block *block, block_work *work)
{
    wc_stats_sum sum = {0};
    wc_stats ahead = {0};
    wc_status status = WC_OK;
    if (folded_rows(r, layer, stage) == SIZE_MAX) return WC_OK;
    r->per_token = wc_work_stage(&r->model.config, stage + 1, r->windows.seqlen, 1, true);
    WC_TRY_OUT(wc_stats_begin(r->ctx, wc_stage_width(&r->model.config, stage + 1), false, 0, &sum));
    WC_TRY_OUT(wc_pass_peek(r->ctx, &r->pass, block, stage, &sum));
    WC_TRY_OUT(wc_stats_finish(r->ctx, &sum, &ahead));
    WC_TRY_OUT(fold_rows(r, layer, stage, &ahead, work));
out:
    wc_stats_drop(&sum);
    wc_stats_free(&ahead);
    return status;
}

static wc_status run_stage(run *r, size_t layer, wc_stage stage, const wc_block *both[], wc_block *block,
                           block_work *work)
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

static wc_status run_block(run *r, size_t layer)
{
    wc_block original = {0}, compressed = {0};
    block_work work = {0};
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
static wc_status restore_block(run *r, size_t layer)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (t->layer == layer && t->folded && t->copied) WC_TRY(copy_tensor(r, i));
        if (t->layer != layer || t->linear == SIZE_MAX || t->copied) continue;
        WC_TRY(compress_tensor(r, i, NULL, NULL, NULL, NULL));
    }
    return WC_OK;
}

static void pass_progress(void *user, double tokens)
{
    run *r = user;
    char where[64];
    snprintf(where, sizeof where, "block %zu/%zu  running the model", r->layer + 1, r->model.config.layers);
    wc_report_progress(r->report, tokens * r->per_token, where);
}

static wc_status blocks(run *r)
{
    size_t first;
    WC_TRY(enter(r, &first));
    r->pass.progress = pass_progress;
    r->pass.progress_user = r;
    for (size_t layer = 0; layer < blocks_to_run(r); layer++)
        WC_TRY(layer < first ? restore_block(r, layer) : run_block(r, layer));
    return WC_OK;
}

static wc_status saved_stats(run *r, size_t layer, wc_stage stage, wc_stats *out)
{
    const wc_config *c = &r->model.config;
    return wc_saved_stats_get(r->ctx, &r->saved, layer, (size_t)stage, c->layers, wc_stage_width(c, stage), out);
}

static wc_status stage_from_file(run *r, size_t layer, wc_stage stage, block_work *work)
{
    wc_stats stats = {0}, ahead = {0};
    wc_status status = WC_OK;
    bool now = stage_wants_stats(r, layer, stage), rows = folded_rows(r, layer, stage) != SIZE_MAX;
    if (rows && (now || stage_wants_stats(r, layer, stage + 1))) {
        WC_TRY_OUT(saved_stats(r, layer, stage + 1, &ahead));
        WC_TRY_OUT(fold_rows(r, layer, stage, &ahead, work));
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

/* Fixed statistics: every linear on its own, no forward pass. */
static wc_status blocks_from_file(run *r)
{
    for (size_t layer = 0; layer < blocks_to_run(r); layer++) {
        block_work work = {0};
        wc_status status = WC_OK;
        for (int stage = 0; status == WC_OK && stage < WC_N_STAGES; stage++)
            status = stage_from_file(r, layer, (wc_stage)stage, &work);
        drop_work(&work);
        WC_TRY(status);
    }
    return WC_OK;
}

/* ---- head ------------------------------------------------------------------------------------------------------- */

static wc_status head_stats(run *r, wc_stats *out)
{
    wc_stats_sum sum = {0};
    wc_status status = wc_pass_head_stats(r->ctx, &r->pass, &r->model.source, &sum);
    if (status == WC_OK) status = wc_stats_finish(r->ctx, &sum, out);
    wc_stats_drop(&sum);
    return status;
}

static wc_status head(run *r)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (t->role != WC_ROLE_HEAD || !wc_recipe_needs_stats(t->recipe)) continue;
        wc_stats stats = {0};
        wc_status status = WC_OK;
        if (!wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0))
            status = r->calibrated ? head_stats(r, &stats)
                                   : wc_saved_stats_get(r->ctx, &r->saved, r->model.config.layers, 0,
                                                        r->model.config.layers, r->model.config.hidden, &stats);
        if (status == WC_OK) status = compress_tensor(r, i, stats.h ? &stats : NULL, NULL, NULL, NULL);
        wc_stats_free(&stats);
        WC_TRY(status);
    }
    return WC_OK;
}

/* ---- finish ----------------------------------------------------------------------------------------------------- */

static wc_run_result collect_result(run *r)
{
    const wc_plan *p = r->plan;
    uint64_t bytes = wc_wcz_size(r->wcz);
    return (wc_run_result){
        .source_bytes = r->in.file_bytes,
        .bytes = bytes,
        .weights = r->in.weights,
        .bits = 8.0 * (double)bytes / (double)r->in.weights,
        .linear_bits = p->linear_weights ? 8.0 * (double)p->linear_bytes / (double)p->linear_weights : 0,
        .error_mean = r->n_errors ? r->error_sum / (double)r->n_errors : 0,
        .error_max = r->error_max,
        .fallbacks = r->n_fallbacks,
        .escalations = r->n_escalations,
        .seconds = wc_now() - r->report->start,
    };
}

static void show_result(run *r, const wc_run_result *x)
{
    char size[32], rss[32], took[32];
    double ratio = (double)x->source_bytes / (double)x->bytes;
    char linears[32] = "linears kept";
    if (x->linear_bits > 0) snprintf(linears, sizeof linears, "linears %.3f", x->linear_bits);
    wc_report_result(r->report, "wrote   %s  %llu bytes (%s), %.3f bits/weight all in, %s, %.2fx smaller", r->output,
                     (unsigned long long)x->bytes, wc_size_text(x->bytes, size), x->bits, linears, ratio);
    if (r->n_errors)
        wc_report_result(r->report, "error   mean %.5f, worst %.5f at %s; fallbacks: %zu, damping raised: %zu",
                         x->error_mean, x->error_max, r->error_max_name, x->fallbacks, x->escalations);
    wc_report_result(r->report, "took    %s, peak %s, mode: %s", wc_time_text(x->seconds, took),
                     wc_size_text(wc_peak_rss(), rss), r->mode);
    json_object_set_new(r->report->facts, "result",
                        json_pack("{s:s, s:I, s:f, s:f, s:f, s:o, s:o, s:i, s:i, s:f, s:I, s:s}", "output", r->output,
                                  "bytes", (json_int_t)x->bytes, "bits_per_weight", x->bits, "bits_per_linear_weight",
                                  x->linear_bits, "ratio", ratio, "error_mean", wc_report_number(x->error_mean),
                                  "error_worst", wc_report_number(x->error_max), "fallbacks", (int)x->fallbacks,
                                  "escalations", (int)x->escalations, "seconds", x->seconds, "peak_rss_bytes",
                                  (json_int_t)wc_peak_rss(), "mode", r->mode));
}

/* The levels of tensor i's stack, as the journal knows them. */
static wc_status list_levels(run *r, size_t i, wc_cut_level *level)
{
    const wc_plan_tensor *t = &r->plan->tensor[i];
    uint64_t bytes;
    WC_TRY(wc_part_bytes(r->ctx, &t->part[t->n_parts - 1], &bytes));
    for (unsigned l = 0; l < wc_plan_stack(t); l++) {
        const wc_journal_record *found = wc_journal_find(&r->journal, WC_JOURNAL_LEVEL, (uint32_t)i, l + 1);
        if (!found)
            return wc_fail(r->ctx, WC_VERIFY, "%s: the journal lacks level %u; use --fresh", t->source->name, l + 1);
        level[l] = (wc_cut_level){.tensor = wc_wcz_position(r->wcz, i),
                                  .levels = l + 1,
                                  .error = found->x,
                                  .bytes = bytes / wc_plan_stack(t)};
    }
    return WC_OK;
}

/* In which order levels are worth having, now that all errors are known. */
static wc_status write_cut_order(run *r)
{
    size_t n = r->plan->levels, done = 0;
    wc_cut_level *level = NULL;
    uint8_t *bytes = NULL;
    wc_wcz_meta meta = {.name = "cut_order", .size = wc_cut_order_size(n)};
    wc_status status = WC_OK;
    if (!n) return WC_OK;
    WC_TRY_OUT(WC_ALLOC(r->ctx, level, n, "the order of levels"));
    WC_TRY_OUT(WC_ALLOC(r->ctx, bytes, meta.size, "the order of levels"));
    for (size_t i = 0; i < r->plan->n; i++) {
        WC_TRY_OUT(list_levels(r, i, level + done));
        done += wc_plan_stack(&r->plan->tensor[i]);
    }
    WC_TRY_OUT(wc_cut_order_sort(r->ctx, level, n));
    wc_cut_order_encode(level, n, (uint32_t)n, bytes);
    meta.data = bytes;
    WC_TRY_OUT(wc_wcz_fill_meta(r->ctx, r->wcz, &meta));
out:
    free(level), free(bytes);
    return status;
}

static wc_status finish(run *r, wc_run_result *result)
{
    WC_TRY(write_cut_order(r));
    WC_TRY(wc_wcz_finish(r->ctx, r->wcz, r->output));
    wc_pass_close(&r->pass, true);
    wc_journal_close(&r->journal, true);
    if (rmdir(r->work) && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
        wc_log(r->ctx, WC_LOG_WARN, "%s: cannot be removed: %s", r->work, strerror(errno));
    *result = collect_result(r);
    show_result(r, result);
    result->output = strdup(r->output);
    return result->output ? WC_OK : wc_fail(r->ctx, WC_NOMEM, "no memory for a path");
}

void wc_run_result_free(wc_run_result *r)
{
    if (!r) return;
    free(r->output);
    memset(r, 0, sizeof *r);
}

static wc_status pipeline(run *r, wc_run_result *result)
{
    WC_TRY(open_input(r));
    WC_TRY(name_output(r));
    WC_TRY(make_plan(r));
    show_plan(r);
    if (r->opt->dry_run) return WC_OK;
    WC_TRY(open_output(r));
    WC_TRY(plain_tensors(r));
    if (r->plan->needs_stats) {
        WC_TRY(r->calibrated ? blocks(r) : blocks_from_file(r));
        WC_TRY(head(r));
    }
    return finish(r, result);
}

wc_status wc_run(wc_ctx *ctx, const wc_run_options *opt, wc_report *report, wc_run_result *result)
{
    run r = {.ctx = ctx, .opt = opt, .report = report, .journal = {.fd = -1}};
    json_object_set_new(report->facts, "tensors", json_array());
    wc_status status = pipeline(&r, result);
    wc_pass_close(&r.pass, false);
    wc_journal_close(&r.journal, false);
    wc_wcz_free(&r.wcz);
    wc_plan_free(&r.plan);
    wc_windows_free(&r.windows);
    wc_saved_stats_close(&r.saved);
    wc_remodel_close(&r.model);
    wc_recipe_free(&r.passes);
    wc_buf_free(&r.pass_text);
    wc_input_close(&r.in);
    free(r.output);
    free(r.partial);
    free(r.work);
    return status;
}
