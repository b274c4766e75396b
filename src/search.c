#include "search.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "budget.h"
#include "calibrate.h"
#include "input.h"
#include "journal.h"
#include "sensitivity.h"
#include "version.h"

static const double lowest = 0.5, highest = 8;

/* A linear whose bits are looked for. */
typedef struct layer {
    char *name, recipe[192];
    size_t rows, cols, index;   /* index: block * WC_N_LINEARS + linear */
    double bits, least, at, kl; /* kl: what was measured with `at' bits */
} layer;

typedef struct search {
    wc_ctx *ctx;
    const wc_search_options *o;
    wc_report *report;
    wc_input in;
    wc_windows windows;
    char *output, *partial, *work, *stats, *probe, *saved,
        *journal; /* saved: the bits found, for a run that is repeated */
    layer *layer;
    wc_plan_rule *rule;
    size_t n;
    double weights;      /* of all these layers */
    uint64_t rest_bytes; /* of the output, without them */
} search;

/* ---- runs inside the run ---------------------------------------------------------------------------------------- */

/* A report that says nothing and keeps its facts to itself. */
static wc_status silent(const search *s, wc_report *out)
{
    *out = (wc_report){.ctx = s->ctx, .json = true, .quiet = true, .start = wc_now()};
    out->facts = json_pack("{s:[]}", "warnings");
    return out->facts ? WC_OK : wc_fail(s->ctx, WC_NOMEM, "no memory for a report");
}

static void write_recipes(search *s)
{
    const char *more = s->o->options;
    for (size_t i = 0; i < s->n; i++) {
        layer *l = &s->layer[i];
        l->bits = floor(l->bits * 1e4) / 1e4; /* as it is written, so that the sum keeps below what is asked for */
        snprintf(l->recipe, sizeof l->recipe, "rd(bits=%.4f%s%s)", l->bits, *more ? "," : "", more);
        s->rule[i] = (wc_plan_rule){s->layer[i].name, s->layer[i].recipe};
    }
}

/* The job with the bits as they are now: dry, or on saved statistics into the probe file. */
static wc_status inner_run(search *s, bool dry, const char *linear, wc_report *facts)
{
    wc_run_options r = s->o->run;
    wc_run_result result = {0};
    WC_TRY(silent(s, facts));
    write_recipes(s);
    r.plan.linear = linear;
    r.plan.rule = s->rule;
    r.plan.n_rules = s->n;
    r.dry_run = dry;
    if (!dry) {
        r.plan.embed = r.plan.head = "keep";
        r.output = s->probe;
        r.work_dir = NULL;
        r.stats_file = s->stats;
        r.force = r.fresh = true;
    }
    wc_status status = wc_run(s->ctx, &r, facts, &result);
    wc_run_result_free(&result);
    return status;
}

/* ---- the layers ------------------------------------------------------------------------------------------------- */

static wc_status add_layer(search *s, const char *name, size_t rows, size_t cols)
{
    wc_stage stage;
    size_t block;
    layer *l = &s->layer[s->n];
    if (wc_model_role(&s->in.config, name, &block, &stage) != WC_ROLE_LINEAR) return WC_OK;
    for (size_t k = 0; k < WC_N_LINEARS; k++)
        if (strstr(name, wc_linear_suffix(k))) l->index = block * WC_N_LINEARS + k;
    l->name = strdup(name);
    if (!l->name) return wc_fail(s->ctx, WC_NOMEM, "no memory for a name");
    l->rows = rows, l->cols = cols;
    s->weights += (double)rows * (double)cols;
    s->n++;
    return WC_OK;
}

/* The fewest bits that rd takes for a matrix of this shape. */
static double least_bits(wc_ctx *ctx, const search *s, const layer *l)
{
    for (double bits = lowest; bits <= highest; bits += 0.25) {
        char text[192];
        wc_recipe r;
        snprintf(text, sizeof text, "rd(bits=%g%s%s)", bits, *s->o->options ? "," : "", s->o->options);
        if (wc_recipe_parse(ctx, text, &r) != WC_OK) return NAN;
        wc_place at = wc_recipe_place(&r, 0, l->rows, l->cols);
        const char *reason = r.step[0].method->applies ? r.step[0].method->applies(&at, r.step[0].opt) : NULL;
        wc_recipe_free(&r);
        if (!reason) return bits;
    }
    return INFINITY;
}

/* From a dry run in which all linears are rd: which they are, and what the rest of the file takes. */
static wc_status find_layers(search *s)
{
    wc_report facts;
    char linear[160];
    size_t i;
    json_t *t;
    snprintf(linear, sizeof linear, "rd(bits=%.4f%s%s)", s->o->bits > 0 ? s->o->bits : 4, *s->o->options ? "," : "",
             s->o->options);
    wc_status status = inner_run(s, true, linear, &facts);
    json_t *plan = json_object_get(facts.facts, "plan"), *list = json_object_get(plan, "tensors");
    if (status == WC_OK) status = WC_ALLOC(s->ctx, s->layer, json_array_size(list), "layers");
    if (status == WC_OK) status = WC_ALLOC(s->ctx, s->rule, json_array_size(list), "rules");
    s->rest_bytes = (uint64_t)json_integer_value(json_object_get(plan, "output_bytes"));
    json_array_foreach(list, i, t)
    {
        size_t before = s->n;
        if (status != WC_OK || strncmp(json_string_value(json_object_get(t, "recipe")), "rd(", 3)) continue;
        status = add_layer(s, json_string_value(json_object_get(t, "name")),
                           (size_t)json_integer_value(json_object_get(t, "rows")),
                           (size_t)json_integer_value(json_object_get(t, "cols")));
        if (s->n > before) s->rest_bytes -= (uint64_t)json_integer_value(json_object_get(t, "bytes"));
    }
    json_decref(facts.facts);
    if (status == WC_OK && !s->n)
        status = wc_fail(s->ctx, WC_UNSUPPORTED, "%s: no linear layer that rd can compress", s->o->run.model);
    for (i = 0; status == WC_OK && i < s->n; i++) {
        s->layer[i].least = least_bits(s->ctx, s, &s->layer[i]);
        if (isnan(s->layer[i].least)) status = WC_OPTION;
    }
    return status;
}

/* ---- equal slopes ----------------------------------------------------------------------------------------------- */

static double bits_at(const layer *l, double mu, double floor)
{
    double n = (double)l->rows * (double)l->cols;
    double b = l->at + log(fmax(l->kl, floor) / n) / log(4) + mu;
    return fmin(fmax(b, l->least), highest);
}

static double average_at(const search *s, double mu, double floor)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += bits_at(&s->layer[i], mu, floor) * (double)s->layer[i].rows * (double)s->layer[i].cols;
    return sum / s->weights;
}

/* Bisection on mu. A KL below a thousandth of the mean is noise, and counts as that much. */
static void spread(search *s, double target)
{
    double floor = 1e-12, low = -100, high = 100;
    for (size_t i = 0; i < s->n; i++)
        floor += 1e-3 * s->layer[i].kl / (double)s->n;
    for (int i = 0; i < 100; i++) {
        double mu = (low + high) / 2;
        if (average_at(s, mu, floor) > target)
            high = mu;
        else
            low = mu;
    }
    for (size_t i = 0; i < s->n; i++)
        s->layer[i].bits = bits_at(&s->layer[i], low, floor);
}

/* ---- rounds ----------------------------------------------------------------------------------------------------- */

static wc_status make_windows(search *s)
{
    enum { LENGTH = 512 };
    wc_text_options text = s->o->run.calib;
    text.seqlen = wc_min(wc_input_seqlen(&s->in, text.seqlen), LENGTH);
    text.bos_per_window = true;
    text.max_tokens = s->o->probe_tokens;
    if (!text.ids_file) WC_TRY(wc_input_need_tokenizer(s->ctx, &s->in));
    WC_TRY(wc_windows_make(s->ctx, s->in.tokenizer, s->in.config.vocab, &text, &s->windows));
    uint64_t need = wc_sensitivity_memory(&s->in.config, s->windows.n * s->windows.seqlen);
    uint64_t limit = s->o->run.memory ? s->o->run.memory : wc_default_memory();
    if (need <= limit) return WC_OK;
    return wc_fail(
        s->ctx, WC_BUDGET,
        "--memory %llu bytes is too little to probe %zu tokens at once, which takes %llu: give fewer --probe-tokens",
        (unsigned long long)limit, s->windows.n * s->windows.seqlen, (unsigned long long)need);
}

static wc_status make_stats(search *s)
{
    if (s->o->run.stats_file || wc_file_exists(s->stats)) return WC_OK;
    wc_report facts;
    WC_TRY(silent(s, &facts));
    wc_calibrate_options c = {.model = s->o->run.model,
                              .output = s->stats,
                              .calib = s->o->run.calib,
                              .memory = s->o->run.memory,
                              .fresh = true};
    wc_report_step(s->report, "search  statistics of the inputs");
    wc_status status = wc_calibrate(s->ctx, &c, &facts);
    json_decref(facts.facts);
    return status;
}

/* Compresses everything with the bits as they are, each layer against the original's inputs, and measures what each
 * alone does to the model. */
static wc_status measure(search *s, int round)
{
    wc_report facts;
    wc_input probe;
    double *kl = NULL;
    wc_report_step(s->report, "search  round %d: compressing, then one layer at a time on %zu tokens", round,
                   s->windows.n * s->windows.seqlen);
    wc_status status = inner_run(s, false, "keep", &facts);
    json_decref(facts.facts);
    WC_TRY(status);
    WC_TRY(wc_input_open(s->ctx, s->probe, &probe));
    wc_sensitivity_options o = {
        .config = &s->in.config, .original = &s->in.source, .compressed = &probe.source, .windows = &s->windows};
    status = WC_ALLOC(s->ctx, kl, s->in.config.layers * WC_N_LINEARS, "sensitivities");
    if (status == WC_OK) status = wc_sensitivity(s->ctx, &o, s->report, kl);
    for (size_t i = 0; status == WC_OK && i < s->n; i++)
        s->layer[i].kl = kl[s->layer[i].index], s->layer[i].at = s->layer[i].bits;
    free(kl);
    wc_input_close(&probe);
    unlink(s->probe);
    return status;
}

static void tell(const search *s, const char *when)
{
    double sum = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++) {
        const layer *l = &s->layer[i];
        sum += l->kl;
        json_array_append_new(list, json_pack("{s:s, s:f, s:f}", "name", l->name, "bits", l->bits, "kl", l->kl));
    }
    wc_report_note(s->report, "search", "%s, the layers' KL add up to %.5f", when, sum);
    json_object_set_new(s->report->facts, "search", list);
}

/* ---- what a killed search leaves -----------------------------------------------------------------------------------
 */

/* Everything that the bits depend on. */
static wc_status search_key(search *s, char key[64])
{
    const wc_run_options *r = &s->o->run;
    uint64_t model;
    wc_buf text = {0};
    WC_TRY(wc_checkpoint_fingerprint(s->ctx, &s->in.checkpoint, &model));
    WC_TRY(wc_buf_printf(s->ctx, &text, "%s %016llx %016llx %.17g %llu %llu %d %s|", WC_VERSION,
                         (unsigned long long)model, (unsigned long long)s->windows.hash, s->o->bits,
                         (unsigned long long)s->o->size, (unsigned long long)s->rest_bytes, s->o->rounds,
                         s->o->options));
    wc_status status = wc_buf_printf(s->ctx, &text, "%llu %zu %d %s", (unsigned long long)r->calib.max_tokens,
                                     r->calib.seqlen, (int)r->calib.bos, r->stats_file ? r->stats_file : "");
    if (status == WC_OK) snprintf(key, 64, "%016llx", (unsigned long long)XXH3_64bits(text.data, text.size));
    wc_buf_free(&text);
    return status;
}

/* The bits of an earlier search with the same key; false when there is none. */
static bool recall(search *s, const char *key)
{
    json_error_t e;
    json_t *root = json_load_file(s->saved, JSON_REJECT_DUPLICATES, &e), *bits = json_object_get(root, "bits");
    const char *found = json_string_value(json_object_get(root, "key"));
    bool same = found && !strcmp(found, key) && json_array_size(bits) == s->n;
    for (size_t i = 0; same && i < s->n; i++) {
        s->layer[i].bits = json_number_value(json_array_get(bits, i));
        same = s->layer[i].bits >= s->layer[i].least && s->layer[i].bits <= highest;
    }
    json_decref(root);
    return same;
}

static wc_status remember(search *s, const char *key)
{
    json_t *bits = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(bits, json_real(s->layer[i].bits));
    json_t *root = json_pack("{s:s, s:o}", "key", key, "bits", bits);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    wc_status status = text ? wc_write_file_atomic(s->ctx, s->saved, text, strlen(text))
                            : wc_fail(s->ctx, WC_NOMEM, "no memory for the search's result");
    free(text);
    json_decref(root);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static wc_status open_all(search *s)
{
    const wc_run_options *r = &s->o->run;
    WC_TRY(wc_input_open(s->ctx, r->model, &s->in));
    WC_TRY(wc_input_need_forward(s->ctx, &s->in));
    WC_TRY(wc_output_names(s->ctx, r->model, ".wcz", r->output, r->work_dir, &s->output, &s->partial, &s->work));
    if (mkdir(s->work, 0777) && errno != EEXIST)
        return wc_fail(s->ctx, WC_IO, "%s: cannot make the work folder: %s", s->work, strerror(errno));
    s->stats = r->stats_file ? strdup(r->stats_file) : wc_path_join(s->work, "search.wcstats");
    s->probe = wc_path_join(s->work, "probe.wcz");
    s->saved = wc_path_join(s->work, "search.json");
    s->journal = wc_path_join(s->work, "journal");
    if (!s->stats || !s->probe || !s->saved || !s->journal) return wc_fail(s->ctx, WC_NOMEM, "no memory for a path");
    WC_TRY(find_layers(s));
    return make_windows(s);
}

static wc_status average_bits(search *s, double *bits)
{
    *bits = s->o->bits;
    if (*bits > 0) return WC_OK;
    if (s->o->size > s->rest_bytes) *bits = 8 * (double)(s->o->size - s->rest_bytes) / s->weights;
    if (*bits >= lowest) {
        *bits = fmin(*bits, highest);
        return WC_OK;
    }
    return wc_fail(s->ctx, WC_BUDGET,
                   "--size %llu bytes: everything but the %zu linear layers takes %llu, and they at least %.0f",
                   (unsigned long long)s->o->size, s->n, (unsigned long long)s->rest_bytes, lowest * s->weights / 8);
}

static wc_status final_run(search *s, wc_run_result *result)
{
    wc_run_options r = s->o->run;
    write_recipes(s);
    r.plan.linear = "keep";
    r.plan.rule = s->rule;
    r.plan.n_rules = s->n;
    s->report->done = s->report->work = 0;
    if (!s->o->run.stats_file) unlink(s->stats);
    WC_TRY(wc_run(s->ctx, &r, s->report, result));
    if (r.dry_run) return WC_OK;
    unlink(s->saved);
    if (rmdir(s->work) && errno != ENOENT)
        wc_log(s->ctx, WC_LOG_WARN, "%s: cannot be removed: %s", s->work, strerror(errno));
    return WC_OK;
}

/* The output's bytes with the bits as they are. */
static wc_status planned_bytes(search *s, uint64_t *bytes)
{
    wc_report facts;
    wc_status status = inner_run(s, true, "keep", &facts);
    *bytes = (uint64_t)json_integer_value(json_object_get(json_object_get(facts.facts, "plan"), "output_bytes"));
    json_decref(facts.facts);
    return status;
}

/* What the bits do not count, gaps between blobs and the text of the recipes, comes to a few hundred bytes: what the
 * plan is too large by is taken off the average. */
static wc_status fit_size(search *s, double bits)
{
    for (int i = 0; s->o->size && i < 8; i++) {
        uint64_t bytes;
        WC_TRY(planned_bytes(s, &bytes));
        if (bytes <= s->o->size) return WC_OK;
        bits -= 8 * (double)(bytes - s->o->size + 64) / s->weights;
        spread(s, bits);
    }
    return s->o->size ? wc_fail(s->ctx, WC_BUDGET, "--size %llu bytes: no bits were found that fit it",
                                (unsigned long long)s->o->size)
                      : WC_OK;
}

static wc_status find_bits(search *s)
{
    double bits;
    WC_TRY(average_bits(s, &bits));
    for (size_t i = 0; i < s->n; i++) { /* as if all weights were worth the same */
        layer *l = &s->layer[i];
        l->at = l->bits = fmax(bits, l->least);
        l->kl = (double)l->rows * (double)l->cols;
    }
    if (s->o->rounds) WC_TRY(make_stats(s));
    for (int round = 1; round <= s->o->rounds; round++) {
        WC_TRY(measure(s, round));
        tell(s, round == 1 ? "with equal bits" : "with the bits of the round before");
        spread(s, bits);
    }
    return fit_size(s, bits);
}

static wc_status run_search(search *s, wc_run_result *result)
{
    char key[64];
    WC_TRY(open_all(s));
    WC_TRY(search_key(s, key));
    if (recall(s, key)) {
        wc_report_note(s->report, "search", "the bits of an unfinished run of the same command are taken over");
    } else {
        if (!s->o->run.fresh && !s->o->run.dry_run) WC_TRY(wc_journal_absent(s->ctx, s->journal));
        WC_TRY(find_bits(s));
        WC_TRY(remember(s, key));
    }
    return final_run(s, result);
}

wc_status wc_search(wc_ctx *ctx, const wc_search_options *opt, wc_report *report, wc_run_result *result)
{
    search s = {.ctx = ctx, .o = opt, .report = report};
    wc_status status = run_search(&s, result);
    for (size_t i = 0; i < s.n; i++)
        free(s.layer[i].name);
    free(s.layer), free(s.rule);
    free(s.output), free(s.partial), free(s.work), free(s.stats), free(s.probe), free(s.saved), free(s.journal);
    wc_windows_free(&s.windows);
    wc_input_close(&s.in);
    return status;
}
