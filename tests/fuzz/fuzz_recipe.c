/* Any bytes as a recipe. An accepted one prints, and what it prints parses to itself; so do the passes in front of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe.h"
#include "fuzz/fuzz.h"

#define SEED(name) "tests/fuzz/seeds/recipe_" name ".txt"
const char *const wc_fuzz_seeds[] = {SEED("one"),  SEED("list"),  SEED("names"), SEED("all"),
                                     SEED("pass"), SEED("prune"), NULL};
const size_t wc_fuzz_max = 512;

/* The canonical text, or NULL for a recipe that is refused. */
static char *canonical(const char *text)
{
    wc_ctx ctx;
    wc_recipe r;
    wc_buf out = {0};
    wc_ctx_init(&ctx, 1);
    if (wc_recipe_parse(&ctx, text, &r) != WC_OK) {
        if (!ctx.error[0]) abort();
        return NULL;
    }
    if (wc_recipe_print(&ctx, &r, &out) != WC_OK) abort();
    wc_recipe_free(&r);
    return (char *)out.data;
}

/* The passes are taken off, and what follows them is in the text, or `keep'. */
static void split(const char *text)
{
    wc_ctx ctx;
    wc_recipe passes;
    const char *rest;
    wc_buf out = {0};
    wc_ctx_init(&ctx, 1);
    if (wc_recipe_split(&ctx, text, &passes, &rest) != WC_OK) {
        if (!ctx.error[0]) abort();
        return;
    }
    if ((rest < text || rest > text + strlen(text)) && strcmp(rest, "keep")) abort();
    wc_recipe again = {0};
    if (wc_recipe_print(&ctx, &passes, &out) != WC_OK) abort();
    if (passes.n && wc_recipe_split(&ctx, (char *)out.data, &again, &rest) != WC_OK) abort();
    if (again.n != passes.n || (passes.n && strcmp(rest, "keep"))) abort();
    wc_recipe_free(&again);
    wc_recipe_free(&passes);
    wc_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    split(text);
    char *once = canonical(text), *twice = once ? canonical(once) : NULL;
    if (once && (!twice || strcmp(once, twice))) abort();
    free(once);
    free(twice);
    free(text);
    return 0;
}
