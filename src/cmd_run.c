/* cmd_run.c - `wcompress run': examples/generate behind the conventions of the other commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli.h"
#include "examples/generate/generate.h"

typedef struct options {
    wc_cli_common common;
    const char *prompt;
    uint64_t tokens, top_k, seed;
    double temperature, top_p;
    bool ignore_eos, int8, prepare;
} options;

#define AT(field) offsetof(options, field)
static const wc_cli_option run_options[] = {
    {"prompt", 'p', WC_CLI_TEXT, AT(prompt), "TEXT", "what to continue, UTF-8"},
    {"tokens", 'n', WC_CLI_COUNT, AT(tokens), "N", "tokens to generate at most (default: 128)"},
    {"temp", 't', WC_CLI_REAL, AT(temperature), "T", "temperature (default: 0, always the likeliest token)"},
    {"top-k", 0, WC_CLI_COUNT, AT(top_k), "K", "draw from the K likeliest only (default: all)"},
    {"top-p", 0, WC_CLI_REAL, AT(top_p), "P", "draw from the fewest that have this probability (default: 1)"},
    {"seed", 0, WC_CLI_COUNT, AT(seed), "N", "of the random numbers (default: 0)"},
    {"ignore-eos", 0, WC_CLI_FLAG, AT(ignore_eos), NULL, "go on after the end of the text"},
    {"int8", 0, WC_CLI_FLAG, AT(int8), NULL, "round what weights are multiplied with to 8 bits: faster, not the same"},
    {"prepare", 0, WC_CLI_FLAG, AT(prepare), NULL, "lay the weights out anew first: faster, twice the memory"},
    WC_CLI_COMMON(options),
};

static void defaults(void *p)
{
    options *o = p;
    o->tokens = 128;
    o->top_p = 1;
}

/* Where the text goes. */
typedef struct sink {
    wc_ctx *ctx;
    bool terminal, keep; /* keep: for --json */
    wc_buf text;
    wc_status status;
} sink;

/* Models come from files: on a terminal their control characters do nothing. */
static wc_status print(const sink *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool control = (c < ' ' && c != '\n' && c != '\t') || c == 0x7f;
        putchar(s->terminal && control ? '?' : c);
    }
    if (!fflush(stdout) || errno == EPIPE) return WC_OK; /* who reads it has enough: `take' stops */
    return wc_fail(s->ctx, WC_IO, "cannot write to standard output: %s", strerror(errno));
}

static bool take(void *arg, const char *bytes, size_t n)
{
    sink *s = arg;
    s->status = s->keep ? wc_buf_append(s->ctx, &s->text, bytes, n) : print(s, bytes, n);
    return s->status == WC_OK && !(s->ctx->stop && *s->ctx->stop) && !ferror(stdout);
}

static wc_status failed(wc_ctx *ctx, gen_status s, const gen_error *e)
{
    static const wc_status codes[] = {[GEN_USAGE] = WC_OPTION,    [GEN_IO] = WC_IO,
                                      [GEN_BADFILE] = WC_BADFILE, [GEN_UNSUPPORTED] = WC_UNSUPPORTED,
                                      [GEN_NOMEM] = WC_NOMEM,     [GEN_NUMERIC] = WC_NUMERIC};
    return wc_fail(ctx, codes[s], "%s", e->text);
}

static double rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static void report_facts(wc_report *report, const options *o, const sink *s, const gen_result *r)
{
    json_t *f = report->facts;
    json_object_set_new(f, "prompt", wc_report_text(o->prompt));
    if (s->keep) json_object_set_new(f, "text", wc_report_bytes((const char *)s->text.data, s->text.size));
    json_object_set_new(f, "prompt_tokens", json_integer((json_int_t)r->prompt_tokens));
    json_object_set_new(f, "tokens", json_integer((json_int_t)r->tokens));
    json_object_set_new(f, "open_seconds", json_real(r->open_seconds));
    if (o->prepare) {
        json_object_set_new(f, "prepare_seconds", json_real(r->prepare_seconds));
        json_object_set_new(f, "prepared_bytes", json_integer((json_int_t)r->prepared_bytes));
    }
    json_object_set_new(f, "prompt_tokens_per_second", json_real(rate(r->prompt_tokens, r->prompt_seconds)));
    json_object_set_new(f, "tokens_per_second", json_real(rate(r->tokens, r->seconds)));
    json_object_set_new(f, "products_share", json_real(r->share[GEN_TIME_PRODUCTS]));
    json_object_set_new(f, "attention_share", json_real(r->share[GEN_TIME_ATTENTION]));
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    sink s = {.ctx = ctx, .terminal = isatty(STDOUT_FILENO), .keep = report->json};
    gen_result r;
    gen_error e;
    (void)n;
    if (!o->prompt) return wc_fail(ctx, WC_OPTION, "run: -p TEXT is missing");
    if (o->int8 && o->prepare)
        return wc_fail(ctx, WC_OPTION, "run: --int8 or --prepare, not both: prepared weights take inputs as they are");
    gen_options g = {.path = operand[0],
                     .prompt = o->prompt,
                     .prompt_size = strlen(o->prompt),
                     .n = o->tokens,
                     .temperature = (float)o->temperature,
                     .top_k = o->top_k,
                     .top_p = (float)o->top_p,
                     .seed = o->seed,
                     .threads = ctx->threads,
                     .ignore_end = o->ignore_eos,
                     .int8 = o->int8,
                     .prepare = o->prepare,
                     .echo = !report->json,
                     .sink = take,
                     .arg = &s};
    gen_status status = gen_run(&g, &r, &e);
    if (status == GEN_OK && s.status == WC_OK && !report->json)
        s.status = print(&s, "\n", 1); /* now: the report follows on stderr */
    if (status == GEN_OK && s.status == WC_OK) {
        report_facts(report, o, &s, &r);
        if (o->prepare)
            wc_report_note(report, "prepared", "%.1f MB of weights in %.2f s", (double)r.prepared_bytes * 1e-6,
                           r.prepare_seconds);
        wc_report_note(report, "prompt", "%zu tokens, %.1f per second", r.prompt_tokens,
                       rate(r.prompt_tokens, r.prompt_seconds));
        wc_report_note(report, "text", "%zu tokens, %.1f per second; products with weights %.0f %%, attention %.0f %%",
                       r.tokens, rate(r.tokens, r.seconds), 100 * r.share[GEN_TIME_PRODUCTS],
                       100 * r.share[GEN_TIME_ATTENTION]);
    }
    wc_buf_free(&s.text);
    return status == GEN_OK ? s.status : failed(ctx, status, &e);
}

const wc_command wc_command_run = {
    .name = "run",
    .operands = "FILE.wcz",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "generate text with a compressed model",
    .description = "Continues a prompt. The weights stay compressed in the mapped file and are decoded as they are "
                   "multiplied. The\n"
                   "program is examples/generate, which uses the decode library only: what to copy to write a runtime. "
                   "Prints the\n"
                   "tokens per second of prompt and text.\n\n"
                   "  wcompress run model.wcz -p \"Once upon a time\" -n 200 --temp 0.8 --top-p 0.9 --seed 7",
    .opt_size = sizeof(options),
    .options = run_options,
    .defaults = defaults,
    .run = run,
};
