/* cli.h - commands and their options as tables: parsing, range checks, --help, man page and completions all come from
 * them. */
#ifndef WC_CLI_H
#define WC_CLI_H

#include "report.h"

typedef enum wc_cli_type {
    WC_CLI_FLAG,  /* bool */
    WC_CLI_COUNT, /* uint64_t, plain integer */
    WC_CLI_SIZE,  /* uint64_t, bytes: 6GiB, 500MB, 1024 */
    WC_CLI_REAL,  /* double */
    WC_CLI_TEXT,  /* const char * */
    WC_CLI_LIST   /* wc_cli_list: may be given several times */
} wc_cli_type;

typedef struct wc_cli_list {
    const char **item;
    size_t n;
} wc_cli_list;

typedef struct wc_cli_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    wc_cli_type type;
    size_t offset;   /* in the command's option struct */
    const char *arg; /* what the value is called in --help; NULL for flags */
    const char *help;
} wc_cli_option;

/* Every command's option struct begins with these. */
typedef struct wc_cli_common {
    bool json, quiet, verbose, help;
    uint64_t threads;
} wc_cli_common;

#define WC_CLI_COMMON(T)                                                                                             \
    {"threads",    'j',                                                                                              \
     WC_CLI_COUNT, offsetof(T, common.threads),                                                                      \
     "N",          "threads (default: all cores); never changes results"},                                           \
        {"json", 0, WC_CLI_FLAG, offsetof(T, common.json), NULL, "print one JSON object on stdout instead of text"}, \
        {"quiet", 'q', WC_CLI_FLAG, offsetof(T, common.quiet), NULL, "only results, warnings and errors"},           \
        {"verbose", 'v', WC_CLI_FLAG, offsetof(T, common.verbose), NULL, "more notes"},                              \
        {"help", 'h', WC_CLI_FLAG, offsetof(T, common.help), NULL, "this text"},                                     \
    {                                                                                                                \
        NULL, 0, WC_CLI_FLAG, 0, NULL, NULL                                                                          \
    }

typedef struct wc_command {
    const char *name;
    const char *operands; /* "MODEL", "FILE.wcz" */
    int min_operands, max_operands;
    const char *summary;     /* one line */
    const char *description; /* --help: what it does, an example */
    bool resumes;            /* interrupted, the same command goes on */
    size_t opt_size;
    const wc_cli_option *options;
    void (*defaults)(void *opt); /* NULL: zeros */
    wc_status (*run)(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report);
} wc_command;

/* All commands, ended by NULL; in src/commands.def. */
extern const wc_command *const wc_commands[];
const wc_command *wc_command_find(const char *name);

/* Fills the option struct from argv (argv[0] is the command's name); operands are moved to the front of operand[].
 * WC_OPTION with a sentence. Free the lists with wc_cli_free. */
wc_status wc_cli_parse(wc_ctx *ctx, const wc_command *c, int argc, char **argv, void *opt, int *n_operands,
                       char **operand);
void wc_cli_free(const wc_command *c, void *opt);

void wc_cli_help(const wc_command *c, FILE *out);
/* "6GiB", "500 MB", "4096" to bytes. */
wc_status wc_parse_size(wc_ctx *ctx, const char *text, uint64_t *out);

#endif
