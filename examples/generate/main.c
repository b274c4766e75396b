/* main.c - the program: options, text to stdout, speed to stderr.
 *
 *     generate model.wcz "Once upon a time" [-n tokens] [-t temperature] [-k top_k] [-p top_p] [-s seed] [-j threads]
 *              [-8]    inputs of products in 8 bits: faster, and not quite the same model
 *              [-r]    lays the weights out anew at first, for faster products
 */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool print(void *arg, const char *bytes, size_t n)
{
    (void)arg;
    return fwrite(bytes, 1, n, stdout) == n && !fflush(stdout);
}

static int usage(void)
{
    fputs(
        "usage: generate [-n tokens] [-t temperature] [-k top_k] [-p top_p] [-s seed] [-j threads] [-8 | -r] model.wcz "
        "PROMPT\n",
        stderr);
    return 2;
}

int main(int argc, char **argv)
{
    gen_options o = {.n = 128, .top_p = 1, .sink = print};
    gen_result r;
    gen_error e;
    for (int c; (c = getopt(argc, argv, "n:t:k:p:s:j:8r")) != -1;)
        switch (c) {
        case 'n': o.n = strtoul(optarg, NULL, 10); break;
        case 't': o.temperature = strtof(optarg, NULL); break;
        case 'k': o.top_k = strtoul(optarg, NULL, 10); break;
        case 'p': o.top_p = strtof(optarg, NULL); break;
        case 's': o.seed = strtoull(optarg, NULL, 10); break;
        case 'j': o.threads = atoi(optarg); break;
        case '8': o.int8 = true; break;
        case 'r': o.prepare = true; break;
        default: return usage();
        }
    if (argc - optind != 2 || (o.int8 && o.prepare)) return usage();
    o.path = argv[optind];
    o.prompt = argv[optind + 1];
    o.prompt_size = strlen(o.prompt);
    fputs(o.prompt, stdout);
    gen_status s = gen_run(&o, &r, &e);
    putchar('\n');
    fflush(stdout); /* the report follows on stderr */
    if (s != GEN_OK) {
        fprintf(stderr, "generate: %s\n", e.text);
        return s == GEN_USAGE ? 2 : 1;
    }
    if (o.prepare)
        fprintf(stderr, "weights prepared in %.2f seconds, %.1f MB\n", r.prepare_seconds,
                (double)r.prepared_bytes * 1e-6);
    fprintf(
        stderr,
        "prompt %zu tokens, %.1f per second; generated %zu, %.1f per second (products %.0f %%, attention %.0f %%)\n",
        r.prompt_tokens, (double)r.prompt_tokens / r.prompt_seconds, r.tokens, (double)r.tokens / r.seconds,
        100 * r.share[GEN_TIME_PRODUCTS], 100 * r.share[GEN_TIME_ATTENTION]);
    return 0;
}
