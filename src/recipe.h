/* recipe.h - the language in which methods are asked for, printed, stored and replayed.
 *
 *     recipe = "keep" | step { "|" step }            keep: the tensor's own bytes, untouched
 *     step   = method [ "(" [ option { "," option } ] ")" ]
 *     option = name "=" value                        numbers, 50%, true/false, words; ranges from the method's table
 *            | pattern                               of a pruner: 2:4 or 50%, for pattern=2:4
 *
 * A method may be a published name for another with certain options (methods/presets.def). It may be a name for a list
 * (spqr): it is parsed as that list. One that prepares the quantizer behind it (awq) takes the options that it shares
 * with it, and that were not written, from there. Both are printed as what they became.
 *
 * Steps run in order, each on what the ones before left unexplained. wc_recipe_print writes every option with its
 * value, so a stored recipe means the same when a later version has other defaults.
 *
 * Passes over the whole model (remodel/step.h) stand first: `rotate | gptq(bits=3)'. They belong to the run and not to
 * a tensor: wc_recipe_split takes them off.
 *
 * Lists that make no sense are refused when they are parsed, by one table with reasons: what a step is (its role)
 * against what came before it. */
#ifndef WC_RECIPE_H
#define WC_RECIPE_H

#include "methods/method.h"

enum { WC_RECIPE_MAX = 8 }; /* steps; a longer list is refused */

typedef struct wc_recipe_step {
    const wc_method *method;
    void *opt; /* owned, method->opt_size bytes */
} wc_recipe_step;

typedef struct wc_recipe {
    size_t n; /* 0: keep */
    wc_recipe_step step[WC_RECIPE_MAX];
} wc_recipe;

/* WC_OPTION with the offending word and what would be accepted. */
wc_status wc_recipe_parse(wc_ctx *ctx, const char *text, wc_recipe *out);
/* The passes that text begins with, as steps whose method is a pass's face; *rest: the recipe that follows them (in
 * text), "keep" when none does. */
wc_status wc_recipe_split(wc_ctx *ctx, const char *text, wc_recipe *passes, const char **rest);
void wc_recipe_free(wc_recipe *r);
wc_status wc_recipe_print(wc_ctx *ctx, const wc_recipe *r, wc_buf *out);
bool wc_recipe_needs_stats(const wc_recipe *r);
size_t wc_recipe_transforms(const wc_recipe *r); /* how many steps are transforms: they come first */
/* Where step i stands in the recipe of a [rows, cols] matrix. */
wc_place wc_recipe_place(const wc_recipe *r, size_t i, size_t rows, size_t cols);

/* A fresh option struct with the table's defaults. */
wc_status wc_opt_defaults(wc_ctx *ctx, const wc_method *m, void **opt);
/* Sets one option from text. */
wc_status wc_opt_set(wc_ctx *ctx, const wc_method *m, void *opt, const char *name, const char *value);
/* Copies the options that both methods have, by name: what a fallback inherits. */
void wc_opt_inherit(const wc_method *from, const void *src, const wc_method *to, void *dst);
/* The value as text, as recipes write it. */
void wc_opt_print(const wc_opt *o, const void *opt, char *dst, size_t size);

#endif
