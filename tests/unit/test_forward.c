/* The forward pass against Hugging Face's recorded logits and against an independent one in numpy (tests/oracle). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "model_util.h"

#include "calib/pass.h"
#include "model/attention.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { N_SEQ = 2, SEQLEN = 40, SEQLEN_TILES = 300, FIXTURE_ROWS = 10 };

static const char *const random_models[] = {"llama",
                                            "mistral",
                                            "qwen2",
                                            "qwen2_types",
                                            "qwen3",
                                            "qwen3_bias",
                                            "bitnet",
                                            "rope_linear",
                                            "rope_ntk",
                                            "rope_dynamic",
                                            "rope_partial",
                                            "rope_yarn",
                                            "rope_yarn_options",
                                            "rope_yarn_attention",
                                            "rope_llama3",
                                            "rope_longrope_short",
                                            "rope_longrope_long"};
enum { N_RANDOM = sizeof random_models / sizeof *random_models };
static const char *const trained_models[] = {"stories260k", "aidreams260k", "docs4m", "bitllama-1m", "bitllama-3m"};

static const char *shared_models(void)
{
    static char path[4096];
    const char *shared = getenv("WC_SHARED");
    strcpy(path, text("%s/models", shared ? shared : "../shared"));
    return wc_is_dir(path) ? path : NULL;
}

static void shell(const char *command)
{
    if (system(command)) fail_msg("failed: %s", command);
}

/* The ids of make_models.py. */
static uint32_t *make_ids(size_t n_seq, size_t seqlen, size_t vocab)
{
    uint32_t *ids = malloc(n_seq * seqlen * sizeof *ids);
    for (size_t s = 0; s < n_seq; s++)
        for (size_t p = 0; p < seqlen; p++)
            ids[s * seqlen + p] = (uint32_t)((7 + 13 * p + 5 * p * p + 29 * s) % vocab);
    return ids;
}

static float *logits_at(const char *folder, int threads, size_t seqlen, size_t *vocab)
{
    model *m = model_open(folder, threads);
    uint32_t *ids = make_ids(N_SEQ, seqlen, m->config.vocab);
    float *logits = model_logits(m, ids, N_SEQ, seqlen);
    *vocab = m->config.vocab;
    free(ids);
    model_close(m);
    return logits;
}

static float *read_floats(const char *path, size_t n)
{
    wc_ctx ctx;
    wc_buf b = {0};
    wc_ctx_init(&ctx, 1);
    must(&ctx, wc_read_file(&ctx, path, 1 << 28, &b));
    assert_int_equal(b.size, n * sizeof(float));
    return (float *)(void *)b.data;
}

/* max |a - b| over max |b|. */
static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        most = fmax(most, fabs((double)b[i]));
        if (isnan(a[i])) return INFINITY;
    }
    return worst / most;
}

/* Our logits at the recorded positions 3, 7, ... 39. */
static double distance_to_fixture(const char *name, const char *folder)
{
    size_t v;
    float *got = logits_at(folder, 2, SEQLEN, &v), *want, worst = 0;
    want = read_floats(text("tests/data/forward/%s.f32", name), N_SEQ * FIXTURE_ROWS * v);
    for (size_t s = 0; s < N_SEQ; s++)
        for (size_t p = 0; p < FIXTURE_ROWS; p++) {
            const float *row = got + (s * SEQLEN + 3 + 4 * p) * v;
            worst = fmaxf(worst, (float)distance(row, want + (s * FIXTURE_ROWS + p) * v, v));
        }
    free(got);
    free(want);
    return (double)worst;
}

/* 3e-6 of a row's largest logit is usual (longrope 1e-5: f32 angles); a wrong detail gives 1e-2 and more, as the next
 * test shows. */
static void logits_equal_those_of_hugging_face(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < N_RANDOM; i++) {
        const char *name = random_models[i];
        if (!wc_file_exists(text("tests/data/forward/%s.f32", name))) continue;
        const char *folder = text("%s/%s", models_dir, name);
        double d = distance_to_fixture(name, folder);
        print_message("%-20s %.1e\n", name, d);
        assert_true(d < 1e-4);
    }
}

/* The fixtures can tell: with any detail of the config changed, the logits are far off. */
static void a_wrong_detail_is_seen(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *from, *to;
    } change[] = {
        {"mistral", "\"sliding_window\": 5", "\"sliding_window\": 6"},
        {"qwen2", "\"max_window_layers\": 1", "\"max_window_layers\": 2"},
        {"qwen2_types", "\"sliding_window\": 3", "\"sliding_window\": 4"},
        {"rope_linear", "\"factor\": 4.0", "\"factor\": 3.9"},
        {"rope_dynamic", "\"factor\": 3.0", "\"factor\": 2.9"},
        {"rope_yarn", "\"factor\": 4.0", "\"factor\": 3.9"},
        {"rope_yarn_options", "\"beta_slow\": 0.5", "\"beta_slow\": 0.6"},
        {"rope_yarn_options", "\"mscale\": 1.5", "\"mscale\": 1.4"},
        {"rope_yarn_options", "\"truncate\": false", "\"truncate\": true"},
        {"rope_yarn_attention", "\"attention_factor\": 1.3", "\"attention_factor\": 1.28"},
        {"rope_llama3", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 1.1"},
        {"rope_llama3", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 4.2"},
        {"rope_longrope_long", "\"original_max_position_embeddings\": 32", "\"original_max_position_embeddings\": 40"},
    };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        const char *folder = text("%s/changed%zu", models_dir, i);
        shell(text("cp -r %s/%s %s && sed -i 's/%s/%s/' %s/config.json", models_dir, change[i].name, folder,
                   change[i].from, change[i].to, folder));
        double d = distance_to_fixture(change[i].name, folder);
        if (d < 1e-3) fail_msg("%s with %s: only %.1e", change[i].name, change[i].to, d);
    }
}

/* Runs both on the models of a folder that exist; one Python for all of them. */
static void compare_with_oracle(const char *folder, const char *const *names, size_t n, size_t seqlen)
{
    char list[4096] = "";
    for (size_t i = 0; i < n; i++)
        if (wc_is_dir(text("%s/%s", folder, names[i]))) strcat(list, text(" %s/%s", folder, names[i]));
    shell(text("OPENBLAS_NUM_THREADS=1 /usr/bin/python3 -B tests/oracle/forward.py %d %zu %s%s", N_SEQ, seqlen,
               models_dir, list));
    for (size_t i = 0; i < n; i++) {
        if (!wc_is_dir(text("%s/%s", folder, names[i]))) continue;
        size_t v;
        float *got = logits_at(text("%s/%s", folder, names[i]), 2, seqlen, &v);
        float *want = read_floats(text("%s/%s.f32", models_dir, names[i]), N_SEQ * seqlen * v);
        double d = distance(got, want, N_SEQ * seqlen * v);
        print_message("%-20s %4zu tokens: %.1e\n", names[i], seqlen, d);
        assert_true(d < 1e-4);
        free(got);
        free(want);
    }
}

/* Longer than two attention tiles, so that tiles, windows across tiles and long angles are covered. 1e-5 is usual. */
static void logits_equal_the_oracle(void **unused)
{
    (void)unused;
    compare_with_oracle(models_dir, random_models, N_RANDOM, SEQLEN_TILES);
}

static void trained_models_equal_the_oracle(void **unused)
{
    (void)unused;
    const char *models = shared_models();
    if (!models) {
        print_message("no shared/models: trained models not run\n");
        skip();
    }
    compare_with_oracle(models, trained_models, sizeof trained_models / sizeof *trained_models, 64);
}

/* Mean loss on the first stories, against Hugging Face's: 1e-6 is usual. A wrong rotation or norm costs whole nats. */
static void stories_have_the_recorded_loss(void **unused)
{
    (void)unused;
    const char *models = shared_models();
    if (!models) skip();
    model *m = model_open(text("%s/stories260k", models), 2);
    wc_buf file = {0};
    must(&m->ctx, wc_read_file(&m->ctx, "tests/data/forward/stories.u16", 1 << 20, &file));
    size_t n = file.size / 2, count = 0, v = m->config.vocab;
    uint32_t *ids = malloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)file.data[2 * i] | (uint32_t)file.data[2 * i + 1] << 8;
    double loss = 0, want = 0;
    for (size_t start = 0, end; start < n; start = end) { /* id 1 begins a story */
        for (end = start + 1; end < n && ids[end] != 1;)
            end++;
        float *logits = model_logits(m, ids + start, 1, end - start);
        for (size_t i = start; i + 1 < end; i++, count++) {
            const float *row = logits + (i - start) * v;
            double sum = 0;
            for (size_t j = 0; j < v; j++)
                sum += exp((double)row[j]);
            loss += log(sum) - (double)row[ids[i + 1]];
        }
        free(logits);
    }
    FILE *f = fopen("tests/data/forward/stories.txt", "r");
    assert_true(f && fscanf(f, "%lf", &want) == 1);
    fclose(f);
    loss /= (double)count;
    print_message("stories260k: %zu tokens, ppl %.5f, recorded %.5f\n", count, exp(loss), exp(want));
    assert_true(fabs(loss - want) < 1e-4);
    free(ids);
    wc_buf_free(&file);
    model_close(m);
}

static void same_bytes_for_any_thread_count(void **unused)
{
    (void)unused;
    static const char *const names[] = {"llama", "mistral", "qwen3", "bitnet"};
    for (size_t i = 0; i < 4; i++) {
        size_t v;
        const char *folder = text("%s/%s", models_dir, names[i]);
        float *one = logits_at(folder, 1, SEQLEN_TILES, &v);
        for (int threads = 2; threads <= 5; threads += 3) {
            float *more = logits_at(folder, threads, SEQLEN_TILES, &v);
            assert_memory_equal(one, more, N_SEQ * SEQLEN_TILES * v * sizeof *one);
            free(more);
        }
        free(one);
    }
}

static void mismatches_are_named(void **unused)
{
    (void)unused;
    const char *folder = text("%s/qwen3", models_dir);
    model *m = model_open(folder, 1);
    wc_config c = m->config;
    c.tied = false, c.layers = 3;
    assert_int_equal(wc_model_check(&m->ctx, &c, &m->source), WC_BADFILE);
    assert_non_null(strstr(m->ctx.error, "model.layers.2.self_attn.q_proj.weight' [80, 32], which"));
    wc_clear_error(&m->ctx);
    c = m->config, c.intermediate = 57;
    assert_int_equal(wc_model_check(&m->ctx, &c, &m->source), WC_BADFILE);
    assert_non_null(strstr(m->ctx.error, "mlp.gate_proj.weight' is [56, 32], config.json makes it [57, 32]"));
    wc_clear_error(&m->ctx);
    wc_block b;
    assert_int_equal(wc_block_open(&m->ctx, &c, &m->source, 1, &b), WC_BADFILE);
    wc_clear_error(&m->ctx);
    float x[64];
    assert_int_equal(wc_model_embed(&m->ctx, &m->config, &m->source, (uint32_t[]){1, 48}, 2, x), WC_BADFILE);
    assert_non_null(strstr(m->ctx.error, "token id 48 (position 1), the model has 48 rows"));
    model_close(m);
}

static void activations_that_are_not_finite_are_refused(void **unused)
{
    (void)unused;
    const char *folder = text("%s/llama", models_dir);
    model *m = model_open(folder, 1);
    wc_block b;
    must(&m->ctx, wc_block_open(&m->ctx, &m->config, &m->source, 1, &b));
    size_t t = 6, h = m->config.hidden;
    float *x = calloc(t * h, sizeof *x), *u = calloc(t * m->config.intermediate, sizeof *u);
    x[4 * h + 3] = NAN;
    assert_int_equal(wc_block_begin(&m->ctx, &b, t, x, u), WC_NUMERIC);
    assert_string_equal(m->ctx.error, "layer 1: the input of token 4 of 6 has a NaN or an infinity");
    wc_clear_error(&m->ctx);
    memset(u, 0, t * m->config.intermediate * sizeof *u);
    x[4 * h + 3] = 0, u[5 * m->config.intermediate] = INFINITY;
    assert_int_equal(wc_block_step(&m->ctx, &b, WC_STAGE_DOWN, 1, t, x, u, NULL), WC_NUMERIC);
    assert_string_equal(m->ctx.error, "layer 1: the output of token 5 of 6 has a NaN or an infinity");
    free(x);
    free(u);
    wc_block_close(&b);
    model_close(m);
}

static wc_status read_pattern(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = 1e-3f * (float)((r0 * w->cols + i) % 17);
    return WC_OK;
}

/* Against sums over one query, head and key after the other. Windows longer than a tile, shared key heads, and windows
 * that see all keys and few. 3e-6 is usual; an off-by-one in the range of keys gives 1e-2. */
static void attention_received_is_the_sum_over_queries(void **unused)
{
    (void)unused;
    enum { SEQS = 2, LENGTH = 150, HEADS = 4, KV = 2, D = 8, LD = (HEADS + 2 * KV) * D };
    static float qkv[SEQS * LENGTH * LD], got[SEQS * LENGTH];
    static double want[SEQS * LENGTH];
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    for (size_t i = 0; i < sizeof qkv / sizeof *qkv; i++)
        qkv[i] = 1.5f * sinf(0.37f * (float)i + 1e-4f * (float)(i * i % 1013));
    const size_t windows[] = {SIZE_MAX, 40};
    for (size_t w = 0; w < 2; w++) {
        wc_attention a = {SEQS, LENGTH, HEADS, KV, D, windows[w], qkv, qkv + HEADS * D, NULL, LD};
        must(&ctx, wc_attention_received(&ctx, &a, got));
        memset(want, 0, sizeof want);
        for (size_t s = 0; s < SEQS; s++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t i = 0; i < LENGTH; i++) {
                    double p[LENGTH], sum = 0;
                    size_t first = i + 1 > windows[w] ? i + 1 - windows[w] : 0;
                    for (size_t j = first; j <= i; j++) {
                        double dot = 0;
                        for (size_t e = 0; e < D; e++)
                            dot += (double)a.q[(s * LENGTH + i) * LD + h * D + e] *
                                   (double)a.k[(s * LENGTH + j) * LD + h / (HEADS / KV) * D + e];
                        sum += p[j] = exp(dot / sqrt(D));
                    }
                    for (size_t j = first; j <= i; j++)
                        want[s * LENGTH + j] += p[j] / sum / HEADS;
                }
        double total = 0;
        for (size_t j = 0; j < SEQS * LENGTH; j++) {
            assert_true(fabs(got[j] - want[j]) < 3e-5 * (1 + want[j]));
            total += got[j];
        }
        assert_true(fabs(total - SEQS * LENGTH) < 1e-3);
    }
}

/* H and C of q, k, v with weighted tokens, from their definition: weights of the original stream (here the block
 * before, so that the streams differ), mean 1 over each window, limited to 4 before. Chunks of one window and of all
 * give the same. 1e-6 is usual; weights from the other stream, or without the limit, give 1e-2. */
static void tokens_are_weighed_by_attention(void **unused)
{
    (void)unused;
    enum { WINDOWS = 3, LENGTH = 60, T = WINDOWS * LENGTH };
    const double part = 0.7;
    model *m = model_open(text("%s/llama", models_dir), 2);
    size_t n = m->config.hidden;
    uint32_t *ids = make_ids(WINDOWS, LENGTH, m->config.vocab);
    wc_windows windows = {.id = ids, .n = WINDOWS, .seqlen = LENGTH};
    wc_block block[2];
    const wc_block *both[] = {&block[1], &block[0]};
    float *x = malloc(T * n * sizeof *x), *u[2], *received = malloc(T * sizeof *received);
    double *h = calloc(n * n, sizeof *h), *c = calloc(n * n, sizeof *c), most = 0;
    must(&m->ctx, wc_model_embed(&m->ctx, &m->config, &m->source, ids, T, x));
    for (size_t s = 0; s < 2; s++) {
        must(&m->ctx, wc_block_open(&m->ctx, &m->config, &m->source, s, &block[s]));
        u[s] = malloc(T * n * sizeof *u[s]);
    }
    for (size_t s = 0; s < 2; s++)
        must(&m->ctx, wc_block_begin(&m->ctx, both[s], T, x, u[s]));
    must(&m->ctx, wc_block_received(&m->ctx, both[1], WINDOWS, LENGTH, u[1], received));
    for (size_t t = 0; t < T; t++) {
        double sum = 0;
        for (size_t k = t / LENGTH * LENGTH; k < t / LENGTH * LENGTH + LENGTH; k++)
            sum += fmin(received[k], 4);
        double weight = 1 - part + part * fmin(received[t], 4) * LENGTH / sum;
        most = fmax(most, received[t]);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double xj = u[0][t * n + j], xi = u[0][t * n + i];
                h[i * n + j] += weight * xi * xj / T;
                c[i * n + j] += weight * ((double)u[1][t * n + i] - xi) * xj / T;
            }
    }
    assert_true(most > 4); /* the limit was of use */
    for (size_t tokens = LENGTH; tokens <= T; tokens += T - LENGTH) {
        wc_pass_options o = {
            .config = &m->config, .windows = &windows, .n_streams = 2, .chunk_tokens = tokens, .attention = part};
        wc_pass pass;
        wc_stats_sum sum;
        wc_stats stats;
        must(&m->ctx, wc_pass_open(&m->ctx, &o, &pass));
        for (size_t s = 0; s < 2; s++)
            must(&m->ctx, wc_pass_embed(&m->ctx, &pass, s, &m->source));
        must(&m->ctx, wc_stats_begin(&m->ctx, n, true, 0, &sum));
        must(&m->ctx, wc_pass_stage(&m->ctx, &pass, both, WC_STAGE_QKV, &sum));
        must(&m->ctx, wc_stats_finish(&m->ctx, &sum, &stats));
        for (size_t i = 0; i < n * n; i++) {
            double scale = sqrt(h[i / n * (n + 1)] * h[i % n * (n + 1)]);
            assert_true(fabs(stats.h[i] - h[i]) < 1e-5 * scale);
            assert_true(fabs(stats.c[i] - c[i]) < 1e-5 * scale);
        }
        wc_stats_free(&stats);
        wc_pass_close(&pass, true);
    }
    for (size_t s = 0; s < 2; s++)
        wc_block_close(&block[s]), free(u[s]);
    free(ids), free(x), free(received), free(h), free(c);
    model_close(m);
}

/* Growth of the peak resident set over stages in turn. 8 MiB stand for thread stacks and BLAS buffers. */
static void scratch_stays_within_its_bound(void **unused)
{
    (void)unused;
    if (SANITIZED) skip();
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    wc_config c = {.hidden = 256,
                   .intermediate = 3000,
                   .layers = 1,
                   .heads = 8,
                   .kv_heads = 4,
                   .head_dim = 32,
                   .rope = {.dim = 32, .theta = 1e4, .factor = 1, .attention_factor = 1},
                   .norm_eps = 1e-5f};
    wc_block b = {.config = &c};
    wc_tensor_spec specs[WC_MAX_SPECS];
    size_t n = wc_block_specs(&c, specs), n_seq = 4, seqlen = 2048, t = n_seq * seqlen;
    float *ones = malloc(c.intermediate * sizeof *ones), *x = malloc(t * c.hidden * sizeof *x);
    float *u = malloc(t * c.intermediate * sizeof *u), *v = malloc(t * c.intermediate * sizeof *v);
    for (size_t i = 0; i < c.intermediate; i++)
        ones[i] = 1;
    for (size_t i = 0; i < t * c.hidden; i++)
        x[i] = (float)(i % 13) - 6;
    for (size_t i = 0; i < t * c.intermediate; i++)
        u[i] = v[i] = 1; /* not 0: the compiler would make it a calloc, and no page resident */
    for (size_t i = 0; i < n; i++)
        if (specs[i].role == WC_ROLE_LINEAR)
            b.linear[specs[i].index] = (wc_weight){specs[i].rows, specs[i].cols, "w", read_pattern, NULL, 0};
    b.norm[WC_NORM_ATTENTION] = b.norm[WC_NORM_MLP] = ones;
    must(&ctx, wc_block_begin(&ctx, &b, t, x, u));
    must(&ctx, wc_block_step(&ctx, &b, WC_STAGE_QKV, 1, 64, x, u, v)); /* threads and BLAS buffers are up */
    uint64_t before = wc_peak_rss(), bound = wc_block_scratch(&ctx, &c, n_seq, seqlen);
    for (wc_stage s = 0; s < WC_N_STAGES; s++) {
        must(&ctx, wc_block_step(&ctx, &b, s, n_seq, seqlen, x, u, v));
        float *swap = u;
        u = v, v = swap;
    }
    uint64_t used = wc_peak_rss() - before;
    print_message("scratch: bound %.1f MiB, resident peak grew by %.1f MiB\n", (double)bound / 0x1p20,
                  (double)used / 0x1p20);
    assert_true(used <= bound + (8 << 20));
    assert_true(used >= bound / 2);
    free(ones);
    free(x);
    free(u);
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scratch_stays_within_its_bound), /* first: it looks at the peak of the whole process */
        cmocka_unit_test(logits_equal_those_of_hugging_face),
        cmocka_unit_test(a_wrong_detail_is_seen),
        cmocka_unit_test(logits_equal_the_oracle),
        cmocka_unit_test(trained_models_equal_the_oracle),
        cmocka_unit_test(stories_have_the_recorded_loss),
        cmocka_unit_test(same_bytes_for_any_thread_count),
        cmocka_unit_test(attention_received_is_the_sum_over_queries),
        cmocka_unit_test(tokens_are_weighed_by_attention),
        cmocka_unit_test(mismatches_are_named),
        cmocka_unit_test(activations_that_are_not_finite_are_refused),
    };
    return cmocka_run_group_tests(tests, models_make, models_remove);
}
