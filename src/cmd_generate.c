/* cmd_generate.c - `wcompress generate': the man page and shell completions, from the same tables that parse the
 * options. */
#include <string.h>

#include "cli.h"
#include "version.h"

typedef struct options {
    wc_cli_common common;
} options;

static const wc_cli_option generate_options[] = {WC_CLI_COMMON(options)};

/* ---- man -------------------------------------------------------------------------------------------------------- */

/* roff text: a backslash starts an escape, a leading dot or quote a request, a plain dash is a hyphen. */
static void roff(const char *text)
{
    for (const char *p = text; *p; p++) {
        bool line_start = p == text || p[-1] == '\n';
        if (line_start && (*p == '.' || *p == '\'')) fputs("\\&", stdout);
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
    }
}

static void man_command(const wc_command *c)
{
    printf(".SS wcompress %s [options] %s\n.nf\n", c->name, c->operands);
    roff(c->description);
    puts("\n.fi");
    for (const wc_cli_option *o = c->options; o->name; o++) {
        fputs(".TP\n.B ", stdout);
        if (o->letter) printf("\\-%c, ", o->letter);
        fputs("\\-\\-", stdout);
        roff(o->name);
        printf("%s%s\n", o->arg ? " " : "", o->arg ? o->arg : "");
        roff(o->help);
        putchar('\n');
    }
}

static const char man_tail[] =
    ".SH RECIPES\nA recipe is \\fBkeep\\fR, or methods separated by |, each with options: gptq(bits=3,group=64) | "
    "rtn(bits=2).\n"
    "Every method works on what the ones before it left unexplained. See \\fBwcompress methods\\fR.\n"
    ".SH FILES\n.TP\nOUTPUT.partial\nthe result while it is incomplete\n.TP\nOUTPUT.work/\njournal and activations: "
    "what an interrupted run "
    "needs to continue. Removed when the result is complete.\n"
    ".SH EXIT STATUS\n0 success; 1 failure; 2 wrong use or a rule that matches nothing; 3 invalid or damaged input; 4 "
    "verification or "
    "quality gate failed; 5 the memory budget cannot be met; 6 not supported; 7 input/output error, disk full; 8 "
    "resume state or "
    "statistics do not match; 128+n ended by signal n.\n"
    ".SH ENVIRONMENT\n.TP\nWC_CPU\nc, avx2 or avx512: use no higher CPU level than this (for tests)\n.TP\nNO_COLOR\nno "
    "colours\n.TP\n"
    "TMPDIR\nwhere eval spills activations\n.TP\nOMP_WAIT_POLICY\npassive: threads that wait sleep instead of "
    "spinning; several times faster where other programs want the same cores\n";

static void man(void)
{
    printf(
        ".TH WCOMPRESS 1 \"\" \"wcompress %s\" \"User Commands\"\n.SH NAME\nwcompress \\- compress the weights of "
        "trained "
        "transformers\n.SH SYNOPSIS\n.B wcompress\nCOMMAND [options] [operands]\n.SH DESCRIPTION\nReads a Hugging Face "
        "checkpoint, runs it on calibration text on the CPU, and writes one self\\-contained .wcz file.\nResults go to "
        "standard "
        "output, everything else to standard error.\n.SH COMMANDS\n",
        WC_VERSION);
    for (const wc_command *const *c = wc_commands; *c; c++)
        man_command(*c);
    fputs(man_tail, stdout);
}

/* ---- completions ------------------------------------------------------------------------------------------------ */

static void list_commands(const char *separator)
{
    for (const wc_command *const *c = wc_commands; *c; c++)
        printf("%s%s", c == wc_commands ? "" : separator, (*c)->name);
}

static void bash(void)
{
    fputs("_wcompress() {\n    local cur=${COMP_WORDS[COMP_CWORD]} words=\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n    "
          "    words='",
          stdout);
    list_commands(" ");
    puts(" help version'\n    else\n        case ${COMP_WORDS[1]} in");
    fputs("        help) words='", stdout);
    list_commands(" ");
    puts("' ;;");
    for (const wc_command *const *c = wc_commands; *c; c++) {
        printf("        %s) words='", (*c)->name);
        for (const wc_cli_option *o = (*c)->options; o->name; o++)
            printf("%s--%s", o == (*c)->options ? "" : " ", o->name);
        puts("' ;;");
    }
    puts("        esac\n    fi\n    case $cur in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
         "    *) if [ \"$COMP_CWORD\" -eq 1 ] || [ \"${COMP_WORDS[1]}\" = help ]\n"
         "       then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "       else COMPREPLY=($(compgen -f -- \"$cur\")); fi ;;\n    esac\n}\ncomplete -o filenames -F _wcompress "
         "wcompress");
}

/* Inside '...[text]' of zsh and '...' of fish. */
static void quoted(const char *text)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (*text == '[' || *text == ']' || *text == ':')
            printf("\\%c", *text);
        else
            putchar(*text);
}

static void zsh(void)
{
    puts("#compdef wcompress\nlocal -a commands\ncommands=(");
    for (const wc_command *const *c = wc_commands; *c; c++) {
        printf("  '%s:", (*c)->name);
        quoted((*c)->summary);
        puts("'");
    }
    puts(")\nif (( CURRENT == 2 )); then _describe command commands; return; fi\ncase $words[2] in");
    for (const wc_command *const *c = wc_commands; *c; c++) {
        printf("%s) _arguments", (*c)->name);
        for (const wc_cli_option *o = (*c)->options; o->name; o++) {
            printf(" '--%s[", o->name);
            quoted(o->help);
            printf("]%s%s%s'", o->arg ? ":" : "", o->arg ? o->arg : "", o->arg ? ":_files" : "");
        }
        puts(" '*:file:_files' ;;");
    }
    puts("esac");
}

static void fish(void)
{
    for (const wc_command *const *c = wc_commands; *c; c++) {
        printf("complete -c wcompress -n __fish_use_subcommand -f -a %s -d '", (*c)->name);
        quoted((*c)->summary);
        puts("'");
        for (const wc_cli_option *o = (*c)->options; o->name; o++) {
            printf("complete -c wcompress -n '__fish_seen_subcommand_from %s' -l %s", (*c)->name, o->name);
            if (o->letter) printf(" -s %c", o->letter);
            printf("%s -d '", o->arg ? " -r" : "");
            quoted(o->help);
            puts("'");
        }
    }
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } kinds[] = {{"man", man}, {"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    (void)opt, (void)n, (void)report;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(operand[0], kinds[i].name)) {
            kinds[i].print();
            return WC_OK;
        }
    return wc_fail(ctx, WC_OPTION, "generate %s: write man, bash, zsh or fish", operand[0]);
}

const wc_command wc_command_generate = {
    .name = "generate",
    .operands = "WHAT",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "print the man page or completions for bash, zsh, fish",
    .description = "WHAT is man, bash, zsh or fish. All come from the option tables that this program parses with.\n\n"
                   "  wcompress generate man | man -l -",
    .opt_size = sizeof(options),
    .options = generate_options,
    .run = run,
};
