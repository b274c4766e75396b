/* The rows of the bench for coded parts: the decoder at every CPU level, beside zstd and Huffman on the same integers.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/coded.h"
#include "bench_rows.h"
#include "decode/decoder.h"
#include "decode/level.h"
#include "formats/format.h"
#include "solve/coded_fit.h"

/* Points of a trellis walk over normal numbers, whose spread differs by columns: 3 bits per weight on average, 1.5 to
 * 4.5. One thread, so that rates are those of a core. */
typedef struct archive {
    wc_ctx one;
    wc_part part;
    uint8_t *blob, *bytes, *packed, params[WC_PARAMS_SIZE];
    uint64_t size, room, packed_size;
    float *rows, *x, *y;
    wcd_view view;
    int level; /* of zstd */
} archive;

enum { TILE = 512, SPREADS = 16 };

static double normal(uint64_t *state)
{
    float u[2];
    wc_bench_random((*state)++ << 20, 2, u);
    return sqrt(-2 * log(0.5 + 0.5 * (double)u[0] + 1e-12)) * cos(M_PI * (double)u[1]);
}

static unsigned spread_of(size_t col)
{
    return (unsigned)(col * 7 % SPREADS);
}

static void fill_points(wc_coded *p)
{
    uint64_t state = 1;
    for (size_t c = 0; c < p->cols; c++) {
        double deviation = exp2(0.45 + 3.0 * (spread_of(c) + 0.5) / SPREADS);
        unsigned s = 0;
        p->col_class[c] = (uint8_t)spread_of(c);
        for (size_t r = 0; r < p->rows; r++) {
            if (r % p->tile == 0) s = 0;
            int q = (int)(s & 1), j = 2 * (int)lround((deviation * normal(&state) - q) / 2) + q;
            p->point[r * p->cols + c] = (int16_t)j;
            s = wc_coded_next(p->memory, s, j);
        }
    }
}

static int code_of(int j)
{
    return (j - (j & 1)) / 2;
}

static wc_status fit_laws(wc_ctx *ctx, wc_coded *p)
{
    wc_coded_count *counts = NULL;
    WC_TRY(WC_ALLOC(ctx, counts, SPREADS, "counts of points"));
    for (size_t i = 0; i < p->rows * p->cols; i++)
        counts[p->col_class[i % p->cols]].n[p->point[i] & 1][code_of(p->point[i]) + WC_CODED_RANGE]++;
    for (unsigned n = 0; n < SPREADS; n++)
        wc_coded_fit(&counts[n], &p->law[n]);
    free(counts);
    return WC_OK;
}

static wc_status archive_open(wc_ctx *ctx, size_t rows, size_t cols, archive *a)
{
    const wc_encoder *e = wc_encoder_for(WC_PART_CODED);
    uint64_t streams;
    a->part =
        (wc_part){.kind = WC_PART_CODED,
                  .coded = {.rows = rows, .cols = cols, .tile = TILE, .memory = 8, .classes = SPREADS, .step = 1}};
    wc_coded *p = &a->part.coded;
    wc_ctx_init(&a->one, 1);
    WC_TRY(wc_coded_alloc(ctx, p));
    fill_points(p);
    WC_TRY(fit_laws(ctx, p));
    WC_TRY(wc_coded_measure(ctx, p, NULL, &streams));
    p->bytes = a->size = wc_coded_lay_out(p).stream + streams;
    a->room = ZSTD_compressBound(rows * cols);
    WC_TRY(WC_ALLOC(ctx, a->blob, a->size, "an encoded part"));
    WC_TRY(WC_ALLOC(ctx, a->bytes, rows * cols, "integers as bytes"));
    WC_TRY(WC_ALLOC(ctx, a->packed, a->room, "packed integers"));
    WC_TRY(WC_ALLOC(ctx, a->rows, TILE * cols, "decoded rows"));
    WC_TRY(WC_ALLOC(ctx, a->x, cols, "a vector"));
    WC_TRY(WC_ALLOC(ctx, a->y, rows, "a vector"));
    wc_bench_random(51, cols, a->x);
    for (size_t i = 0; i < rows * cols; i++)
        a->bytes[i] = (uint8_t)code_of(p->point[i]);
    WC_TRY(e->encode(ctx, &a->part, a->blob, a->params));
    wcd_status s = wcd_view_open(e->id, e->version, a->params, a->blob, a->size, rows, cols, &a->view);
    return s == WCD_OK ? WC_OK : wc_fail(ctx, WC_BUG, "bench: %s", wcd_status_text(s));
}

/* ---- codecs -------------------------------------------------------------------------------------------------------
 */

static wc_status encode(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    (void)ctx;
    return wc_encoder_for(WC_PART_CODED)->encode(&a->one, &a->part, a->blob, a->params);
}

static wc_status decode(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    const wc_coded *p = &a->part.coded;
    for (size_t r = 0; r < p->rows; r += TILE)
        if (wcd_view_set_rows(&a->view, r, wc_min(TILE, p->rows - r), a->rows, p->cols) != WCD_OK)
            return wc_fail(ctx, WC_BUG, "bench: a coded part does not decode");
    return WC_OK;
}

static wc_status product(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    (void)ctx;
    wcd_view_product(&a->view, 0, a->part.coded.rows, a->x, a->y, 0);
    return WC_OK;
}

static wc_status zstd_pack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    a->packed_size = ZSTD_compress(a->packed, a->room, a->bytes, a->part.coded.rows * a->part.coded.cols, a->level);
    return ZSTD_isError(a->packed_size) ? wc_fail(ctx, WC_BUG, "bench: zstd: %s", ZSTD_getErrorName(a->packed_size))
                                        : WC_OK;
}

static wc_status zstd_unpack(wc_ctx *ctx, void *arg)
{
    archive *a = arg;
    size_t n = ZSTD_decompress(a->bytes, a->part.coded.rows * a->part.coded.cols, a->packed, a->packed_size);
    return ZSTD_isError(n) ? wc_fail(ctx, WC_BUG, "bench: zstd: %s", ZSTD_getErrorName(n)) : WC_OK;
}

/* The least to the end of the list. */
static void least_last(uint64_t *list, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (list[i] < list[n - 1]) {
            uint64_t less = list[i];
            list[i] = list[n - 1], list[n - 1] = less;
        }
}

/* Bits of a Huffman code for these counts: the sum of all weights that are merged. */
static double huffman_bits(const uint64_t counts[256])
{
    uint64_t left[256];
    size_t n = 0;
    double bits = 0;
    for (int i = 0; i < 256; i++)
        if (counts[i]) left[n++] = counts[i];
    for (; n > 1; n--) {
        least_last(left, n);
        least_last(left, n - 1);
        left[n - 2] += left[n - 1];
        bits += (double)left[n - 2];
    }
    return bits;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------
 */

static double per_weight(const archive *a, double bits)
{
    return bits / ((double)a->part.coded.rows * (double)a->part.coded.cols);
}

static wc_status row(wc_bench_frame *f, archive *a, const char *name, const char *what,
                     wc_status (*work)(wc_ctx *ctx, void *arg))
{
    double weights = (double)a->part.coded.rows * (double)a->part.coded.cols;
    return wc_bench_measure(f, &(wc_bench_row){name, what, weights, WC_NO_CEILING_WEIGHTS, work, NULL, a});
}

static wc_status levels(wc_bench_frame *f, archive *a)
{
    char name[32], what[64];
    wc_status status = WC_OK;
    snprintf(what, sizeof what, "one core, %.3f bits per weight", per_weight(a, 8 * (double)a->size));
    WC_TRY(row(f, a, "coded", what, encode));
    for (int l = WCD_C; status == WC_OK && l <= (int)wcd_cpu_best(); l++) {
        wcd_cpu_use((wcd_level)l);
        snprintf(name, sizeof name, "coded-back-%s", wcd_level_name((wcd_level)l));
        snprintf(what, sizeof what, "one core, into f32 rows");
        status = row(f, a, name, what, decode);
        snprintf(name, sizeof name, "coded-matvec-%s", wcd_level_name((wcd_level)l));
        snprintf(what, sizeof what, "one core, times a vector");
        if (status == WC_OK) status = row(f, a, name, what, product);
    }
    wcd_cpu_use(wcd_cpu_best());
    return status;
}

static wc_status others(wc_bench_frame *f, archive *a)
{
    static const int level_of[] = {3, 19};
    uint64_t counts[256] = {0};
    char name[32], what[64];
    for (size_t i = 0; i < 2; i++) {
        a->level = level_of[i];
        WC_TRY(zstd_pack(f->ctx, a));
        snprintf(what, sizeof what, "the integers as bytes: %.3f bits per weight",
                 per_weight(a, 8 * (double)a->packed_size));
        snprintf(name, sizeof name, "coded-zstd-%d", a->level);
        WC_TRY(row(f, a, name, what, zstd_pack));
        snprintf(name, sizeof name, "coded-zstd-%d-back", a->level);
        WC_TRY(row(f, a, name, what, zstd_unpack));
    }
    for (size_t i = 0; i < a->part.coded.rows * a->part.coded.cols; i++)
        counts[a->bytes[i]]++;
    wc_report_result(f->report, "%-19s one Huffman code for all: %.3f bits per weight", "coded-huffman",
                     per_weight(a, huffman_bits(counts)));
    return WC_OK;
}

wc_status wc_bench_coded(wc_bench_frame *f)
{
    size_t rows = f->opt->quick ? 128 : 4096, cols = f->opt->quick ? 256 : 4096;
    archive a = {.level = 0};
    if (!wc_bench_wants(f, "coded")) return WC_OK;
    wc_status status = archive_open(f->ctx, rows, cols, &a);
    if (status == WC_OK) status = levels(f, &a);
    if (status == WC_OK) status = others(f, &a);
    wc_part_free(&a.part);
    free(a.blob), free(a.bytes), free(a.packed), free(a.rows), free(a.x), free(a.y);
    return status;
}
