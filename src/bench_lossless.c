/* The rows of the bench for lossless parts, beside zstd on the same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/half.h"
#include "bench_rows.h"
#include "decode/decoder.h"
#include "formats/format.h"
#include "solve/plane_code.h"

/* Weights as trained ones are: Gaussian. One thread, so that rates are those of a core. */
typedef struct archive {
    wc_ctx one;
    wc_dtype type;
    size_t rows, cols, bytes, packed, room;
    uint8_t *data, *blob, params[WC_PARAMS_SIZE];
    float *dst;
    wcd_view view;
    int level; /* of zstd */
} archive;

static wc_status archive_pack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    const wc_encoder *e = wc_encoder_for(WC_PART_FLOAT);
    wc_part part = {.kind = WC_PART_FLOAT,
                    .floats = {.rows = a->rows, .cols = a->cols, .dtype = a->type, .data = a->data}};
    uint64_t size = 0;
    (void)ctx;
    wc_status status = wc_float_survey(&a->one, a->type, a->data, a->rows * a->cols, 23, &part.floats.code);
    if (status == WC_OK) status = e->size(&a->one, &part, &size);
    if (status == WC_OK && size > a->room) status = wc_fail(&a->one, WC_BUG, "bench: a coded part is too large");
    if (status == WC_OK) status = e->encode(&a->one, &part, a->blob, a->params);
    a->packed = size;
    part.floats.data = NULL;
    wc_part_free(&part);
    return status;
}

static wc_status archive_unpack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    (void)ctx;
    return wcd_view_set_rows(&a->view, 0, a->rows, a->dst, a->cols) == WCD_OK ? WC_OK : WC_BUG;
}

static wc_status zstd_pack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    a->packed = ZSTD_compress(a->blob, a->room, a->data, a->bytes, a->level);
    return ZSTD_isError(a->packed) ? wc_fail(ctx, WC_BUG, "bench: zstd: %s", ZSTD_getErrorName(a->packed)) : WC_OK;
}

static wc_status zstd_unpack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    size_t n = ZSTD_decompress(a->dst, a->bytes, a->blob, a->packed);
    return ZSTD_isError(n) ? wc_fail(ctx, WC_BUG, "bench: zstd: %s", ZSTD_getErrorName(n)) : WC_OK;
}

typedef wc_status (*codec_half)(wc_ctx *ctx, void *arg);

/* One codec there and back; its size is known after one run and stands in the row. */
static wc_status bench_codec(wc_bench_frame *f, archive *a, const char *name, codec_half pack, codec_half unpack)
{
    char pack_name[32], unpack_name[32], what[64];
    snprintf(pack_name, sizeof pack_name, "%s", name);
    snprintf(unpack_name, sizeof unpack_name, "%s-back", name);
    if (!wc_bench_wants(f, pack_name) && !wc_bench_wants(f, unpack_name)) return WC_OK;
    WC_TRY(pack(f->ctx, a));
    if (!a->level && wcd_view_open(1, 1, a->params, a->blob, a->packed, a->rows, a->cols, &a->view) != WCD_OK)
        return wc_fail(f->ctx, WC_BUG, "bench: a coded part does not open");
    unsigned bits = wc_dtype_bits(a->type);
    snprintf(what, sizeof what, "%s, one core: %.2f of %u bits per weight", wc_dtype_name(a->type),
             bits * (double)a->packed / (double)a->bytes, bits);
    WC_TRY(wc_bench_measure(f, &(wc_bench_row){pack_name, what, (double)a->bytes, WC_CEILING_READ, pack, NULL, a}));
    return wc_bench_measure(f, &(wc_bench_row){unpack_name, what, (double)a->bytes, WC_CEILING_READ, unpack, NULL, a});
}

/* The numbers that random ones in a->dst make, as values of a type. */
static void fill_weights(archive *a, wc_dtype type)
{
    size_t n = a->rows * a->cols, width = wc_dtype_bits(type) / 8;
    a->type = type;
    a->bytes = width * n;
    wc_bench_random(41, n, a->dst);
    for (size_t i = 0; i < n; i++) {
        /* Box and Muller, from this number and its neighbour */
        double u = 0.5 + 0.5 * (double)a->dst[i], angle = M_PI * (double)a->dst[(i + 1) % n];
        float x = (float)(0.02 * sqrt(-2 * log(u + 1e-12)) * cos(angle));
        uint32_t bits = type == WC_F32 ? wc_f32_bits(x) : type == WC_F16 ? wc_f32_f16(x) : wc_f32_bf16(x);
        for (size_t p = 0; p < width; p++)
            a->data[width * i + p] = (uint8_t)(bits >> 8 * p);
    }
}

wc_status wc_bench_lossless(wc_bench_frame *f)
{
    archive a = {.rows = f->opt->quick ? 64 : 1024, .cols = 4096};
    wc_status status = WC_OK;
    if (!wc_bench_wants(f, "lossless-f16-back") && !wc_bench_wants(f, "lossless-f32-back") &&
        !wc_bench_wants(f, "lossless-back") && !wc_bench_wants(f, "zstd-3-back") && !wc_bench_wants(f, "zstd-19-back"))
        return WC_OK;
    wc_ctx_init(&a.one, 1);
    a.room = ZSTD_compressBound(4 * a.rows * a.cols);
    WC_TRY_OUT(WC_ALLOC(f->ctx, a.data, 4 * a.rows * a.cols, "weights"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, a.blob, a.room, "packed weights"));
    WC_TRY_OUT(WC_ALLOC(f->ctx, a.dst, a.rows * a.cols, "weights"));
    fill_weights(&a, WC_F32);
    WC_TRY_OUT(bench_codec(f, &a, "lossless-f32", archive_pack, archive_unpack));
    fill_weights(&a, WC_F16);
    WC_TRY_OUT(bench_codec(f, &a, "lossless-f16", archive_pack, archive_unpack));
    fill_weights(&a, WC_BF16);
    WC_TRY_OUT(bench_codec(f, &a, "lossless", archive_pack, archive_unpack));
    a.level = 3;
    WC_TRY_OUT(bench_codec(f, &a, "zstd-3", zstd_pack, zstd_unpack));
    a.level = 19;
    WC_TRY_OUT(bench_codec(f, &a, "zstd-19", zstd_pack, zstd_unpack));
out:
    free(a.data), free(a.blob), free(a.dst);
    return status;
}
