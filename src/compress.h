/* compress.h - one tensor: recipe -> parts -> bytes -> error. The only place where methods and formats meet. */
#ifndef WC_COMPRESS_H
#define WC_COMPRESS_H

#include "calib/stats.h"
#include "decode/decoder.h"
#include "io/wcz.h"
#include "model/weight.h"
#include "recipe.h"

/* A tensor's parts as encoded: what the compressed model computes with while its block is being worked on. */
typedef struct wc_packed {
    size_t rows, cols, n_parts, n_transforms;
    wc_wcz_blob blob[WC_RECIPE_MAX], transform_blob[WC_RECIPE_MAX];
    wcd_view view[WC_RECIPE_MAX][WCD_VIEWS]; /* into the blobs: a part's own, then its children's */
    wcd_view transform[WC_RECIPE_MAX];
} wc_packed;

/* Takes over the blob, a part of the sum or a transform; those of either sort come in their order. WC_BUG if the bytes
 * do not open as what they claim to be. */
wc_status wc_packed_add(wc_ctx *ctx, wc_packed *p, wc_wcz_blob *blob);
/* dst [nr, cols] = rows of the sum of parts, times the transforms. */
wc_status wc_packed_rows(wc_ctx *ctx, const wc_packed *p, size_t r0, size_t nr, float *dst);
/* A weight that reads from p; p and name must outlive it. */
wc_weight wc_packed_weight(const wc_packed *p, const char *name);
void wc_packed_free(wc_packed *p);

typedef struct wc_tensor_result {
    double error;     /* tr(D H D^T) / tr(W H W^T) with H of the statistics, or with H = I when there are none */
    bool error_plain; /* H = I was used */
    bool fallback;    /* a method failed numerically and its fallback was used */
    int escalations;  /* how often damping was raised */
    double damping;   /* relative damping that was used; 0: none */
    double seconds;
} wc_tensor_result;

/* Runs the recipe on W and puts the parts into the file as parts 0 .. n-1 of `tensor' (the caller's index in wcz).
 * *out holds the parts (free with wc_packed_free), also for use as a weight. Deterministic for any thread count. */
typedef struct wc_compress_job {
    const wc_weight *weight; /* the original W; read three times in panels, never kept */
    const wc_recipe *recipe;
    const wc_stats *stats;
    wc_wcz *wcz;
    size_t tensor;
} wc_compress_job;
wc_status wc_compress(wc_ctx *ctx, const wc_compress_job *job, wc_packed *out, wc_tensor_result *result);

/* Bytes of working memory that wc_compress needs for a [rows, cols] matrix, statistics and result not included. */
uint64_t wc_compress_scratch(const wc_ctx *ctx, size_t rows, size_t cols, bool needs_stats);

#endif
