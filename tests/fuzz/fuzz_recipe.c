/* Any bytes as a recipe. An accepted one prints, and what it prints parses to itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe.h"

#define SEED(name) "tests/fuzz/seeds/recipe_" name ".txt"
const char *const wc_fuzz_seeds[] = {SEED("one"), SEED("list"), SEED("all"), NULL};
const size_t wc_fuzz_max = 512;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    char *once = canonical(text), *twice = once ? canonical(once) : NULL;
    if (once && (!twice || strcmp(once, twice))) abort();
    free(once);
    free(twice);
    free(text);
    return 0;
}
