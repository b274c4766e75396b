/* The driver with parts that are made of parts: a recipe of two made-up methods goes through encode, decode, subtract
 * and the layer error, and is read back from the file and from its sealed blobs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compress.h"
#include "parts_util.h"

enum { ROWS = 37, COLS = 300, RANK = 2, STEP = 9 };

static void plan_product(const wc_place *at, const void *opt, wc_part *out)
{
    (void)opt;
    *out = lowrank_plan(at->rows, at->cols, RANK, float_plan(at->rows, RANK, WC_F16),
                        grid_plan(RANK, at->cols, 4, 32, 0, true));
}

static wc_status run_product(wc_job *job, const void *opt, wc_part *out)
{
    plan_product(&job->at, opt, out);
    *out = lowrank_fill(*out);
    return WC_OK;
}

static void plan_rest(const wc_place *at, const void *opt, wc_part *out)
{
    (void)opt;
    *out = sparse_plan(at->rows, at->cols, STEP, WC_F32);
}

/* What is left of the target at the positions of the plan: afterwards the error there is rounding. */
static wc_status run_rest(wc_job *job, const void *opt, wc_part *out)
{
    plan_rest(&job->at, opt, out);
    *out = sparse_fill(*out, STEP);
    wc_sparse *s = &out->sparse;
    for (size_t r = 0; r < s->rows; r++)
        for (uint64_t k = s->row_start[r]; k < s->row_start[r + 1]; k++)
            ((uint32_t *)s->value)[k] = wc_f32_bits(job->w[r * job->at.cols + s->col[k]]);
    return WC_OK;
}

static const wc_method product = {.name = "product", .plan = plan_product, .run = run_product};
static const wc_method rest = {.name = "rest", .plan = plan_rest, .run = run_rest};

static float weight_value(size_t i)
{
    return sinf((float)i) / 8;
}

static wc_status read_weight(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = weight_value(r0 * w->cols + i);
    return WC_OK;
}

static void check_sum(const wc_packed *packed, const wcd_tensor *t, double error)
{
    static float a[ROWS * COLS], b[ROWS * COLS];
    wc_ctx ctx;
    double left = 0, whole = 0;
    wc_ctx_init(&ctx, 2);
    assert_int_equal(wc_packed_rows(&ctx, packed, 0, ROWS, a), WC_OK);
    assert_int_equal(wcd_rows(t, 0, ROWS, b, COLS), WCD_OK);
    assert_memory_equal(a, b, sizeof a);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        double w = weight_value(i), d = w - (double)a[i];
        left += d * d, whole += w * w;
        /* usually 1e-8, one rounding of the sum; 0.1 when a part is missing */
        if (sparse_has(i / COLS, i % COLS, COLS, STEP)) assert_true(fabs(d) < 1e-6);
    }
    /* usually 1e-7, the error subtracts in f32 */
    assert_true(fabs(error - left / whole) < 1e-5 * error);
}

static void products_and_positions_go_through_the_driver(void **state)
{
    char path[256], partial[300];
    wc_ctx ctx;
    wc_wcz *z;
    wc_part plan[2];
    wc_packed packed, again = {.rows = ROWS, .cols = COLS};
    wc_tensor_result result;
    wc_wcz_reader reader;
    wcd_tensor found;
    snprintf(path, sizeof path, "%s/c.wcz", (char *)*state);
    snprintf(partial, sizeof partial, "%s.partial", path);
    wc_ctx_init(&ctx, 2);
    wc_recipe recipe = {.n = 2, .step = {{.method = &product}, {.method = &rest}}};
    wc_place at = {.rows = ROWS, .cols = COLS};
    for (size_t i = 0; i < 2; i++)
        recipe.step[i].method->plan(&at, NULL, &plan[i]);
    wc_wcz_tensor t = {"w", WC_F32, 2, {ROWS, COLS}, 2, plan, 0};
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    wc_part_free(&plan[0]); /* the layout keeps what it needs */
    assert_int_equal(wc_wcz_create(&ctx, z, partial), WC_OK);
    wc_weight w = {.rows = ROWS, .cols = COLS, .name = "w", .read = read_weight};
    wc_compress_job job = {.weight = &w, .recipe = &recipe, .wcz = z};
    if (wc_compress(&ctx, &job, &packed, &result) != WC_OK) fail_msg("%s", ctx.error);
    wc_wcz_free(&z);

    /* As after a kill: the same plan, the parts taken over from their checksums. */
    recipe.step[0].method->plan(&at, NULL, &plan[0]);
    assert_int_equal(wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z), WC_OK);
    assert_int_equal(wc_wcz_create(&ctx, z, partial), WC_OK);
    for (size_t p = 0; p < 2; p++) {
        wc_wcz_blob blob;
        assert_int_equal(wc_wcz_get(&ctx, z, 0, p, &packed.blob[p], &blob), WC_OK);
        assert_int_equal(wc_packed_add(&ctx, &again, &blob), WC_OK);
    }
    wc_wcz_describe(z, 0, result.error, 0);
    assert_int_equal(wc_wcz_finish(&ctx, z, path), WC_OK);
    wc_wcz_free(&z);

    assert_int_equal(wc_wcz_open(&ctx, path, &reader), WC_OK);
    assert_int_equal(wcd_verify(&reader.file, NULL, NULL), WCD_OK);
    assert_int_equal(wcd_find(&reader.file, "w", &found), WCD_OK);
    check_sum(&packed, &found, result.error);
    check_sum(&again, &found, found.error);
    wc_wcz_close(&reader);
    wc_packed_free(&packed);
    wc_packed_free(&again);
    wc_part_free(&plan[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products_and_positions_go_through_the_driver, make_scratch, remove_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
