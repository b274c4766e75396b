#include "recipe.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remodel/step.h"

/* ---- options through the table ---------------------------------------------------------------------------------- */

static double opt_get(const wc_opt *o, const void *opt)
{
    const char *p = (const char *)opt + o->offset;
    switch (o->type) {
    case WC_OPT_REAL: return *(const double *)p;
    case WC_OPT_BOOL: return *(const bool *)p;
    default: return *(const int *)p;
    }
}

static wc_pattern *opt_pattern(const wc_opt *o, const void *opt)
{
    return (wc_pattern *)(void *)((char *)(uintptr_t)opt + o->offset);
}

static void opt_put(const wc_opt *o, void *opt, double v)
{
    char *p = (char *)opt + o->offset;
    switch (o->type) {
    case WC_OPT_PATTERN: *(wc_pattern *)p = (wc_pattern){.frac = v}; break;
    case WC_OPT_REAL: *(double *)p = v; break;
    case WC_OPT_BOOL: *(bool *)p = v != 0; break;
    default: *(int *)p = (int)v;
    }
}

wc_status wc_opt_defaults(wc_ctx *ctx, const wc_method *m, void **opt)
{
    WC_TRY(wc_alloc(ctx, 1, m->opt_size, "method options", opt));
    for (const wc_opt *o = m->opts; o->name; o++)
        opt_put(o, *opt, o->def);
    return WC_OK;
}

static const wc_opt *opt_find(const wc_method *m, const char *name)
{
    for (const wc_opt *o = m->opts; o->name; o++)
        if (!strcmp(o->name, name)) return o;
    return NULL;
}

void wc_opt_inherit(const wc_method *from, const void *src, const wc_method *to, void *dst)
{
    for (const wc_opt *o = to->opts; o->name; o++) {
        const wc_opt *f = opt_find(from, o->name);
        if (!f || f->type != o->type) continue;
        if (o->type == WC_OPT_PATTERN)
            *opt_pattern(o, dst) = *opt_pattern(f, src);
        else
            opt_put(o, dst, opt_get(f, src));
    }
}

/* Index of `value' in "a|b|c", or -1. */
static int word_index(const char *words, const char *value)
{
    size_t n = strlen(value);
    int i = 0;
    for (const char *w = words; n; w = strchr(w, '|') + 1, i++) {
        size_t len = strcspn(w, "|");
        if (len == n && !memcmp(w, value, n)) return i;
        if (!w[len]) break;
    }
    return -1;
}

void wc_opt_print(const wc_opt *o, const void *opt, char *dst, size_t size)
{
    const wc_pattern *pattern = o->type == WC_OPT_PATTERN ? opt_pattern(o, opt) : NULL;
    double v = pattern ? pattern->frac : opt_get(o, opt);
    if (pattern && pattern->m) {
        snprintf(dst, size, "%d:%d", pattern->n, pattern->m);
    } else if (o->type == WC_OPT_BOOL) {
        snprintf(dst, size, "%s", v != 0 ? "true" : "false");
    } else if (o->type == WC_OPT_WORD) {
        const char *w = o->words;
        for (int i = 0; i < (int)v; i++)
            w = strchr(w, '|') + 1;
        snprintf(dst, size, "%.*s", (int)strcspn(w, "|"), w);
    } else if (o->type == WC_OPT_INT) {
        snprintf(dst, size, "%.0f", v);
    } else {
        snprintf(dst, size, "%.17g", v); /* shortest form that reads back the same */
        for (int digits = 1; digits < 17; digits++) {
            char shorter[32];
            snprintf(shorter, sizeof shorter, "%.*g", digits, v);
            if (strtod(shorter, NULL) == v) {
                snprintf(dst, size, "%s", shorter);
                break;
            }
        }
    }
}

static wc_status parse_number(wc_ctx *ctx, const wc_method *m, const wc_opt *o, const char *value, double *out)
{
    char *end;
    errno = 0;
    double v = strtod(value, &end);
    if (o->type != WC_OPT_INT && end != value && !strcmp(end, "%")) {
        /* 0.45% is the number 0.45e-2, not 0.45 / 100: the recipe must print as it was written. */
        char scaled[80];
        snprintf(scaled, sizeof scaled, "%.*se-2", (int)(end - value), value);
        v = strpbrk(value, "eExX") ? v / 100 : strtod(scaled, NULL);
        end++;
    }
    if (end == value || *end || errno || !isfinite(v) || (o->type == WC_OPT_INT && v != floor(v)))
        return wc_fail(ctx, WC_OPTION, "%s: %s=%s is not %s", m->name, o->name, value,
                       o->type == WC_OPT_INT ? "an integer" : "a number");
    if (v < o->lo || v > o->hi)
        return wc_fail(ctx, WC_OPTION, "%s: %s=%s is out of range, allowed is %g to %g", m->name, o->name, value, o->lo,
                       o->hi);
    *out = v;
    return WC_OK;
}

/* Masks of m bits with n ones must have codes of 8 bits (docs/FORMAT.md, section 11.1): all up to 8, and those where
 * few or nearly all are kept up to 16. */
static bool has_codes(int n, int m)
{
    double patterns = 1;
    for (int i = 1; i <= n; i++)
        patterns = patterns * (m - n + i) / i;
    return n >= 1 && n < m && m <= 16 && patterns <= 256;
}

/* 2:4, or 50% or 0.5. */
static wc_status parse_pattern(wc_ctx *ctx, const wc_method *m, const wc_opt *o, const char *value, wc_pattern *out)
{
    char end;
    wc_pattern p = {0};
    if (!strchr(value, ':')) {
        WC_TRY(parse_number(ctx, m, o, value, &p.frac));
    } else if (sscanf(value, "%2d:%2d%c", &p.n, &p.m, &end) != 2 || !has_codes(p.n, p.m)) {
        return wc_fail(ctx, WC_OPTION,
                       "%s: %s=%s is no pattern n:m, n of every m columns kept: 1 <= n < m <= 16, at most 256 masks",
                       m->name, o->name, value);
    }
    *out = p;
    return WC_OK;
}

static void list_options(const wc_method *m, char *dst, size_t size)
{
    size_t used = 0;
    dst[0] = 0;
    for (const wc_opt *o = m->opts; o->name && used < size; o++)
        used += (size_t)snprintf(dst + used, size - used, "%s%s", used ? ", " : "", o->name);
}

wc_status wc_opt_set(wc_ctx *ctx, const wc_method *m, void *opt, const char *name, const char *value)
{
    const wc_opt *o = opt_find(m, name);
    double v = 0;
    if (!o) {
        char known[512];
        list_options(m, known, sizeof known);
        return wc_fail(ctx, WC_OPTION, "%s has no option `%s'; it has: %s", m->name, name, known);
    }
    if (o->type == WC_OPT_BOOL) {
        static const char spellings[] = "false|true|0|1|no|yes";
        int i = word_index(spellings, value);
        if (i < 0) return wc_fail(ctx, WC_OPTION, "%s: %s=%s is neither true nor false", m->name, name, value);
        v = i % 2;
    } else if (o->type == WC_OPT_WORD) {
        int i = word_index(o->words, value);
        if (i < 0) return wc_fail(ctx, WC_OPTION, "%s: %s=%s is not one of %s", m->name, name, value, o->words);
        v = i;
    } else if (o->type == WC_OPT_PATTERN) {
        return parse_pattern(ctx, m, o, value, opt_pattern(o, opt));
    } else {
        WC_TRY(parse_number(ctx, m, o, value, &v));
    }
    opt_put(o, opt, v);
    return WC_OK;
}

/* ---- the language ----------------------------------------------------------------------------------------------- */

typedef struct scanner {
    const char *p;
    char word[64];
} scanner;

static void skip_space(scanner *s)
{
    while (isspace((unsigned char)*s->p))
        s->p++;
}

/* A run of characters other than space and ( ) , = | into s->word; false if empty or too long. */
static bool scan_word(scanner *s)
{
    skip_space(s);
    size_t n = strcspn(s->p, "(),=| \t\r\n");
    if (!n || n >= sizeof s->word) return false;
    memcpy(s->word, s->p, n);
    s->word[n] = 0;
    s->p += n;
    skip_space(s);
    return true;
}

static bool accept(scanner *s, char c)
{
    skip_space(s);
    if (*s->p != c) return false;
    s->p++;
    return true;
}

static wc_status syntax_error(wc_ctx *ctx, const char *text, const scanner *s, const char *expected)
{
    return wc_fail(ctx, WC_OPTION, "recipe `%s': expected %s at `%s'", text, expected, *s->p ? s->p : "(end)");
}

static wc_status unknown_method(wc_ctx *ctx, const char *name)
{
    char known[512];
    size_t used = 0;
    if (!strcmp(name, "keep")) return wc_fail(ctx, WC_OPTION, "`keep' stands alone: it leaves a tensor as it is");
    if (wc_remodel_find(name))
        return wc_fail(ctx, WC_OPTION, "`%s' changes the whole model: it comes before all methods, and not in a rule",
                       name);
    for (const wc_method *const *m = wc_methods; *m && used < sizeof known; m++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", (*m)->name);
    return wc_fail(ctx, WC_OPTION, "unknown method `%s'; known are keep, %s", name, known);
}

/* given: bit i is set when option i of the table was written. */
static wc_status parse_options(wc_ctx *ctx, const char *text, scanner *s, const wc_method *m, void *opt,
                               uint64_t *given)
{
    if (!accept(s, '(') || accept(s, ')')) return WC_OK;
    do {
        char name[sizeof s->word];
        if (!scan_word(s)) return syntax_error(ctx, text, s, "an option name");
        snprintf(name, sizeof name, "%s", s->word);
        if (m->opts->type == WC_OPT_PATTERN && *s->p != '=')
            snprintf(name, sizeof name, "%s", m->opts->name); /* and the word is its value */
        else if (!accept(s, '=') || !scan_word(s))
            return syntax_error(ctx, text, s, "`=' and a value");
        WC_TRY(wc_opt_set(ctx, m, opt, name, s->word));
        uint64_t bit = (uint64_t)1 << (opt_find(m, name) - m->opts);
        if (*given & bit) return wc_fail(ctx, WC_OPTION, "recipe `%s': %s is given twice to %s", text, name, m->name);
        *given |= bit;
    } while (accept(s, ','));
    return accept(s, ')') ? WC_OK : syntax_error(ctx, text, s, "`,' or `)'");
}

#define NOTHING WC_N_METHOD_ROLES

/* Which role may not follow which, and why; WC_N_METHOD_ROLES: any. Everything else may. */
static const struct {
    wc_method_role step, before;
    bool unless_mask_kept;  /* allowed when the step keeps masks */
    wc_method_role between; /* only with a step of that role between the two; NOTHING: whatever is there */
    const char *reason;
} illegal[] = {
    {WC_STEP_TRANSFORM, WC_STEP_BASE, false, NOTHING,
     "what is stored by then is in another basis: transforms come first"},
    {WC_STEP_TRANSFORM, WC_STEP_PEEL, false, NOTHING,
     "what is stored by then is in another basis: transforms come first"},
    {WC_STEP_TRANSFORM, WC_STEP_PRODUCT, false, NOTHING,
     "what is stored by then is in another basis: transforms come first"},
    {WC_STEP_TRANSFORM, WC_STEP_PRUNE, false, NOTHING, "the mask is of another basis: transforms come first"},
    {WC_STEP_COPY, WC_N_METHOD_ROLES, false, NOTHING,
     "it stores the tensor's own bytes, all of them: no step goes before or after it"},
    {WC_N_METHOD_ROLES, WC_STEP_COPY, false, NOTHING, "every bit is stored by then"},
    {WC_STEP_PRUNE, WC_STEP_PRUNE, false, NOTHING, "a tensor has one mask"},
    {WC_STEP_PRUNE, WC_STEP_BASE, false, NOTHING,
     "every value is stored by then: prune first, then quantize what is left"},
    {WC_STEP_BASE, WC_STEP_PRUNE, true, NOTHING, "it stores a value everywhere, so the mask would be lost"},
    {WC_STEP_BASE, WC_STEP_PRUNE, false, WC_STEP_PEEL,
     "the survivors make up for weights that the outliers between them give back: outliers go first or last"},
    {WC_STEP_BASE, WC_STEP_PRUNE, false, WC_STEP_PRODUCT,
     "the survivors make up for weights that the product between them gives back: products go first or last"},
};

static bool has_role(const wc_recipe *r, size_t begin, size_t end, wc_method_role role)
{
    for (size_t i = begin; i < end; i++)
        if (r->step[i].method->role == role) return true;
    return false;
}

static wc_status check_order(wc_ctx *ctx, const char *text, const wc_recipe *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < i; k++)
            for (size_t t = 0; t < sizeof illegal / sizeof *illegal; t++) {
                const wc_method *step = r->step[i].method, *before = r->step[k].method;
                bool match = (illegal[t].step == WC_N_METHOD_ROLES || illegal[t].step == step->role) &&
                             (illegal[t].before == WC_N_METHOD_ROLES || illegal[t].before == before->role);
                if (!match) continue;
                if (illegal[t].unless_mask_kept && step->keeps_mask) continue;
                if (illegal[t].between != NOTHING && !has_role(r, k + 1, i, illegal[t].between)) continue;
                return wc_fail(ctx, WC_OPTION, "recipe `%s': %s cannot follow %s: %s", text, step->name, before->name,
                               illegal[t].reason);
            }
    if (r->n && r->step[r->n - 1].method->role == WC_STEP_TRANSFORM)
        return wc_fail(ctx, WC_OPTION, "recipe `%s': %s stores no values: a step that does has to follow", text,
                       r->step[r->n - 1].method->name);
    return WC_OK;
}

wc_place wc_recipe_place(const wc_recipe *r, size_t i, size_t rows, size_t cols)
{
    wc_place at = {.rows = rows, .cols = cols, .kept = (uint64_t)rows * cols};
    for (size_t k = 0; k < i; k++)
        if (r->step[k].method->narrow) r->step[k].method->narrow(&at, r->step[k].opt);
    for (size_t k = i + 1; k < r->n; k++)
        at.values_follow = at.values_follow || r->step[k].method->keeps_mask;
    return at;
}

/* Puts the steps of a name for a list in the place of the last of r. */
static wc_status expand(wc_ctx *ctx, const char *text, wc_recipe *r, uint64_t *given)
{
    char list[2048];
    wc_recipe inner;
    wc_recipe_step *last = &r->step[--r->n];
    last->method->expand(last->opt, list, sizeof list);
    free(last->opt);
    last->opt = NULL;
    WC_TRY(wc_recipe_parse(ctx, list, &inner));
    if (r->n + inner.n > WC_RECIPE_MAX) {
        wc_recipe_free(&inner);
        return wc_fail(ctx, WC_OPTION, "recipe `%s': more than %d steps", text, WC_RECIPE_MAX);
    }
    for (size_t i = 0; i < inner.n; i++) {
        given[r->n] = UINT64_MAX;
        r->step[r->n++] = inner.step[i];
    }
    return WC_OK;
}

/* A step: the method's name has been scanned. options: "" or those of a preset, which written ones override. */
static wc_status parse_step(wc_ctx *ctx, const char *text, scanner *s, const wc_method *m, const char *options,
                            wc_recipe *r, uint64_t *given)
{
    if (r->n == WC_RECIPE_MAX) return wc_fail(ctx, WC_OPTION, "recipe `%s': more than %d steps", text, WC_RECIPE_MAX);
    wc_recipe_step *step = &r->step[r->n];
    step->method = m;
    WC_TRY(wc_opt_defaults(ctx, m, &step->opt));
    uint64_t *mine = &given[r->n++], preset = 0;
    char list[256];
    snprintf(list, sizeof list, "(%s)", options);
    WC_TRY(parse_options(ctx, list, &(scanner){.p = list}, m, step->opt, &preset));
    WC_TRY(parse_options(ctx, text, s, m, step->opt, mine));
    *mine |= preset;
    return m->expand ? expand(ctx, text, r, given) : WC_OK;
}

/* Options of step i that were not written are those of the next quantizer. */
static void follow(const wc_recipe *r, size_t i, uint64_t given)
{
    const wc_recipe_step *step = &r->step[i], *next = NULL;
    for (size_t k = r->n; k-- > i + 1;)
        if (r->step[k].method->role == WC_STEP_BASE) next = &r->step[k];
    if (!next) return;
    for (const wc_opt *o = step->method->opts; o->name; o++) {
        const wc_opt *f = opt_find(next->method, o->name);
        bool written = given >> (o - step->method->opts) & 1;
        if (!written && f && f->type == o->type) opt_put(o, step->opt, opt_get(f, next->opt));
    }
}

wc_status wc_recipe_split(wc_ctx *ctx, const char *text, wc_recipe *passes, const char **rest)
{
    wc_recipe r = {0};
    scanner s = {.p = text};
    uint64_t given[WC_RECIPE_MAX] = {0};
    wc_status status = WC_OK;
    for (*rest = text; scan_word(&s); *rest = s.p) {
        const wc_remodel_pass *pass = wc_remodel_find(s.word);
        if (!pass) break;
        WC_TRY_OUT(parse_step(ctx, text, &s, &pass->face, "", &r, given));
        if (accept(&s, '|')) {
            skip_space(&s);
            continue;
        }
        if (*s.p) WC_TRY_OUT(syntax_error(ctx, text, &s, "`|' or the end"));
        *rest = "keep";
        break;
    }
    *passes = r;
    return WC_OK;
out:
    wc_recipe_free(&r);
    return status;
}

wc_status wc_recipe_parse(wc_ctx *ctx, const char *text, wc_recipe *out)
{
    wc_recipe r = {0};
    scanner s = {.p = text};
    uint64_t given[WC_RECIPE_MAX] = {0};
    wc_status status = WC_OK;
    do {
        if (!scan_word(&s)) WC_TRY_OUT(syntax_error(ctx, text, &s, "a method name"));
        if (!r.n && !strcmp(s.word, "keep") && !*s.p) break;
        const wc_method *m = wc_method_find(s.word);
        const wc_preset *preset = m ? NULL : wc_preset_find(s.word);
        if (!m && !preset) WC_TRY_OUT(unknown_method(ctx, s.word));
        WC_TRY_OUT(parse_step(ctx, text, &s, m ? m : preset->method, m ? "" : preset->options, &r, given));
    } while (accept(&s, '|'));
    if (*s.p) WC_TRY_OUT(syntax_error(ctx, text, &s, "`|' or the end"));
    for (size_t i = 0; i < r.n; i++)
        if (r.step[i].method->follows) follow(&r, i, given[i]);
    WC_TRY_OUT(check_order(ctx, text, &r));
    *out = r;
    return WC_OK;
out:
    wc_recipe_free(&r);
    return status;
}

void wc_recipe_free(wc_recipe *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->n; i++)
        free(r->step[i].opt);
    memset(r, 0, sizeof *r);
}

wc_status wc_recipe_print(wc_ctx *ctx, const wc_recipe *r, wc_buf *out)
{
    if (!r->n) return wc_buf_printf(ctx, out, "keep");
    for (size_t i = 0; i < r->n; i++) {
        const wc_method *m = r->step[i].method;
        WC_TRY(wc_buf_printf(ctx, out, "%s%s(", i ? " | " : "", m->name));
        for (const wc_opt *o = m->opts; o->name; o++) {
            char value[64];
            wc_opt_print(o, r->step[i].opt, value, sizeof value);
            WC_TRY(wc_buf_printf(ctx, out, "%s%s=%s", o == m->opts ? "" : ",", o->name, value));
        }
        WC_TRY(wc_buf_printf(ctx, out, ")"));
    }
    return WC_OK;
}

size_t wc_recipe_transforms(const wc_recipe *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += r->step[i].method->role == WC_STEP_TRANSFORM;
    return n;
}

bool wc_recipe_needs_stats(const wc_recipe *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->step[i].method->needs & WC_NEEDS_HESSIAN) return true;
    return false;
}
