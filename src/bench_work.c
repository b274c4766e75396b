/* The rows of the bench that time what users wait for: methods, the forward pass, formats, text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "bench_rows.h"
#include "calib/pass.h"
#include "decode/decoder.h"
#include "formats/format.h"
#include "io/checkpoint.h"
#include "kernels/convert.h"
#include "linalg/linalg.h"
#include "model/block.h"
#include "recipe.h"
#include "text/tokenizer.h"

/* ---- methods ------------------------------------------------------------------------------------------------------
 */

/* Moments of correlated inputs x = a (L^T f + e): 64 common factors f, noise e, channel scales a over two octaves. */
static wc_status correlated_moments(wc_ctx *ctx, size_t n, size_t t, float **h)
{
    enum { FACTORS = 64 };
    float *x = NULL, *factor = NULL, *loading = NULL;
    double *acc = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, x, t * n, "activations"));
    WC_TRY_OUT(WC_ALLOC(ctx, factor, t * FACTORS, "factors"));
    WC_TRY_OUT(WC_ALLOC(ctx, loading, FACTORS * n, "loadings"));
    WC_TRY_OUT(WC_ALLOC(ctx, acc, n * (n + 1) / 2, "second moments"));
    wc_bench_random(11, t * n, x);
    wc_bench_random(12, t * FACTORS, factor);
    wc_bench_random(13, FACTORS * n, loading);
    wc_gemm(ctx, WC_N, WC_N, t, n, FACTORS, 0.5f, factor, FACTORS, loading, n, 1, x, n);
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < n; j++)
            x[i * n + j] *= 0.5f + 1.5f * loading[j] * loading[j];
    WC_TRY_OUT(wc_syrk_accumulate(ctx, x, t, n, acc));
    WC_TRY_OUT(WC_ALLOC(ctx, *h, n * n, "second moments"));
    wc_syrk_finish(ctx, acc, n, 1 / (double)t, *h);
out:
    free(x), free(factor), free(loading), free(acc);
    return status;
}

typedef struct layer {
    wc_job job;
    wc_stats stats;
    wc_recipe recipe;
    float *w, *h, *c, *mean, *abs_mean;
} layer;

static wc_status layer_open(wc_ctx *ctx, size_t rows, size_t cols, size_t tokens, layer *out)
{
    layer l = {
        .job = {.ctx = ctx, .tensor = "bench", .at = {.rows = rows, .cols = cols, .kept = (uint64_t)rows * cols}},
        .stats = {.n = cols, .tokens = tokens}};
    *out = l;
    WC_TRY(WC_ALLOC(ctx, out->w, rows * cols, "a weight matrix"));
    wc_bench_random(14, rows * cols, out->w);
    out->job.w = out->w;
    out->job.stats = &out->stats;
    WC_TRY(correlated_moments(ctx, cols, tokens, &out->h));
    out->stats.h = out->h;
    WC_TRY(WC_ALLOC(ctx, out->mean, cols, "means"));
    WC_TRY(WC_ALLOC(ctx, out->abs_mean, cols, "means"));
    for (size_t j = 0; j < cols; j++)
        out->abs_mean[j] = 0.8f * sqrtf(out->h[j * cols + j]); /* that of a Gaussian */
    out->stats.mean = out->mean;
    out->stats.abs_mean = out->abs_mean;
    return WC_OK;
}

static void layer_close(layer *l)
{
    free(l->w), free(l->h), free(l->c), free(l->mean), free(l->abs_mean);
}

static wc_status run_method(wc_ctx *ctx, void *arg)
{
    layer *l = arg;
    wc_part part = {0};
    (void)ctx;
    l->job.target_moved = false;
    wc_status status = l->recipe.step[0].method->run(&l->job, l->recipe.step[0].opt, &part);
    wc_part_free(&part);
    free(l->job.mask), free(l->job.survivors);
    l->job.mask = NULL, l->job.survivors = NULL;
    return status;
}

static wc_status bench_recipe(wc_bench_frame *f, layer *l, const char *name, const char *recipe)
{
    char what[96];
    const wc_place *at = &l->job.at;
    if (!wc_bench_wants(f, name)) return WC_OK;
    WC_TRY(wc_recipe_parse(f->ctx, recipe, &l->recipe));
    snprintf(what, sizeof what, "%s, %zu x %zu", recipe, at->rows, at->cols);
    double flops = l->recipe.step[0].method->flops(at, l->recipe.step[0].opt, l->c != NULL);
    wc_status status = wc_bench_measure(f, &(wc_bench_row){name, what, flops, WC_CEILING_SGEMM, run_method, NULL, l});
    wc_recipe_free(&l->recipe);
    return status;
}

static wc_status layer_error(wc_ctx *ctx, void *arg)
{
    layer *l = arg;
    double e = wc_quadratic_form(ctx, l->w, l->job.at.rows, l->h, l->job.at.cols);
    return isfinite(e) ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for the layer error's panels");
}

static wc_status bench_gptq(wc_bench_frame *f, size_t rows, size_t cols, bool drift)
{
    char plain[32], whole[32], drifted[32], coded[32], error[32];
    layer l;
    snprintf(plain, sizeof plain, "gptq-plain-%zu", cols);
    snprintf(whole, sizeof whole, "gptq-%zu", cols);
    snprintf(drifted, sizeof drifted, "gptq-drift-%zu", cols);
    snprintf(coded, sizeof coded, "rd-%zu", cols);
    snprintf(error, sizeof error, "layer-error-%zu", cols);
    if (!wc_bench_wants(f, plain) && !wc_bench_wants(f, whole) && !wc_bench_wants(f, drifted) &&
        !wc_bench_wants(f, coded) && !wc_bench_wants(f, error))
        return WC_OK;
    wc_status status = layer_open(f->ctx, rows, cols, f->opt->quick ? cols : 4096, &l);
    if (status == WC_OK) status = bench_recipe(f, &l, plain, "gptq(bits=3,group=128,cd=0,refit=no,drift=0)");
    if (status == WC_OK) status = bench_recipe(f, &l, whole, "gptq(bits=3,group=128)");
    if (status == WC_OK) status = bench_recipe(f, &l, coded, "rd(bits=3,states=8)"); /* goal: twice gptq's seconds */
    if (status == WC_OK && wc_bench_wants(f, error))
        status = wc_bench_measure(f, &(wc_bench_row){error, "tr(D H D^T)", (double)rows * (double)cols * (double)cols,
                                                     WC_CEILING_SGEMM, layer_error, NULL, &l});
    if (status == WC_OK && drift) {
        status = WC_ALLOC(f->ctx, l.c, cols * cols, "cross moments");
        if (status == WC_OK) wc_bench_random(15, cols * cols, l.c);
        l.stats.c = l.c;
        if (status == WC_OK) status = bench_recipe(f, &l, drifted, "gptq(bits=3,group=128)");
    }
    layer_close(&l);
    return status;
}

/* One method with its defaults on the first rows of the layer: as many as keep a run below most_flops. */
static wc_status bench_method(wc_bench_frame *f, const wc_method *m, const char *name, size_t n, layer *l)
{
    static const double most_flops = 7e11;
    wc_place at = {.rows = n, .cols = n, .kept = (uint64_t)n * n};
    void *opt;
    char recipe[48]; /* a transform stores nothing by itself, a folded one makes nothing; the first step is measured */
    WC_TRY(wc_opt_defaults(f->ctx, m, &opt));
    while (at.rows > 256 && m->flops(&at, opt, false) > most_flops)
        at.rows /= 2, at.kept /= 2;
    bool can = !m->applies || !m->applies(&at, opt);
    free(opt);
    if (!can) return WC_OK;
    if (!l->w) WC_TRY(layer_open(f->ctx, n, n, n, l));
    l->job.at = at;
    l->job.stats = m->needs & WC_NEEDS_HESSIAN || m->role == WC_STEP_PRUNE ? &l->stats : NULL;
    snprintf(recipe, sizeof recipe, "%s%s%s", m->name, m->folding ? "(fold=no)" : "",
             m->role == WC_STEP_TRANSFORM ? " | rtn" : "");
    return bench_recipe(f, l, name, recipe);
}

/* Every method on one layer [n, n], against the flops that it states. */
static wc_status bench_methods(wc_bench_frame *f, size_t n)
{
    layer l = {0};
    wc_status status = WC_OK;
    f->brief = true;
    for (const wc_method *const *m = wc_methods; status == WC_OK && *m; m++) {
        char name[48];
        snprintf(name, sizeof name, "method-%s", (*m)->name);
        if (wc_bench_wants(f, name) && (*m)->flops) status = bench_method(f, *m, name, n, &l);
    }
    f->brief = false;
    layer_close(&l);
    return status;
}

/* ---- forward pass ---------------------------------------------------------------------------------------------------
 */

/* A model of one block whose linears all read the same random BF16 numbers. */
typedef struct one_block {
    wc_config config;
    uint8_t *bf16; /* [largest linear] */
    wc_windows windows;
    wc_pass pass;
    wc_block block;
    float *x; /* the inputs of a chunk */
} one_block;

static wc_status read_linear(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const one_block *m = w->source;
    (void)ctx;
    wck_convert_at(wck_level_used())->bf16_f32(dst, m->bf16 + 2 * r0 * w->cols, nr * w->cols);
    return WC_OK;
}

static wc_status read_norm(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx, (void)r0;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = 1;
    return WC_OK;
}

static wc_status find_weight(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    const one_block *m = self;
    wc_tensor_spec spec[WC_MAX_SPECS];
    size_t n = wc_block_specs(&m->config, spec);
    (void)ctx;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        char own[WC_NAME_SIZE];
        wc_spec_name(&spec[i], 0, own);
        if (!strcmp(own, name))
            *out = (wc_weight){
                spec[i].rows, spec[i].cols, "bench", spec[i].role == WC_ROLE_LINEAR ? read_linear : read_norm, m, 0};
    }
    return WC_OK;
}

static wc_status one_block_open(wc_ctx *ctx, bool quick, one_block *m)
{
    static const char json[] = "{\"model_type\": \"llama\", \"hidden_size\": %zu, \"intermediate_size\": %zu, "
                               "\"num_hidden_layers\": 1, \"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, "
                               "\"vocab_size\": 256, \"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-5, "
                               "\"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true}";
    size_t hidden = quick ? 256 : 4096, inner = quick ? 688 : 11008, heads = quick ? 4 : 32,
           seqlen = quick ? 128 : 2048;
    size_t n = hidden * inner, rows = 2 * seqlen;
    char text[1024];
    int size = snprintf(text, sizeof text, json, hidden, inner, heads, heads);
    WC_TRY(wc_config_parse(ctx, text, (size_t)size, "the bench's config", &m->config));
    m->windows = (wc_windows){.n = 2, .seqlen = seqlen};
    float *w;
    WC_TRY(WC_ALLOC(ctx, m->bf16, 2 * n, "weights"));
    WC_TRY(WC_ALLOC(ctx, w, n, "weights"));
    wc_bench_random(21, n, w);
    for (size_t i = 0; i < n; i++) {
        uint16_t h = wc_f32_bf16(0.035f * w[i]);
        memcpy(m->bf16 + 2 * i, &h, 2);
    }
    free(w);
    WC_TRY(WC_ALLOC(ctx, m->x, rows * hidden, "activations"));
    wc_bench_random(22, rows * hidden, m->x);
    wc_pass_options o = {.config = &m->config, .windows = &m->windows, .n_streams = 1, .chunk_tokens = rows};
    WC_TRY(wc_pass_open(ctx, &o, &m->pass));
    wc_weight_source source = {.find = find_weight, .self = m, .label = "bench"};
    return wc_block_open(ctx, &m->config, &source, 0, &m->block);
}

static void one_block_close(one_block *m)
{
    wc_pass_close(&m->pass, true);
    wc_block_close(&m->block);
    free(m->bf16), free(m->x);
}

/* Every stage with its second moments, as calibration does it. */
static wc_status run_block(wc_ctx *ctx, void *arg)
{
    one_block *m = arg;
    const wc_block *block[] = {&m->block};
    uint64_t hash;
    m->pass.now = 0;
    WC_TRY(wc_store_write(ctx, &m->pass.stream[0].edge[0], 0, m->x, 2 * m->windows.seqlen * m->config.hidden));
    for (int stage = 0; stage < WC_N_STAGES; stage++) {
        wc_stats_sum sum;
        wc_stats stats = {0};
        WC_TRY(wc_stats_begin(ctx, wc_stage_width(&m->config, (wc_stage)stage), false, 0, &sum));
        wc_status status = wc_pass_stage(ctx, &m->pass, block, (wc_stage)stage, &sum);
        if (status == WC_OK) status = wc_stats_finish(ctx, &sum, &stats);
        wc_stats_drop(&sum);
        wc_stats_free(&stats);
        WC_TRY(status);
    }
    return wc_pass_leave(ctx, &m->pass, block, &hash);
}

/* Linears 2 t (4 H^2 + 3 H I), attention 4 H per pair of a query and a key that it sees, moments t n (n + 1) per stage.
 */
static double block_flops(const wc_config *c, const wc_windows *w)
{
    double t = (double)(w->n * w->seqlen), h = (double)c->hidden, inner = (double)c->intermediate;
    double flops = 2 * t * (4 * h * h + 3 * h * inner) + 4 * h * t * (double)(w->seqlen + 1) / 2;
    for (int s = 0; s < WC_N_STAGES; s++) {
        double n = (double)wc_stage_width(c, (wc_stage)s);
        flops += t * n * (n + 1);
    }
    return flops;
}

static wc_status bench_block(wc_bench_frame *f)
{
    one_block m = {0};
    char what[64];
    if (!wc_bench_wants(f, "block")) return WC_OK;
    wc_status status = one_block_open(f->ctx, f->opt->quick, &m);
    snprintf(what, sizeof what, "width %zu/%zu, 2 x %zu tokens, with moments", m.config.hidden, m.config.intermediate,
             m.windows.seqlen);
    if (status == WC_OK)
        status = wc_bench_measure(f, &(wc_bench_row){"block", what, block_flops(&m.config, &m.windows),
                                                     WC_CEILING_SGEMM, run_block, NULL, &m});
    one_block_close(&m);
    return status;
}

/* ---- formats --------------------------------------------------------------------------------------------------------
 */

typedef struct packed {
    wc_part part;
    uint8_t *blob, params[WC_PARAMS_SIZE];
    uint64_t size;
    wcd_view view;
    float *rows; /* [PANEL, cols] */
} packed;

enum { PANEL = 1024, TASK = 64 };

static wc_status encode(wc_ctx *ctx, void *arg)
{
    packed *p = arg;
    return wc_encoder_for(WC_PART_GRID)->encode(ctx, &p->part, p->blob, p->params);
}

static wc_status decode(wc_ctx *ctx, void *arg)
{
    packed *p = arg;
    const wc_grid *g = &p->part.grid;
    int worst = WCD_OK;
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads) reduction(max : worst)
    for (size_t r = 0; r < g->rows; r += TASK) {
        int s = wcd_view_set_rows(&p->view, r, wc_min(TASK, g->rows - r), p->rows + r % PANEL * g->cols, g->cols);
        worst = s > worst ? s : worst;
    }
    return worst == WCD_OK ? WC_OK : wc_fail(ctx, WC_BUG, "bench: %s", wcd_status_text((wcd_status)worst));
}

static wc_status packed_open(wc_ctx *ctx, size_t rows, size_t cols, packed *p)
{
    p->part =
        (wc_part){.kind = WC_PART_GRID, .grid = {.rows = rows, .cols = cols, .group = 128, .bits = 4, .zero_fixed = 8}};
    wc_grid *g = &p->part.grid;
    const wc_encoder *e = wc_encoder_for(WC_PART_GRID);
    WC_TRY(e->size(ctx, &p->part, &p->size));
    WC_TRY(wc_grid_alloc(ctx, g));
    for (size_t i = 0; i < rows * cols; i++)
        g->code[i] = (uint8_t)(i * 2654435761u >> 20 & 15);
    for (size_t i = 0; i < rows * wc_grid_groups(g); i++)
        g->scale[i] = 0x3c00; /* 1 */
    WC_TRY(WC_ALLOC(ctx, p->blob, p->size, "an encoded part"));
    WC_TRY(WC_ALLOC(ctx, p->rows, wc_min(PANEL, rows) * cols, "decoded rows"));
    WC_TRY(encode(ctx, p));
    wcd_status s = wcd_view_open(e->id, e->version, p->params, p->blob, p->size, rows, cols, &p->view);
    return s == WCD_OK ? WC_OK : wc_fail(ctx, WC_BUG, "bench: %s", wcd_status_text(s));
}

static wc_status bench_grid(wc_bench_frame *f)
{
    size_t rows = f->opt->quick ? 256 : 32768,
           cols = f->opt->quick ? 256 : 4096; /* 64 MiB packed: beyond most caches */
    packed p = {0};
    wc_status status = WC_OK;
    if (!wc_bench_wants(f, "encode") && !wc_bench_wants(f, "decode")) return WC_OK;
    WC_TRY_OUT(packed_open(f->ctx, rows, cols, &p));
    double codes = (double)(rows * cols), dense = 4 * codes, bytes = (double)p.size;
    const wc_bench_row row[] = {
        {"encode", "grid, 4 bits: one byte per code in, packed out", codes + bytes, WC_CEILING_COPY, encode, NULL, &p},
        {"decode", "grid, 4 bits: packed in, f32 rows out", bytes + dense, WC_CEILING_COPY, decode, NULL, &p}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (wc_bench_wants(f, row[i].name)) WC_TRY_OUT(wc_bench_measure(f, &row[i]));
out:
    wc_part_free(&p.part);
    free(p.blob), free(p.rows);
    return status;
}

/* ---- reading weights and text ------------------------------------------------------------------------------------ */

/* A checkpoint of one tensor in memory. */
typedef struct stored {
    wc_checkpoint checkpoint;
    wc_safetensors shard;
    wc_st_tensor tensor;
    uint8_t *data;
    float *dst;
} stored;

static wc_status convert(wc_ctx *ctx, void *arg)
{
    stored *s = arg;
    return wc_checkpoint_rows(ctx, &s->checkpoint, &s->tensor, 0, s->tensor.rows, s->dst);
}

static wc_status bench_convert(wc_bench_frame *f)
{
    size_t rows = f->opt->quick ? 256 : 16384, cols = f->opt->quick ? 256 : 4096, n = rows * cols;
    stored s = {0};
    if (!wc_bench_wants(f, "convert")) return WC_OK;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.data, 2 * n, "weights"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, s.dst, n, "weights"));
    for (size_t i = 0; i < 2 * n; i++)
        s.data[i] = (uint8_t)(i * 2654435761u >> 24 & 0x3f);
    s.tensor = (wc_st_tensor){.dtype = WC_BF16, .rows = rows, .cols = cols, .size = 2 * n};
    s.shard.map = (wc_map){.data = s.data, .size = 2 * n};
    s.checkpoint.shard = &s.shard;
    WC_TRY_OUT(wc_bench_measure(f, &(wc_bench_row){"convert", "stored BF16 to f32; bytes read + written",
                                                   6.0 * (double)n, WC_CEILING_COPY, convert, NULL, &s}));
out:
    free(s.data), free(s.dst);
    return status;
}

typedef struct text {
    wc_tokenizer *tokenizer;
    size_t size;
} text;

static wc_status tokenize(wc_ctx *ctx, void *arg)
{
    text *t = arg;
    wc_ids ids = {0};
    wc_status status = wc_tokenizer_encode(ctx, t->tokenizer, wc_builtin_text, t->size, 0, &ids);
    wc_ids_free(&ids);
    return status;
}

static wc_status bench_tokenizer(wc_bench_frame *f)
{
    enum { LIMIT = 256 << 20 };
    if (!f->opt->tokenizer || !wc_bench_wants(f, "tokenizer")) return WC_OK;
    text t = {.size = wc_builtin_text_size()};
    wc_buf json = {0};
    wc_status status = wc_read_file(f->ctx, f->opt->tokenizer, LIMIT, &json);
    if (status == WC_OK)
        status = wc_tokenizer_open(f->ctx, (char *)json.data, json.size, f->opt->tokenizer, &t.tokenizer);
    if (status == WC_OK)
        status = wc_bench_measure(f, &(wc_bench_row){"tokenizer", "built-in text to ids, one thread", (double)t.size,
                                                     WC_NO_CEILING, tokenize, NULL, &t});
    wc_tokenizer_free(&t.tokenizer);
    wc_buf_free(&json);
    return status;
}

wc_status wc_bench_work(wc_bench_frame *f)
{
    size_t small = f->opt->quick ? 256 : 4096, large = f->opt->quick ? 688 : 11008;
    if (!f->opt->quick) WC_TRY(bench_gptq(f, 1024, 1024, false));
    WC_TRY(bench_gptq(f, small, small, true));
    WC_TRY(bench_gptq(f, small, large, false));
    WC_TRY(bench_block(f));
    WC_TRY(bench_methods(f, small));
    WC_TRY(bench_grid(f));
    WC_TRY(wc_bench_decode(f));
    WC_TRY(bench_convert(f));
    WC_TRY(wc_bench_lossless(f));
    WC_TRY(wc_bench_coded(f));
    return bench_tokenizer(f);
}
