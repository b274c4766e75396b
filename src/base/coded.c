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

unsigned wc_coded_symbol(const wc_coded_class *c, const uint16_t freq[WC_CODED_SYMBOLS], int k)
{
    int symbol = (k >> c->shift) + WC_CODED_SYMBOLS / 2;
    return symbol < 1 || symbol >= WC_CODED_SYMBOLS || !freq[symbol] ? 0 : (unsigned)symbol;
}

/* ---- tables of the alias method -----------------------------------------------------------------------------------
 */

enum { SLOTS = 1 << WC_CODED_SCALE, BUCKET = SLOTS / WC_CODED_SYMBOLS };

/* Slot number r of symbol s is slot[start[s] + r]. */
typedef struct table {
    uint16_t freq[WC_CODED_SYMBOLS], start[WC_CODED_SYMBOLS], slot[SLOTS];
} table;

static void give(table *t, unsigned symbol, unsigned rank, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        t->slot[t->start[symbol] + rank + i] = (uint16_t)(first + i);
}

/* Bucket s has 64 slots: the first are of s itself, the others of one other symbol. Stacks as the card says. */
static void make_table(const wc_coded_class *c, unsigned q, table *t)
{
    unsigned left[WC_CODED_SYMBOLS], small[WC_CODED_SYMBOLS], large[WC_CODED_SYMBOLS], n_small = 0, n_large = 0,
                                                                                       sum = 0;
    wc_coded_frequencies(c, q, t->freq);
    for (unsigned s = 0; s < WC_CODED_SYMBOLS; s++) {
        t->start[s] = (uint16_t)sum;
        sum += left[s] = t->freq[s];
        if (left[s] < BUCKET)
            small[n_small++] = s;
        else
            large[n_large++] = s;
    }
    while (n_small) {
        unsigned s = small[--n_small], other = large[n_large - 1], need = BUCKET - left[s];
        give(t, s, t->freq[s] - left[s], s * BUCKET, left[s]);
        give(t, other, t->freq[other] - left[other], s * BUCKET + left[s], need);
        left[other] -= need;
        if (left[other] < BUCKET) small[n_small++] = other, n_large--;
    }
    while (n_large) {
        unsigned s = large[--n_large];
        give(t, s, t->freq[s] - left[s], s * BUCKET, BUCKET);
    }
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

/* A unit being encoded, from its last symbol to its first. Words go downwards from `at'; at NULL: only counted. */
typedef struct coder {
    uint32_t x[WC_CODED_LANES];
    uint64_t words;
    uint8_t *at;
} coder;

static void emit(coder *c, unsigned lane)
{
    c->words++;
    if (c->at) {
        c->at -= 2;
        c->at[0] = (uint8_t)c->x[lane], c->at[1] = (uint8_t)(c->x[lane] >> 8);
    }
    c->x[lane] >>= 16;
}

static void put_raw(coder *c, unsigned lane, unsigned value, unsigned bits)
{
    if (bits && c->x[lane] >> (32 - bits)) emit(c, lane);
    c->x[lane] = c->x[lane] << bits | value;
}

static void put_symbol(coder *c, unsigned lane, const table *t, unsigned symbol)
{
    uint32_t f = t->freq[symbol];
    if (c->x[lane] >= (uint64_t)f << (32 - WC_CODED_SCALE)) emit(c, lane);
    c->x[lane] = (c->x[lane] / f << WC_CODED_SCALE) + t->slot[t->start[symbol] + c->x[lane] % f];
}

/* Up to 16 neighbours of a row: the decoder reads their symbols, then their low bits. */
static void put_group(coder *c, const wc_coded *p, const table *tables, size_t r, size_t col, unsigned n)
{
    unsigned symbol[WC_CODED_LANES], which[WC_CODED_LANES];
    for (unsigned l = n; l--;) {
        int j = p->point[r * p->cols + col + l], q = j & 1, k = (j - q) / 2;
        unsigned class_of = wc_coded_class_at(p, r, col + l), shift = p->law[class_of].shift;
        which[l] = 2 * class_of + (unsigned)q;
        symbol[l] = wc_coded_symbol(&p->law[class_of], tables[which[l]].freq, k);
        unsigned bits = symbol[l] ? shift : WC_CODED_RAW;
        put_raw(c, l, (unsigned)k & ((1u << bits) - 1), bits);
    }
    for (unsigned l = n; l--;)
        put_symbol(c, l, &tables[which[l]], symbol[l]);
}

/* Rows r0 .. r1, columns c0 .. c1; end: behind the unit's last byte, or NULL. Returns its 16-bit words. */
static uint64_t put_unit(const wc_coded *p, const table *tables, size_t r0, size_t r1, size_t c0, size_t c1,
                         uint8_t *end)
{
    coder c = {.at = end};
    for (unsigned l = 0; l < WC_CODED_LANES; l++)
        c.x[l] = 1 << 16;
    for (size_t r = r1; r-- > r0;)
        for (size_t g = wc_ceil_div(c1 - c0, WC_CODED_LANES); g--;) {
            size_t col = c0 + g * WC_CODED_LANES;
            put_group(&c, p, tables, r, col, (unsigned)wc_min(WC_CODED_LANES, c1 - col));
        }
    for (unsigned l = WC_CODED_LANES; end && l--;)
        for (unsigned byte = 4; byte--;)
            *--c.at = (uint8_t)(c.x[l] >> 8 * byte);
    return c.words + 2 * WC_CODED_LANES;
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
