#include "solve/plane_code.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/planes.h"

enum { SYMBOLS = 256, STREAM = WC_PLANE_CHUNK / WC_PLANE_STREAMS };

/* ---- package-merge ---------------------------------------------------------------------------------------------- */

/* A coin (symbol), or two entries of the narrower list (a, b). */
typedef struct coin {
    uint64_t worth;
    int16_t symbol, a, b; /* symbol -1: a package */
} coin;

static int by_worth(const void *x, const void *y)
{
    const coin *a = x, *b = y;
    if (a->worth != b->worth) return a->worth < b->worth ? -1 : 1;
    return a->symbol - b->symbol;
}

/* list [level] counts once for every symbol inside entry i. */
static void count_coins(coin list[WC_CODE_BITS][2 * SYMBOLS], int level, int i, uint8_t length[SYMBOLS])
{
    const coin *c = &list[level][i];
    if (c->symbol >= 0) {
        length[c->symbol]++;
        return;
    }
    count_coins(list, level - 1, c->a, length);
    count_coins(list, level - 1, c->b, length);
}

void wc_code_lengths(const uint64_t count[SYMBOLS], uint8_t length[SYMBOLS])
{
    coin list[WC_CODE_BITS][2 * SYMBOLS], single[SYMBOLS];
    int symbols = 0, size = 0;
    for (int s = 0; s < SYMBOLS; s++)
        if (count[s]) single[symbols++] = (coin){count[s], (int16_t)s, 0, 0};
    qsort(single, (size_t)symbols, sizeof *single, by_worth);
    for (int level = 0; level < WC_CODE_BITS; level++) {
        int packages = size / 2, taken = 0, made = 0;
        coin *to = list[level];
        const coin *from = level ? list[level - 1] : NULL;
        while (taken < symbols || made < packages) {
            uint64_t pair = made < packages ? from[2 * made].worth + from[2 * made + 1].worth : 0;
            if (made == packages || (taken < symbols && single[taken].worth <= pair)) {
                *to++ = single[taken++];
            } else {
                *to++ = (coin){pair, -1, (int16_t)(2 * made), (int16_t)(2 * made + 1)};
                made++;
            }
        }
        size = (int)(to - list[level]);
    }
    memset(length, 0, SYMBOLS);
    for (int i = 0; i < 2 * symbols - 2; i++)
        count_coins(list, WC_CODE_BITS - 1, i, length);
}

/* ---- statistics ------------------------------------------------------------------------------------------------- */

/* Work is shared out in runs of chunks; sums of a run are kept and added in order. */
enum { RUN = 256, COUNTS = 4 };

typedef struct survey {
    wc_dtype type;
    const uint8_t *data;
    uint64_t n, chunks, runs;
    wc_float_code *code;
} survey;

static size_t load_chunk(const survey *s, uint64_t chunk, uint8_t buffer[WC_PLANES][WC_PLANE_CHUNK])
{
    uint8_t *plane[WC_PLANES];
    uint64_t first = chunk * WC_PLANE_CHUNK;
    size_t n = (size_t)(s->n - first < WC_PLANE_CHUNK ? s->n - first : WC_PLANE_CHUNK);
    for (unsigned p = 0; p < WC_PLANES; p++)
        plane[p] = buffer[p];
    wc_planes_split(s->type, s->code->drop, s->data + first * s->code->planes, n, plane);
    return n;
}

/* Four histograms, so that equal neighbours do not wait for each other. */
static void add_histogram(const uint8_t *x, size_t n, uint32_t count[COUNTS][SYMBOLS])
{
    size_t i = 0;
    for (; i + COUNTS <= n; i += COUNTS) {
        count[0][x[i]]++;
        count[1][x[i + 1]]++;
        count[2][x[i + 2]]++;
        count[3][x[i + 3]]++;
    }
    for (; i < n; i++)
        count[0][x[i]]++;
}

static wc_status histograms(wc_ctx *ctx, const survey *s, uint64_t total[WC_PLANES][SYMBOLS])
{
    bool failed = false;
#pragma omp parallel num_threads(ctx->threads)
    {
        uint8_t(*buffer)[WC_PLANE_CHUNK] = malloc(WC_PLANES * sizeof *buffer);
        uint32_t(*count)[COUNTS][SYMBOLS] = malloc(WC_PLANES * sizeof *count);
        if (!buffer || !count) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(dynamic)
        for (uint64_t run = 0; run < s->runs; run++) {
            if (!buffer || !count) continue;
            memset(count, 0, WC_PLANES * sizeof *count);
            for (uint64_t c = run * RUN; c < s->chunks && c < (run + 1) * RUN; c++) {
                size_t n = load_chunk(s, c, buffer);
                for (unsigned p = 0; p < s->code->planes; p++)
                    add_histogram(buffer[p], n, count[p]);
            }
#pragma omp critical
            for (unsigned p = 0; p < s->code->planes; p++)
                for (int v = 0; v < SYMBOLS; v++)
                    total[p][v] += (uint64_t)count[p][0][v] + count[p][1][v] + count[p][2][v] + count[p][3][v];
        }
        free(buffer), free(count);
    }
    return failed ? wc_fail(ctx, WC_NOMEM, "no memory to look at values") : WC_OK;
}

/* Bits of the codes of x [n]; four sums, because loads are faster than additions that wait for each other. */
static uint32_t code_bits(const uint8_t *x, size_t n, const uint8_t length[SYMBOLS])
{
    uint32_t sum[4] = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        sum[0] += length[x[i]];
        sum[1] += length[x[i + 1]];
        sum[2] += length[x[i + 2]];
        sum[3] += length[x[i + 3]];
    }
    for (; i < n; i++)
        sum[0] += length[x[i]];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static void stream_sizes(const uint8_t *x, size_t n, const uint8_t length[SYMBOLS], uint16_t size[WC_PLANE_STREAMS])
{
    for (size_t k = 0; k < WC_PLANE_STREAMS; k++) {
        size_t from = wc_min(k * STREAM, n), to = wc_min((k + 1) * STREAM, n);
        size[k] = (uint16_t)((code_bits(x + from, to - from, length) + 7) / 8);
    }
}

static wc_status all_sizes(wc_ctx *ctx, const survey *s)
{
    bool failed = false;
#pragma omp parallel num_threads(ctx->threads)
    {
        uint8_t(*buffer)[WC_PLANE_CHUNK] = malloc(WC_PLANES * sizeof *buffer);
        if (!buffer) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(dynamic, RUN)
        for (uint64_t c = 0; c < s->chunks; c++) {
            if (!buffer) continue;
            size_t n = load_chunk(s, c, buffer);
            for (unsigned p = 0; p < s->code->planes; p++)
                if (s->code->mode[p] == WC_PLANE_CODED)
                    stream_sizes(buffer[p], n, s->code->length[p], s->code->size[p] + c * WC_PLANE_STREAMS);
        }
        free(buffer);
    }
    return failed ? wc_fail(ctx, WC_NOMEM, "no memory to look at values") : WC_OK;
}

/* Bits of the streams, 14 for 4096 values and 288 for the table: against one byte a value. */
static void choose_mode(const uint64_t count[SYMBOLS], uint64_t n, wc_float_code *c, unsigned p)
{
    int occur = 0;
    double bytes = 288 + 16.0 * (double)c->chunks;
    for (int v = 0; v < SYMBOLS; v++)
        if (count[v]) occur++, c->constant[p] = (uint8_t)v;
    c->mode[p] = WC_PLANE_CONSTANT;
    if (occur < 2) return;
    c->constant[p] = 0;
    wc_code_lengths(count, c->length[p]);
    for (int v = 0; v < SYMBOLS; v++)
        bytes += (double)count[v] * c->length[p][v] / 8;
    c->mode[p] = bytes < 0.99 * (double)n ? WC_PLANE_CODED : WC_PLANE_RAW;
    if (c->mode[p] == WC_PLANE_RAW) memset(c->length[p], 0, SYMBOLS);
}

/* ---- what rounding costs ---------------------------------------------------------------------------------------- */

static double value_of(wc_dtype t, uint32_t x)
{
    return t == WC_F32 ? wc_bits_f32(x) : t == WC_F16 ? wc_f16_f32((uint16_t)x) : wc_bf16_f32((uint16_t)x);
}

/* |D|^2 / |W|^2 over the finite values. */
static wc_status rounding_error(wc_ctx *ctx, const survey *s, double *error)
{
    double whole = 0, left = 0;
    uint8_t(*buffer)[WC_PLANE_CHUNK];
    unsigned width = s->code->planes;
    WC_TRY(WC_ALLOC(ctx, buffer, WC_PLANES, "planes of values"));
    for (uint64_t c = 0; c < s->chunks; c++) {
        size_t n = load_chunk(s, c, buffer);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *from = s->data + (c * WC_PLANE_CHUNK + i) * width;
            uint32_t x = 0, y = 0;
            for (unsigned p = 0; p < width; p++)
                x |= (uint32_t)from[p] << 8 * p, y |= (uint32_t)buffer[p][i] << 8 * p;
            y = y >> 1 | (y & 1) << (8 * width - 1);
            double w = value_of(s->type, x), d = w - value_of(s->type, y);
            if (isfinite(w)) whole += w * w, left += d * d;
        }
    }
    *error = whole > 0 ? left / whole : 0;
    free(buffer);
    return WC_OK;
}

/* ---- the survey ------------------------------------------------------------------------------------------------- */

static wc_status decide(wc_ctx *ctx, const survey *s, bool *worth_it)
{
    wc_float_code *c = s->code;
    uint64_t(*count)[SYMBOLS];
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, count, WC_PLANES, "histograms"));
    WC_TRY_OUT(histograms(ctx, s, count));
    *worth_it = c->drop != 0;
    for (unsigned p = 0; p < c->planes; p++) {
        choose_mode(count[p], s->n, c, p);
        *worth_it = *worth_it || c->mode[p] != WC_PLANE_RAW;
        if (c->mode[p] == WC_PLANE_CODED)
            WC_TRY_OUT(WC_ALLOC(ctx, c->size[p], c->chunks * WC_PLANE_STREAMS, "sizes of streams"));
    }
    WC_TRY_OUT(all_sizes(ctx, s));
    for (unsigned p = 0; p < c->planes; p++)
        for (uint64_t i = 0; c->size[p] && i < c->chunks * WC_PLANE_STREAMS; i++)
            c->stream_bytes += c->size[p][i];
    if (c->drop) WC_TRY_OUT(rounding_error(ctx, s, &c->error));
out:
    free(count);
    return status;
}

wc_status wc_float_survey(wc_ctx *ctx, wc_dtype t, const uint8_t *data, uint64_t n, unsigned keep, wc_float_code **out)
{
    unsigned mantissa = wc_mantissa_bits(t);
    bool worth_it = false;
    *out = NULL;
    if (!n || !wc_plane_count(t)) return WC_OK;
    survey s = {.type = t, .data = data, .n = n, .chunks = wc_ceil_div(n, WC_PLANE_CHUNK)};
    s.runs = wc_ceil_div(s.chunks, RUN);
    WC_TRY(WC_ALLOC(ctx, s.code, 1, "a lossless code"));
    s.code->planes = wc_plane_count(t);
    s.code->chunks = s.chunks;
    if (keep < mantissa) s.code->drop = mantissa - keep;
    wc_status status = decide(ctx, &s, &worth_it);
    if (status == WC_OK && worth_it)
        *out = s.code;
    else
        wc_float_code_free(s.code);
    return status;
}
