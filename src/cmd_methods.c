/* cmd_methods.c - `wcompress methods': every method with its options, from their tables. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "recipe.h"
#include "remodel/step.h"

typedef struct options {
    wc_cli_common common;
} options;

static const wc_cli_option method_options[] = {WC_CLI_COMMON(options)};
static const char *const type_names[] = {"integer", "number", "true/false", "word", "pattern"};

static void show_option(const wc_opt *o, const char *def, json_t *list, wc_report *report)
{
    char limits[96] = "";
    const char *range = o->type == WC_OPT_WORD ? o->words : limits;
    if (o->type != WC_OPT_WORD && o->type != WC_OPT_BOOL)
        snprintf(limits, sizeof limits, "%g..%g%s", o->lo, o->hi, o->type == WC_OPT_PATTERN ? " or n:m" : "");
    wc_report_result(report, "    %-14s %-10s %-24s %s", o->name, def, range, o->help);
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", o->name, "type", type_names[o->type],
                                          "default", def, "range", range, "help", o->help));
}

/* "lord (LoRD), aasvd (AA-SVD; drift=1,residual=0)"; empty without any. */
static wc_status list_presets(wc_ctx *ctx, const wc_method *m, wc_buf *out)
{
    WC_TRY(wc_buf_printf(ctx, out, "%s", ""));
    for (const wc_preset *p = wc_presets; p->name; p++)
        if (p->method == m)
            WC_TRY(wc_buf_printf(ctx, out, "%s%s (%s%s%s)", out->size ? ", " : "", p->name, p->title,
                                 *p->options ? "; " : "", p->options));
    return WC_OK;
}

static wc_status show_method(wc_ctx *ctx, const wc_method *m, json_t *list, wc_report *report)
{
    void *opt;
    wc_buf also = {0};
    json_t *entries = json_array();
    WC_TRY(wc_opt_defaults(ctx, m, &opt));
    WC_TRY(list_presets(ctx, m, &also));
    const char *names = (const char *)also.data;
    wc_report_result(report, "%s%s\n    %s", m->name, m->needs & WC_NEEDS_HESSIAN ? "  (calibrated)" : "  (data-free)",
                     m->summary);
    if (*names) wc_report_result(report, "    is also: %s", names);
    for (const wc_opt *o = m->opts; o->name; o++) {
        char def[64];
        wc_opt_print(o, opt, def, sizeof def);
        show_option(o, def, entries, report);
    }
    wc_report_result(report, "%s", "");
    json_array_append_new(list, json_pack("{s:s, s:s, s:s*, s:b, s:o}", "name", m->name, "summary", m->summary, "also",
                                          *names ? names : NULL, "calibrated", m->needs & WC_NEEDS_HESSIAN, "options",
                                          entries));
    free(opt);
    wc_buf_free(&also);
    return WC_OK;
}

/* A name is one that is listed; failing that, part of one that a method was published under, in any case. */
static bool is_known_as(const wc_method *m, const char *name)
{
    if (wc_method_find(name) || wc_remodel_find(name)) return !strcmp(m->name, name);
    for (const wc_preset *p = wc_presets; p->name; p++)
        if (p->method == m && (strcasestr(p->name, name) || strcasestr(p->title, name))) return true;
    return false;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    (void)opt;
    json_t *list = json_array();
    for (const wc_method *const *m = wc_methods; *m; m++)
        if (!n || is_known_as(*m, operand[0])) WC_TRY(show_method(ctx, *m, list, report));
    for (const wc_remodel_pass *const *p = wc_remodel_passes; *p; p++)
        if (!n || !strcmp((*p)->face.name, operand[0])) WC_TRY(show_method(ctx, &(*p)->face, list, report));
    if (n && !json_array_size(list)) {
        json_decref(list);
        return wc_fail(ctx, WC_OPTION, "unknown method `%s'", operand[0]);
    }
    json_object_set_new(report->facts, "methods", list);
    return WC_OK;
}

const wc_command wc_command_methods = {
    .name = "methods",
    .operands = "[NAME]",
    .min_operands = 0,
    .max_operands = 1,
    .summary = "list the methods and their options",
    .description = "Prints what recipes can be made of: name, default, range and meaning of every option.\nNAME may "
                   "also be one that a "
                   "method was published under.",
    .opt_size = sizeof(options),
    .options = method_options,
    .run = run,
};
