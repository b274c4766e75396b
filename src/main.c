/* main.c - arguments -> command -> exit code. The only file that calls exit(). */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "version.h"

/* The first signal asks the work to stop after the current tensor, the second ends the process at once. */
static volatile int stop;

static void on_signal(int number)
{
    if (stop) _exit(128 + number);
    stop = number;
}

/* Where the work stands: printed at its next step. */
static volatile int status_asked;

static void on_status(int number)
{
    status_asked = number;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    a.sa_handler = on_status;
    sigaction(SIGUSR1, &a, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe and a limit on the size of files are write errors like any other */
    signal(SIGXFSZ, SIG_IGN);
}

static void print_overview(FILE *out)
{
    fputs("wcompress - compresses the weights of trained transformers\n\n"
          "  wcompress quantize --bits 3 model.safetensors     3-bit model.wcz beside it\n"
          "  wcompress eval model.wcz --against model/ --text some.txt\n\n"
          "commands:\n",
          out);
    for (const wc_command *const *c = wc_commands; *c; c++)
        fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
    fputs(
        "  version    print versions and what this machine offers\n\n"
        "`wcompress help COMMAND' explains one. Exit codes: 0 success, 1 failure, 2 wrong use, 3 bad input, 4 "
        "verification\n"
        "failed, 5 budget too small, 6 not supported, 7 input/output, 8 resume state does not match, 128+n signal n.\n",
        out);
}

static void print_version(void)
{
    printf("wcompress %s, file format 1.0\nBLAS      %s\nkernels   %s (this CPU: %s)\n", WC_VERSION, wc_blas_config(),
           wck_level_name(wck_level_used()), wck_level_name(wck_level_supported()));
}

static int fail(const wc_ctx *ctx, wc_status status, const wc_command *c)
{
    if (status == WC_INTERRUPTED) {
        fprintf(stderr, "wcompress: interrupted%s\n",
                c->resumes ? "; what is finished is kept: repeat the same command to continue" : "");
        return 128 + stop;
    }
    fprintf(stderr, "wcompress: %s\n", ctx->error[0] ? ctx->error : wc_status_text(status));
    if (status == WC_OPTION) fprintf(stderr, "see `wcompress %s --help'\n", c ? c->name : "");
    return wc_status_exit_code(status);
}

static int run_command(const wc_command *c, int argc, char **argv)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 0);
    ctx.stop = &stop;
    void *opt = calloc(1, c->opt_size);
    char **operand = calloc((size_t)argc + 1, sizeof *operand);
    int n = 0;
    wc_report report;
    wc_status status = opt && operand ? WC_OK : wc_fail(&ctx, WC_NOMEM, "no memory for options");
    if (status == WC_OK) status = wc_cli_parse(&ctx, c, argc, argv, opt, &n, operand);
    const wc_cli_common *common = opt;
    if (status == WC_OK && common->help) {
        wc_cli_help(c, stdout);
    } else if (status == WC_OK) {
        if (common->threads) ctx.threads = (int)(common->threads < 4096 ? common->threads : 4096);
        status = wc_report_init(&report, &ctx, c->name);
        if (status == WC_OK) {
            report.asked = &status_asked;
            report.json = common->json, report.quiet = common->quiet, report.verbose = common->verbose;
            status = c->run(&ctx, opt, n, operand, &report);
            if (status == WC_OK || status == WC_VERIFY || report.whole) wc_report_finish(&report);
            wc_report_free(&report);
        }
    }
    bool unwritten = fflush(stdout) && status == WC_OK;
    bool closed = unwritten && errno == EPIPE; /* `| head': its reader has what it wanted */
    if (unwritten && !closed) status = wc_fail(&ctx, WC_IO, "cannot write to standard output: %s", strerror(errno));
    int code = closed ? 128 + SIGPIPE : status == WC_OK ? 0 : fail(&ctx, status, c);
    if (opt) wc_cli_free(c, opt);
    free(opt);
    free(operand);
    return code;
}

/* Large blocks go back to the system when freed. Left to itself, glibc soon keeps them in its heaps, where matrices of
 * ever other sizes leave holes: a run then grew by 100 MB with every block of the model. */
static void bound_the_heap(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

int main(int argc, char **argv)
{
    bound_the_heap();
    catch_signals();
    const char *word = argc > 1 ? argv[1] : "--help";
    bool help = !strcmp(word, "help") && argc > 2; /* `help COMMAND', as `COMMAND --help' */
    if (help) word = argv[2];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        print_overview(argc > 1 ? stdout : stderr);
        return argc > 1 ? 0 : 2;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V") || !strcmp(word, "version")) {
        print_version();
        return 0;
    }
    const wc_command *c = wc_command_find(word);
    if (c && help) {
        wc_cli_help(c, stdout);
        return 0;
    }
    if (c) return run_command(c, argc - 1, argv + 1);
    fprintf(stderr, "wcompress: unknown command `%s'\nsee `wcompress --help'\n", word);
    return 2;
}
