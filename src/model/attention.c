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

/* One task: queries i0 .. i0+n of one window and head. Its keys are j0 .. j1, a superset of what each query sees;
 * scores outside a query's own range become exact zeros, so the second product may run over the whole rectangle. */
static void tile_forward(const wc_attention *a, const wck_elementwise *kernel, size_t seq, size_t head, size_t i0,
                         float *scores, float *out)
{
    size_t n = wc_min(TILE, a->seqlen - i0), j1 = i0 + n, j0 = i0 + 1 > a->window ? i0 + 1 - a->window : 0,
           keys = j1 - j0;
    size_t d = a->head_dim, kv = head / (a->heads / a->kv_heads), row = seq * a->seqlen;
    const float *q = a->q + (row + i0) * a->ld + head * d;
    const float *k = a->k + (row + j0) * a->ld + kv * d, *v = a->v + (row + j0) * a->ld + kv * d;
    wc_gemm1(WC_N, WC_T, n, keys, d, 1, q, a->ld, k, a->ld, 0, scores, keys);
    float scale = 1 / sqrtf((float)d);
    for (size_t r = 0; r < n; r++) {
        size_t end = i0 + r + 1 - j0, seen = wc_min(a->window, i0 + r + 1), first = end - seen;
        float *s = scores + r * keys;
        memset(s, 0, first * sizeof *s);
        kernel->softmax(s + first, seen, scale);
        memset(s + end, 0, (keys - end) * sizeof *s);
    }
    size_t ldo = a->heads * d;
    wc_gemm1(WC_N, WC_N, n, d, keys, 1, scores, keys, v, a->ld, 0, out + (row + i0) * ldo + head * d, ldo);
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
        size_t tile = tiles - 1 - task / (a->n_seq * a->heads), rest = task % (a->n_seq * a->heads);
        float *scores = scratch + (size_t)omp_get_thread_num() * TILE * a->seqlen;
        tile_forward(a, kernel, rest / a->heads, rest % a->heads, tile * TILE, scores, out);
    }
    free(scratch);
    return WC_OK;
}
