/* main.c - the program: options, text to stdout, speed to stderr.
 *
 *     generate model.wcz "Once upon a time" [-n tokens] [-t temperature] [-k top_k] [-p top_p] [-s seed] [-j threads]
 *              [-8]    inputs of products in 8 bits: faster, and not quite the same model
 *              [-r]    lays the weights out anew at first, for faster products
 *              [--json]    the report as one JSON object on a line, with the names of `wcompress run --json'
 */
#include "generate.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool print(void *arg, const char *bytes, size_t n)
{
    (void)arg;
    return fwrite(bytes, 1, n, stdout) == n && !fflush(stdout);
}

static unsigned long long count(const char *text, bool *good)
{
    char *end;
    unsigned long long x = strtoull(text, &end, 10);
    *good = *good && *text >= '0' && *text <= '9' && !*end;
    return x;
}

static float real(const char *text, bool *good)
{
    char *end;
    float x = strtof(text, &end);
    *good = *good && end != text && !*end;
    return x;
}

static double rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static void report_json(const gen_options *o, const gen_result *r)
{
    fprintf(stderr, "{\"prompt_tokens\": %zu, \"tokens\": %zu, \"open_seconds\": %.6g, ", r->prompt_tokens, r->tokens,
            r->open_seconds);
    if (o->prepare)
        fprintf(stderr, "\"prepare_seconds\": %.6g, \"prepared_bytes\": %zu, ", r->prepare_seconds, r->prepared_bytes);
    fprintf(stderr,
            "\"prompt_tokens_per_second\": %.6g, \"tokens_per_second\": %.6g, \"products_share\": %.6g, "
            "\"attention_share\": %.6g}\n",
            rate(r->prompt_tokens, r->prompt_seconds), rate(r->tokens, r->seconds), r->share[GEN_TIME_PRODUCTS],
            r->share[GEN_TIME_ATTENTION]);
}

static void report(const gen_options *o, const gen_result *r)
{
    if (o->prepare)
        fprintf(stderr, "weights prepared in %.2f seconds, %.1f MB\n", r->prepare_seconds,
                (double)r->prepared_bytes * 1e-6);
    fprintf(
        stderr,
        "prompt %zu tokens, %.1f per second; generated %zu, %.1f per second (products %.0f %%, attention %.0f %%)\n",
        r->prompt_tokens, rate(r->prompt_tokens, r->prompt_seconds), r->tokens, rate(r->tokens, r->seconds),
        100 * r->share[GEN_TIME_PRODUCTS], 100 * r->share[GEN_TIME_ATTENTION]);
}

static int usage(void)
{
    fputs(
        "usage: generate [-n tokens] [-t temperature] [-k top_k] [-p top_p] [-s seed] [-j threads] [-8 | -r] [--json] "
        "model.wcz PROMPT\n",
        stderr);
    return 2;
}

int main(int argc, char **argv)
{
    enum { JSON = 256 };
    static const struct option words[] = {{"json", no_argument, NULL, JSON}, {0}};
    gen_options o = {.n = 128, .top_p = 1, .echo = true, .sink = print};
    bool json = false, good = true;
    gen_result r;
    gen_error e;
    for (int c; (c = getopt_long(argc, argv, "n:t:k:p:s:j:8r", words, NULL)) != -1;)
        switch (c) {
        case 'n': o.n = count(optarg, &good); break;
        case 't': o.temperature = real(optarg, &good); break;
        case 'k': o.top_k = count(optarg, &good); break;
        case 'p': o.top_p = real(optarg, &good); break;
        case 's': o.seed = count(optarg, &good); break;
        case 'j': o.threads = (int)(count(optarg, &good) & 0xfff); break;
        case '8': o.int8 = true; break;
        case 'r': o.prepare = true; break;
        case JSON: json = true; break;
        default: return usage();
        }
    if (!good || argc - optind != 2 || (o.int8 && o.prepare)) return usage();
    o.path = argv[optind];
    o.prompt = argv[optind + 1];
    o.prompt_size = strlen(o.prompt);
    gen_status s = gen_run(&o, &r, &e);
    if (s != GEN_OK) {
        fprintf(stderr, "generate: %s\n", e.text);
        return s == GEN_USAGE ? 2 : 1;
    }
    putchar('\n');
    fflush(stdout); /* the report follows on stderr */
    (json ? report_json : report)(&o, &r);
    return 0;
}
