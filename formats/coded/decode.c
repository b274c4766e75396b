/* coded v1: w = d (j - shrink), j points of a trellis code, entropy-coded with interleaved rANS.
 *
 *     params  0 u8 memory   1 u8 classes   2 u8 row classes   4 u32 tile   8 f32 step   16 u64 bytes of streams
 *     blob    classes: 12 bytes each        steps: u8 [cols]
 *             column classes: 4 bits [cols] row classes: 4 bits [rows], if there are
 *             ends: u32 [tiles, blocks]     streams; sections start at multiples of 8 bytes
 *
 *     unit = tile of rows x block of 256 columns:
 *     +------------------+-----------------------------------------------------------------+
 *     | 16 states, u32   | 16-bit words, as the states ask for them, row by row              |
 *     +------------------+-----------------------------------------------------------------+
 *       column c is read by state c mod 16; a group of 16 columns reads its symbols, then its low bits
 *
 * Any bytes are safe: frequencies are computed and always sum to 4096, every index is masked or clamped, a stream that
 * ends early reads as zeros, and the work is that of the rows of one tile. About 64 KiB of stack. */
#include <string.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "formats/coded/kernel.h"

enum {
    SYMBOLS = WCD_CODED_SYMBOLS,
    SLOTS = WCD_CODED_SLOTS,
    BUCKET = WCD_CODED_BUCKET,
    CLASSES = WCD_CODED_CLASSES,
    COLS = WCD_CODED_COLS,
    LANES = WCD_CODED_LANES,
    RAW = WCD_CODED_RAW,
    MIDDLE = SYMBOLS / 2,
    CLASS_SIZE = 12,
    MAX_SHIFT = 12,
    MAX_TILE = 4096,
    ROW_MIDDLE = 8
};

static const uint8_t machine[9][2] = {{0, 0}, {0, 0}, {2, 1}, {5, 2}, {9, 2}, {18, 4}, {33, 10}, {78, 43}, {166, 121}};

/* 2^(-i / 16), and the same times 2^15 as integers. */
static const float root[16] = {0x1p0f,         0x1.ea4afap-1f, 0x1.d5818ep-1f, 0x1.c199bep-1f,
                               0x1.ae89fap-1f, 0x1.9c4918p-1f, 0x1.8ace54p-1f, 0x1.7a1148p-1f,
                               0x1.6a09e6p-1f, 0x1.5ab07ep-1f, 0x1.4bfdaep-1f, 0x1.3dea64p-1f,
                               0x1.306fe0p-1f, 0x1.2387a6p-1f, 0x1.172b84p-1f, 0x1.0b5586p-1f};
static const uint16_t root15[16] = {32768, 31379, 30048, 28774, 27554, 26386, 25268, 24196,
                                    23170, 22188, 21247, 20347, 19484, 18658, 17867, 17109};

static wcd_status open_coded(const uint8_t params[WCD_PARAMS], wcd_view *v)
{
    wcd_coded_view *c = &v->u.c;
    uint32_t step = wcd_u32(params + 8);
    uint64_t streams = wcd_u64(params + 16), end;
    c->memory = params[0], c->classes = params[1], c->row_classes = params[2], c->tile = wcd_u32(params + 4);
    if (!v->rows || !v->cols || c->memory > 8 || c->memory == 1 || c->classes < 1 || c->classes > CLASSES)
        return WCD_E_CORRUPT;
    if (params[2] > 1 || params[3] || wcd_u32(params + 12) || wcd_u64(params + 24)) return WCD_E_CORRUPT;
    if (c->tile < 1 || c->tile > MAX_TILE || step < 0x00800000 || step >= 0x7f800000) return WCD_E_CORRUPT;
    c->step = wc_bits_f32(step);
    c->blocks = (v->cols - 1) / COLS + 1;
    end = c->classes * CLASS_SIZE;
    uint64_t at_step = wcd_place(&end, v->cols), at_col = wcd_place(&end, (v->cols + 1) / 2);
    uint64_t at_row = wcd_place(&end, c->row_classes ? (v->rows + 1) / 2 : 0);
    uint64_t at_ends = wcd_place(&end, 4 * c->blocks * ((v->rows - 1) / c->tile + 1));
    uint64_t at_stream = wcd_place(&end, 0);
    if (streams > v->size || at_stream != v->size - streams) return WCD_E_CORRUPT;
    v->numeric = 1;
    if (!v->blob) return WCD_OK;
    c->col_step = v->blob + at_step, c->col_class = v->blob + at_col, c->row_class = v->blob + at_row;
    c->ends = v->blob + at_ends, c->stream = v->blob + at_stream;
    c->stream_words = streams / 2;
    v->tile = c->tile;
    return WCD_OK;
}

/* ---- models ---------------------------------------------------------------------------------------------------------
 */

/* record: first, second, bend; m: distance from the middle. */
static uint64_t weight(const uint8_t *record, int m)
{
    int first = (int8_t)record[0], second = (int8_t)record[1], bend = record[2];
    if (!m) return (uint64_t)1 << 20;
    int e = 16 * first + 16 * second * (m - 1) + bend * bend * ((m - 1) * (m - 2) / 2) / 8;
    e = (e + (1 << 20)) / 16 - (1 << 16) + 128;
    e = e < 0 ? 0 : e;
    return e / 16 > 28 ? 0 : (uint64_t)root15[e % 16] << 13 >> e / 16;
}

static void frequencies(const uint8_t *record, int around_half, unsigned freq[SYMBOLS])
{
    uint64_t w[SYMBOLS], sum = 0;
    unsigned top = 0, left = SLOTS;
    for (int s = 0; s < SYMBOLS; s++) {
        int k = s - SYMBOLS / 2;
        w[s] = weight(record, k >= 0 ? k : around_half ? -1 - k : -k);
        sum += w[s];
        if (w[s] > w[top]) top = (unsigned)s;
    }
    for (unsigned s = 0; s < SYMBOLS; s++) {
        freq[s] = (unsigned)((2 * SLOTS * w[s] + sum) / (2 * sum));
        if (!s && !freq[0]) freq[0] = 1;
        if (s != top) left -= freq[s];
    }
    freq[top] = left;
}

/* One half of a bucket: a symbol of this frequency, whose slots there are numbered from `first' at slot `at' on. */
static uint32_t half_bucket(unsigned freq, unsigned first, unsigned at)
{
    return freq | ((first - at) & (SLOTS - 1)) << 12;
}

/* The alias method: every symbol starts with its frequency, every bucket has room for 64 slots. */
static void fill_buckets(const unsigned freq[SYMBOLS], uint64_t bucket[SYMBOLS])
{
    unsigned left[SYMBOLS], small[SYMBOLS], large[SYMBOLS], n_small = 0, n_large = 0;
    for (unsigned s = 0; s < SYMBOLS; s++) {
        left[s] = freq[s];
        if (left[s] < BUCKET)
            small[n_small++] = s;
        else
            large[n_large++] = s;
    }
    while (n_small || n_large) {
        unsigned s = n_small ? small[--n_small] : large[--n_large];
        unsigned own = left[s] < BUCKET ? left[s] : BUCKET, at = s * BUCKET, other = s;
        if (own < BUCKET && n_large) other = large[n_large - 1]; /* sums are exact: there is one */
        uint32_t low = half_bucket(freq[s], freq[s] - left[s], at);
        uint32_t high = half_bucket(freq[other], freq[other] - left[other], at + own);
        bucket[s] = low | own << 24 | (uint64_t)(high | other << 24) << 32;
        if (other == s) continue;
        left[other] -= BUCKET - own;
        if (left[other] < BUCKET) small[n_small++] = other, n_large--;
    }
}

/* 64 j - shrink */
static int32_t number_of(int32_t j, uint32_t shrinks)
{
    int32_t size = j < 0 ? -j : j, shrink = (int8_t)(shrinks >> (size < 3 ? 8 * size : 24));
    return 64 * j - (j < 0 ? -shrink : shrink);
}

void wcd_coded_class(const uint8_t *record, wcd_coded_tables *t, unsigned n)
{
    unsigned freq[SYMBOLS];
    t->shift[n] = record[0] < MAX_SHIFT ? record[0] : MAX_SHIFT;
    t->shrink[n] = (uint32_t)record[1] << 8 | (uint32_t)record[2] << 16 | (uint32_t)record[3] << 24;
    for (int q = 0; q < 2; q++) {
        frequencies(record + 4 + 3 * q, q || t->shift[n], freq);
        fill_buckets(freq, t->bucket[n][q]);
        for (int symbol = 0; symbol < SYMBOLS; symbol++)
            t->value[n][q][symbol] = (float)number_of(2 * (symbol - MIDDLE) + q, t->shrink[n]);
    }
    t->ready[n] = 1;
}

float wcd_coded_step(const wcd_coded_view *c, unsigned code)
{
    return c->step * (root[code % 16] * wc_bits_f32((127 - code / 16) << 23)) * 0.015625f;
}

const uint8_t *wcd_coded_machine(const wcd_coded_view *c)
{
    return machine[c->memory];
}

/* ---- units ----------------------------------------------------------------------------------------------------------
 */

static unsigned nibble(const uint8_t *p, uint64_t i)
{
    return p[i / 2] >> (i % 2 * 4) & 15;
}

static void open_unit(const wcd_view *v, uint64_t tile, uint64_t block, wcd_coded_unit *u)
{
    const wcd_coded_view *c = &v->u.c;
    uint64_t at = tile * c->blocks + block, first = at ? wcd_u32(c->ends + 4 * (at - 1)) : 0;
    uint64_t end = wcd_u32(c->ends + 4 * at);
    end = end < c->stream_words ? end : c->stream_words;
    first = first < end ? first : end;
    u->p = c->stream + 2 * first, u->end = c->stream + 2 * end;
    for (int l = 0; l < LANES; l++) {
        int there = u->end - u->p >= 4;
        u->x[l] = there ? wcd_u32(u->p) : 0;
        u->p += there ? 4 : 0;
    }
    memset(u->state, 0, sizeof u->state);
    u->a = wcd_coded_machine(c)[0], u->b = wcd_coded_machine(c)[1];
    u->cols = wcd_span_at(v, block * COLS);
    for (unsigned i = 0; i < u->cols; i++) {
        u->step[i] = wcd_coded_step(c, c->col_step[block * COLS + i]);
        u->class_of[i] = nibble(c->col_class, block * COLS + i);
    }
}

/* The law of each column class in this row; tables are made when they are first needed. */
static void laws_of_row(const wcd_view *v, uint64_t row, wcd_coded_tables *t, wcd_coded_unit *u)
{
    const wcd_coded_view *c = &v->u.c;
    int move = c->row_classes ? (int)nibble(c->row_class, row) - ROW_MIDDLE : 0;
    for (int i = 0; i < CLASSES; i++) {
        int at = i + move, last = (int)c->classes - 1;
        at = at < 0 ? 0 : at > last ? last : at;
        if (!t->ready[at]) wcd_coded_class(v->blob + CLASS_SIZE * at, t, (unsigned)at);
        u->law[i] = 128 * (uint32_t)at | (uint32_t)t->shift[at] << 16;
        u->shrink[i] = t->shrink[at];
    }
}

/* A state below 2^16 takes a word. checked: the stream may end here, and zeros follow; else there is a word, wanted or
 * not: no branch. */
static inline uint32_t refill(const uint8_t **p, const uint8_t *end, uint32_t x, int checked)
{
    if (checked) {
        if (x >> 16) return x;
        int there = end - *p >= 2;
        x = x << 16 | (there ? wcd_u16(*p) : 0u);
        *p += there ? 2 : 0;
        return x;
    }
    uint32_t wanted = x < 65536, taken = x << 16 | wcd_u16(*p);
    *p += 2 * wanted;
    return x ^ ((x ^ taken) & (0 - wanted));
}

/* What a group is read from: copies, so that nothing that is written can be them. */
typedef struct reader {
    const uint8_t *p, *end;
    uint32_t x[LANES], a, b;
} reader;

/* s' of a column in state s after k with the parity of `odd'. */
static inline uint32_t next_state(const reader *in, uint32_t s, uint32_t odd)
{
    return s >> 1 ^ (in->a & (0 - (s & 1))) ^ (in->b & (0 - (odd & 1)));
}

/* The low bits of a group whose symbols are read: values and states anew, from the states before it. */
static inline void low_bits(wcd_coded_unit *u, reader *in, unsigned c, unsigned n, const uint32_t *symbol,
                            const uint32_t *s, int checked, float *dst)
{
    for (unsigned l = 0; l < n; l++) {
        unsigned of = u->class_of[c + l], raw = symbol[l] ? u->law[of] >> 16 : RAW;
        uint32_t low = in->x[l] & ((1u << raw) - 1);
        int32_t k = symbol[l] ? (int32_t)((symbol[l] - MIDDLE) << raw | low) : (int16_t)low;
        in->x[l] = refill(&in->p, in->end, in->x[l] >> raw, checked);
        u->state[c + l] = next_state(in, s[l], (uint32_t)k);
        dst[l] = u->step[c + l] * (float)number_of(2 * k + (int32_t)(s[l] & 1), u->shrink[of]);
    }
}

/* Compiled once for whole groups and once for the others. */
#ifdef __GNUC__
#define TWICE static inline __attribute__((always_inline))
#else
#define TWICE static inline
#endif

/* n <= 16 columns from column c of the unit on. Loops of one step each: what is long is the way of a state from slot to
 * bucket to product, and a CPU looks ahead by instructions. */
TWICE void group(const wcd_coded_tables *t, wcd_coded_unit *u, reader *in, unsigned c, unsigned n, int checked,
                 float *dst)
{
    const uint64_t *bucket = t->bucket[0][0];
    const float *value = t->value[0][0];
    uint64_t b[LANES];
    uint32_t symbol[LANES], before[LANES], table[LANES], any = 0;
    for (unsigned l = 0; l < n; l++) {
        uint32_t law = u->law[u->class_of[c + l]];
        before[l] = u->state[c + l];
        table[l] = (law & 0x780) + before[l] % 2 * SYMBOLS;
        b[l] = bucket[table[l] + in->x[l] % SLOTS / BUCKET];
        any |= law >> 16;
    }
    for (unsigned l = 0; l < n; l++) {
        uint32_t x = in->x[l], slot = x % SLOTS, own = slot / BUCKET, first = (uint32_t)b[l];
        uint32_t second = (uint32_t)(b[l] >> 32), mask = 0 - (uint32_t)(slot % BUCKET >= first >> 24);
        uint32_t half = first ^ ((first ^ second) & mask);
        symbol[l] = own ^ ((own ^ second >> 24) & mask);
        in->x[l] = (half & (SLOTS - 1)) * (x / SLOTS) + ((slot + (half >> 12)) & (SLOTS - 1));
    }
    for (unsigned l = 0; l < n; l++)
        in->x[l] = refill(&in->p, in->end, in->x[l], checked);
    for (unsigned l = 0; l < n; l++) {
        any |= !symbol[l];
        u->state[c + l] = next_state(in, before[l], symbol[l]);
        dst[l] = u->step[c + l] * value[table[l] + symbol[l]];
    }
    if (any) low_bits(u, in, c, n, symbol, before, checked, dst);
}

static reader begin(const wcd_coded_unit *u)
{
    reader in = {.p = u->p, .end = u->end, .a = u->a, .b = u->b};
    memcpy(in.x, u->x, sizeof in.x);
    return in;
}

static void end(wcd_coded_unit *u, const reader *in)
{
    u->p = in->p;
    memcpy(u->x, in->x, sizeof u->x);
}

static unsigned groups(const wcd_coded_tables *t, wcd_coded_unit *u, float *dst)
{
    reader in = begin(u);
    unsigned c = 0;
    for (; c + LANES <= u->cols && in.end - in.p >= WCD_CODED_MOST; c += LANES)
        group(t, u, &in, c, LANES, 0, dst + c);
    end(u, &in);
    return c;
}

/* The groups from column c on, whatever there is to read. */
static void last_groups(const wcd_coded_tables *t, wcd_coded_unit *u, unsigned c, float *dst)
{
    reader in = begin(u);
    for (; c < u->cols; c += LANES)
        group(t, u, &in, c, u->cols - c < LANES ? u->cols - c : LANES, 1, dst + c);
    end(u, &in);
}

static const wcd_coded_kernel wcd_coded_kernel_c = {groups};
WCD_FAMILY(wcd_coded_kernel)

/* The next row of the unit. */
static void next_row(const wcd_view *v, uint64_t row, wcd_coded_tables *t, wcd_coded_unit *u, float *dst)
{
    if (v->u.c.row_classes || row % v->u.c.tile == 0) laws_of_row(v, row, t, u);
    unsigned c = wcd_coded_kernel_used()->groups(t, u, dst);
    if (c < u->cols) last_groups(t, u, c, dst);
}

/* ---- the decoder ----------------------------------------------------------------------------------------------------
 */

/* What to do with the rows of a block of columns. */
typedef struct sink {
    float *dst;
    size_t ld;
    const wcd_vectors *x; /* products instead: of row i and input b to dst[b * ld + i] */
    int add;
} sink;

/* Rows that are multiplied at once. */
enum { TAKEN = 4 };

/* n columns of rows i .. i + nr, nr <= TAKEN, at w. */
static void take(const sink *s, uint64_t i, unsigned nr, uint64_t col, unsigned n, const float *w)
{
    float lane[TAKEN * WCD_VECTORS * WCD_LANES];
    if (s->x) {
        memset(lane, 0, nr * s->x->n * WCD_LANES * sizeof *lane);
        wcd_inner_loops()->lanes(w, COLS, nr, s->x->x + col, s->x->ld, s->x->n, n, lane);
        wcd_lanes_put(lane, nr, s->x->n, s->dst + i, s->ld, s->add || col);
        return;
    }
    for (unsigned r = 0; r < nr; r++)
        for (unsigned c = 0; c < n; c++)
            s->dst[(i + r) * s->ld + col + c] += w[r * COLS + c];
}

/* Rows r0 .. r0 + nr of one block; what lies before them in their tile is decoded, too. */
static void read_block(const wcd_view *v, uint64_t block, uint64_t r0, uint64_t nr, wcd_coded_tables *t, const sink *s)
{
    wcd_coded_unit u;
    float w[TAKEN][COLS];
    unsigned held = 0;
    uint64_t tile = v->u.c.tile;
    for (uint64_t row = r0 - r0 % tile; row < r0 + nr; row++) {
        int direct = row >= r0 && !s->x && !s->add;
        if (row % tile == 0) open_unit(v, row / tile, block, &u);
        next_row(v, row, t, &u, direct ? s->dst + (row - r0) * s->ld + block * COLS : w[held]);
        if (row < r0 || direct) continue;
        if (++held < TAKEN && row + 1 < r0 + nr) continue;
        take(s, row + 1 - held - r0, held, block * COLS, u.cols, w[0]);
        held = 0;
    }
}

static void all_blocks(const wcd_view *v, uint64_t r0, uint64_t nr, const sink *s)
{
    wcd_coded_tables t;
    memset(t.ready, 0, sizeof t.ready);
    for (uint64_t block = 0; nr && block < v->u.c.blocks; block++)
        read_block(v, block, r0, nr, &t, s);
}

static void rows_coded(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    all_blocks(v, r0, nr, &(sink){dst, ld, NULL, 0});
}

static void add_rows_coded(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld)
{
    all_blocks(v, r0, nr, &(sink){dst, ld, NULL, 1});
}

static void products_coded(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                           int add)
{
    all_blocks(v, r0, nr, &(sink){y, ldy, x, add});
}

static void span_coded(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst)
{
    wcd_coded_tables t;
    wcd_coded_unit u;
    float w[COLS];
    uint64_t first = row - row % v->u.c.tile;
    memset(t.ready, 0, sizeof t.ready);
    open_unit(v, row / v->u.c.tile, col / COLS, &u);
    for (uint64_t r = first; r <= row; r++)
        next_row(v, r, &t, &u, w);
    memcpy(dst, w, n * sizeof *w);
}

const wcd_decoder wcd_decoder_coded = {.id = 8,
                                       .version = 1,
                                       .name = "coded",
                                       .open = open_coded,
                                       .span = span_coded,
                                       .rows = rows_coded,
                                       .add_rows = add_rows_coded,
                                       .products = products_coded};
