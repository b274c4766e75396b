/* Quantizers under a mask: rtn and gptq on grids with holes. test_prune.c has the pruners. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "masks_util.h"
#include "solve/grid_solve.h"

static const struct grid {
    int bits, group, sym, scale_bits, zero_bits, tile;
} grids[] = {
    {4, 16, 1, 0, 0, 0},  {3, 32, 0, 0, 0, 0},  {2, 16, 1, 4, 0, 0}, {3, 16, 0, 4, 0, 0},  {1, 0, 1, 0, 0, 0},
    {3, 16, 0, 0, 16, 0}, {3, 16, 0, 5, 16, 0}, {3, 16, 1, 4, 0, 8}, {3, 16, 0, 3, 3, 16}, {4, 8, 0, 4, 0, 4},
};
enum { GRIDS = sizeof grids / sizeof *grids };

static wc_part solve(size_t c, const float *w, size_t rows, size_t cols, const float *h, const uint8_t *mask,
                     int passes, int threads, double *loss)
{
    const struct grid *g = &grids[c];
    wc_ctx ctx;
    wc_ctx_init(&ctx, threads);
    wc_grid_options opt = {.bits = g->bits,
                           .group = g->group,
                           .sym = g->sym,
                           .scale_bits = g->scale_bits,
                           .zero_bits = g->zero_bits,
                           .tile = g->tile,
                           .search = WC_SEARCH_HESSIAN};
    wc_part p = {.kind = WC_PART_GRID};
    wc_hessian hessian = {0};
    float *weight = malloc(cols * sizeof *weight);
    assert_null(wc_grid_refusal(&opt));
    wc_grid_plan(rows, cols, &opt, &p.grid);
    for (size_t i = 0; mask && i < rows * cols; i++)
        p.grid.at.nnz += mask[i];
    p.grid.holes = mask != NULL, p.grid.mask = mask;
    if (h) assert_int_equal(wc_hessian_make(&ctx, "t", h, cols, 0.01, WC_ORDER_ACT, 1, &hessian), WC_OK);
    wc_hessian_weights(h, cols, weight);
    wc_grid_problem problem = {.tensor = "t",
                               .w = w,
                               .weight = weight,
                               .search = WC_SEARCH_HESSIAN,
                               .h = h ? &hessian : NULL,
                               .static_groups = true,
                               .block = 64,
                               .passes = passes,
                               .refit = true};
    assert_int_equal(wc_grid_solve(&ctx, &problem, &p.grid, loss), WC_OK);
    wc_hessian_free(&hessian);
    free(weight);
    return p;
}

static double error_of(const wc_part *p, const float *w, const float *h)
{
    float *q = util_dequantize(&p->grid);
    double e = util_error(w, q, p->grid.rows, p->grid.cols, h);
    free(q);
    return e;
}

static const uint8_t *codes(const wc_part *p)
{
    return p->grid.code;
}

static void assert_same(const wc_part *a, const wc_part *b)
{
    const wc_grid *x = &a->grid, *y = &b->grid;
    assert_int_equal(x->scale_exp, y->scale_exp);
    assert_memory_equal(x->code, y->code, x->rows * x->cols);
    assert_memory_equal(x->scale, y->scale, wc_grid_scales(x) * sizeof *x->scale);
}

static const masked quantizer = {GRIDS, solve, codes, assert_same, error_of};

/* A mask that keeps everything is no mask: the same codes, scales and zeros. */
static void a_full_mask_changes_nothing(void **unused)
{
    (void)unused;
    size_t rows = 40, cols = 100;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1, 0);
    uint8_t *mask = random_mask(rows * cols, 2);
    for (size_t g = 0; g < GRIDS; g++)
        for (int i = 0; i < 2; i++) {
            wc_part a = solve(g, w, rows, cols, i ? h : NULL, NULL, 2, 2, NULL),
                    b = solve(g, w, rows, cols, i ? h : NULL, mask, 2, 2, NULL);
            assert_memory_equal(a.grid.scale, b.grid.scale, wc_grid_scales(&a.grid) * sizeof(uint16_t));
            float *x = util_dequantize(&a.grid), *y = util_dequantize(&b.grid);
            for (size_t k = 0; k < rows * cols; k++) /* zeros refitted by another sum: usually all equal */
                assert_true(i && !grids[g].sym ? fabsf(x[k] - y[k]) < 1 : x[k] == y[k]);
            double ea = error_of(&a, w, h), eb = error_of(&b, w, h);
            assert_true(fabs(ea - eb) <= 0.005 * ea);
            free(x), free(y), wc_part_free(&a), wc_part_free(&b);
        }
    free(w), free(h), free(mask);
}

static void holes(void **unused)
{
    (void)unused;
    holes_have_no_say(&quantizer, NULL);
}

static void loss(void **unused)
{
    (void)unused;
    loss_identity_and_descent(&quantizer);
}

static void same_bytes(void **unused)
{
    (void)unused;
    same_bytes_for_any_threads_and_level(&quantizer);
}

/* ---- recipes ---------------------------------------------------------------------------------------------------- */

/* Pruning and quantizing as one problem against one after the other: the second without a word to the first. */
static void joint_beats_one_after_the_other(void **unused)
{
    (void)unused;
    static const struct {
        const char *joint, *apart;
        double ratio; /* usually; the limit is above */
    } table[] = {
        {"sparsegpt(50%) | gptq(bits=4)", "wanda(50%,update=none) | rtn(bits=4)", 0.45},
        {"sparsegpt(50%,update=none) | gptq(bits=4)", "sparsegpt(50%,update=none) | rtn(bits=4)", 0.6},
        {"sparsegpt(50%) | gptq(bits=4)", "sparsegpt(50%) | rtn(bits=4)", 0.95},
        {"sparsegpt(50%) | gptq(bits=4)", "sparsegpt(50%,update=none) | gptq(bits=4)", 1},
        {"sparsegpt(2:4) | gptq(bits=3)", "sparsegpt(2:4,update=obs) | rtn(bits=3)", 0.85},
        {"gqsa(30%,group=8) | gptq(bits=4,group=8)", "gqsa(30%,group=8,update=none) | rtn(bits=4,group=8)", 0.8},
        {"wanda(50%) | gptq(bits=2,sym=no)", "wanda(50%) | rtn(bits=2,sym=no)", 0.9},
    };
    size_t rows = 96, cols = 192;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 600, 1, 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double joint = recipe_error(table[i].joint, w, rows, cols, h),
               apart = recipe_error(table[i].apart, w, rows, cols, h);
        print_message("%-45s / %-50s %.3f\n", table[i].joint, table[i].apart, joint / apart);
        assert_true(joint < table[i].ratio * apart);
    }
    free(w), free(h);
}

static void two_grids_share_a_mask(void **unused)
{
    (void)unused;
    size_t rows = 40, cols = 64;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1, 0);
    double one = recipe_error("wanda(50%) | gptq(bits=2)", w, rows, cols, h),
           two = recipe_error("wanda(50%) | gptq(bits=2) | rtn(bits=4)", w, rows, cols, h),
           floor = recipe_error("wanda(50%) | gptq(bits=8)", w, rows, cols, h);
    assert_true(two < 0.9 * one && two > 0.99 * floor);
    free(w), free(h);
}

static void lists_that_make_no_sense_are_refused(void **unused)
{
    (void)unused;
    static const char *const bad[][2] = {
        {"sparsegpt(50%) | wanda(50%)", "a tensor has one mask"},
        {"gptq | wanda(50%)", "prune first, then quantize"},
        {"wanda(50%) | gptvq", "the mask would be lost"},
    };
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_recipe r;
        wc_clear_error(&ctx);
        assert_int_equal(wc_recipe_parse(&ctx, bad[i][0], &r), WC_OPTION);
        if (!strstr(ctx.error, bad[i][1])) fail_msg("`%s' lacks `%s'", ctx.error, bad[i][1]);
    }
}

/* ---- a trained layer -------------------------------------------------------------------------------------------- */

/* The f16 tensor `name' of docs4m as f32, or NULL. */
static float *trained(const char *name, size_t count)
{
    FILE *f = fopen("tests/data/docs4m/model.safetensors", "rb");
    uint64_t size = 0;
    unsigned long long begin = 0;
    if (!f) return NULL;
    assert_int_equal(fread(&size, 8, 1, f), 1);
    assert_true(size < 1 << 20);
    char *header = calloc(size + 1, 1);
    assert_int_equal(fread(header, 1, size, f), size);
    char *at = strstr(header, name), *offsets = at ? strstr(at, "\"data_offsets\"") : NULL;
    assert_non_null(offsets);
    assert_int_equal(sscanf(strchr(offsets, '['), "[%llu", &begin), 1);
    uint16_t *half = malloc(count * 2);
    float *x = malloc(count * sizeof *x);
    fseek(f, (long)(8 + size + begin), SEEK_SET);
    assert_int_equal(fread(half, 2, count, f), count);
    for (size_t i = 0; i < count; i++)
        x[i] = wc_f16_f32(half[i]);
    free(half), free(header), fclose(f);
    return x;
}

/* The published order on the first block's query weights with the inputs they really see: normalised embeddings, every
 * token once. SparseGPT under Wanda under magnitude; least squares improve both. */
static void a_trained_layer_ranks_methods_as_published(void **unused)
{
    (void)unused;
    enum { VOCAB = 4096, N = 256 };
    static const char *const texts[] = {"magnitude(50%,update=none)", "wanda(50%,update=none)", "wanda(50%)",
                                        "sparsegpt(50%,update=obs,block=128)", "sparsegpt(50%)"};
    float *x = trained("\"model.embed_tokens.weight\"", VOCAB * N);
    assert_non_null(x);
    float *norm = trained("\"model.layers.0.input_layernorm.weight\"", N),
          *w = trained("\"model.layers.0.self_attn.q_proj.weight\"", N * N), *h = malloc(N * N * sizeof *h);
    double *sum = calloc(N * N, sizeof *sum), last = INFINITY, whole = 0;
    for (size_t t = 0; t < VOCAB; t++) {
        double square = 1e-5 * N;
        float *row = x + t * N;
        for (size_t j = 0; j < N; j++)
            square += (double)row[j] * (double)row[j];
        for (size_t j = 0; j < N; j++)
            row[j] = (float)((double)row[j] * (double)norm[j] / sqrt(square / N));
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++)
                sum[i * N + j] += (double)row[i] * (double)row[j] / VOCAB;
    }
    for (size_t i = 0; i < N * N; i++)
        h[i] = (float)sum[i];
    float *zero = calloc(N * N, sizeof *zero);
    whole = util_error(w, zero, N, N, h);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pruned r = prune(texts[i], w, N, N, h, 2);
        double e = util_error(w, r.what, N, N, h) / whole;
        print_message("%-40s %.5f\n", texts[i], e);
        assert_true(e < 0.97 * last);
        last = e;
        free_pruned(&r);
    }
    free(x), free(norm), free(w), free(h), free(sum), free(zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_mask_changes_nothing),
        cmocka_unit_test(holes),
        cmocka_unit_test(loss),
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(joint_beats_one_after_the_other),
        cmocka_unit_test(two_grids_share_a_mask),
        cmocka_unit_test(lists_that_make_no_sense_are_refused),
        cmocka_unit_test(a_trained_layer_ranks_methods_as_published),
    };
    return cmocka_run_group_tests_name("masks", tests, NULL, NULL);
}
