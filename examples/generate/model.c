/* model.c - finds the tensors that config.json calls for, checks their shapes, and lays out all memory there will ever
 * be. */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcdecode_openmp.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static const char *const linear_name[GEN_LINEARS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                     "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                     "mlp.down_proj"};
static const char *const norm_name[GEN_NORMS] = {"input_layernorm",  "post_attention_layernorm", "self_attn.q_norm",
                                                 "self_attn.k_norm", "self_attn.attn_sub_norm",  "mlp.ffn_sub_norm"};

/* ---- tensors --------------------------------------------------------------------------------------------------------
 */

static gen_status find(const gen_model *m, const char *name, size_t rows, size_t cols, wcd_tensor *out, gen_error *e)
{
    wcd_tensor t;
    if (wcd_find(&m->file->wcd, name, &t) != WCD_OK)
        return gen_fail(e, GEN_BADFILE, "%s: tensor %s, which config.json calls for, is missing", m->file->name, name);
    if (t.rows != rows || t.cols != cols)
        return gen_fail(e, GEN_BADFILE, "%s: tensor %s is [%llu, %llu], config.json makes it [%zu, %zu]", m->file->name,
                        name, (unsigned long long)t.rows, (unsigned long long)t.cols, rows, cols);
    *out = t;
    return GEN_OK;
}

/* A tensor with numbers in it: asking for no rows says whether it has them. */
static gen_status find_matrix(const gen_model *m, const char *name, size_t rows, size_t cols, gen_linear *out,
                              gen_error *e)
{
    float none;
    GEN_TRY(find(m, name, rows, cols, &out->w, e));
    wcd_status s = wcd_rows(&out->w, 0, 0, &none, cols);
    if (s != WCD_OK) return gen_fail(e, GEN_BADFILE, "%s: tensor %s: %s", m->file->name, name, wcd_status_text(s));
    return GEN_OK;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------
 *
 * lay_out runs twice over one list of arrays: without a base it counts, with one it hands out and fills. All sizes come
 * from a checked config: the largest product, the cache, is below 2^10 layers * 2^24 tokens * 2^20 entries. */

enum { MAX_CONTEXT = 1 << 24 };

typedef struct arena {
    float *base; /* NULL: only count */
    size_t used;
} arena;

static float *take(arena *a, size_t n)
{
    float *p = a->base ? a->base + a->used : NULL;
    a->used += (n + 15) / 16 * 16; /* whole cache lines: threads write to neighbours */
    return p;
}

/* A norm or a bias: read once, kept in f32. */
static gen_status take_vector(const gen_model *m, arena *a, const char *name, size_t n, const float **out, gen_error *e)
{
    gen_linear v = {.bias = NULL};
    float *p = take(a, n);
    GEN_TRY(find_matrix(m, name, 1, n, &v, e));
    if (p) wcd_rows(&v.w, 0, 1, p, n);
    *out = p;
    return GEN_OK;
}

static gen_status lay_out_layer(gen_model *m, arena *a, size_t l, gen_error *e)
{
    const gen_config *c = &m->c;
    gen_layer *layer = &m->layer[l];
    const size_t q = c->heads * c->head, kv = c->kv_heads * c->head, qk = c->qk_norm ? c->head : 0;
    const size_t rows[GEN_LINEARS] = {q, kv, kv, c->hidden, c->inner, c->inner, c->hidden},
                 cols[GEN_LINEARS] = {c->hidden, c->hidden, c->hidden, q, c->hidden, c->hidden, c->inner},
                 width[GEN_NORMS] = {c->hidden, c->hidden, qk, qk, c->sub_norm ? q : 0, c->sub_norm ? c->inner : 0};
    const bool bias[GEN_LINEARS] = {c->qkv_bias, c->qkv_bias, c->qkv_bias, c->o_bias,
                                    c->mlp_bias, c->mlp_bias, c->mlp_bias};
    char name[96];
    for (size_t i = 0; i < GEN_LINEARS; i++) {
        gen_linear *w = &layer->linear[i];
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, linear_name[i]);
        GEN_TRY(find_matrix(m, name, rows[i], cols[i], w, e));
        if (wcd_int8_size(&w->w) > m->most8) m->most8 = wcd_int8_size(&w->w);
        snprintf(name, sizeof name, "model.layers.%zu.%s.bias", l, linear_name[i]);
        if (bias[i]) GEN_TRY(take_vector(m, a, name, rows[i], &w->bias, e));
    }
    for (size_t i = 0; i < GEN_NORMS; i++) {
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, norm_name[i]);
        if (width[i]) GEN_TRY(take_vector(m, a, name, width[i], &layer->norm[i], e));
    }
    layer->k = take(a, m->context * kv);
    layer->v = take(a, m->context * kv);
    return GEN_OK;
}

static gen_status lay_out(gen_model *m, arena *a, gen_error *e)
{
    const gen_config *c = &m->c;
    const size_t q = c->heads * c->head, kv = c->kv_heads * c->head;
    size_t widest = c->hidden > c->inner ? c->hidden : c->inner;
    if (q > widest) widest = q;
    for (size_t l = 0; l < c->layers; l++)
        GEN_TRY(lay_out_layer(m, a, l, e));
    GEN_TRY(take_vector(m, a, "model.norm.weight", c->hidden, &m->norm, e));
    m->x = take(a, GEN_BATCH * c->hidden);
    m->u = take(a, GEN_BATCH * c->hidden);
    m->q = take(a, GEN_BATCH * q);
    m->k = take(a, GEN_BATCH * kv);
    m->v = take(a, GEN_BATCH * kv);
    m->gate = take(a, GEN_BATCH * c->inner);
    m->up = take(a, GEN_BATCH * widest);
    m->turn = take(a, GEN_BATCH * c->rotated);
    m->z = take(a, GEN_BATCH * widest);
    m->memory = take(a, GEN_BATCH * m->most8 / sizeof(float));
    m->room = (m->context + 15) / 16 * 16;
    m->score = take(a, (size_t)m->threads * m->room);
    return GEN_OK;
}

/* ---- open and free --------------------------------------------------------------------------------------------------
 */

static gen_status read_config(gen_model *m, gen_error *e)
{
    char *text;
    size_t size;
    GEN_TRY(gen_file_text(m->file, "config.json", &text, &size, e));
    gen_status s = gen_config_parse(text, size, &m->c, e);
    free(text);
    return s;
}

static gen_status open_model(gen_model *m, gen_error *e)
{
    const char *embed = "model.embed_tokens.weight";
    const gen_config *c = &m->c;
    arena a = {NULL, 0};
    GEN_TRY(read_config(m, e));
    if (!m->context || m->context > MAX_CONTEXT)
        return gen_fail(e, GEN_USAGE, "a context of %zu tokens; 1 to %d can be had", m->context, MAX_CONTEXT);
    GEN_TRY(gen_alloc(&m->layer, c->layers, sizeof *m->layer, "layers", e));
    gen_linear table = {.bias = NULL};
    GEN_TRY(find_matrix(m, embed, c->vocab, c->hidden, &table, e));
    m->embed = table.w;
    GEN_TRY(find_matrix(m, c->tied ? embed : "lm_head.weight", c->vocab, c->hidden, &m->head, e));
    GEN_TRY(lay_out(m, &a, e));
    GEN_TRY(gen_alloc(&m->arena, a.used, sizeof(float), "the cache and the activations", e));
    a = (arena){m->arena, 0};
    return lay_out(m, &a, e);
}

gen_status gen_model_open(const gen_file *f, size_t context, int threads, gen_model **out, gen_error *e)
{
    gen_model *m;
    GEN_TRY(gen_alloc(&m, 1, sizeof *m, "a model", e));
    m->file = f;
    m->context = context;
#ifdef _OPENMP
    m->threads = threads > 0 ? threads : omp_get_max_threads();
#else
    (void)threads;
    m->threads = 1;
#endif
    gen_status s = open_model(m, e);
    if (s == GEN_OK)
        *out = m;
    else
        gen_model_free(m);
    return s;
}

/* ---- weights laid out anew ------------------------------------------------------------------------------------------
 */

/* Linear i of all: those of the layers, then the head. */
static gen_linear *linear_at(gen_model *m, size_t i)
{
    return i < m->c.layers * GEN_LINEARS ? &m->layer[i / GEN_LINEARS].linear[i % GEN_LINEARS] : &m->head;
}

gen_status gen_model_prepare(gen_model *m, size_t *size, gen_error *e)
{
    const size_t n = m->c.layers * GEN_LINEARS + 1;
    wcd_pool pool = wcd_openmp_pool();
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += (size_t)wcd_prepare_size(&linear_at(m, i)->w);
    *size = all;
    if (!all) return GEN_OK;
    uint8_t *at = m->prepared = aligned_alloc(64, all);
    if (!at) return gen_fail(e, GEN_NOMEM, "no memory for %zu bytes of prepared weights", all);
    pool.threads = (unsigned)m->threads;
    for (size_t i = 0; i < n; i++) {
        gen_linear *w = linear_at(m, i);
        wcd_prepare(&w->w, &pool, at, &w->ready); /* sound tensors of numbers: this cannot fail */
        at += wcd_prepare_size(&w->w);
    }
    return GEN_OK;
}

void gen_model_free(gen_model *m)
{
    if (!m) return;
    free(m->prepared);
    free(m->layer);
    free(m->arena);
    free(m);
}
