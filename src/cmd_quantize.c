/* cmd_quantize.c - `wcompress quantize', `prune', `compress' and `search': the same job, asked for by bits, by
 * pattern, by recipe, or by size. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli.h"
#include "eval.h"
#include "precheck.h"
#include "replay.h"
#include "run.h"
#include "search.h"

typedef struct options {
    wc_cli_common common;
    const char *output, *method, *recipe, *like, *blocks, *calib_ids, *bos, *stats, *work_dir, *eval, *format, *pattern,
        *target;
    double bits, attention;
    uint64_t embed_bits, head_bits, tp, calib_tokens, seqlen, memory, size, rounds, probe_tokens;
    wc_cli_list opt, rule, calib;
    bool force, dry_run, fresh, one_stream;
} options;

/* Embedding and head: 8 bits, and with --target as they are, since runtimes read them as floats. */
enum { UNSAID = 255, END_BITS = 8, LINEAR_BITS = 3 };

static void defaults(void *p)
{
    options *o = p;
    o->bits = NAN; /* unsaid */
    o->tp = 1;
    o->rounds = 2;
    o->probe_tokens = 4096;
    o->embed_bits = UNSAID;
    o->head_bits = UNSAID;
    o->calib_tokens = 131072;
    o->bos = "auto";
}

#define AT(field) offsetof(options, field)

#define SHARED_OPTIONS                                                                                                   \
    {"output", 'o', WC_CLI_TEXT, AT(output), "FILE", "output file (default: MODEL.wcz beside the input)"},               \
        {"force", 'f', WC_CLI_FLAG, AT(force), NULL, "replace an existing output"},                                      \
        {"dry-run",   'n',  WC_CLI_FLAG,                                                                                 \
         AT(dry_run), NULL, "print the plan, the exact output size, memory and disk; do nothing"},                       \
        {"rule",        0,                                                                                               \
         WC_CLI_LIST,   AT(rule),                                                                                        \
         "GLOB=RECIPE", "recipe for the tensors whose name matches; the last match wins"},                               \
        {"embed-bits", 0, WC_CLI_COUNT, AT(embed_bits), "N", "bits of the token embedding; 0 or 16: keep as it is"},     \
        {"head-bits", 0, WC_CLI_COUNT, AT(head_bits), "N", "bits of the output head; 0 or 16: keep as it is"},           \
        {"target",   0,         WC_CLI_TEXT,                                                                             \
         AT(target), "RUNTIME", "refuse what it would not load: vllm, transformers, llama.cpp"},                         \
        {"tp", 0, WC_CLI_COUNT, AT(tp), "N", "tensor parallel shards that --target will use (default: 1)"},              \
        {"blocks", 0, WC_CLI_TEXT, AT(blocks), "A-B", "compress the linears of these blocks only (0-based)"},            \
        {"calib", 0, WC_CLI_LIST, AT(calib), "FILE", "calibration text, UTF-8 (default: built in)"},                     \
        {"calib-ids", 0, WC_CLI_TEXT, AT(calib_ids), "FILE", "calibration as raw little-endian u32 token ids"},          \
        {"calib-tokens",   0,   WC_CLI_COUNT,                                                                            \
         AT(calib_tokens), "N", "how many tokens to use, spread over the text; 0: all"},                                 \
        {"seqlen", 0, WC_CLI_COUNT, AT(seqlen), "N", "window length (default: the model's, at most 2048)"},              \
        {"bos", 0, WC_CLI_TEXT, AT(bos), "WHEN", "begin-of-text token before every window: auto, always, never"},        \
        {"stats",   0,      WC_CLI_TEXT,                                                                                 \
         AT(stats), "FILE", "saved by `calibrate', or an importance matrix, instead of a forward pass"},                 \
        {"attention",   0,   WC_CLI_REAL,                                                                                \
         AT(attention), "X", "0 to 1: tokens count in q, k, v's statistics by the attention they get (default: 0)"},     \
        {"one-stream", 0, WC_CLI_FLAG, AT(one_stream), NULL, "do not run the original model beside the compressed one"}, \
        {"memory",   0,      WC_CLI_SIZE,                                                                                \
         AT(memory), "SIZE", "resident memory not to exceed, e.g. 6GiB (default: 80 % of RAM)"},                         \
        {"eval", 0, WC_CLI_TEXT, AT(eval), "TEXT", "then hold the result against the original on this text file"},       \
        {"work-dir",   0,     WC_CLI_TEXT,                                                                               \
         AT(work_dir), "DIR", "folder for resume state and activations (default: OUTPUT.work)"},                         \
    {                                                                                                                    \
        "fresh", 0, WC_CLI_FLAG, AT(fresh), NULL, "drop an unfinished run of other options instead of refusing"          \
    }

static const wc_cli_option quantize_options[] = {
    {"bits", 'b', WC_CLI_REAL, AT(bits), "N", "bits per weight of the linear layers, 1..8 (default: 3)"},
    {"method", 'm', WC_CLI_TEXT, AT(method), "NAME", "gptq (default when the model can be run) or rtn"},
    {"format", 0, WC_CLI_TEXT, AT(format), "NAME",
     "a type or mixture of GGUF, as llama.cpp names it: Q4_K_M, Q3_K_S, IQ3_XXS, ...; takes the place of --bits"},
    {"opt", 0, WC_CLI_LIST, AT(opt), "NAME=VALUE", "option of the method, see `wcompress methods'"},
    SHARED_OPTIONS,
    WC_CLI_COMMON(options),
};

static const wc_cli_option search_options[] = {
    {"bits", 'b', WC_CLI_REAL, AT(bits), "N", "bits per weight of the linear layers on average, 0.5..8 (default: 3)"},
    {"size", 0, WC_CLI_SIZE, AT(size), "SIZE", "instead: the size of the whole output, e.g. 4.2GiB"},
    {"rounds", 0, WC_CLI_COUNT, AT(rounds), "N", "how often sensitivities are measured (default: 2)"},
    {"probe-tokens", 0, WC_CLI_COUNT, AT(probe_tokens), "N", "tokens that they are measured on (default: 4096)"},
    {"opt", 0, WC_CLI_LIST, AT(opt), "NAME=VALUE", "option of rd, see `wcompress methods rd'"},
    SHARED_OPTIONS,
    WC_CLI_COMMON(options),
};

static const wc_cli_option prune_options[] = {
    {"pattern", 'p', WC_CLI_TEXT, AT(pattern), "WHAT", "50%: the part that goes; 2:4: two of every four columns stay"},
    {"method", 'm', WC_CLI_TEXT, AT(method), "NAME", "sparsegpt (default), wanda, ria, magnitude, gqsa"},
    {"opt", 0, WC_CLI_LIST, AT(opt), "NAME=VALUE", "option of the method, see `wcompress methods'"},
    {"bits", 'b', WC_CLI_REAL, AT(bits), "N", "then quantize what is left to N bits, 1..8 (default: keep it in f16)"},
    SHARED_OPTIONS,
    WC_CLI_COMMON(options),
};

static const wc_cli_option compress_options[] = {
    {"recipe", 'r', WC_CLI_TEXT, AT(recipe), "RECIPE",
     "what to do with the linear layers, e.g. 'gptq(bits=3,group=64)'"},
    {"like", 0, WC_CLI_TEXT, AT(like), "FILE", "instead: every tensor's recipe as in this .wcz"},
    SHARED_OPTIONS,
    WC_CLI_COMMON(options),
};

/* "gptq(bits=3,group=64)" from --method, --bits and --opt. */
static wc_status build_recipe(wc_ctx *ctx, const options *o, wc_buf *out)
{
    const char *grid = o->target && !o->method ? wc_precheck_grid(o->target, o->bits) : "";
    WC_TRY(wc_buf_printf(ctx, out, "%s(bits=%g%s", o->method ? o->method : "gptq", o->bits, grid));
    for (size_t i = 0; i < o->opt.n; i++)
        WC_TRY(wc_buf_printf(ctx, out, ",%s", o->opt.item[i]));
    return wc_buf_printf(ctx, out, ")");
}

/* "sparsegpt(2:4) | gptq(bits=4)" from --method, --pattern, --opt and --bits. */
static wc_status build_prune(wc_ctx *ctx, const options *o, wc_buf *out)
{
    const char *name = o->method ? o->method : "sparsegpt";
    const wc_method *m = wc_method_find(name);
    if (!o->pattern) return wc_fail(ctx, WC_OPTION, "prune: --pattern is missing, write 50%% or 2:4");
    if (!m || m->role != WC_STEP_PRUNE) return wc_fail(ctx, WC_OPTION, "prune: `%s' is no method that prunes", name);
    char *end;
    if (strtod(o->pattern, &end) > 1 && !*end)
        return wc_fail(ctx, WC_OPTION, "prune: --pattern %s: write %s%% for a part, or 2:4", o->pattern, o->pattern);
    if (o->bits != 0 && (o->bits < 1 || o->bits > 8))
        return wc_fail(ctx, WC_OPTION, "--bits %g: allowed is 1 to 8", o->bits);
    WC_TRY(wc_buf_printf(ctx, out, "%s(%s", name, o->pattern));
    for (size_t i = 0; i < o->opt.n; i++)
        WC_TRY(wc_buf_printf(ctx, out, ",%s", o->opt.item[i]));
    WC_TRY(wc_buf_printf(ctx, out, ")"));
    return o->bits != 0 ? wc_buf_printf(ctx, out, " | gptq(bits=%g)", o->bits) : WC_OK;
}

/* 8 to 16 bits would only be a slower float: keep. */
static wc_status plain_recipe(wc_ctx *ctx, const char *option, const options *o, uint64_t bits, char dst[64])
{
    if (bits == UNSAID) bits = o->target ? 16 : END_BITS;
    if (bits > 8 && bits != 16)
        return wc_fail(ctx, WC_OPTION, "--%s %" PRIu64 ": allowed is 1 to 8, or 16 to keep", option, bits);
    if (bits == 0 || bits == 16)
        snprintf(dst, 64, "keep");
    else
        snprintf(dst, 64, "rtn(bits=%" PRIu64 ",group=64)", bits);
    return WC_OK;
}

static wc_status parse_blocks(wc_ctx *ctx, const char *text, size_t *first, size_t *last)
{
    *first = 0, *last = SIZE_MAX;
    if (!text) return WC_OK;
    char end;
    int n = sscanf(text, "%zu-%zu%c", first, last, &end);
    if (n == 1 && !strchr(text, '-')) *last = *first;
    if (n < 1 || n > 2 || *first > *last || text[0] == '-')
        return wc_fail(ctx, WC_OPTION, "--blocks %s: write a range like 0-3", text);
    return WC_OK;
}

static wc_status parse_rules(wc_ctx *ctx, const wc_cli_list *list, char **text, wc_plan_rule *rule)
{
    for (size_t i = 0; i < list->n; i++) {
        text[i] = strdup(list->item[i]);
        char *equals = text[i] ? strchr(text[i], '=') : NULL;
        if (!text[i]) return wc_fail(ctx, WC_NOMEM, "no memory for rules");
        if (!equals || equals == text[i])
            return wc_fail(ctx, WC_OPTION, "--rule %s: write PATTERN=RECIPE, e.g. '*.down_proj.weight=gptq(bits=4)'",
                           list->item[i]);
        *equals = 0;
        rule[i] = (wc_plan_rule){text[i], equals + 1};
    }
    return WC_OK;
}

static wc_status find_mix(wc_ctx *ctx, const char *name, const wc_mix **out)
{
    wc_buf names = {0};
    *out = wc_mix_find(name);
    if (*out) return WC_OK;
    wc_status status = wc_mix_names(ctx, &names);
    if (status == WC_OK) status = wc_fail(ctx, WC_OPTION, "--format %s: there are %s", name, (const char *)names.data);
    wc_buf_free(&names);
    return status;
}

static wc_status parse_bos(wc_ctx *ctx, const char *word, wc_bos *out)
{
    static const char *const words[] = {"auto", "always", "never"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(word, words[i])) {
            *out = (wc_bos)i;
            return WC_OK;
        }
    return wc_fail(ctx, WC_OPTION, "--bos %s: write auto, always or never", word);
}

/* What the compression cost, in one table. */
static wc_status show_cost(wc_ctx *ctx, const options *o, const char *model, const wc_run_result *x, wc_report *report)
{
    wc_score scores[WC_N_PROTOCOLS];
    char before[32], after[32], took[32], rss[32];
    const char *files[] = {o->eval};
    wc_eval_options e = {
        .model = x->output, .against = model, .memory = o->memory, .want = {true, false}, .table = false};
    e.text = (wc_text_options){.files = files, .n_files = 1, .seqlen = o->seqlen};
    WC_TRY(wc_eval(ctx, &e, report, scores));
    const wc_score *s = &scores[WC_DASLAB];
    wc_report_result(report, "\n%-22s %16s %16s", "", "original", "compressed");
    wc_report_result(report, "%-22s %16s %16s   %.2fx smaller", "size", wc_size_text(x->source_bytes, before),
                     wc_size_text(x->bytes, after), (double)x->source_bytes / (double)x->bytes);
    wc_report_result(report, "%-22s %16.3f %16.3f   linears %.3f", "bits per weight",
                     8.0 * (double)x->source_bytes / (double)x->weights, x->bits, x->linear_bits);
    wc_report_result(report, "%-22s %16.3f %16.3f   %+.2f %% +- %.2f", "perplexity", exp(s->against_nll), exp(s->nll),
                     100 * expm1(s->log_ratio), 100 * s->log_ratio_se);
    wc_report_result(report, "%-22s %16s %16.5f   +- %.5f", "KL divergence", "", s->kl, s->kl_se);
    wc_report_result(report, "%-22s %16s %14.2f %%", "same top token", "", 100 * s->agree);
    wc_report_result(report, "%-22s %16s %16.5f   worst %.5f, fallbacks %zu", "layer error", "", x->error_mean,
                     x->error_max, x->fallbacks);
    wc_report_result(report, "%-22s %16s %16s", "time to compress", "", wc_time_text(x->seconds, took));
    wc_report_result(report, "%-22s %16s %16s", "peak memory", "", wc_size_text(wc_peak_rss(), rss));
    wc_report_result(report, "(%zu tokens of %s in windows of %zu)", s->tokens, o->eval, s->seqlen);
    return WC_OK;
}

/* Refuses, before anything else is done, a plan whose result the runtime would not load. */
static wc_status check_target(wc_ctx *ctx, const options *o, bool search, const char *model,
                              const wc_plan_options *plan)
{
    wc_check_options opt = {.target = o->target, .tp = o->tp};
    wc_plan_options planned = *plan;
    wc_findings found = {0};
    wc_input in;
    if (!planned.linear) planned.linear = "keep"; /* the mix decides */
    if (search) planned.linear = "rd";            /* of whatever bits */
    WC_TRY(wc_input_open(ctx, model, &in));
    wc_status status = wc_precheck(ctx, &in, &planned, &opt, &found);
    if (status == WC_OK) status = wc_check_failure(ctx, &in, &opt, &found);
    wc_findings_free(&found);
    wc_input_close(&in);
    return status;
}

typedef struct request {
    const char *linear;    /* recipe of the linear layers, or NULL */
    bool search;           /* bits of each linear are looked for, and `linear' are the options of rd */
    const wc_replay *like; /* or NULL: rules before those of the options, and all else is kept */
} request;

/* What would be left aside in silence. */
static wc_status check_options(wc_ctx *ctx, const options *o, const request *q)
{
    bool ends = o->embed_bits != UNSAID || o->head_bits != UNSAID;
    if (!(o->attention >= 0 && o->attention <= 1))
        return wc_fail(ctx, WC_OPTION, "--attention %g: allowed is 0 to 1", o->attention);
    if (o->attention > 0 && o->stats)
        return wc_fail(ctx, WC_OPTION, "--attention: the statistics of --stats are made already, all tokens alike");
    if (o->tp != 1 && !o->target) return wc_fail(ctx, WC_OPTION, "--tp needs --target, whose shards it means");
    if (ends && (o->format || q->like))
        return wc_fail(ctx, WC_OPTION, "%s chooses for embedding and head, too: leave out --embed-bits and --head-bits",
                       o->format ? "--format" : "--like");
    return WC_OK;
}

/* The text of --eval is wanted when all work is done: that it is there is known before. */
static wc_status check_eval(wc_ctx *ctx, const options *o)
{
    wc_map text;
    if (!o->eval) return WC_OK;
    WC_TRY(wc_map_open(ctx, o->eval, &text));
    wc_map_close(&text);
    return WC_OK;
}

/* The options that are handed on as they are. */
static wc_run_options run_options(const options *o, const char *model)
{
    return (wc_run_options){.model = model,
                            .output = o->output,
                            .work_dir = o->work_dir,
                            .stats_file = o->stats,
                            .bits = o->bits,
                            .memory = o->memory,
                            .attention = o->attention,
                            .one_stream = o->one_stream,
                            .force = o->force,
                            .fresh = o->fresh,
                            .dry_run = o->dry_run,
                            .calib = {.files = o->calib.item,
                                      .n_files = o->calib.n,
                                      .ids_file = o->calib_ids,
                                      .seqlen = o->seqlen,
                                      .max_tokens = o->calib_tokens}};
}

static wc_status run_with(wc_ctx *ctx, const options *o, const request *q, const char *model, wc_report *report)
{
    size_t replayed = q->like ? q->like->n : 0;
    const char *linear = q->linear;
    char embed[64], head[64], **texts = NULL;
    wc_plan_rule *rules = NULL;
    wc_run_result result = {0};
    wc_run_options run = run_options(o, model);
    wc_status status = WC_OK;
    WC_TRY_OUT(check_options(ctx, o, q));
    WC_TRY_OUT(check_eval(ctx, o));
    WC_TRY_OUT(WC_ALLOC(ctx, rules, replayed + o->rule.n, "rules"));
    WC_TRY_OUT(WC_ALLOC(ctx, texts, o->rule.n, "rules"));
    if (replayed) memcpy(rules, q->like->rule, replayed * sizeof *rules);
    WC_TRY_OUT(parse_rules(ctx, &o->rule, texts, rules + replayed));
    WC_TRY_OUT(parse_bos(ctx, o->bos, &run.calib.bos));
    WC_TRY_OUT(plain_recipe(ctx, "embed-bits", o, o->embed_bits, embed));
    WC_TRY_OUT(plain_recipe(ctx, "head-bits", o, o->head_bits, head));
    run.plan = (wc_plan_options){
        .linear = linear, .embed = embed, .head = head, .rule = rules, .n_rules = replayed + o->rule.n};
    if (q->like) run.plan.embed = run.plan.head = "keep";
    if (o->format) WC_TRY_OUT(find_mix(ctx, o->format, &run.plan.mix));
    WC_TRY_OUT(parse_blocks(ctx, o->blocks, &run.plan.first_block, &run.plan.last_block));
    if (o->target) WC_TRY_OUT(check_target(ctx, o, q->search, model, &run.plan));
    wc_search_options search = {.run = run,
                                .options = linear,
                                .bits = o->size ? 0 : o->bits,
                                .size = o->size,
                                .probe_tokens = o->probe_tokens,
                                .rounds = (int)o->rounds};
    WC_TRY_OUT(q->search ? wc_search(ctx, &search, report, &result) : wc_run(ctx, &run, report, &result));
    if (o->eval && !o->dry_run) WC_TRY_OUT(show_cost(ctx, o, model, &result, report));
out:
    wc_run_result_free(&result);
    for (size_t i = 0; texts && i < o->rule.n; i++)
        free(texts[i]);
    free(texts);
    free(rules);
    return status;
}

static wc_status quantize(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    options said = *(const options *)opt, *o = &said;
    wc_buf linear = {0};
    (void)n;
    if (o->format && (o->method || o->opt.n || !isnan(o->bits)))
        return wc_fail(ctx, WC_OPTION, "--format chooses method and bits: leave out --method, --opt and --bits");
    if (isnan(o->bits)) o->bits = LINEAR_BITS;
    if (o->bits < 1 || o->bits > 8) return wc_fail(ctx, WC_OPTION, "--bits %g: allowed is 1 to 8", o->bits);
    wc_status status = build_recipe(ctx, o, &linear);
    bool chosen = o->method || o->opt.n ||
                  (o->target && !o->format); /* otherwise wc_run picks gptq or rtn by what the model allows */
    if (status == WC_OK)
        status = run_with(ctx, o, &(request){.linear = chosen ? (char *)linear.data : NULL}, operand[0], report);
    wc_buf_free(&linear);
    return status;
}

static void prune_defaults(void *p)
{
    options *o = p;
    defaults(p);
    o->bits = 0;
}

static wc_status prune(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    wc_buf linear = {0};
    (void)n;
    wc_status status = build_prune(ctx, o, &linear);
    if (status == WC_OK) status = run_with(ctx, o, &(request){.linear = (char *)linear.data}, operand[0], report);
    wc_buf_free(&linear);
    return status;
}

static wc_status compress(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    (void)n;
    if (o->recipe && o->like) return wc_fail(ctx, WC_OPTION, "compress: --recipe and --like contradict each other");
    if (!o->recipe && !o->like) return wc_fail(ctx, WC_OPTION, "compress: --recipe is missing");
    if (o->recipe) return run_with(ctx, o, &(request){.linear = o->recipe}, operand[0], report);
    wc_replay like;
    wc_status status = wc_replay_read(ctx, o->like, &like);
    if (status == WC_OK)
        status = run_with(ctx, o, &(request){.linear = (char *)like.recipe.data, .like = &like}, operand[0], report);
    wc_replay_free(&like);
    return status;
}

static wc_status search(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    options said = *(const options *)opt, *o = &said;
    wc_buf more = {0};
    wc_status status = WC_OK;
    (void)n;
    if (o->size && !isnan(o->bits)) return wc_fail(ctx, WC_OPTION, "search: --size and --bits contradict each other");
    if (isnan(o->bits)) o->bits = LINEAR_BITS;
    if (!o->size && (o->bits < 0.5 || o->bits > 8))
        return wc_fail(ctx, WC_OPTION, "--bits %g: allowed is 0.5 to 8", o->bits);
    if (o->rounds > 8) return wc_fail(ctx, WC_OPTION, "--rounds %" PRIu64 ": allowed is 0 to 8", o->rounds);
    if (o->rule.n) return wc_fail(ctx, WC_OPTION, "search: --rule and a search for all layers contradict each other");
    for (size_t i = 0; status == WC_OK && i < o->opt.n; i++)
        status = wc_buf_printf(ctx, &more, "%s%s", i ? "," : "", o->opt.item[i]);
    if (status == WC_OK)
        status = run_with(ctx, o, &(request){.linear = more.size ? (char *)more.data : "", .search = true}, operand[0],
                          report);
    wc_buf_free(&more);
    return status;
}

const wc_command wc_command_quantize = {
    .name = "quantize",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "compress the linear layers to N bits per weight",
    .description =
        "MODEL is a .safetensors file (its folder is searched for config.json and tokenizer.json), an index "
        "of shards, or\n"
        "a model folder. The result is one .wcz file. Killed at any moment, the same command continues.\n\n"
        "  wcompress quantize --bits 3 model.safetensors\n"
        "  wcompress quantize --bits 4 --opt group=64 --calib my.txt -o small.wcz llama/\n"
        "  wcompress quantize --format Q4_K_M -o model.wcz llama/      then: wcompress export --to gguf model.wcz\n"
        "  wcompress quantize --bits 4 --target vllm llama/            then: wcompress export --to gptq llama.wcz",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = quantize_options,
    .defaults = defaults,
    .run = quantize,
};

const wc_command wc_command_prune = {
    .name = "prune",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "set a part of the weights to zero, and store only the others",
    .description = "What is left of the linear layers makes up for what is pruned, and is stored in f16, or with "
                   "--bits quantized\n"
                   "under the same mask. The recipe that this stands for is `sparsegpt(2:4)' or `sparsegpt(2:4) | "
                   "gptq(bits=4)'.\n\n"
                   "  wcompress prune --pattern 2:4 model/\n"
                   "  wcompress prune --pattern 50% --bits 4 model/\n"
                   "  wcompress prune --pattern 50% -m wanda --opt update=none model/",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = prune_options,
    .defaults = prune_defaults,
    .run = prune,
};

const wc_command wc_command_compress = {
    .name = "compress",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "compress by a recipe: a list of methods",
    .description =
        "Runs the methods of the recipe one after another on every linear layer, each on what the ones before left\n"
        "unexplained; the result is their sum. `wcompress methods' lists them with their options.\n\n"
        "  wcompress compress --recipe 'gptq(bits=3,group=64)' model/\n"
        "  wcompress compress --recipe 'gptq(bits=2) | rtn(bits=2)' --rule '*.down_proj.weight=gptq(bits=4)' model/\n"
        "  wcompress compress --like other.wcz model/",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = compress_options,
    .defaults = defaults,
    .run = compress,
};

const wc_command wc_command_search = {
    .name = "search",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "compress to a size, bits spread over the layers so that the model loses least",
    .description =
        "Compresses with `rd', which takes any number of bits, and gives every linear layer as many as it is worth:\n"
        "measures what the error of each one alone does to the model's predictions, and equals the slopes. The time "
        "that\n"
        "takes is that of running half the model once per layer on the probe tokens.\n\n"
        "  wcompress search --bits 2.5 model/\n"
        "  wcompress search --size 4.2GiB -o small.wcz model/",
    .resumes = true,
    .opt_size = sizeof(options),
    .options = search_options,
    .defaults = defaults,
    .run = search,
};
