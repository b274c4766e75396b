/* Checkpoints that the real programs have quantized and saved (tests/data/quantized, with what made them): every value
 * that we read is the one that the program itself makes of it. Those were recorded in F16, and both sides are one
 * product of a scale and a small integer, exact in f32, so rounding ours must give theirs to the bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/half.h"
#include "io/checkpoint.h"
#include "io_util.h"

/* What a layer of it is said to be, and how many there are. */
static const struct {
    const char *name, *method, *down, *q;
    size_t layers;
} kinds[] = {
    {"gptq", "gptq", "GPTQ 4b g32", "GPTQ 4b g32", 7},
    {"gptq_act", "gptq", "GPTQ 4b g32 act", "GPTQ 4b g32 act", 7},
    {"gptq_v2", "gptq", "GPTQ 3b g32", "GPTQ 3b g32", 7},
    {"gptq_dynamic", "gptq", "GPTQ 8b g16", "GPTQ 4b g32", 6},
    {"awq", "awq", "AWQ 4b g32", "AWQ 4b g32", 7},
    {"ct", "compressed-tensors", "CT 4b g32", "CT 4b g32", 7},
    {"ct_asym", "compressed-tensors", "CT 4b g32", "CT 4b g32", 7},
    {"ct_rows", "compressed-tensors", "CT 8b g0", "CT 8b g0", 7},
    {"ct_act", "compressed-tensors", "CT 4b g32 act", "CT 4b g32 act", 7},
};

static void open_it(wc_ctx *ctx, const char *name, const char *ending, wc_checkpoint *c)
{
    char path[128];
    snprintf(path, sizeof path, "tests/data/quantized/%s%s", name, ending);
    if (wc_checkpoint_open(ctx, path, c) != WC_OK) fail_msg("%s: %s", path, ctx->error);
}

static const wc_st_tensor *find(const wc_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->tensor[i]->name, name)) return c->tensor[i];
    return NULL;
}

static float *values(wc_ctx *ctx, const wc_checkpoint *c, const wc_st_tensor *t)
{
    float *x = malloc(t->rows * t->cols * sizeof *x);
    if (wc_checkpoint_rows(ctx, c, t, 0, t->rows, x) != WC_OK) fail_msg("%s: %s", t->name, ctx->error);
    return x;
}

static void values_are_those_of_the_program(void **state)
{
    wc_ctx ctx = new_ctx();
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        wc_checkpoint q, ref;
        open_it(&ctx, kinds[i].name, "", &q);
        open_it(&ctx, kinds[i].name, ".safetensors", &ref);
        assert_int_equal(ref.n, kinds[i].layers);
        for (size_t k = 0; k < ref.n; k++) {
            const wc_st_tensor *theirs = ref.tensor[k], *ours = find(&q, theirs->name);
            assert_non_null(ours);
            assert_true(ours->packed && ours->rows == theirs->rows && ours->cols == theirs->cols);
            float *a = values(&ctx, &q, ours), *b = values(&ctx, &ref, theirs);
            for (size_t e = 0; e < ours->rows * ours->cols; e++)
                if (wc_f16_f32(wc_f32_f16(a[e])) != b[e])
                    fail_msg("%s: %s: value %zu is %.9g, theirs %.9g", kinds[i].name, ours->name, e, (double)a[e],
                             (double)b[e]);
            free(a), free(b);
        }
        wc_checkpoint_close(&q);
        wc_checkpoint_close(&ref);
    }
}

static void layers_are_what_they_were_made_as(void **state)
{
    wc_ctx ctx = new_ctx();
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        wc_checkpoint c;
        open_it(&ctx, kinds[i].name, "", &c);
        assert_string_equal(wc_quant_method(c.quant), kinds[i].method);
        assert_int_equal(wc_quant_count(c.quant), kinds[i].layers);
        assert_string_equal(wc_quant_text(find(&c, "model.layers.0.mlp.down_proj.weight")->packed), kinds[i].down);
        assert_string_equal(wc_quant_text(find(&c, "model.layers.0.self_attn.q_proj.weight")->packed), kinds[i].q);
        wc_checkpoint_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_program),
        cmocka_unit_test(layers_are_what_they_were_made_as),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
