/* Diagonals in norms: what is stored, that the folded model computes the same logits for every architecture, and which
 * diagonal a group of linears gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "base/half.h"
#include "fold.h"
#include "model/linear.h"
#include "model_util.h"

enum { N_SEQ = 2, SEQLEN = 40 };

/* ---- the norm as stored ----------------------------------------------------------------------------------------- */

static float stored_value(const uint8_t *stored, size_t j, wc_dtype dtype)
{
    uint32_t bits = 0;
    size_t width = wc_dtype_bits(dtype) / 8;
    for (size_t b = 0; b < width; b++)
        bits |= (uint32_t)stored[j * width + b] << 8 * b;
    return dtype == WC_F16    ? wc_f16_f32((uint16_t)bits)
           : dtype == WC_BF16 ? wc_bf16_f32((uint16_t)bits)
                              : wc_bits_f32(bits);
}

/* g' is g c rounded, or g where that is out of the type's range, and g' = g times the diagonal that it stands for to
 * one rounding of f32. */
static void norms_keep_their_type(void **state)
{
    static const struct {
        wc_dtype dtype;
        double step; /* the largest relative rounding */
    } types[] = {{WC_F32, 0x1p-24}, {WC_F16, 0x1p-11}, {WC_BF16, 0x1p-8}};
    static const float g[] = {1, -0.375f, 0, 2.5f, 6e4f, 0x1p-13f, 3}, c[] = {1, 3.1f, 7, 0.3f, 30, 0x1p-6f, 1.37f};
    enum { N = sizeof g / sizeof *g };
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        uint8_t stored[4 * N];
        float back[N], diagonal[N];
        wc_fold_norm(g, c, N, types[t].dtype, stored);
        for (size_t j = 0; j < N; j++)
            back[j] = stored_value(stored, j, types[t].dtype);
        wc_fold_diagonal(g, back, N, diagonal);
        for (size_t j = 0; j < N; j++) {
            bool beyond = types[t].dtype == WC_F16 && (j == 4 || j == 5);
            double wanted = (double)g[j] * (beyond ? 1 : (double)c[j]);
            assert_true(fabs((double)back[j] - wanted) <= fabs(wanted) * types[t].step);
            assert_true(diagonal[j] > 0 && (g[j] != 0 || diagonal[j] == 1));
            assert_true(fabs((double)(g[j] * diagonal[j] - back[j])) <= 0x1p-23 * fabs((double)back[j]));
        }
    }
}

static void statistics_follow(void **state)
{
    enum { N = 3, ROWS = 2 };
    float h[N * N], drift[N * N], r[ROWS * N], mean[N], abs_mean[N];
    static const float c[N] = {0.5f, 2, 4};
    wc_ctx ctx;
    (void)state;
    wc_ctx_init(&ctx, 2);
    for (size_t i = 0; i < (size_t)N * N; i++)
        h[i] = (float)(i + 1), drift[i] = -(float)i;
    for (size_t i = 0; i < (size_t)ROWS * N; i++)
        r[i] = (float)i - 2;
    for (size_t j = 0; j < N; j++)
        mean[j] = -(float)j, abs_mean[j] = (float)j + 1;
    wc_stats s = {.n = N, .h = h, .c = drift, .r = r, .mean = mean, .abs_mean = abs_mean};
    wc_fold_stats(&ctx, &s, ROWS, c);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < N; j++) {
            assert_true(h[i * N + j] == c[i] * c[j] * (float)(i * N + j + 1));
            assert_true(drift[i * N + j] == c[i] * c[j] * -(float)(i * N + j));
        }
        for (size_t k = 0; k < ROWS; k++)
            assert_true(r[k * N + i] == c[i] * ((float)(k * N + i) - 2));
        assert_true(mean[i] == c[i] * -(float)i && abs_mean[i] == c[i] * ((float)i + 1));
    }
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

/* The model with a diagonal in the norm in front of every q, k, v and gate, up, norms in their own type. */
typedef struct folded {
    model *m;
    wc_weight_source base;
    float c[2][4096]; /* of the two norms, by their width */
    wc_fold_scaled scaled[256];
    size_t used;
} folded;

static wc_status read_norm(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const folded *f = w->source;
    float *g = NULL, wanted[4096];
    uint8_t stored[4 * 4096];
    wc_dtype dtype = (wc_dtype)(w->index >> 1);
    (void)r0, (void)nr;
    must(ctx, wc_vector_read(ctx, &f->base, w->name, w->cols, &g));
    for (size_t j = 0; j < w->cols; j++)
        wanted[j] = expf(2 * sinf((float)(3 * j + w->index % 2)));
    wc_fold_norm(g, wanted, w->cols, dtype, stored);
    for (size_t j = 0; j < w->cols; j++)
        dst[j] = stored_value(stored, j, dtype);
    wc_fold_diagonal(g, dst, w->cols, ((folded *)(uintptr_t)f)->c[w->index % 2]);
    free(g);
    return WC_OK;
}

static wc_status find_folded(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    folded *f = (folded *)(uintptr_t)self;
    bool mlp = strstr(name, "post_attention_layernorm") || strstr(name, "gate_proj") || strstr(name, "up_proj");
    bool norm = strstr(name, "input_layernorm") || strstr(name, "post_attention_layernorm");
    bool behind = strstr(name, "q_proj.weight") || strstr(name, "k_proj.weight") || strstr(name, "v_proj.weight") ||
                  strstr(name, "gate_proj.weight") || strstr(name, "up_proj.weight");
    must(ctx, f->base.find(ctx, f->base.self, name, out));
    if (norm) {
        out->read = read_norm;
        out->source = f;
        out->index = (uint64_t)wc_checkpoint_find(&f->m->checkpoint, name)->dtype << 1 | mlp;
    }
    if (!behind) return WC_OK;
    char norm_name[256];
    wc_weight g;
    float values[4096];
    size_t layer;
    wc_stage stage;
    wc_model_role(&f->m->config, name, &layer, &stage);
    snprintf(norm_name, sizeof norm_name, "model.layers.%zu.%s.weight", layer,
             mlp ? "post_attention_layernorm" : "input_layernorm");
    must(ctx, find_folded(ctx, f, norm_name, &g));
    must(ctx, g.read(ctx, &g, 0, 1, values));
    assert_true(f->used < 256);
    float *c = malloc(out->cols * sizeof *c);
    memcpy(c, f->c[mlp], out->cols * sizeof *c);
    f->scaled[f->used] = (wc_fold_scaled){.base = *out, .c = c, .divide = true};
    *out = wc_fold_weight(&f->scaled[f->used++]);
    return WC_OK;
}

/* max |a - b| over max |b|: usually 1e-6, f32 rounding of the forward pass; a scale on one side only gives 1 */
static double logit_distance(const char *folder)
{
    model *m = model_open(folder, 2);
    folded *f = calloc(1, sizeof *f);
    uint32_t ids[N_SEQ * SEQLEN];
    double worst = 0, most = 0;
    assert_non_null(f);
    f->m = m, f->base = m->source;
    for (size_t i = 0; i < (size_t)N_SEQ * SEQLEN; i++)
        ids[i] = (uint32_t)((7 + 13 * i + 5 * i * i) % m->config.vocab);
    float *before = model_logits(m, ids, N_SEQ, SEQLEN);
    m->source = (wc_weight_source){.find = find_folded, .self = f, .label = "folded"};
    float *after = model_logits(m, ids, N_SEQ, SEQLEN);
    assert_true(f->used >= 5 * m->config.layers);
    for (size_t i = 0; i < (size_t)N_SEQ * SEQLEN * m->config.vocab; i++) {
        worst = fmax(worst, fabs((double)after[i] - (double)before[i]));
        most = fmax(most, fabs((double)before[i]));
    }
    for (size_t i = 0; i < f->used; i++)
        free((float *)(uintptr_t)f->scaled[i].c);
    m->source = f->base;
    free(before), free(after), free(f);
    model_close(m);
    return worst / most;
}

static void every_architecture_computes_the_same(void **state)
{
    static const char *const names[] = {"llama",      "mistral",     "qwen2",        "qwen2_types", "qwen3",
                                        "qwen3_bias", "rope_linear", "rope_partial", "rope_llama3"};
    char folder[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(folder, sizeof folder, "%s/%s", models_dir, names[i]);
        double d = logit_distance(folder);
        if (!(d < 1e-4)) fail_msg("%s: %g", names[i], d);
    }
    double d = logit_distance("tests/data/docs4m");
    print_message("docs4m: logits differ by %.1e of the largest\n", d);
    if (!(d < 1e-4)) fail_msg("docs4m: %g", d);
}

/* ---- which diagonal --------------------------------------------------------------------------------------------- */

/* A method with four candidates, whose costs are in the weights themselves. */
enum { CHOICES = 4 };

static size_t choices(const void *opt)
{
    (void)opt;
    return CHOICES;
}

static wc_status cost(const wc_job *job, const void *opt, double *error)
{
    (void)opt;
    for (size_t k = 0; k < CHOICES; k++)
        error[k] += (double)job->w[k];
    return WC_OK;
}

static wc_status diagonal(const wc_job *job, const void *opt, size_t k, float *c)
{
    (void)opt;
    for (size_t j = 0; j < job->at.cols; j++)
        c[j] = (float)k;
    return WC_OK;
}

static wc_status read_rows(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    memcpy(dst, (const float *)w->source + r0 * w->cols, nr * w->cols * sizeof *dst);
    return WC_OK;
}

static void the_group_decides(void **state)
{
    static const wc_folding folding = {.choices = choices, .cost = cost, .diagonal = diagonal};
    static const wc_method method = {.name = "test", .folding = &folding};
    static const wc_recipe_step step = {.method = &method};
    static const float a[CHOICES] = {5, 1, 4, 4}, b[CHOICES] = {5, 9, 3, 3}; /* alone 1 and 2; together 2, then 3 */
    wc_weight w[2] = {{.rows = 2, .cols = 2, .name = "a", .read = read_rows, .source = a},
                      {.rows = 1, .cols = CHOICES, .name = "b", .read = read_rows, .source = b}};
    wc_fold_linear linear[2] = {{&w[0], &step}, {&w[1], &step}};
    wc_stats stats = {.n = 2};
    wc_ctx ctx;
    float c[CHOICES];
    (void)state;
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_fold_choose(&ctx, linear, 1, &stats, c));
    assert_true(c[0] == 1 && c[1] == 1);
    must(&ctx, wc_fold_choose(&ctx, linear, 2, &stats, c));
    assert_true(c[0] == 2 && c[1] == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_keep_their_type),
        cmocka_unit_test(statistics_follow),
        cmocka_unit_test(every_architecture_computes_the_same),
        cmocka_unit_test(the_group_decides),
    };
    return cmocka_run_group_tests_name("fold", tests, models_make, models_remove);
}
