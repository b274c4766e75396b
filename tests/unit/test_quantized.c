/* Quantized checkpoints: every range of rows, for any number of threads, is the same part of what numpy made of them
 * (tests/oracle/quantized.py); what a checkpoint shows and what it is known by. Values and refusals, in all their
 * kinds: tests/cli/import.sh. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/checkpoint.h"
#include "io_util.h"

static int make_checkpoints(void **state)
{
    char command[256];
    if (make_scratch(state)) return -1;
    snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/quantized.py --good '%s'", scratch);
    return system(command);
}

static void open_kind(wc_ctx *ctx, const char *kind, const char *part, wc_checkpoint *c)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", kind, part);
    if (wc_checkpoint_open(ctx, in_scratch(name), c) != WC_OK) fail_msg("%s: %s", kind, ctx->error);
}

static void any_range_of_rows(void **state)
{
    static const char *const kinds[] = {"gptq3",    "gptq4_act", "gptq_dynamic", "awq",      "ct3_old",
                                        "ct4_asym", "ct4_bytes", "int8_asym",    "fp8_block"};
    static const uint64_t counts[] = {1, 2, 31, 33, 64, 65, 1 << 20}; /* the last: all that are left */
    wc_ctx ctx = new_ctx();
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        wc_checkpoint q, ref;
        open_kind(&ctx, kinds[i], "q", &q);
        open_kind(&ctx, kinds[i], "ref", &ref);
        assert_int_equal(q.n, ref.n);
        for (size_t t = 0; t < q.n; t++) {
            const wc_st_tensor *x = q.tensor[t], *y = ref.tensor[t];
            float *a = malloc(x->rows * x->cols * sizeof *a), *b = malloc(x->rows * x->cols * sizeof *b);
            assert_string_equal(x->name, y->name);
            assert_true(x->rows == y->rows && x->cols == y->cols && x->packed && !y->packed);
            for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
                for (uint64_t r0 = 0; r0 < x->rows; r0 += counts[k] < 30 ? 13 : 32) {
                    uint64_t nr = wc_min(counts[k], x->rows - r0);
                    ctx.threads = 1 + (int)(k % 3);
                    assert_int_equal(wc_checkpoint_rows(&ctx, &q, x, r0, nr, a), WC_OK);
                    assert_int_equal(wc_checkpoint_rows(&ctx, &ref, y, r0, nr, b), WC_OK);
                    for (uint64_t e = 0; e < nr * x->cols; e++)
                        if (a[e] != b[e]) /* exact: two factors of at most 16 bits */
                            fail_msg("%s: %s, row %llu: %g, not %g", kinds[i], x->name,
                                     (unsigned long long)(r0 + e / x->cols), (double)a[e], (double)b[e]);
                }
            assert_int_equal(wc_checkpoint_rows(&ctx, &q, x, x->rows, 1, a), WC_BUG);
            wc_clear_error(&ctx);
            assert_int_equal(wc_checkpoint_check_finite(&ctx, &q, x), WC_OK);
            free(a), free(b);
        }
        wc_checkpoint_close(&q);
        wc_checkpoint_close(&ref);
    }
}

/* Every tensor that holds a layer belongs to what the checkpoint is known by. */
static void a_changed_bit_is_another_model(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_checkpoint c;
    wc_buf file = {0};
    char path[1024];
    uint64_t first, other;
    (void)state;
    snprintf(path, sizeof path, "%s", in_scratch("gptq4_act/q/model.safetensors"));
    open_kind(&ctx, "gptq4_act", "q", &c);
    const wc_st_tensor *part[WC_QUANT_PARTS];
    uint64_t at[WC_QUANT_PARTS];
    size_t n = wc_quant_stored(c.tensor[0]->packed, part);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++)
        at[i] = part[i]->offset;
    assert_int_equal(wc_checkpoint_fingerprint(&ctx, &c, &first), WC_OK);
    wc_checkpoint_close(&c);
    assert_int_equal(wc_read_file(&ctx, path, 1 << 24, &file), WC_OK);
    for (size_t i = 0; i < n; i++) {
        file.data[at[i]] ^= 1; /* g_idx stays below 4 */
        put_file(path, file.data, file.size);
        open_kind(&ctx, "gptq4_act", "q", &c);
        assert_int_equal(wc_checkpoint_fingerprint(&ctx, &c, &other), WC_OK);
        assert_true(other != first);
        wc_checkpoint_close(&c);
        file.data[at[i]] ^= 1;
    }
    put_file(path, file.data, file.size);
    wc_buf_free(&file);
}

static void the_config_is_that_of_a_float_model(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_checkpoint c;
    (void)state;
    open_kind(&ctx, "gptq3", "q", &c);
    assert_string_equal(wc_quant_method(c.quant), "gptq");
    assert_int_equal(wc_quant_count(c.quant), 3);
    assert_string_equal(wc_quant_text(c.tensor[0]->packed), "GPTQ 3b g128 act");
    assert_true(c.config.size);
    assert_null(memmem(c.config.data, c.config.size, "quantization_config", 19));
    assert_non_null(memmem(c.config.data, c.config.size, "model_type", 10));
    wc_checkpoint_close(&c);
    open_kind(&ctx, "gptq_older", "q", &c); /* quantize_config.json beside a config.json that knows nothing */
    assert_int_equal(wc_quant_count(c.quant), 3);
    wc_checkpoint_close(&c);
    open_kind(&ctx, "gptq3", "ref", &c);
    assert_null(c.quant);
    assert_int_equal(c.config.size, 0);
    wc_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_range_of_rows),
        cmocka_unit_test(a_changed_bit_is_another_model),
        cmocka_unit_test(the_config_is_that_of_a_float_model),
    };
    return cmocka_run_group_tests(tests, make_checkpoints, remove_scratch);
}
