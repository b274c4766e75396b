/* run.c - load, plan, then block by block: calibrate, compress, write.
 *
 *     open_input     model folder, config, tokenizer (run_plan.c)
 *     make_plan      which tensor gets which recipe; token windows; memory; exact layout of the output (run_plan.c)
 *     open_output    NAME.partial and the journal of an earlier, killed run
 *     plain_tensors  everything that needs no statistics: kept tensors, embeddings, data-free recipes
 *     blocks         both streams through each block, stage by stage; the linears of a stage once its statistics are in
 *                    (run_blocks.c)
 *     head           an output head that asked for statistics
 *     finish         index, header, fsync, rename; the report
 *
 * One tensor of any of them is run_tensor.c.
 */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cut.h"
#include "run_state.h"
#include "work.h"

/* ---- open_output ------------------------------------------------------------------------------------------------ */

static wc_status name_output(wc_run_state *r)
{
    WC_TRY(wc_output_names(r->ctx, r->opt->model, ".wcz", r->opt->output, r->opt->work_dir, &r->output, &r->partial,
                           &r->work));
    return wc_output_check(r->ctx, &r->in, r->output, r->opt->force || r->opt->dry_run);
}

/* NaN and Inf anywhere in what is computed with would surface hours later as a failed factorisation: look first. */
static wc_status check_weights(wc_run_state *r)
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

/* What is left to do, so that percentage and time left are believable also after a restart. */
static void estimate_work(wc_run_state *r)
{
    const wc_journal_record *edge = wc_journal_last(&r->journal, WC_JOURNAL_EDGE);
    size_t streams = r->opt->one_stream ? 1 : 2, seqlen = r->windows.seqlen, first = edge ? edge->index : 0;
    double work = r->journal.resumed ? 0 : wc_work_check(r->plan), per_token = 0;
    for (size_t i = 0; i < r->plan->n; i++)
        if (!wc_journal_find(&r->journal, WC_JOURNAL_TENSOR, (uint32_t)i, 0))
            work += wc_work_tensor(&r->plan->tensor[i], wc_run_has_drift(r));
    for (int stage = 0; r->calibrated && stage <= WC_N_STAGES; stage++)
        per_token += wc_work_stage(&r->model.config, stage, seqlen, streams, true);
    for (size_t layer = first; r->calibrated && layer < wc_run_n_blocks(r); layer++)
        work += per_token * (double)(r->windows.n * seqlen);
    for (size_t i = 0; r->calibrated && i < r->plan->n; i++) { /* looks ahead */
        const wc_plan_tensor *t = &r->plan->tensor[i];
        if (!t->folded || t->copied || t->layer < first) continue;
        wc_stage next = t->linear == wc_fold_rows_of(&r->model.config, WC_STAGE_O) ? WC_STAGE_O : WC_STAGE_DOWN;
        work += wc_work_stage(&r->model.config, next, seqlen, 1, true) * (double)(r->windows.n * seqlen);
    }
    r->report->work = work;
}

static wc_status open_output(wc_run_state *r)
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

/* ---- plain_tensors ---------------------------------------------------------------------------------------------- */

static bool in_a_calibrated_block(const wc_run_state *r, const wc_plan_tensor *t)
{
    return r->plan->needs_stats && t->linear != SIZE_MAX && t->layer <= r->plan->last_calibrated;
}

static wc_status plain_tensors(wc_run_state *r)
{
    for (size_t i = 0; i < r->plan->n; i++) {
        const wc_plan_tensor *t = &r->plan->tensor[i];
        WC_TRY(wc_run_interrupted(r));
        if (t->folded) continue; /* with the linears that it is stored for */
        if (t->copied) {
            WC_TRY(wc_run_copy_tensor(r, i));
        } else if (!in_a_calibrated_block(r, t) && !wc_recipe_needs_stats(t->recipe)) {
            WC_TRY(wc_run_compress_tensor(r, i, NULL, NULL, NULL, NULL));
            wc_report_step(r->report, "done    %s", t->source->name);
        }
        if (i % 16 == 15) wc_checkpoint_release(&r->in.checkpoint);
    }
    wc_checkpoint_release(&r->in.checkpoint);
    return WC_OK;
}

/* ---- head ------------------------------------------------------------------------------------------------------- */

static wc_status head_stats(wc_run_state *r, wc_stats *out)
{
    wc_stats_sum sum = {0};
    wc_status status = wc_pass_head_stats(r->ctx, &r->pass, &r->model.source, &sum);
    if (status == WC_OK) status = wc_stats_finish(r->ctx, &sum, out);
    wc_stats_drop(&sum);
    return status;
}

static wc_status head(wc_run_state *r)
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
        if (status == WC_OK) status = wc_run_compress_tensor(r, i, stats.h ? &stats : NULL, NULL, NULL, NULL);
        wc_stats_free(&stats);
        WC_TRY(status);
    }
    return WC_OK;
}

/* ---- finish ----------------------------------------------------------------------------------------------------- */

static wc_run_result collect_result(wc_run_state *r)
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

static void show_result(wc_run_state *r, const wc_run_result *x)
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
                        json_pack("{s:o, s:I, s:f, s:f, s:f, s:o, s:o, s:i, s:i, s:f, s:I, s:s}", "output",
                                  wc_report_text(r->output), "bytes", (json_int_t)x->bytes, "bits_per_weight", x->bits,
                                  "bits_per_linear_weight", x->linear_bits, "ratio", ratio, "error_mean",
                                  wc_report_number(x->error_mean), "error_worst", wc_report_number(x->error_max),
                                  "fallbacks", (int)x->fallbacks, "escalations", (int)x->escalations, "seconds",
                                  x->seconds, "peak_rss_bytes", (json_int_t)wc_peak_rss(), "mode", r->mode));
}

/* The levels of tensor i's stack, as the journal knows them. */
static wc_status list_levels(wc_run_state *r, size_t i, wc_cut_level *level)
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
static wc_status write_cut_order(wc_run_state *r)
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

static wc_status finish(wc_run_state *r, wc_run_result *result)
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

static wc_status pipeline(wc_run_state *r, wc_run_result *result)
{
    WC_TRY(wc_run_open_input(r));
    WC_TRY(name_output(r));
    WC_TRY(wc_run_make_plan(r));
    wc_run_show_plan(r);
    if (r->opt->dry_run) return WC_OK;
    WC_TRY(open_output(r));
    WC_TRY(plain_tensors(r));
    if (r->plan->needs_stats) {
        WC_TRY(r->calibrated ? wc_run_blocks(r) : wc_run_blocks_from_file(r));
        WC_TRY(head(r));
    }
    return finish(r, result);
}

wc_status wc_run(wc_ctx *ctx, const wc_run_options *opt, wc_report *report, wc_run_result *result)
{
    wc_run_state r = {.ctx = ctx, .opt = opt, .report = report, .journal = {.fd = -1}};
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
