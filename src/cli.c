#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define WC_COMMAND(name) extern const wc_command wc_command_##name;
#include "commands.def"
#undef WC_COMMAND

const wc_command *const wc_commands[] = {
#define WC_COMMAND(name) &wc_command_##name,
#include "commands.def"
#undef WC_COMMAND
    NULL,
};

const wc_command *wc_command_find(const char *name)
{
    for (const wc_command *const *c = wc_commands; *c; c++)
        if (!strcmp((*c)->name, name)) return *c;
    return NULL;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

wc_status wc_parse_size(wc_ctx *ctx, const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},      {"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end;
    double v = strtod(text, &end);
    while (*end == ' ')
        end++;
    for (size_t i = 0; end != text && v >= 0 && i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit) && v * units[i].factor < 0x1p63) {
            *out = (uint64_t)(v * units[i].factor);
            return WC_OK;
        }
    return wc_fail(ctx, WC_OPTION,
                   "`%s' is no size: write 6GiB, 500MB or a number of bytes (G alone could mean either)", text);
}

static wc_status parse_count(wc_ctx *ctx, const char *name, const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || *text == '+')
        return wc_fail(ctx, WC_OPTION, "--%s %s: not a whole number", name, text);
    *out = v;
    return WC_OK;
}

static wc_status parse_real(wc_ctx *ctx, const char *name, const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v)) return wc_fail(ctx, WC_OPTION, "--%s %s: not a number", name, text);
    *out = v;
    return WC_OK;
}

static wc_status append(wc_ctx *ctx, wc_cli_list *list, const char *text)
{
    const char **grown = realloc(list->item, (list->n + 1) * sizeof *grown);
    if (!grown) return wc_fail(ctx, WC_NOMEM, "no memory for options");
    list->item = grown;
    list->item[list->n++] = text;
    return WC_OK;
}

static wc_status store(wc_ctx *ctx, const wc_cli_option *o, const char *text, void *opt)
{
    char *p = (char *)opt + o->offset;
    switch (o->type) {
    case WC_CLI_FLAG: *(bool *)p = true; return WC_OK;
    case WC_CLI_COUNT: return parse_count(ctx, o->name, text, (uint64_t *)p);
    case WC_CLI_SIZE: return wc_parse_size(ctx, text, (uint64_t *)p);
    case WC_CLI_REAL: return parse_real(ctx, o->name, text, (double *)p);
    case WC_CLI_TEXT: *(const char **)p = text; return WC_OK;
    case WC_CLI_LIST: return append(ctx, (wc_cli_list *)p, text);
    }
    return WC_BUG;
}

/* ---- getopt from the table -------------------------------------------------------------------------------------- */

enum { MAX_OPTIONS = 64, LONG_BASE = 256 };

static size_t build_getopt(const wc_command *c, struct option *longs, char *shorts)
{
    size_t n = 0;
    char *s = shorts;
    *s++ = ':'; /* report a missing argument apart from an unknown option */
    for (const wc_cli_option *o = c->options; o->name && n < MAX_OPTIONS; o++, n++) {
        int has_arg = o->type == WC_CLI_FLAG ? no_argument : required_argument;
        longs[n] = (struct option){o->name, has_arg, NULL, LONG_BASE + (int)n};
        if (!o->letter) continue;
        *s++ = o->letter;
        if (has_arg) *s++ = ':';
    }
    longs[n] = (struct option){0};
    *s = 0;
    return n;
}

static const wc_cli_option *option_of(const wc_command *c, int code)
{
    if (code >= LONG_BASE) return &c->options[code - LONG_BASE];
    for (const wc_cli_option *o = c->options; o->name; o++)
        if (o->letter == code) return o;
    return NULL;
}

/* Why getopt took no option: a letter it knows by itself only (of `-nz' with the others), a word as it was given. */
static wc_status refuse(wc_ctx *ctx, const wc_command *c, int code, const char *word)
{
    char letter[] = {'-', (char)optopt, 0};
    const wc_cli_option *known = optopt >= LONG_BASE ? option_of(c, optopt) : NULL;
    if (optopt > 0 && optopt < LONG_BASE) word = letter;
    if (code == ':') return wc_fail(ctx, WC_OPTION, "%s: option `%s' needs a value", c->name, word);
    if (known) return wc_fail(ctx, WC_OPTION, "%s: option `--%s' takes no value", c->name, known->name);
    size_t n = strcspn(word, "=");
    const char *first = NULL; /* getopt takes the beginning of a name, if there is one such name */
    for (const wc_cli_option *o = c->options; n > 2 && o->name; o++) {
        if (strncmp(o->name, word + 2, n - 2) != 0) continue;
        if (first)
            return wc_fail(ctx, WC_OPTION, "%s: option `%.*s' could be --%s or --%s", c->name, (int)n, word, first,
                           o->name);
        first = o->name;
    }
    return wc_fail(ctx, WC_OPTION, "%s: unknown option `%s'", c->name, word);
}

wc_status wc_cli_parse(wc_ctx *ctx, const wc_command *c, int argc, char **argv, void *opt, int *n_operands,
                       char **operand)
{
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * MAX_OPTIONS + 2];
    build_getopt(c, longs, shorts);
    memset(opt, 0, c->opt_size);
    if (c->defaults) c->defaults(opt);
    opterr = 0;
    optind = 0; /* GNU: start anew, permuting operands to the end */
    for (int code; (code = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (code == '?' || code == ':') return refuse(ctx, c, code, argv[optind - 1]);
        WC_TRY(store(ctx, option_of(c, code), optarg, opt));
    }
    *n_operands = argc - optind;
    for (int i = 0; i < *n_operands; i++)
        operand[i] = argv[optind + i];
    if (((const wc_cli_common *)opt)->help) return WC_OK;
    if (*n_operands < c->min_operands)
        return wc_fail(ctx, WC_OPTION, "%s: %s%s", c->name, c->operands,
                       *n_operands ? ": only one of them is given" : " is missing");
    if (*n_operands > c->max_operands)
        return wc_fail(ctx, WC_OPTION, "%s: `%s' is one operand too many", c->name, operand[c->max_operands]);
    return WC_OK;
}

void wc_cli_free(const wc_command *c, void *opt)
{
    for (const wc_cli_option *o = c->options; opt && o->name; o++)
        if (o->type == WC_CLI_LIST) free(((wc_cli_list *)((char *)opt + o->offset))->item);
}

/* ---- help ------------------------------------------------------------------------------------------------------- */

void wc_cli_help(const wc_command *c, FILE *out)
{
    fprintf(out, "usage: wcompress %s [options]%s%s\n\n%s\n\noptions:\n", c->name, *c->operands ? " " : "", c->operands,
            c->description);
    for (const wc_cli_option *o = c->options; o->name; o++) {
        char left[64], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-28s %s\n", left, o->help);
    }
}
