/* Which tensor gets which type in GGUF's stock mixtures: layer by layer, worked out by hand from the rules that
 * llama.cpp's quantizer goes by (llama_tensor_get_type, models without experts). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mix.h"

enum { Q, K, V, O, GATE, UP, DOWN };

/* Each layer's type is a letter of `types': 32 layers, 4 query heads to a key, as Llama 3 8B; or 1. */
typedef struct expected {
    const char *mix;
    unsigned linear;
    size_t shared;
    const char *layers;
    const char *types[3]; /* a, b, c */
} expected;

static const expected cases[] = {
    /* the first and last eighth and every third between: 0-3, 6, 9, ..., 27, 28-31 */
    {"Q4_K_M", DOWN, 4, "bbbbaabaabaabaabaabaabaabaabbbbb", {"Q4_K", "Q6_K"}},
    {"Q4_K_M", V, 4, "bbbbaabaabaabaabaabaabaabaabbbbb", {"Q4_K", "Q6_K"}},
    {"Q4_K_M", O, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K"}},
    {"Q5_K_M", DOWN, 4, "bbbbaabaabaabaabaabaabaabaabbbbb", {"Q5_K", "Q6_K"}},
    {"Q5_K_M", V, 4, "bbbbaabaabaabaabaabaabaabaabbbbb", {"Q5_K", "Q6_K"}},
    {"Q4_K_S", V, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K", "Q5_K"}},
    {"Q4_K_S", DOWN, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K", "Q5_K"}},
    {"Q3_K_M", V, 4, "bbaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K", "Q5_K"}},
    {"Q3_K_M", DOWN, 4, "bbaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K", "Q5_K"}},
    {"Q3_K_M", O, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K"}},
    {"Q3_K_M", Q, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q3_K"}},
    {"Q3_K_L", DOWN, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q5_K"}},
    {"Q2_K", V, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_K"}},
    {"Q2_K", V, 1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q3_K"}},
    {"Q2_K", GATE, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q2_K"}},
    {"Q2_K_S", DOWN, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q2_K", "Q4_K"}},
    {"Q4_0", DOWN, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q4_0", "Q4_1"}},
    {"Q5_0", DOWN, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q5_0", "Q5_1"}},
    {"IQ3_XXS", K, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"IQ2_S"}},
    {"IQ3_XXS", UP, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"IQ3_XXS"}},
    {"IQ2_S", DOWN, 4, "bbbbaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"IQ2_XS", "IQ3_S"}},
    {"IQ4_XS", V, 1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"IQ4_XS"}},
    {"IQ4_XS", V, 4, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"Q5_K"}},
};

static void linears_layer_by_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const expected *x = &cases[i];
        wc_config c = {.layers = strlen(x->layers), .heads = 32, .kv_heads = 32 / x->shared};
        for (size_t layer = 0; layer < c.layers; layer++) {
            const char *got = wc_mix_type(wc_mix_find(x->mix), &c, WC_ROLE_LINEAR, x->linear, layer)->name;
            if (strcmp(got, x->types[x->layers[layer] - 'a']) != 0)
                fail_msg("%s, linear %u, layer %zu: %s", x->mix, x->linear, layer, got);
        }
    }
}

/* A tied embedding is the head: it gets the head's type. */
static void embedding_and_head(void **state)
{
    static const struct {
        const char *mix, *embed, *head;
    } ends[] = {{"Q4_K_M", "Q4_K", "Q6_K"},  {"Q2_K", "Q2_K", "Q6_K"},     {"Q8_0", "Q8_0", "Q8_0"},
                {"IQ2_XXS", "Q2_K", "Q5_K"}, {"IQ3_XXS", "IQ3_S", "Q5_K"}, {"TQ1_0", "Q4_K", "Q6_K"}};
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const wc_mix *m = wc_mix_find(ends[i].mix);
        wc_config c = {.layers = 32, .heads = 32, .kv_heads = 8};
        assert_string_equal(wc_mix_type(m, &c, WC_ROLE_EMBED, 0, 0)->name, ends[i].embed);
        assert_string_equal(wc_mix_type(m, &c, WC_ROLE_HEAD, 0, 0)->name, ends[i].head);
        c.tied = true;
        assert_string_equal(wc_mix_type(m, &c, WC_ROLE_EMBED, 0, 0)->name, ends[i].head);
    }
}

static void names(void **state)
{
    (void)state;
    assert_ptr_equal(wc_mix_find("Q4_K"), wc_mix_find("Q4_K_M"));
    assert_ptr_equal(wc_mix_find("Q3_K"), wc_mix_find("Q3_K_M"));
    assert_ptr_equal(wc_mix_find("Q5_K"), wc_mix_find("Q5_K_M"));
    assert_null(wc_mix_find("Q4_K_L"));
    assert_null(wc_mix_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linears_layer_by_layer),
        cmocka_unit_test(embedding_and_head),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
