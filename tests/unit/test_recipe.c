/* test_recipe.c - the recipe language, and the plan that recipes and rules make of a checkpoint. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "recipe.h"

static wc_ctx ctx;

static int fresh_ctx(void **state)
{
    (void)state;
    wc_ctx_init(&ctx, 1);
    return 0;
}

static char *canonical(const char *text)
{
    wc_recipe r;
    wc_buf out = {0};
    if (wc_recipe_parse(&ctx, text, &r) != WC_OK) fail_msg("`%s': %s", text, ctx.error);
    assert_int_equal(wc_recipe_print(&ctx, &r, &out), WC_OK);
    wc_recipe_free(&r);
    return (char *)out.data;
}

static void printed_recipes_parse_to_themselves(void **state)
{
    static const char *const texts[] = {
        "keep",
        " keep ",
        "rtn",
        "rtn()",
        "gptq(bits=2)",
        " gptq ( bits = 8 , group = 16 ) ",
        "rtn(bits=1,sym=false,group=0)",
        "gptq(bits=3,damp=0.1)|rtn(bits=2)",
        "gptq(damp=1%)",
        "wanda(2:4)",
        " sparsegpt ( 50% , update = none ) | gptq",
        "magnitude(update=obs,pattern=4:8)",
        "gqsa(0)",
        "rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn",
        "outliers | svd | wanda | gptq | outliers | eora",
        "wanda | eora",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *once = canonical(texts[i]), *twice = canonical(once);
        assert_string_equal(once, twice);
        free(once);
        free(twice);
    }
}

static void every_option_is_printed(void **state)
{
    (void)state;
    for (const wc_method *const *m = wc_methods; *m; m++) {
        char asked[80]; /* a transform stores nothing by itself */
        snprintf(asked, sizeof asked, "%s%s", (*m)->name, (*m)->role == WC_STEP_TRANSFORM ? " | rtn" : "");
        char *text = canonical(asked);
        for (const wc_opt *o = (*m)->opts; o->name; o++) {
            char want[80];
            snprintf(want, sizeof want, "%s=", o->name);
            if (!strstr(text, want)) fail_msg("`%s' lacks %s", text, want);
        }
        free(text);
    }
}

static void values_reach_the_option_struct(void **state)
{
    wc_recipe r;
    char value[64];
    (void)state;
    assert_int_equal(wc_recipe_parse(&ctx, "gptq(bits=5,group=48,damp=12.5%,sym=no)", &r), WC_OK);
    static const char *const want[][2] = {{"bits", "5"}, {"group", "48"}, {"damp", "0.125"}, {"sym", "false"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const wc_opt *o = r.step[0].method->opts;
        while (o->name && strcmp(o->name, want[i][0]))
            o++;
        assert_non_null(o->name);
        wc_opt_print(o, r.step[0].opt, value, sizeof value);
        assert_string_equal(value, want[i][1]);
    }
    wc_recipe_free(&r);
}

/* A name for a list is the list; its options reach the steps. */
static void names_of_lists_are_their_lists(void **state)
{
    static const char *const pairs[][2] = {
        {"spqr", "outliers(criterion=spqr,frac=0.5%) | gptq(group=16,sym=no,scale_bits=3,zero_bits=3,tile=16)"},
        {"hadamard|spqr(bits=4,group=8,frac=1%,damp=0.3,scale_bits=4,zero_bits=5,tile=4) | eora",
         "hadamard | outliers(criterion=spqr,frac=1%,damp=0.3,bits=4,group=8) | "
         "gptq(bits=4,group=8,sym=no,scale_bits=4,zero_bits=5,tile=4,damp=0.3) | eora"},
        {"awq | gptq(bits=4,group=20)", "awq(bits=4,group=20,points=20) | gptq(bits=4,group=20)"},
        {"awq(bits=2) | outliers(criterion=spqr,group=8) | rtn(bits=5,sym=no) | gptq(bits=6)",
         "awq(bits=2,sym=no) | outliers(criterion=spqr,bits=5,group=8) | rtn(bits=5,sym=no) | gptq(bits=6)"},
        {"rtn(search=slim,scale_bits=0) | slim(rank=16)",
         "rtn(search=slim,scale_bits=0) | lqer(rank=16,ratio=0.052,factor_bits=4)"},
        {"lord(rank=8)", "svdllm(rank=8)"},
        {"mpifa(ratio=0.5,drift=0.5) | rtn", "saes(ratio=0.5,drift=0.5,residual=0,storage=pifa) | rtn"},
        {"rtn | lorc(factor_bits=4)", "rtn | svd(rank=8,factor_bits=4)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *a = canonical(pairs[i][0]), *b = canonical(pairs[i][1]);
        assert_string_equal(a, b);
        free(a), free(b);
    }
}

/* Their options are some of the method's, so none fails when it is used. */
static void every_preset_is_a_recipe(void **state)
{
    (void)state;
    for (const wc_preset *p = wc_presets; p->name; p++) {
        char want[80], recipe[80];
        assert_null(wc_method_find(p->name));
        snprintf(recipe, sizeof recipe, "%s%s", p->name, p->method->role == WC_STEP_TRANSFORM ? " | rtn" : "");
        char *text = canonical(recipe);
        snprintf(want, sizeof want, "%s(", p->method->name);
        if (strncmp(text, want, strlen(want))) fail_msg("%s is `%s'", p->name, text);
        free(text);
    }
}

static void integers_are_printed_as_such(void **state)
{
    (void)state;
    char *text = canonical("awq(points=20,group=100)|rtn");
    assert_non_null(strstr(text, "points=20,"));
    assert_non_null(strstr(text, "group=100,"));
    free(text);
}

/* A pattern that comes first needs no name; a part prunes that part, n:m keeps n of every m. */
static void patterns_are_read_and_printed(void **state)
{
    static const struct {
        const char *text, *printed;
        double frac;
        int n, m;
    } cases[] = {
        {"wanda", "wanda(pattern=0.5,", 0.5, 0, 0},
        {"wanda(2:4)", "wanda(pattern=2:4,", 0, 2, 4},
        {"wanda(37.5%)", "wanda(pattern=0.375,", 0.375, 0, 0},
        {"wanda(1)", "wanda(pattern=1,", 1, 0, 0},
        {"wanda(pattern=1:16)", "wanda(pattern=1:16,", 0, 1, 16},
        {"wanda(damp=0,15:16)", "wanda(pattern=15:16,", 0, 15, 16},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_recipe r;
        char *text = canonical(cases[i].text);
        if (strncmp(text, cases[i].printed, strlen(cases[i].printed)))
            fail_msg("`%s' prints `%s'", cases[i].text, text);
        free(text);
        assert_int_equal(wc_recipe_parse(&ctx, cases[i].text, &r), WC_OK);
        const wc_pattern *p = r.step[0].opt; /* the first option of all pruners */
        assert_true(p->frac == cases[i].frac && p->n == cases[i].n && p->m == cases[i].m);
        wc_recipe_free(&r);
    }
}

static void bad_recipes_are_refused_with_the_offending_word(void **state)
{
    static const struct {
        const char *text, *sentence;
    } bad[] = {
        {"", "expected a method name at `(end)'"},
        {"|", "expected a method name at `|'"},
        {"zap(bits=3)", "unknown method `zap'"},
        {"rtn(bits=3", "expected `,' or `)' at `(end)'"},
        {"rtn(bits)", "expected `=' and a value at `)'"},
        {"rtn(bits=)", "expected `=' and a value at `)'"},
        {"rtn(=3)", "expected an option name at `=3)'"},
        {"rtn(bits=3))", "expected `|' or the end at `)'"},
        {"rtn |", "expected a method name at `(end)'"},
        {"rtn(bits=0)", "bits=0 is out of range"},
        {"rtn(bits=9)", "bits=9 is out of range"},
        {"rtn(bits=3.5)", "bits=3.5 is not an integer"},
        {"rtn(bits=1e99)", "out of range"},
        {"rtn(bits=nan)", "is not an integer"},
        {"rtn(bits=three)", "is not an integer"},
        {"rtn(sym=maybe)", "neither true nor false"},
        {"wanda(4:2)", "pattern=4:2 is no pattern n:m"},
        {"wanda(0:4)", "is no pattern n:m"},
        {"wanda(2:4:8)", "is no pattern n:m"},
        {"wanda(2:)", "is no pattern n:m"},
        {"wanda(-1:4)", "is no pattern n:m"},
        {"wanda(6:16)", "is no pattern n:m"},
        {"wanda(1:17)", "is no pattern n:m"},
        {"wanda(150%)", "pattern=150% is out of range, allowed is 0 to 1"},
        {"wanda(-0.1)", "is out of range"},
        {"wanda(half)", "pattern=half is not a number"},
        {"wanda(2:4,)", "expected an option name"},
        {"gptq(4)", "expected `=' and a value at `)'"},
        {"rtn(zap=1)", "rtn has no option `zap'; it has: bits"},
        {"gptq(damp=inf)", "is not a number"},
        {"keep | rtn", "`keep' stands alone"},
        {"rtn | keep", "`keep' stands alone"},
        {"rtn(bits=3,sym=no,bits=4)", "bits is given twice to rtn"},
        {"wanda(50%,2:4)", "pattern is given twice to wanda"},
        {"wanda(2:4,pattern=50%)", "pattern is given twice to wanda"},
        {"mpifa(zap=1)", "saes has no option `zap'"},
        {"mpifa(drift=0,drift=1)", "drift is given twice to saes"},
        {"hadamard", "hadamard stores no values: a step that does has to follow"},
        {"rtn | hadamard", "hadamard cannot follow rtn: what is stored by then is in another basis"},
        {"outliers | hadamard | rtn", "hadamard cannot follow outliers"},
        {"svd | hadamard | rtn", "hadamard cannot follow svd"},
        {"wanda | outliers | gptq", "gptq cannot follow wanda: the survivors make up for weights that the outliers"},
        {"sparsegpt | gptq | eora | rtn",
         "rtn cannot follow sparsegpt: the survivors make up for weights that the product"},
        {"rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn", "more than 8 steps"},
        {"rtn|rtn|rtn|rtn|rtn|rtn|rtn|spqr", "more than 8 steps"},
        {"rtn|rtn|rtn|rtn|rtn|rtn|rtn|rtn|spqr", "more than 8 steps"},
        {"spqr(group=1)", "spqr: group=1 is out of range"},
        {"spqr(zap=1)", "spqr has no option `zap'"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "expected a method name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_recipe r;
        wc_clear_error(&ctx);
        assert_int_equal(wc_recipe_parse(&ctx, bad[i].text, &r), WC_OPTION);
        if (!strstr(ctx.error, bad[i].sentence))
            fail_msg("`%s': `%s' lacks `%s'", bad[i].text, ctx.error, bad[i].sentence);
    }
}

/* ---- plan ------------------------------------------------------------------------------------------------------- */

static const char *recipe_of(const wc_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n; i++)
        if (!strcmp(plan->tensor[i].source->name, name)) return plan->tensor[i].recipe_text;
    fail_msg("no tensor %s", name);
    return NULL;
}

static void the_last_rule_that_matches_wins(void **state)
{
    const wc_plan_rule rules[] = {{"*.v_proj.weight", "rtn(bits=8)"},
                                  {"model.layers.1.*_proj.weight", "rtn(bits=2)"},
                                  {"*.1.self_attn.v_proj.weight", "keep"}};
    wc_plan_options o = {.linear = "rtn(bits=4)",
                         .embed = "rtn(bits=6)",
                         .head = "keep",
                         .rule = rules,
                         .n_rules = 3,
                         .last_block = SIZE_MAX};
    wc_checkpoint c;
    wc_plan *plan;
    (void)state;
    assert_int_equal(wc_checkpoint_open(&ctx, "tests/data/docs4m", &c), WC_OK);
    if (wc_plan_make(&ctx, &c, NULL, &o, &plan) != WC_OK) fail_msg("%s", ctx.error);
    assert_non_null(strstr(recipe_of(plan, "model.layers.0.self_attn.v_proj.weight"), "bits=8"));
    assert_non_null(strstr(recipe_of(plan, "model.layers.1.self_attn.q_proj.weight"), "bits=2"));
    assert_string_equal(recipe_of(plan, "model.layers.1.self_attn.v_proj.weight"), "keep");
    assert_non_null(strstr(recipe_of(plan, "model.layers.0.self_attn.q_proj.weight"), "bits=4"));
    assert_non_null(strstr(recipe_of(plan, "model.embed_tokens.weight"), "bits=6"));
    assert_string_equal(recipe_of(plan, "model.norm.weight"), "keep");
    wc_plan_free(&plan);
    assert_null(plan);
    wc_checkpoint_close(&c);
}

static void plans_that_cannot_be_are_refused(void **state)
{
    static const struct {
        wc_plan_rule rule;
        const char *sentence;
    } bad[] = {
        {{"*.nothing", "keep"}, "`*.nothing=keep' matches none of the 38 tensors"},
        {{"*norm.weight", "gptq(bits=3)"}, "does not apply"},
        {{"*.q_proj.weight", "zap"}, "unknown method `zap'"},
        {{"*.q_proj.weight", "gptq"}, "the architecture is unknown"},
    };
    wc_checkpoint c;
    (void)state;
    assert_int_equal(wc_checkpoint_open(&ctx, "tests/data/docs4m", &c), WC_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_plan_options o = {.linear = "rtn",
                             .embed = "keep",
                             .head = "keep",
                             .rule = &bad[i].rule,
                             .n_rules = 1,
                             .last_block = SIZE_MAX};
        wc_plan *plan = NULL;
        wc_clear_error(&ctx);
        assert_int_equal(wc_plan_make(&ctx, &c, NULL, &o, &plan), WC_OPTION);
        assert_null(plan);
        if (!strstr(ctx.error, bad[i].sentence)) fail_msg("`%s' lacks `%s'", ctx.error, bad[i].sentence);
    }
    wc_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(printed_recipes_parse_to_themselves, fresh_ctx),
        cmocka_unit_test_setup(every_option_is_printed, fresh_ctx),
        cmocka_unit_test_setup(values_reach_the_option_struct, fresh_ctx),
        cmocka_unit_test_setup(names_of_lists_are_their_lists, fresh_ctx),
        cmocka_unit_test_setup(every_preset_is_a_recipe, fresh_ctx),
        cmocka_unit_test_setup(integers_are_printed_as_such, fresh_ctx),
        cmocka_unit_test_setup(patterns_are_read_and_printed, fresh_ctx),
        cmocka_unit_test_setup(bad_recipes_are_refused_with_the_offending_word, fresh_ctx),
        cmocka_unit_test_setup(the_last_rule_that_matches_wins, fresh_ctx),
        cmocka_unit_test_setup(plans_that_cannot_be_are_refused, fresh_ctx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
