/* Diagonals in norms and rows: what is stored, that the folded model computes the same logits for every architecture,
 * and which diagonal a group of linears gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "base/half.h"
#include "calib/pass.h"
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

/* The model with a diagonal of the inputs of every stage in what is in front of it, vectors in their own type. */
typedef struct folded {
    model *m;
    wc_weight_source base;
    wc_fold_scaled scaled[256];
    size_t used;
} folded;

static float wanted(size_t j, int stage)
{
    return expf(2 * sinf((float)(3 * j) + (float)stage));
}

/* *g and *stored [n], to be freed: a vector, and what is stored of it times diagonal [n]. */
static void fold_vector(const folded *f, const char *name, size_t n, const float *diagonal, float **g, float **stored)
{
    wc_dtype dtype = wc_checkpoint_find(&f->m->checkpoint, name)->dtype;
    uint8_t *bytes = malloc(4 * n);
    must(&f->m->ctx, wc_vector_read(&f->m->ctx, &f->base, name, n, g));
    *stored = malloc(n * sizeof **stored);
    wc_fold_norm(*g, diagonal, n, dtype, bytes);
    for (size_t j = 0; j < n; j++)
        (*stored)[j] = stored_value(bytes, j, dtype);
    free(bytes);
}

/* The name of the vector in front of the stage that takes part in its fold; false: there is none. */
static bool vector_in_front(const folded *f, size_t layer, wc_stage stage, char name[WC_NAME_SIZE])
{
    wc_tensor_spec bias = {.role = WC_ROLE_BIAS, .index = wc_fold_rows_of(&f->m->config, stage)};
    if (wc_fold_norm_name(&f->m->config, layer, stage, name)) return true;
    wc_spec_name(&bias, layer, name);
    return wc_checkpoint_find(&f->m->checkpoint, name);
}

/* c [width], to be freed: the diagonal of the stage's inputs; *rows: NULL, or what the rows in front are multiplied by.
 */
static float *diagonal_of(const folded *f, size_t layer, wc_stage stage, float **rows)
{
    const wc_config *config = &f->m->config;
    size_t width = wc_stage_width(config, stage);
    float *c = malloc(width * sizeof *c), *d = malloc(width * sizeof *d), *g = NULL, *stored = NULL;
    bool by_rows = wc_fold_rows_of(config, stage) != SIZE_MAX;
    size_t n = stage == WC_STAGE_O && by_rows ? config->kv_heads * config->head_dim : width;
    char name[WC_NAME_SIZE];
    for (size_t j = 0; j < n; j++)
        d[j] = wanted(j, stage);
    if (vector_in_front(f, layer, stage, name)) {
        fold_vector(f, name, n, d, &g, &stored);
        (by_rows ? wc_fold_bias : wc_fold_diagonal)(g, stored, n, d);
    }
    for (size_t j = 0; j < width; j++)
        c[j] = d[by_rows ? wc_fold_row(config, stage, j) : j];
    *rows = by_rows ? d : NULL;
    if (!by_rows) free(d);
    free(g), free(stored);
    return c;
}

static wc_status read_vector(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    float *g, *stored, *d = malloc(w->cols * sizeof *d);
    (void)ctx, (void)r0, (void)nr;
    for (size_t j = 0; j < w->cols; j++)
        d[j] = wanted(j, (int)w->index);
    fold_vector(w->source, w->name, w->cols, d, &g, &stored);
    memcpy(dst, stored, w->cols * sizeof *dst);
    free(g), free(stored), free(d);
    return WC_OK;
}

static wc_status find_folded(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    folded *f = (folded *)(uintptr_t)self;
    size_t layer;
    wc_stage stage;
    char front[WC_NAME_SIZE];
    float *rows = NULL;
    must(ctx, f->base.find(ctx, f->base.self, name, out));
    wc_role role = wc_model_role(&f->m->config, name, &layer, &stage);
    for (wc_stage s = 0; (role == WC_ROLE_NORM || role == WC_ROLE_BIAS) && layer != SIZE_MAX && s < WC_N_STAGES; s++)
        if (vector_in_front(f, layer, s, front) && !strcmp(front, name)) {
            out->read = read_vector;
            out->source = f;
            out->index = s;
        }
    if (role != WC_ROLE_LINEAR) return WC_OK;
    wc_fold_scaled *scaled = &f->scaled[f->used];
    assert_true(f->used++ < 256);
    *scaled = (wc_fold_scaled){.base = *out, .divide = true};
    scaled->c = diagonal_of(f, layer, stage, &rows);
    free(rows);
    size_t own = wc_fold_rows_of(&f->m->config, (stage + 1) % WC_N_STAGES);
    if (own != SIZE_MAX && strstr(name, wc_linear_suffix(own))) {
        free(diagonal_of(f, layer, stage + 1, &rows));
        scaled->rows = rows;
    }
    *out = wc_fold_weight(scaled);
    return WC_OK;
}

/* max |a - b| over max |b|: usually 1e-6, f32 rounding of the forward pass; a scale on one side only gives 0.1 to 1 */
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
    assert_true(f->used >= WC_N_LINEARS * m->config.layers);
    for (size_t i = 0; i < (size_t)N_SEQ * SEQLEN * m->config.vocab; i++) {
        worst = fmax(worst, fabs((double)after[i] - (double)before[i]));
        most = fmax(most, fabs((double)before[i]));
    }
    for (size_t i = 0; i < f->used; i++)
        free((float *)(uintptr_t)f->scaled[i].c), free((float *)(uintptr_t)f->scaled[i].rows);
    m->source = f->base;
    free(before), free(after), free(f);
    model_close(m);
    return worst / most;
}

static void every_architecture_computes_the_same(void **state)
{
    static const char *const names[] = {"llama",      "mistral", "qwen2",       "qwen2_types",  "qwen3",
                                        "qwen3_bias", "bitnet",  "rope_linear", "rope_partial", "rope_llama3"};
    char folder[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(folder, sizeof folder, "%s/%s", models_dir, names[i]);
        double d = logit_distance(folder);
        print_message("%s: %.1e\n", names[i], d);
        if (!(d < 1e-5)) fail_msg("%s: %g", names[i], d);
    }
    double d = logit_distance("tests/data/docs4m");
    print_message("docs4m: logits differ by %.1e of the largest\n", d);
    if (!(d < 1e-5)) fail_msg("docs4m: %g", d);
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
    size_t best;
    float c[CHOICES];
    (void)state;
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_fold_choose(&ctx, linear, 1, &stats, &best));
    assert_int_equal(best, 1);
    must(&ctx, wc_fold_choose(&ctx, linear, 2, &stats, &best));
    assert_int_equal(best, 2);
    must(&ctx, wc_fold_candidate(&ctx, linear, &stats, best, c));
    assert_true(c[0] == 2 && c[1] == 2);
}

/* Query heads that read the same row of v have one scale: what is known of their inputs is the mean of squares. */
static void heads_of_a_row_share(void **state)
{
    static const struct {
        wc_config config;
        wc_stage stage;
        float in[8], out[8];
        size_t row[8];
    } table[] = {
        {{.heads = 4, .kv_heads = 2, .head_dim = 2},
         WC_STAGE_O,
         {1, 2, 7, 14, 3, 0, 4, 0},
         {5, 10, 5, 10, 3.5355339f, 0, 3.5355339f, 0},
         {0, 1, 0, 1, 2, 3, 2, 3}},
        {{.heads = 4, .kv_heads = 4, .head_dim = 2},
         WC_STAGE_O,
         {1, 2, 3, 4, 5, 6, 7, 8},
         {1, 2, 3, 4, 5, 6, 7, 8},
         {0, 1, 2, 3, 4, 5, 6, 7}},
        {{.heads = 4, .kv_heads = 1, .head_dim = 2},
         WC_STAGE_DOWN,
         {1, 2, 3, 4, 5, 6, 7, 8},
         {1, 2, 3, 4, 5, 6, 7, 8},
         {0, 1, 2, 3, 4, 5, 6, 7}},
    };
    (void)state;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        float abs_mean[8];
        memcpy(abs_mean, table[t].in, sizeof abs_mean);
        wc_stats s = {.n = 8, .abs_mean = abs_mean};
        wc_fold_tie(&table[t].config, table[t].stage, &s);
        for (size_t j = 0; j < 8; j++) {
            assert_true(fabsf(abs_mean[j] - table[t].out[j]) < 1e-6f);
            assert_int_equal(wc_fold_row(&table[t].config, table[t].stage, j), table[t].row[j]);
        }
    }
}

/* ---- looking ahead ---------------------------------------------------------------------------------------------- */

/* What the next stage would see is what it does see when nothing has changed in between, to the bit; the streams go on
 * as if nobody had looked. */
static void a_look_ahead_is_what_comes(void **state)
{
    enum { WINDOWS = 3, LENGTH = 20 };
    uint32_t ids[WINDOWS * LENGTH];
    (void)state;
    model *m = model_open(text("%s/llama", models_dir), 2);
    wc_ctx *ctx = &m->ctx;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (uint32_t)((3 + 11 * i + i * i) % m->config.vocab);
    wc_windows windows = {.n = WINDOWS, .seqlen = LENGTH, .id = ids};
    wc_pass_options o = {.config = &m->config, .windows = &windows, .n_streams = 1, .chunk_tokens = 2 * LENGTH};
    wc_pass pass;
    wc_block b;
    const wc_block *both[] = {&b};
    must(ctx, wc_pass_open(ctx, &o, &pass));
    must(ctx, wc_pass_embed(ctx, &pass, 0, &m->source));
    must(ctx, wc_block_open(ctx, &m->config, &m->source, 1, &b));
    for (wc_stage stage = 0; stage < WC_N_STAGES; stage += 2) {
        wc_stats_sum sum;
        wc_stats ahead, then;
        size_t n = wc_stage_width(&m->config, stage + 1);
        must(ctx, wc_pass_stage(ctx, &pass, both, stage, NULL));
        must(ctx, wc_stats_begin(ctx, n, false, 0, &sum));
        must(ctx, wc_pass_peek(ctx, &pass, &b, stage, &sum));
        must(ctx, wc_stats_finish(ctx, &sum, &ahead));
        must(ctx, wc_stats_begin(ctx, n, false, 0, &sum));
        must(ctx, wc_pass_stage(ctx, &pass, both, stage + 1, &sum));
        must(ctx, wc_stats_finish(ctx, &sum, &then));
        assert_int_equal(ahead.tokens, WINDOWS * LENGTH);
        assert_memory_equal(ahead.h, then.h, n * n * sizeof *ahead.h);
        assert_memory_equal(ahead.abs_mean, then.abs_mean, n * sizeof *ahead.abs_mean);
        wc_stats_free(&ahead), wc_stats_free(&then);
    }
    wc_block_close(&b);
    wc_pass_close(&pass, true);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_keep_their_type),
        cmocka_unit_test(statistics_follow),
        cmocka_unit_test(every_architecture_computes_the_same),
        cmocka_unit_test(the_group_decides),
        cmocka_unit_test(heads_of_a_row_share),
        cmocka_unit_test(a_look_ahead_is_what_comes),
    };
    return cmocka_run_group_tests_name("fold", tests, models_make, models_remove);
}
