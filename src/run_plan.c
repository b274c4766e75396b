/* run_plan.c - what a run is going to do, before it touches the output: the input opened, every tensor's recipe, the
 * token windows or saved statistics, the memory, the exact layout of the file; and that in words. */
#include "run_state.h"

#include <string.h>
#include "base/hash.h"

#include "provenance.h"

wc_status wc_run_open_input(wc_run_state *r)
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

static bool can_be_run(const wc_run_state *r)
{
    return r->in.has_config && (r->in.tokenizer || r->opt->calib.ids_file || r->opt->stats_file);
}

/* The default recipe: gptq when the model can be run, rtn (and a word about it) when it cannot. */
static const char *choose_linear_recipe(wc_run_state *r)
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
static wc_status check_recipe(wc_run_state *r, const char *linear)
{
    wc_recipe recipe;
    WC_TRY(wc_recipe_parse(r->ctx, linear, &recipe));
    bool calibrated = wc_recipe_needs_stats(&recipe);
    wc_recipe_free(&recipe);
    return calibrated ? wc_input_need_forward(r->ctx, &r->in) : WC_OK;
}

static wc_status make_windows(wc_run_state *r)
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

static wc_status open_stats_file(wc_run_state *r, uint64_t model)
{
    WC_TRY(wc_saved_stats_open(r->ctx, r->opt->stats_file, &r->saved));
    if (r->saved.diagonal || r->saved.info.model == model) return WC_OK;
    return wc_fail(r->ctx, WC_RESUME, "%s: was made with another model than %s; run wcompress calibrate on this one",
                   r->opt->stats_file, r->opt->model);
}

static wc_status use_stats_file(wc_run_state *r)
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
static wc_status remodel(wc_run_state *r, const char **recipe)
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

wc_status wc_run_make_plan(wc_run_state *r)
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

void wc_run_show_plan(wc_run_state *r)
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
