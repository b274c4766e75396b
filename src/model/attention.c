#include "model/attention.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/elementwise.h"
#include "linalg/linalg.h"

/* Queries per tile. A tile multiplies with all keys that any of its queries sees, so half a tile's square is wasted at
 * the diagonal; the keys are packed by BLAS once per tile, so a small tile wastes that. 128 keeps both below 10 % at
 * 2048 tokens. */
enum { TILE = 128 };

/* Queries i0 .. i0+n of one window and head, and the keys j0 .. j0+keys, a superset of what each query sees. */
typedef struct tile {
    size_t row, head, kv, i0, n, j0, keys;
} tile;

static tile tile_of(const wc_attention *a, size_t seq, size_t head, size_t i0)
{
    size_t n = wc_min(TILE, a->seqlen - i0), j0 = i0 + 1 > a->window ? i0 + 1 - a->window : 0;
    return (tile){seq * a->seqlen, head, head / (a->heads / a->kv_heads), i0, n, j0, i0 + n - j0};
}

/* scores [n, keys] = the probabilities; outside a query's own range they are exact zeros, so that sums may run over the
 * whole rectangle. */
static void tile_scores(const wc_attention *a, const wck_elementwise *kernel, const tile *t, float *scores)
{
    size_t d = a->head_dim;
    wc_gemm1(WC_N, WC_T, t->n, t->keys, d, 1, a->q + (t->row + t->i0) * a->ld + t->head * d, a->ld,
             a->k + (t->row + t->j0) * a->ld + t->kv * d, a->ld, 0, scores, t->keys);
    float scale = 1 / sqrtf((float)d);
    for (size_t r = 0; r < t->n; r++) {
        size_t end = t->i0 + r + 1 - t->j0, seen = wc_min(a->window, t->i0 + r + 1), first = end - seen;
        float *s = scores + r * t->keys;
        memset(s, 0, first * sizeof *s);
        kernel->softmax(s + first, seen, scale);
        memset(s + end, 0, (t->keys - end) * sizeof *s);
    }
}

static void tile_forward(const wc_attention *a, const wck_elementwise *kernel, const tile *t, float *scores, float *out)
{
    size_t d = a->head_dim, ldo = a->heads * d;
    tile_scores(a, kernel, t, scores);
    wc_gemm1(WC_N, WC_N, t->n, d, t->keys, 1, scores, t->keys, a->v + (t->row + t->j0) * a->ld + t->kv * d, a->ld, 0,
             out + (t->row + t->i0) * ldo + t->head * d, ldo);
}

uint64_t wc_attention_scratch(const wc_ctx *ctx, size_t seqlen)
{
    return (uint64_t)ctx->threads * TILE * seqlen * sizeof(float);
}

wc_status wc_attention_forward(wc_ctx *ctx, const wc_attention *a, float *out)
{
    const wck_elementwise *kernel = wck_elementwise_at(wck_level_used());
    size_t tiles = wc_ceil_div(a->seqlen, TILE), tasks = a->n_seq * a->heads * tiles;
    float *scratch;
    WC_TRY(WC_ALLOC(ctx, scratch, wc_attention_scratch(ctx, a->seqlen) / sizeof *scratch, "attention scores"));
    /* The last tiles of a window see the most keys: they go first, so that no thread ends alone with one. */
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t task = 0; task < tasks; task++) {
        size_t at = tiles - 1 - task / (a->n_seq * a->heads), rest = task % (a->n_seq * a->heads);
        tile t = tile_of(a, rest / a->heads, rest % a->heads, at * TILE);
        tile_forward(a, kernel, &t, scratch + (size_t)omp_get_thread_num() * TILE * a->seqlen, out);
    }
    free(scratch);
    return WC_OK;
}

/* A window is one task: its sums run over heads and queries in one order. */
wc_status wc_attention_received(wc_ctx *ctx, const wc_attention *a, float *received)
{
    const wck_elementwise *kernel = wck_elementwise_at(wck_level_used());
    float *scratch;
    WC_TRY(WC_ALLOC(ctx, scratch, wc_attention_scratch(ctx, a->seqlen) / sizeof *scratch, "attention scores"));
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads)
    for (size_t seq = 0; seq < a->n_seq; seq++) {
        float *scores = scratch + (size_t)omp_get_thread_num() * TILE * a->seqlen, *sum = received + seq * a->seqlen;
        memset(sum, 0, a->seqlen * sizeof *sum);
        for (size_t task = 0; task < a->heads * wc_ceil_div(a->seqlen, TILE); task++) {
            tile t = tile_of(a, seq, task % a->heads, task / a->heads * TILE);
            tile_scores(a, kernel, &t, scores);
            for (size_t i = 0; i < t.n; i++)
                for (size_t j = 0; j < t.keys; j++)
                    sum[t.j0 + j] += scores[i * t.keys + j];
        }
        for (size_t j = 0; j < a->seqlen; j++)
            sum[j] /= (float)a->heads;
    }
    free(scratch);
    return WC_OK;
}
