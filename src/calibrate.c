#include "calibrate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "budget.h"
#include "calib/pass.h"
#include "input.h"
#include "journal.h"
#include "run.h"
#include "saved_stats.h"
#include "version.h"

typedef struct job {
    wc_ctx *ctx;
    const wc_calibrate_options *opt;
    wc_report *report;
    wc_input in;
    wc_windows windows;
    wc_statsfile file;
    wc_journal journal;
    wc_pass pass;
    char *output, *partial, *work;
    char *sums; /* where the statistics are gathered: partial, or a file in work that the output is made from */
} job;

/* Blocks x stages, and the input of the head as (layers, 0). */
static wc_status make_file(job *j)
{
    const wc_config *c = &j->in.config;
    wc_statsfile_info info = {
        .windows = j->windows.hash, .tokens = j->windows.n * j->windows.seqlen, .seqlen = j->windows.seqlen};
    memcpy(info.source, j->windows.source, sizeof info.source);
    WC_TRY(wc_checkpoint_fingerprint(j->ctx, &j->in.checkpoint, &info.model));
    size_t *widths;
    WC_TRY(WC_ALLOC(j->ctx, widths, (c->layers + 1) * WC_N_STAGES, "widths"));
    for (size_t i = 0; i < c->layers * WC_N_STAGES; i++)
        widths[i] = wc_stage_width(c, (wc_stage)(i % WC_N_STAGES));
    widths[c->layers * WC_N_STAGES] = c->hidden;
    uint64_t key[] = {info.model, info.windows, info.tokens, XXH3_64bits(WC_VERSION, sizeof WC_VERSION), j->opt->form};
    char *path = wc_path_join(j->work, "journal");
    wc_status status =
        path ? wc_journal_open(j->ctx, path, j->partial, XXH3_64bits(key, sizeof key), j->opt->fresh, &j->journal)
             : wc_fail(j->ctx, WC_NOMEM, "no memory for a path");
    if (j->journal.lost) wc_report_note(j->report, "resume", "%s is gone: the run starts over", j->partial);
    if (status == WC_OK)
        status = wc_statsfile_create(j->ctx, j->sums, j->journal.resumed, &info, widths, (uint32_t)c->layers + 1,
                                     WC_N_STAGES, &j->file);
    free(path);
    free(widths);
    return status;
}

static wc_status save(job *j, size_t layer, size_t stage, wc_stats_sum *sum)
{
    wc_stats stats;
    uint64_t xxh3 = 0;
    WC_TRY(wc_stats_finish(j->ctx, sum, &stats));
    wc_status status = wc_statsfile_put(j->ctx, &j->file, (uint32_t)layer, (uint32_t)stage, &stats, &xxh3);
    wc_stats_free(&stats);
    wc_journal_record r = {.type = WC_JOURNAL_PART, .index = (uint32_t)layer, .part = (uint32_t)stage, .a = xxh3};
    return status == WC_OK ? wc_journal_append(j->ctx, &j->journal, r) : status;
}

static wc_status run_block(job *j, size_t layer)
{
    wc_block block = {0};
    const wc_block *one[] = {&block};
    wc_stats_sum sum = {0};
    uint64_t hash[WC_PASS_MAX_STREAMS] = {0};
    wc_status status = wc_block_open(j->ctx, &j->in.config, &j->in.source, layer, &block);
    for (int stage = 0; status == WC_OK && stage < WC_N_STAGES; stage++) {
        WC_TRY_OUT(wc_stats_begin(j->ctx, wc_stage_width(&j->in.config, (wc_stage)stage), false, 0, &sum));
        WC_TRY_OUT(wc_pass_stage(j->ctx, &j->pass, one, (wc_stage)stage, &sum));
        WC_TRY_OUT(save(j, layer, (size_t)stage, &sum));
    }
    if (status == WC_OK) status = wc_pass_leave(j->ctx, &j->pass, one, hash);
    wc_journal_record edge = {.type = WC_JOURNAL_EDGE, .index = (uint32_t)layer + 1, .a = hash[0]};
    if (status == WC_OK) status = wc_journal_append(j->ctx, &j->journal, edge);
    wc_report_step(j->report, "block %zu/%zu", layer + 1, j->in.config.layers);
out:
    wc_stats_drop(&sum);
    wc_block_close(&block);
    wc_checkpoint_release(&j->in.checkpoint);
    return status;
}

static wc_status enter(job *j, const wc_budget *budget, size_t *first)
{
    const wc_journal_record *edge = wc_journal_last(&j->journal, WC_JOURNAL_EDGE);
    wc_pass_options o = {.config = &j->in.config,
                         .windows = &j->windows,
                         .n_streams = 1,
                         .chunk_tokens = budget->chunk_tokens,
                         .dir = j->work,
                         .edges_in_files = true,
                         .spill = budget->spill,
                         .keep = edge != NULL};
    uint64_t hash;
    WC_TRY(wc_pass_open(j->ctx, &o, &j->pass));
    *first = edge ? edge->index : 0;
    j->pass.now = (int)(*first % 2);
    if (!edge) return wc_pass_embed(j->ctx, &j->pass, 0, &j->in.source);
    WC_TRY(wc_pass_hash(j->ctx, &j->pass, 0, &hash));
    if (hash != edge->a)
        return wc_fail(j->ctx, WC_VERIFY, "%s: the activations of block %zu are damaged; use --fresh", j->work, *first);
    for (size_t i = 0; i < j->journal.n; i++) {
        const wc_journal_record *r = &j->journal.record[i];
        if (r->type == WC_JOURNAL_PART) wc_statsfile_have(&j->file, r->index, r->part, r->a);
    }
    wc_report_note(j->report, "resume", "continuing at block %zu", *first + 1);
    return WC_OK;
}

static wc_status save_head(job *j)
{
    wc_stats_sum sum = {0};
    wc_status status = wc_pass_head_stats(j->ctx, &j->pass, &j->in.source, &sum);
    if (status == WC_OK) status = save(j, j->in.config.layers, 0, &sum);
    wc_stats_drop(&sum);
    return status;
}

static wc_status name_files(job *j)
{
    static const char *const suffix[] = {".wcstats", ".imatrix.gguf", ".imatrix.dat"};
    WC_TRY(wc_output_names(j->ctx, j->opt->model, suffix[j->opt->form], j->opt->output, j->opt->work_dir, &j->output,
                           &j->partial, &j->work));
    j->sums = j->opt->form == WC_STATS_OWN ? strdup(j->partial) : wc_path_join(j->work, "statistics");
    return j->sums ? WC_OK : wc_fail(j->ctx, WC_NOMEM, "no memory for a path");
}

static wc_status prepare(job *j, wc_budget *budget)
{
    wc_text_options text = j->opt->calib;
    WC_TRY(wc_input_open(j->ctx, j->opt->model, &j->in));
    WC_TRY(wc_input_need_forward(j->ctx, &j->in));
    if (!j->in.has_checkpoint) return wc_fail(j->ctx, WC_UNSUPPORTED, "%s: give the original model", j->opt->model);
    if (!text.ids_file) WC_TRY(wc_input_need_tokenizer(j->ctx, &j->in));
    text.seqlen = wc_input_seqlen(&j->in, text.seqlen);
    text.bos_per_window = true;
    WC_TRY(wc_windows_make(j->ctx, j->in.tokenizer, j->in.config.vocab, &text, &j->windows));
    wc_report_note(j->report, "calib", "%s, %zu windows of %zu tokens", j->windows.source, j->windows.n,
                   j->windows.seqlen);
    wc_plan nothing = {0};
    WC_TRY(wc_budget_make(j->ctx, &nothing, &j->in.config, &j->windows, 1, j->opt->memory, budget));
    return name_files(j);
}

static wc_status finish(job *j)
{
    bool own = j->opt->form == WC_STATS_OWN;
    WC_TRY(wc_statsfile_finish(j->ctx, &j->file, own ? j->output : j->sums));
    if (own) return WC_OK;
    WC_TRY(wc_saved_stats_to_imatrix(j->ctx, j->sums, j->output, j->opt->form == WC_STATS_IMATRIX_DAT));
    unlink(j->sums);
    return WC_OK;
}

static wc_status show_result(job *j, uint64_t tokens)
{
    struct stat st;
    char size[32];
    if (stat(j->output, &st)) return wc_fail(j->ctx, WC_IO, "%s: %s", j->output, strerror(errno));
    wc_report_result(j->report, "wrote   %s  %s, statistics of %llu tokens", j->output,
                     wc_size_text((uint64_t)st.st_size, size), (unsigned long long)tokens);
    json_object_set_new(j->report->facts, "result",
                        json_pack("{s:o, s:I, s:I}", "output", wc_report_text(j->output), "bytes",
                                  (json_int_t)st.st_size, "tokens", (json_int_t)tokens));
    return WC_OK;
}

/* A file of statistics in another form. */
static wc_status convert(job *j)
{
    wc_statsfile file;
    wc_input source = {.path = (char *)j->opt->model};
    WC_TRY(name_files(j));
    if (j->opt->form == WC_STATS_OWN)
        return wc_fail(j->ctx, WC_OPTION, "%s: statistics already; --format imatrix makes an importance matrix of them",
                       j->opt->model);
    WC_TRY(wc_output_check(j->ctx, &source, j->output, j->opt->force));
    WC_TRY(wc_saved_stats_to_imatrix(j->ctx, j->opt->model, j->output, j->opt->form == WC_STATS_IMATRIX_DAT));
    WC_TRY(wc_statsfile_open(j->ctx, j->opt->model, &file));
    uint64_t tokens = file.info.tokens;
    wc_statsfile_close(&file);
    return show_result(j, tokens);
}

static wc_status pipeline(job *j)
{
    wc_budget budget;
    size_t first;
    WC_TRY(prepare(j, &budget));
    WC_TRY(wc_output_check(j->ctx, &j->in, j->output, j->opt->force));
    if (mkdir(j->work, 0777) && errno != EEXIST)
        return wc_fail(j->ctx, WC_IO, "%s: cannot make the work folder: %s", j->work, strerror(errno));
    WC_TRY(make_file(j));
    WC_TRY(enter(j, &budget, &first));
    for (size_t layer = first; layer < j->in.config.layers; layer++)
        WC_TRY(run_block(j, layer));
    WC_TRY(save_head(j));
    WC_TRY(finish(j));
    wc_pass_close(&j->pass, true);
    wc_journal_close(&j->journal, true);
    rmdir(j->work);
    return show_result(j, j->windows.n * j->windows.seqlen);
}

wc_status wc_calibrate(wc_ctx *ctx, const wc_calibrate_options *opt, wc_report *report)
{
    job j = {.ctx = ctx, .opt = opt, .report = report, .file = {.fd = -1}, .journal = {.fd = -1}};
    wc_status status = wc_statsfile_is(opt->model) ? convert(&j) : pipeline(&j);
    wc_pass_close(&j.pass, false);
    wc_journal_close(&j.journal, false);
    wc_statsfile_close(&j.file);
    wc_windows_free(&j.windows);
    wc_input_close(&j.in);
    free(j.output);
    free(j.partial);
    free(j.sums);
    free(j.work);
    return status;
}
