/* The pass `rotate': its matrices, and that the model it makes computes the same logits as the one before, for every
 * architecture and trained model there is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "model/linear.h"
#include "model_util.h"
#include "remodel.h"
#include "remodel/rotation.h"

enum { N_SEQ = 2, SEQLEN = 40 };

/* ---- the matrices ----------------------------------------------------------------------------------------------- */

static const size_t sizes[] = {1, 2, 3, 5, 6, 7, 8, 12, 16, 20, 43, 64, 96, 100, 172, 256, 320};

/* Q Q^T = I to 1e-15, entries below sqrt(2/n), and equal to sqrt(1/n) for a power of two. */
static void rotations_are_orthogonal_and_flat(void **state)
{
    wc_ctx ctx;
    (void)state;
    wc_ctx_init(&ctx, 1);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        wc_rotation q;
        double *m = calloc(n * n + n, sizeof *m); /* row i is Q e_i: the columns of Q */
        assert_non_null(m);
        must(&ctx, wc_rotation_make(&ctx, n, 7 + s, &q));
        for (size_t i = 0; i < n; i++) {
            m[i * n + i] = 1;
            wc_rotation_apply(&q, m + i * n, m + n * n);
        }
        double most = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double dot = 0;
                for (size_t k = 0; k < n; k++)
                    dot += m[i * n + k] * m[j * n + k];
                assert_true(fabs(dot - (i == j)) < 1e-12);
                most = fmax(most, fabs(m[i * n + j]));
            }
        assert_true(most <= sqrt(2 / (double)n) + 1e-12);
        if (n == q.power) assert_true(fabs(most - sqrt(1 / (double)n)) < 1e-12);
        wc_rotation_free(&q);
        free(m);
    }
}

static void columns_are_rotated_as_vectors(void **state)
{
    wc_ctx ctx;
    (void)state;
    wc_ctx_init(&ctx, 3);
    for (size_t cols = 1; cols < 40; cols += 6) {
        enum { N = 12 };
        wc_rotation q;
        float m[N * 40];
        double x[40][N], work[N];
        must(&ctx, wc_rotation_make(&ctx, N, cols, &q));
        for (size_t i = 0; i < N * cols; i++)
            m[i] = sinf((float)i), x[i % cols][i / cols] = (double)m[i];
        must(&ctx, wc_rotation_columns(&ctx, &q, m, cols));
        for (size_t c = 0; c < cols; c++) {
            wc_rotation_apply(&q, x[c], work);
            for (size_t i = 0; i < N; i++)
                assert_true(m[i * cols + c] == (float)x[c][i]);
        }
        wc_rotation_free(&q);
    }
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

static void make_ids(uint32_t *ids, size_t vocab)
{
    for (size_t i = 0; i < (size_t)N_SEQ * SEQLEN; i++)
        ids[i] = (uint32_t)((7 + 13 * i + 5 * i * i) % vocab);
}

/* Reads a tensor of the rotated model; whether it is another one than before. */
static bool differs(model *m, const wc_remodel *r, const char *name)
{
    wc_weight a, b;
    bool other = false;
    must(&m->ctx, m->source.find(&m->ctx, m->source.self, name, &a));
    must(&m->ctx, r->source.find(&m->ctx, r->source.self, name, &b));
    float *x = calloc(2 * a.rows * a.cols, sizeof *x), *y = x + a.rows * a.cols;
    assert_non_null(x);
    must(&m->ctx, a.read(&m->ctx, &a, 0, a.rows, x));
    must(&m->ctx, b.read(&m->ctx, &b, 0, b.rows, y));
    for (size_t i = 0; i < a.rows * a.cols; i++)
        other = other || fabsf(x[i] - y[i]) > 1e-3f * fabsf(x[i]);
    free(x);
    return other;
}

static void look_at_tensors(model *m, const wc_remodel *r)
{
    static const char *const turned[] = {"model.embed_tokens.weight",
                                         "model.layers.0.self_attn.q_proj.weight",
                                         "model.layers.0.self_attn.v_proj.weight",
                                         "model.layers.0.self_attn.o_proj.weight",
                                         "model.layers.0.mlp.up_proj.weight",
                                         "model.layers.0.mlp.down_proj.weight"};
    for (size_t i = 0; i < sizeof turned / sizeof *turned; i++)
        if (!differs(m, r, turned[i])) fail_msg("%s is as it was", turned[i]);
    static const char *const norms[] = {"model.norm.weight", "model.layers.0.input_layernorm.weight",
                                        "model.layers.0.post_attention_layernorm.weight"};
    for (size_t i = 0; i < 3; i++) {
        float *v;
        must(&m->ctx, wc_vector_read(&m->ctx, &r->source, norms[i], m->config.hidden, &v));
        for (size_t j = 0; j < m->config.hidden; j++)
            assert_true(v[j] == 1);
        free(v);
    }
    assert_false(r->config.tied);
    assert_int_equal(r->checkpoint.n, m->checkpoint.n + m->config.tied);
    for (size_t i = 0; i < r->checkpoint.n; i++) {
        const wc_st_tensor *t = r->checkpoint.tensor[i];
        assert_true(!i || strcmp(r->checkpoint.tensor[i - 1]->name, t->name) < 0);
        if (strstr(t->name, "_norm.weight") && !strstr(t->name, "model.norm")) assert_false(wc_remodel_made(t));
        if (strstr(t->name, "lm_head") || strstr(t->name, "proj.weight")) assert_true(wc_remodel_made(t));
    }
}

/* max |a - b| over max |b|: usually 2e-6, f32 rounding of the forward pass; a forgotten fold gives 0.1 */
static double logit_distance(const char *folder, const char *recipe)
{
    model *m = model_open(folder, 2);
    wc_recipe passes;
    wc_remodel r;
    const char *rest;
    uint32_t ids[N_SEQ * SEQLEN];
    double worst = 0, most = 0;
    must(&m->ctx, wc_recipe_split(&m->ctx, recipe, &passes, &rest));
    assert_string_equal(rest, "keep");
    must(&m->ctx, wc_remodel_open(&m->ctx, &m->checkpoint, &m->config, &m->source, &passes, &r));
    look_at_tensors(m, &r);
    make_ids(ids, m->config.vocab);
    float *before = model_logits(m, ids, N_SEQ, SEQLEN);
    m->config = r.config, m->source = r.source;
    float *after = model_logits(m, ids, N_SEQ, SEQLEN);
    for (size_t i = 0; i < (size_t)N_SEQ * SEQLEN * m->config.vocab; i++) {
        worst = fmax(worst, fabs((double)after[i] - (double)before[i]));
        most = fmax(most, fabs((double)before[i]));
    }
    free(before), free(after);
    wc_remodel_close(&r);
    wc_recipe_free(&passes);
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
        double d = logit_distance(folder, i % 2 ? "rotate" : "rotate(seed=3,heads=true)");
        if (!(d < 1e-4)) fail_msg("%s: %g", names[i], d);
    }
    double d = logit_distance("tests/data/docs4m", "rotate");
    if (!(d < 1e-4)) fail_msg("docs4m: %g", d);
}

static void trained_models_compute_the_same(void **state)
{
    static const char *const names[] = {"stories260k", "aidreams260k", "docs4m"};
    const char *shared = getenv("WC_SHARED");
    char folder[1024];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(folder, sizeof folder, "%s/models/%s", shared ? shared : "../shared", names[i]);
        if (!wc_is_dir(folder)) {
            print_message("no %s\n", folder);
            skip();
        }
        double d = logit_distance(folder, "rotate | rotate(seed=1)"); /* a rotated model can be rotated again */
        if (!(d < 1e-4)) fail_msg("%s: %g", names[i], d);
    }
}

static void without_heads_v_keeps_its_rows(void **state)
{
    char folder[256];
    (void)state;
    snprintf(folder, sizeof folder, "%s/llama", models_dir);
    model *m = model_open(folder, 1);
    wc_recipe passes;
    wc_remodel r;
    const char *rest;
    must(&m->ctx, wc_recipe_split(&m->ctx, "rotate(heads=no,down=no,kept=f16) | gptq", &passes, &rest));
    assert_string_equal(rest, "gptq");
    must(&m->ctx, wc_remodel_open(&m->ctx, &m->checkpoint, &m->config, &m->source, &passes, &r));
    assert_null(r.before[6]);
    /* row norms of W' = W diag(g) Q^T are those of W diag(g) */
    wc_weight a, b;
    float *g, x[4096], y[4096];
    must(&m->ctx, wc_vector_read(&m->ctx, &m->source, "model.layers.1.input_layernorm.weight", m->config.hidden, &g));
    must(&m->ctx, m->source.find(&m->ctx, m->source.self, "model.layers.1.self_attn.v_proj.weight", &a));
    must(&m->ctx, r.source.find(&m->ctx, r.source.self, "model.layers.1.self_attn.v_proj.weight", &b));
    for (size_t i = 0; i < a.rows; i++) {
        double before = 0, after = 0;
        must(&m->ctx, a.read(&m->ctx, &a, i, 1, x));
        must(&m->ctx, b.read(&m->ctx, &b, i, 1, y));
        for (size_t j = 0; j < a.cols; j++)
            before += (double)(x[j] * g[j]) * (double)(x[j] * g[j]), after += (double)y[j] * (double)y[j];
        assert_true(fabs(before - after) < 1e-5 * before);
    }
    free(g);
    for (size_t i = 0; i < r.checkpoint.n; i++)
        if (wc_remodel_made(r.checkpoint.tensor[i])) assert_int_equal(r.checkpoint.tensor[i]->dtype, WC_F16);
    wc_remodel_close(&r);
    wc_recipe_free(&passes);
    model_close(m);
}

static void bitnet_is_refused(void **state)
{
    char folder[256];
    (void)state;
    snprintf(folder, sizeof folder, "%s/bitnet", models_dir);
    model *m = model_open(folder, 1);
    wc_recipe passes;
    wc_remodel r;
    const char *rest;
    must(&m->ctx, wc_recipe_split(&m->ctx, "rotate", &passes, &rest));
    assert_int_equal(wc_remodel_open(&m->ctx, &m->checkpoint, &m->config, &m->source, &passes, &r), WC_OPTION);
    assert_non_null(strstr(m->ctx.error, "ternary"));
    wc_recipe_free(&passes);
    model_close(m);
}

static void passes_stand_first(void **state)
{
    static const struct {
        const char *text, *passes, *rest, *sentence;
    } cases[] = {
        {"gptq(bits=3)", "keep", "gptq(bits=3)", NULL},
        {"rotate", "rotate(seed=0,heads=true,down=true,kept=f32)", "keep", NULL},
        {"rotate ( seed = 4 ) | keep", "rotate(seed=4,heads=true,down=true,kept=f32)", "keep", NULL},
        {"rotate(kept=bf16)|rtn", "rotate(seed=0,heads=true,down=true,kept=bf16)", "rtn", NULL},
        {"rotate(seed=x)", NULL, NULL, "is not an integer"},
        {"rotate(heads=2)", NULL, NULL, "neither true nor false"},
        {"rotate rtn", NULL, NULL, "expected `|' or the end at `rtn'"},
        {"rotate(zap=1)", NULL, NULL, "rotate has no option `zap'"},
    };
    wc_ctx ctx;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_recipe passes;
        wc_buf printed = {0};
        const char *rest;
        wc_ctx_init(&ctx, 1);
        wc_status s = wc_recipe_split(&ctx, cases[i].text, &passes, &rest);
        if (cases[i].sentence) {
            assert_int_equal(s, WC_OPTION);
            if (!strstr(ctx.error, cases[i].sentence)) fail_msg("`%s' lacks `%s'", ctx.error, cases[i].sentence);
            continue;
        }
        must(&ctx, s);
        must(&ctx, wc_recipe_print(&ctx, &passes, &printed));
        assert_string_equal((char *)printed.data, cases[i].passes);
        assert_string_equal(rest, cases[i].rest);
        wc_recipe_free(&passes);
        wc_buf_free(&printed);
    }
    wc_recipe r;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_recipe_parse(&ctx, "rtn | rotate", &r), WC_OPTION);
    assert_non_null(strstr(ctx.error, "`rotate' changes the whole model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotations_are_orthogonal_and_flat),
        cmocka_unit_test(columns_are_rotated_as_vectors),
        cmocka_unit_test(every_architecture_computes_the_same),
        cmocka_unit_test(trained_models_compute_the_same),
        cmocka_unit_test(without_heads_v_keeps_its_rows),
        cmocka_unit_test(bitnet_is_refused),
        cmocka_unit_test(passes_stand_first),
    };
    return cmocka_run_group_tests(tests, models_make, models_remove);
}
