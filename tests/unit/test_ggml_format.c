/* The kind ggml: blocks recorded from ggml's own Python package decode to the same bits; fields -> encoder -> decoder
 * against what the fields mean; hostile parameters and bytes; what the encoder refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/half.h"
#include "decode/decoder.h"
#include "ggml_util.h"

static void recorded_blocks_decode_to_the_same_bits(void **state)
{
    uint64_t size, at = 0;
    uint8_t *file = load("tests/data/ggml/blocks.bin", &size);
    golden_blocks g;
    unsigned seen = 0;
    (void)state;
    for (; next_golden(file, size, &at, &g); seen++) {
        uint8_t params[WCD_PARAMS] = {(uint8_t)g.type->id};
        uint8_t *exact = malloc(g.bytes);
        float w[1024];
        wcd_view v;
        assert_non_null(exact);
        memcpy(exact, g.block, g.bytes);
        assert_int_equal(wcd_view_open(11, 1, params, exact, g.bytes, 2, g.weights / 2, &v), WCD_OK);
        assert_int_equal(wcd_view_set_rows(&v, 0, 2, w, g.weights / 2), WCD_OK);
        for (unsigned i = 0; i < g.weights; i++)
            if (w[i] != g.value[i])
                fail_msg("%s, weight %u: %a, not %a", g.type->name, i, (double)w[i], (double)g.value[i]);
        free(exact);
    }
    assert_int_equal(seen, 19);
    free(file);
}

/* All types, with more than one row and, for short blocks, a span that ends early. */
static void fields_survive_bytes(void **state)
{
    (void)state;
    for (unsigned id = 0; id < 64; id++) {
        const wc_ggml_type *t = wc_ggml_type_by_id(id);
        if (!t) continue;
        assert_ptr_equal(wc_ggml_type_by_name(t->name), t);
        size_t cols = t->block == 32 ? 32 * 11 : 512;
        for (uint64_t seed = 0; seed < 20; seed++) {
            wc_part p = ggml_fill(ggml_plan(3, cols, t), seed);
            uint8_t params[WC_PARAMS_SIZE];
            uint64_t size;
            wcd_view v;
            float w[3 * 512];
            assert_int_equal(wc_part_bytes(NULL, &p, &size), WC_OK);
            assert_int_equal(size, 3 * cols / t->block * t->bytes);
            uint8_t *data = malloc(size);
            assert_non_null(data);
            assert_int_equal(wc_encoder_for(WC_PART_GGML)->encode(NULL, &p, data, params), WC_OK);
            assert_int_equal(wcd_view_open(11, 1, params, data, size, 3, cols, &v), WCD_OK);
            assert_int_equal(wcd_view_set_rows(&v, 0, 3, w, cols), WCD_OK);
            for (size_t i = 0; i < 3 * cols; i++)
                if (w[i] != ggml_value(&p.ggml, i / cols, i % cols))
                    fail_msg("%s, weight %zu: %a, not %a", t->name, i, (double)w[i],
                             (double)ggml_value(&p.ggml, i / cols, i % cols));
            wc_part raw = ggml_plan(3, cols, t); /* the blocks as they are */
            uint8_t *copy = malloc(size);
            assert_non_null(copy);
            raw.ggml.blocks = data;
            assert_int_equal(wc_encoder_for(WC_PART_GGML)->encode(NULL, &raw, copy, params), WC_OK);
            assert_memory_equal(data, copy, size);
            free(data), free(copy);
            wc_part_free(&p);
        }
    }
}

static void any_bytes_in_a_block_are_harmless(void **state)
{
    uint64_t seed = 5;
    (void)state;
    for (unsigned id = 0; id < 64; id++) {
        const wc_ggml_type *t = wc_ggml_type_by_id(id);
        if (!t) continue;
        uint64_t size = 2 * 512 / t->block * t->bytes;
        uint8_t params[WCD_PARAMS] = {(uint8_t)id}, *data = malloc(size);
        float w[2 * 512];
        wcd_view v;
        assert_non_null(data);
        assert_int_equal(wcd_view_open(11, 1, params, data, size, 2, 512, &v), WCD_OK);
        for (int round = 0; round < 50; round++) {
            for (uint64_t i = 0; i < size; i++)
                data[i] = round ? (uint8_t)ggml_random(&seed) : 0xff;
            assert_int_equal(wcd_view_set_rows(&v, 0, 2, w, 512), WCD_OK);
        }
        free(data);
    }
}

static void bad_parameters_are_refused(void **state)
{
    wcd_view v;
    (void)state;
    for (unsigned id = 0; id < 256; id++) {
        const wc_ggml_type *t = wc_ggml_type_by_id(id);
        uint8_t params[WCD_PARAMS] = {(uint8_t)id};
        if (!t) {
            assert_int_equal(wcd_view_open(11, 1, params, NULL, 0, 1, 256, &v), WCD_E_VERSION);
            continue;
        }
        uint64_t size = 4 * 256 / t->block * t->bytes;
        assert_int_equal(wcd_view_open(11, 1, params, NULL, size, 4, 256, &v), WCD_OK);
        assert_int_equal(wcd_view_open(11, 2, params, NULL, size, 4, 256, &v), WCD_E_VERSION);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, size - 1, 4, 256, &v), WCD_E_CORRUPT);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, size + 1, 4, 256, &v), WCD_E_CORRUPT);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, size, 8, 128 + 1, &v), WCD_E_CORRUPT);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, 0, 0, 256, &v), WCD_E_CORRUPT);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, 0, 4, 0, &v), WCD_E_CORRUPT);
        assert_int_equal(wcd_view_open(11, 1, params, NULL, size, (uint64_t)1 << 40, 1 << 16, &v), WCD_E_CORRUPT);
        for (int i = 1; i < WCD_PARAMS; i++) {
            params[i] = 1;
            assert_int_equal(wcd_view_open(11, 1, params, NULL, size, 4, 256, &v), WCD_E_CORRUPT);
            params[i] = 0;
        }
    }
}

static void encoder_refuses(const wc_part *p, const char *why)
{
    wc_ctx ctx;
    uint64_t size;
    uint8_t params[WC_PARAMS_SIZE], dst[4096];
    wc_ctx_init(&ctx, 1);
    wc_status s = wc_encoder_for(p->kind)->size(&ctx, p, &size);
    if (s == WC_OK) s = wc_encoder_for(p->kind)->encode(&ctx, p, dst, params);
    assert_int_equal(s, WC_BUG);
    if (!strstr(ctx.error, why)) fail_msg("`%s' does not say `%s'", ctx.error, why);
}

static void encoder_checks_every_number(void **state)
{
    (void)state;
    wc_part p = ggml_fill(ggml_plan(1, 256, wc_ggml_type_by_name("IQ2_XS")), 1);
    p.ggml.sign[3] = 1;
    encoder_refuses(&p, "odd number of minus signs");
    p.ggml.sign[3] = 0, p.ggml.code[5] = 512;
    encoder_refuses(&p, "code 512");
    p.ggml.code[5] = 0, p.ggml.scale[2] = 16;
    encoder_refuses(&p, "16 at row 0, position 2 does not fit 4 bits");
    p.ggml.scale[2] = 0, p.ggml.d[0] = 0x7c00;
    encoder_refuses(&p, "not finite");
    p.ggml.cols = 255;
    encoder_refuses(&p, "rows of 255 weights in blocks of 256");
    p.ggml.cols = 256;
    wc_part_free(&p);
    p = ggml_plan(1, 256, wc_ggml_type_by_name("Q2_K"));
    encoder_refuses(&p, "no numbers");
    p.ggml.type = NULL;
    encoder_refuses(&p, "no type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_blocks_decode_to_the_same_bits),
        cmocka_unit_test(fields_survive_bytes),
        cmocka_unit_test(any_bytes_in_a_block_are_harmless),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(encoder_checks_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
