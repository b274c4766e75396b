#include "base/coded.h"

#include <stdlib.h>
#include <string.h>

/* 2^(-i / 16), f32 nearest. */
static const float root[16] = {0x1.000000p+0f, 0x1.ea4afap-1f, 0x1.d5818ep-1f, 0x1.c199bep-1f,
                               0x1.ae89fap-1f, 0x1.9c4918p-1f, 0x1.8ace54p-1f, 0x1.7a1148p-1f,
                               0x1.6a09e6p-1f, 0x1.5ab07ep-1f, 0x1.4bfdaep-1f, 0x1.3dea64p-1f,
                               0x1.306fe0p-1f, 0x1.2387a6p-1f, 0x1.172b84p-1f, 0x1.0b5586p-1f};
/* round(2^(15 - i / 16)) */
static const uint16_t root15[16] = {32768, 31379, 30048, 28774, 27554, 26386, 25268, 24196,
                                    23170, 22188, 21247, 20347, 19484, 18658, 17867, 17109};

float wc_coded_exp2(unsigned code)
{
    float scale = 1;
    for (unsigned i = 0; i < code / 16; i++)
        scale *= 0.5f;
    return root[code % 16] * scale;
}

/* h0 >> 1 and h1 >> 1 of the parity-check polynomials of the best codes for amplitude modulation, Ungerboeck 1982 and
 * 1987: h0 = 5 13 23 45 103 235 515, h1 = 2 4 4 10 24 126 362, octal, for memory 2 .. 8. */
const uint8_t wc_coded_machine[WC_CODED_MEMORY + 1][2] = {{0, 0},    {0, 0},     {02, 01},    {05, 02},    {011, 02},
                                                          {022, 04}, {041, 012}, {0116, 053}, {0246, 0171}};

/* ---- laws ---------------------------------------------------------------------------------------------------------
 */

/* Even points without shift lie around k = 0; odd ones, and groups of 2^shift values, around k = -1/2. */
static int distance(const wc_coded_class *c, unsigned q, int symbol)
{
    int k = symbol - WC_CODED_SYMBOLS / 2;
    return k >= 0 ? k : q || c->shift ? -1 - k : -k;
}

/* 2^20 p(m) without its constant factor; 2^20 in the middle. */
static uint64_t weight(const wc_coded_law *law, int m)
{
    if (!m) return (uint64_t)1 << 20;
    int e = 16 * law->first + 16 * law->second * (m - 1) + law->bend * law->bend * ((m - 1) * (m - 2) / 2) / 8;
    e = (e + (1 << 20)) / 16 - (1 << 16) + 128; /* 1/256 bit to 1/16, rounded down; from 8 bits below 0 */
    e = e < 0 ? 0 : e;
    return e / 16 > 28 ? 0 : (uint64_t)root15[e % 16] << 13 >> e / 16;
}

void wc_coded_frequencies(const wc_coded_class *c, unsigned q, uint16_t freq[WC_CODED_SYMBOLS])
{
    uint64_t w[WC_CODED_SYMBOLS], sum = 0;
    unsigned top = 0, left = 1 << WC_CODED_SCALE;
    for (int s = 0; s < WC_CODED_SYMBOLS; s++) {
        w[s] = weight(&c->law[q], distance(c, q, s));
        sum += w[s];
        if (w[s] > w[top]) top = (unsigned)s;
    }
    for (unsigned s = 0; s < WC_CODED_SYMBOLS; s++) {
        freq[s] = (uint16_t)(((w[s] << (WC_CODED_SCALE + 1)) + sum) / (2 * sum));
        if (!s && !freq[0]) freq[0] = 1;
        if (s != top) left -= freq[s];
    }
    freq[top] = (uint16_t)left; /* rounding takes at most 33 from at least 64 */
}

/* ---- tables of the alias method -----------------------------------------------------------------------------------
 */

enum { SLOTS = 1 << WC_CODED_SCALE, BUCKET = SLOTS / WC_CODED_SYMBOLS };

/* What the coder needs of a symbol. inverse = floor(2^44 / freq) + 1: for x < 2^20 freq, as it is here,
 *
 *     x / freq = x inverse >> 44,
 *
 * for what inverse is too large by adds at most x / 2^44 < freq / 2^24 <= 1 / freq, and the product is below 2^64. */
typedef struct entry {
    uint64_t inverse;
    uint16_t freq, start;
    uint8_t raw; /* bits that follow the symbol as they are */
} entry;

/* Slot number r of symbol s is slot[symbol[s].start + r]. A symbol that has no frequency has what the escape has. */
typedef struct table {
    entry symbol[WC_CODED_SYMBOLS];
    uint16_t slot[SLOTS];
} table;

static void give(table *t, unsigned symbol, unsigned rank, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        t->slot[t->symbol[symbol].start + rank + i] = (uint16_t)(first + i);
}

static void make_symbols(const wc_coded_class *c, unsigned q, table *t)
{
    uint16_t freq[WC_CODED_SYMBOLS], start = 0;
    wc_coded_frequencies(c, q, freq);
    for (unsigned s = 0; s < WC_CODED_SYMBOLS; s++) {
        uint64_t inverse = freq[s] ? ((uint64_t)1 << 44) / freq[s] + 1 : 0;
        t->symbol[s] = (entry){inverse, freq[s], start, s ? c->shift : WC_CODED_RAW};
        start = (uint16_t)(start + freq[s]);
    }
}

/* Bucket s has 64 slots: the first are of s itself, the others of one other symbol. Stacks as the card says. */
static void make_table(const wc_coded_class *c, unsigned q, table *t)
{
    unsigned left[WC_CODED_SYMBOLS], small[WC_CODED_SYMBOLS], large[WC_CODED_SYMBOLS], n_small = 0, n_large = 0;
    make_symbols(c, q, t);
    for (unsigned s = 0; s < WC_CODED_SYMBOLS; s++) {
        left[s] = t->symbol[s].freq;
        if (left[s] < BUCKET)
            small[n_small++] = s;
        else
            large[n_large++] = s;
    }
    while (n_small) {
        unsigned s = small[--n_small], other = large[n_large - 1], need = BUCKET - left[s];
        give(t, s, t->symbol[s].freq - left[s], s * BUCKET, left[s]);
        give(t, other, t->symbol[other].freq - left[other], s * BUCKET + left[s], need);
        left[other] -= need;
        if (left[other] < BUCKET) small[n_small++] = other, n_large--;
    }
    while (n_large) {
        unsigned s = large[--n_large];
        give(t, s, t->symbol[s].freq - left[s], s * BUCKET, BUCKET);
    }
    for (unsigned s = 1; s < WC_CODED_SYMBOLS; s++)
        if (!t->symbol[s].freq) t->symbol[s] = t->symbol[0];
}

/* ---- streams ------------------------------------------------------------------------------------------------------
 */

wc_coded_layout wc_coded_lay_out(const wc_coded *p)
{
    wc_coded_layout l = {.units = wc_ceil_div(p->rows, p->tile) * wc_ceil_div(p->cols, WC_CODED_COLS)};
    l.col_step = wc_round_up(p->classes * WC_CODED_CLASS_SIZE, 8);
    l.col_class = wc_round_up(l.col_step + p->cols, 8);
    l.row_class = wc_round_up(l.col_class + (p->cols + 1) / 2, 8);
    l.ends = wc_round_up(l.row_class + (p->row_classes ? (p->rows + 1) / 2 : 0), 8);
    l.stream = wc_round_up(l.ends + 4 * l.units, 8);
    return l;
}

/* Where words go, downwards from `at'; at NULL: only counted. */
typedef struct sink {
    uint64_t words;
    uint8_t *at;
} sink;

/* The low word of x goes out if `full'. Whether it does is chance, so nothing is decided by it: a word that does not go
 * is written nevertheless, and written over by what comes next, at last by the states. */
static inline uint32_t emit(sink *to, uint32_t x, bool full)
{
    to->words += full;
    if (to->at) {
        to->at[-2] = (uint8_t)x, to->at[-1] = (uint8_t)(x >> 8);
        to->at -= 2 * full;
    }
    return x >> 16 * full;
}

static inline uint32_t put_raw(sink *to, uint32_t x, unsigned value, unsigned bits)
{
    if (!bits) return x;
    return emit(to, x, x >> (32 - bits)) << bits | (value & ((1u << bits) - 1));
}

static inline uint32_t put_symbol(sink *to, uint32_t x, const table *t, const entry *e)
{
    x = emit(to, x, x >= (uint64_t)e->freq << (32 - WC_CODED_SCALE));
    uint32_t whole = (uint32_t)((x * e->inverse) >> 44);
    return (whole << WC_CODED_SCALE) + t->slot[e->start + x - whole * e->freq];
}

/* Up to 16 neighbours of a row, from states x: the decoder reads their symbols, then their low bits. */
static inline void put_group(const wc_coded *p, const table *tables, size_t r, size_t col, unsigned n, uint32_t *x,
                             sink *to)
{
    const int16_t *point = p->point + r * p->cols + col;
    const table *of[WC_CODED_LANES];
    const entry *symbol[WC_CODED_LANES];
    for (unsigned l = n; l--;) {
        int q = point[l] & 1, k = (point[l] - q) / 2;
        unsigned class_of = wc_coded_class_at(p, r, col + l);
        unsigned s = (unsigned)((k >> p->law[class_of].shift) + WC_CODED_SYMBOLS / 2);
        of[l] = tables + 2 * class_of + q;
        symbol[l] = of[l]->symbol + (s < WC_CODED_SYMBOLS ? s : 0);
        x[l] = put_raw(to, x[l], (unsigned)k, symbol[l]->raw);
    }
    for (unsigned l = n; l--;)
        x[l] = put_symbol(to, x[l], of[l], symbol[l]);
}

/* Rows r0 .. r1, columns c0 .. c1, from the last symbol to the first; end: behind the unit's last byte, or NULL.
 * Returns its 16-bit words. */
static uint64_t put_unit(const wc_coded *p, const table *tables, size_t r0, size_t r1, size_t c0, size_t c1,
                         uint8_t *end)
{
    sink to = {.at = end};
    uint32_t x[WC_CODED_LANES];
    for (unsigned l = 0; l < WC_CODED_LANES; l++)
        x[l] = 1 << 16;
    for (size_t r = r1; r-- > r0;)
        for (size_t g = wc_ceil_div(c1 - c0, WC_CODED_LANES); g--;) {
            size_t col = c0 + g * WC_CODED_LANES;
            put_group(p, tables, r, col, (unsigned)wc_min(WC_CODED_LANES, c1 - col), x, &to);
        }
    for (unsigned l = WC_CODED_LANES; end && l--;)
        for (unsigned byte = 4; byte--;)
            *--to.at = (uint8_t)(x[l] >> 8 * byte);
    return to.words + 2 * WC_CODED_LANES;
}

static wc_status make_tables(wc_ctx *ctx, const wc_coded *p, table **out)
{
    WC_TRY(WC_ALLOC(ctx, *out, 2 * (size_t)p->classes, "tables of frequencies"));
    for (unsigned i = 0; i < 2 * p->classes; i++)
        make_table(&p->law[i / 2], i % 2, &(*out)[i]);
    return WC_OK;
}

/* Unit u; its words if dst is NULL, else written so that it ends at word `end' of dst. */
static uint64_t encode_unit(const wc_coded *p, const table *tables, uint64_t u, uint8_t *dst, uint32_t end)
{
    size_t blocks = wc_ceil_div(p->cols, WC_CODED_COLS), r0 = u / blocks * p->tile, c0 = u % blocks * WC_CODED_COLS;
    return put_unit(p, tables, r0, wc_min(r0 + p->tile, p->rows), c0, wc_min(c0 + WC_CODED_COLS, p->cols),
                    dst ? dst + 2 * (uint64_t)end : NULL);
}

wc_status wc_coded_measure(wc_ctx *ctx, const wc_coded *p, uint32_t *ends, uint64_t *bytes)
{
    wc_coded_layout l = wc_coded_lay_out(p);
    uint32_t *words = NULL;
    uint64_t sum = 0;
    table *tables = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, words, l.units, "ends of streams"));
    WC_TRY_OUT(make_tables(ctx, p, &tables));
#pragma omp parallel for schedule(dynamic) num_threads(ctx ? ctx->threads : 1)
    for (uint64_t u = 0; u < l.units; u++)
        words[u] = (uint32_t)encode_unit(p, tables, u, NULL, 0);
    for (uint64_t u = 0; u < l.units; u++) {
        sum += words[u];
        if (ends) ends[u] = (uint32_t)sum;
    }
    if (sum > UINT32_MAX)
        WC_TRY_OUT(
            wc_fail(ctx, WC_UNSUPPORTED, "a coded part of %llu bytes is too large", (unsigned long long)sum * 2));
    *bytes = 2 * sum;
out:
    free(words), free(tables);
    return status;
}

wc_status wc_coded_write(wc_ctx *ctx, const wc_coded *p, const uint32_t *ends, uint8_t *dst)
{
    wc_coded_layout l = wc_coded_lay_out(p);
    table *tables = NULL;
    WC_TRY(make_tables(ctx, p, &tables));
#pragma omp parallel for schedule(dynamic) num_threads(ctx ? ctx->threads : 1)
    for (uint64_t u = 0; u < l.units; u++)
        encode_unit(p, tables, u, dst, ends[u]);
    free(tables);
    return WC_OK;
}
