#include "decode/tiles.h"

#include <string.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/fixed.h"
#include "decode/packed.h"

enum { SECTION = 64, LEVELS = 64, TABLES = 16 * 64 /* bytes */, MIDDLE = 128 /* of 8 bits */ };

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static uint64_t section(uint64_t size)
{
    return (size + SECTION - 1) / SECTION * SECTION;
}

static uint64_t strip_size(uint64_t cols)
{
    return (cols + WCD_STRIP_BLOCK - 1) / WCD_STRIP_BLOCK * 64 * WCD_STRIP_ROWS;
}

/* Of the codes of n columns of a group, n <= WCD_FIXED for grids in fixed point. */
static uint64_t codes_size(const wcd_tiles *f, unsigned vectors, uint64_t n)
{
    if (f->fixed) return wcd_fixed_bytes(f->bits, (unsigned)n) * vectors;
    return f->lut ? (n * f->bits + 31) / 32 * 64 * vectors : (n + 7) / 8 * 128 * vectors;
}

static uint64_t group_size(const wcd_tiles *f, unsigned vectors, uint64_t n)
{
    if (f->by_row) return vectors * (TABLES + 2 * strip_size(n));
    const uint64_t numbers = section(16 * f->s_size * vectors) + section(16 * f->z_size * vectors);
    if (!f->fixed) return numbers + codes_size(f, vectors, n);
    return numbers + n / WCD_FIXED * codes_size(f, vectors, WCD_FIXED) + codes_size(f, vectors, n % WCD_FIXED);
}

static uint64_t header_size(const wcd_tiles *f)
{
    return f->lut && !f->by_row ? LEVELS : 0;
}

static uint64_t tile_size(const wcd_tiles *f, uint64_t cols, unsigned vectors)
{
    const uint64_t before = (cols - 1) / f->group;
    return before * group_size(f, vectors, f->group) + group_size(f, vectors, cols - before * f->group);
}

static unsigned vectors_of(const wcd_view *v, uint64_t tile)
{
    const uint64_t left = v->rows - tile * WCD_TILE_ROWS;
    return left < WCD_TILE_ROWS ? (unsigned)(left + 15) / 16 : WCD_TILE_VECTORS;
}

/* Groups much shorter than a chunk, a few rows more than whole vectors have, or codes of a lut that are several planes
 * would take more memory than the part does. */
static int gains(const wcd_tiles *f, const wcd_view *v)
{
    const uint64_t padded = (v->rows + 15) / 16 * 16;
    if (padded * 4 > v->rows * 5 || (f->lut && (f->bits > 4 || f->bits == 3))) return 0;
    return f->by_row || f->group % 16 == 0 || f->group >= 128;
}

int wcd_tiles_of(const wcd_view *v, wcd_tiles *out)
{
    memset(out, 0, sizeof *out);
    if (!v->d->tiles || !v->d->tiles(v, out) || !gains(out, v)) return 0;
    out->fixed = !out->lut && out->bits < 8;
    out->z0 = out->lut ? 0 : (float)(1 << out->bits) / 2;
    const uint64_t tiles = wcd_tiles_count(v);
    out->tile_size = tile_size(out, v->cols, WCD_TILE_VECTORS);
    out->size = header_size(out) + (tiles - 1) * out->tile_size + tile_size(out, v->cols, vectors_of(v, tiles - 1));
    return 1;
}

/* ---- the layout ------------------------------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16), p[3] = (uint8_t)(v >> 24);
}

/* A number of a row and group, where the first row of its 16 has it at p; f16 as they are. */
static void put_number(uint8_t *p, unsigned size, unsigned lane, const uint8_t *f16, float value)
{
    p += lane * size;
    if (size == 1) *p = (uint8_t)value;
    if (size == 2) memcpy(p, f16, 2);
    if (size == 4) put32(p, wc_f32_bits(value));
}

/* 8 codes of `width' bits, close together. Three steps of halves that move next to each other. */
static uint32_t pack8(uint64_t q, unsigned width)
{
    static const uint64_t low = 0x0101010101010101u, low2 = 0x0001000100010001u, low4 = 0x0000000100000001u;
    uint64_t x = q & low * ((1u << width) - 1);
    x = (x | x >> (8 - width)) & low2 * ((1u << 2 * width) - 1);
    x = (x | x >> (16 - 2 * width)) & low4 * ((1u << 4 * width) - 1);
    return (uint32_t)(x | x >> (32 - 4 * width));
}

/* n <= WCD_SPAN codes of a row, and zeros behind them up to a chunk's end, to its lane, from the first column of a
 * chunk on; chunks are `stride' bytes apart. */
static void put_nibbles(uint8_t *p, uint64_t stride, const uint8_t *q, unsigned n, unsigned width)
{
    const unsigned most = 32 / width;
    for (unsigned i = 0; i < n; i += most, p += stride) {
        uint32_t bits = 0;
        for (unsigned j = 0; j < most; j += 8)
            bits |= pack8(wcd_u64(q + i + j), width) << width * j;
        put32(p, bits);
    }
}

static void put_bytes(uint8_t *p, uint64_t stride, const uint8_t *q, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i / 8 * stride + i % 8 * 16] = (uint8_t)(q[i] - MIDDLE);
}

/* One row and group of n columns from col on, at p the group of a tile of so many vectors. */
static void put_row(const wcd_tiles *f, const wcd_view *v, uint64_t row, uint64_t col, uint64_t n, unsigned vectors,
                    uint8_t *p)
{
    const unsigned lane = (unsigned)(row % 16), at = (unsigned)(row % WCD_TILE_ROWS) / 16;
    const uint64_t g = col / f->group, number = row * ((v->cols - 1) / f->group + 1) + g;
    enum { AT_ONCE = WCD_FIXED }; /* columns */
    uint8_t q[AT_ONCE];
    float s = 0, z = 0;
    if (f->s_size == 4 || f->z_size == 1 || f->z_size == 4) v->d->steps(v, row, g, 1, &s, &z);
    put_number(p + 16 * f->s_size * at, f->s_size, lane, f->s_size == 2 ? f->scales + 2 * number : NULL, s);
    p += section(16 * f->s_size * vectors);
    put_number(p + 16 * f->z_size * at, f->z_size, lane, f->z_size == 2 ? f->zeros + 2 * number : NULL, z);
    p += section(16 * f->z_size * vectors);
    for (uint64_t i = 0, some; i < n; i += some, p += codes_size(f, vectors, some)) {
        some = n - i < AT_ONCE ? n - i : AT_ONCE;
        if (some % 32) memset(q + some / 32 * 32, 0, 32);
        wcd_unpack(f->codes + row * f->row_size, v->cols, f->bits, col + i, (unsigned)some, q);
        if (f->fixed)
            wcd_fixed_put(q, f->bits, (unsigned)some, lane, p + at * wcd_fixed_bytes(f->bits, (unsigned)some));
        else if (f->lut)
            put_nibbles(p + 64 * at + 4 * lane, 64 * vectors, q, (unsigned)some, f->bits);
        else
            put_bytes(p + 128 * at + lane, 128 * vectors, q, (unsigned)some);
    }
}

/* Where row i of a tile of so many vectors has its codes. */
static uint64_t strip_row(unsigned i, unsigned vectors, uint64_t cols)
{
    return TABLES * vectors + i / WCD_STRIP_ROWS * strip_size(cols) + i % WCD_STRIP_ROWS * 64;
}

/* Row i of the tile at p, of a lut with a table per row. */
static void put_row_by_columns(const wcd_tiles *f, const wcd_view *v, uint64_t row, unsigned vectors, uint8_t *p)
{
    const unsigned i = (unsigned)(row % WCD_TILE_ROWS);
    uint8_t *to = p + strip_row(i, vectors, v->cols), q[WCD_STRIP_BLOCK];
    float level[16];
    wcd_inner_loops()->halves(f->levels + 32 * row, 16, f->exp2, level);
    for (unsigned k = 0; k < 16; k++)
        put32(p + 64 * i + 4 * k, wc_f32_bits(level[k]));
    for (uint64_t col = 0; col < v->cols; col += WCD_STRIP_BLOCK, to += 64 * WCD_STRIP_ROWS) {
        const unsigned n = v->cols - col < WCD_STRIP_BLOCK ? (unsigned)(v->cols - col) : WCD_STRIP_BLOCK;
        uint32_t d[16] = {0};
        memset(q, 0, sizeof q);
        wcd_unpack(f->codes + row * f->row_size, v->cols, f->bits, col, n, q);
        for (unsigned k = 0; k < 8; k++)
            for (unsigned j = 0; j < 16; j++)
                d[j] |= (uint32_t)q[16 * k + j] << 4 * k;
        for (unsigned j = 0; j < 16; j++)
            put32(to + 4 * j, d[j]);
    }
}

void wcd_tiles_make(const wcd_tiles *f, const wcd_view *v, uint64_t first, uint64_t n, uint8_t *memory)
{
    if (header_size(f) && !first) {
        float level[16] = {0};
        wcd_inner_loops()->halves(f->levels, 1u << f->bits, 1, level);
        for (unsigned i = 0; i < 16; i++)
            put32(memory + 4 * i, wc_f32_bits(level[i]));
    }
    memory += header_size(f);
    for (uint64_t tile = first; tile < first + n; tile++) {
        const unsigned vectors = vectors_of(v, tile);
        const uint64_t row = tile * WCD_TILE_ROWS, end = v->rows - row < WCD_TILE_ROWS ? v->rows : row + WCD_TILE_ROWS;
        uint8_t *p = memory + tile * f->tile_size;
        memset(p, 0, (size_t)tile_size(f, v->cols, vectors));
        for (uint64_t r = row; f->by_row && r < end; r++)
            put_row_by_columns(f, v, r, vectors, p);
        for (uint64_t col = 0, some; col < v->cols && !f->by_row; col += some) {
            some = v->cols - col < f->group ? v->cols - col : f->group;
            for (uint64_t r = row; r < end; r++)
                put_row(f, v, r, col, some, vectors, p);
            p += group_size(f, vectors, some);
        }
    }
}

/* ---- loops in portable C ---------------------------------------------------------------------------------------- */

static void tables(unsigned per, float (*c)[16], const float *x, uint64_t n, float t[8][16])
{
    memset(t, 0, 8 * sizeof *t);
    for (unsigned j = 0; j < 8 * per && j < n; j++)
        for (unsigned i = 0; i < 16; i++)
            t[j / per][i] = j % per ? wcd_fma(c[j % per][i], x[j], t[j / per][i]) : c[0][i] * x[j];
}

static void nibbles(const uint8_t *p, unsigned vectors, unsigned width, float (*c)[16], const float *x, uint64_t n,
                    float *acc)
{
    const unsigned most = 32 / width;
    float t[8][16];
    for (uint64_t col = 0; col < n; col += most) {
        tables(4 / width, c, x + col, n - col, t);
        for (unsigned i = 0; i < 16 * vectors; i++, p += 4) {
            const uint32_t d = wcd_u32(p);
            acc[i] += ((t[0][d & 15] + t[1][d >> 4 & 15]) + (t[2][d >> 8 & 15] + t[3][d >> 12 & 15])) +
                      ((t[4][d >> 16 & 15] + t[5][d >> 20 & 15]) + (t[6][d >> 24 & 15] + t[7][d >> 28]));
        }
    }
}

static float signed_byte(uint8_t b)
{
    return (float)((int)(b ^ 0x80) - 128);
}

static void bytes(const uint8_t *p, unsigned vectors, const float *x, uint64_t n, float *acc)
{
    for (uint64_t col = 0; col < n; col += 8)
        for (unsigned v = 0; v < vectors; v++, p += 128)
            for (unsigned lane = 0; lane < 16; lane++) {
                float sum = signed_byte(p[lane]) * x[col];
                for (unsigned k = 1; k < 8 && k < n - col; k++)
                    sum = wcd_fma(signed_byte(p[16 * k + lane]), x[col + k], sum);
                acc[16 * v + lane] += sum;
            }
}

static float number(const uint8_t *p, unsigned size, float scale)
{
    return size == 1 ? (float)*p : size == 2 ? wc_f16_f32(wcd_u16(p)) * scale : wc_bits_f32(wcd_u32(p));
}

static void add_group(const wcd_tiles *f, const uint8_t *s, const uint8_t *z, unsigned vectors, float sum,
                      const float *acc, float *total)
{
    for (unsigned i = 0; i < 16 * vectors; i++, s += f->s_size, z += f->z_size) {
        const float scale = f->s_size ? number(s, f->s_size, f->exp2) : f->exp2;
        const float away = f->z0 - (f->z_size ? number(z, f->z_size, 1) : f->z);
        const int counts = f->z_size || away != 0;
        total[i] = wcd_fma(scale, counts ? wcd_fma(away, sum, acc[i]) : acc[i], total[i]);
    }
}

/* n <= 128 columns of 8 rows. */
static void strip_block(const uint8_t *p, const uint8_t *tables, const float *x, unsigned n, float *lane)
{
    for (unsigned r = 0; r < WCD_STRIP_ROWS; r++, p += 64, tables += 64, lane += 16)
        for (unsigned c = 0; c < n; c++) {
            const unsigned q = wcd_u32(p + c % 16 * 4) >> c / 16 * 4 & 15;
            lane[c % 16] = wcd_fma(wc_bits_f32(wcd_u32(tables + 4 * q)), x[c], lane[c % 16]);
        }
}

static void strip(const uint8_t *p, const uint8_t *tables, const float *x, uint64_t n, float *lane)
{
    for (; n; n--, p += 64 * WCD_STRIP_ROWS, x += WCD_STRIP_BLOCK)
        strip_block(p, tables, x, WCD_STRIP_BLOCK, lane);
}

static const wcd_tile_loops wcd_tile_loops_c = {nibbles, bytes, add_group, strip};
WCD_FAMILY(wcd_tile_loops)

/* ---- products --------------------------------------------------------------------------------------------------- */

static float sum_of(const float *x, uint64_t n)
{
    float lane[WCD_LANES] = {0};
    for (; n >= WCD_LANES; n -= WCD_LANES, x += WCD_LANES)
        for (int j = 0; j < WCD_LANES; j++)
            lane[j] += x[j];
    for (uint64_t j = 0; j < n; j++)
        lane[j] += x[j];
    return wcd_lanes_sum(lane);
}

/* A product of whole tiles, next to each other: total [x->n][tiles][WCD_TILE_ROWS]. */
typedef struct product {
    const wcd_tiles *f;
    const wcd_view *v;
    const uint8_t *memory; /* the first tile of the part */
    uint64_t tile;
    unsigned tiles;
    const wcd_vectors *x;
    float *total;
} product;

static unsigned at_once(const wcd_tiles *f, unsigned nx)
{
    const unsigned most = f->fixed ? WCD_TILE_SUMS / nx : 1;
    return most < WCD_TILE_AT_ONCE ? most : WCD_TILE_AT_ONCE;
}

static int has_zeros(const wcd_tiles *f)
{
    return !f->lut && (f->z_size || f->z0 - f->z != 0);
}

/* Whole groups of one tile, by loops over floats. */
static void float_product(const product *t)
{
    const wcd_tile_loops *loops = wcd_tile_loops_used();
    const wcd_tiles *f = t->f;
    const unsigned vectors = vectors_of(t->v, t->tile);
    const uint8_t *p = t->memory + t->tile * f->tile_size;
    float acc[WCD_TILE_ROWS];
    for (uint64_t col = 0, n; col < t->v->cols; col += n, p += group_size(f, vectors, n)) {
        n = t->v->cols - col < f->group ? t->v->cols - col : f->group;
        const uint8_t *z = p + section(16 * f->s_size * vectors), *codes = z + section(16 * f->z_size * vectors);
        for (unsigned b = 0; b < t->x->n; b++) {
            const float *x = t->x->x + b * t->x->ld + col;
            memset(acc, 0, sizeof acc);
            if (f->lut)
                loops->nibbles(codes, vectors, f->bits, (float(*)[16])f->meaning, x, n, acc);
            else
                loops->bytes(codes, vectors, x, n, acc);
            loops->add(f, p, z, vectors, has_zeros(f) ? sum_of(x, n) : 0, acc, t->total + b * WCD_TILE_ROWS);
        }
    }
}

/* Group g of tile i of those at once. */
static const uint8_t *group_at(const product *t, unsigned i, uint64_t g, unsigned *vectors)
{
    *vectors = vectors_of(t->v, t->tile + i);
    return t->memory + (t->tile + i) * t->f->tile_size + g * group_size(t->f, *vectors, t->f->group);
}

/* acc += the columns of group g from `in' on times all x, which are of those. */
static void fixed_columns(const product *t, const wcd_fixed *x, uint64_t g, uint64_t in, float *acc)
{
    const wcd_tiles *f = t->f;
    const wcd_fixed_loops *loops = wcd_fixed_of_level();
    for (unsigned i = 0, vectors; i < t->tiles; i++) {
        const uint8_t *p = group_at(t, i, g, &vectors);
        p += section(16 * f->s_size * vectors) + section(16 * f->z_size * vectors);
        p += in / WCD_FIXED * codes_size(f, vectors, WCD_FIXED);
        for (unsigned b = 0; b < t->x->n; b++)
            loops->dot(p, vectors, f->bits, &x[b], acc + (b * t->tiles + i) * WCD_TILE_ROWS);
    }
}

/* total += s (acc + (z0 - z) sum) of group g. */
static void fixed_add(const product *t, uint64_t g, const float *sum, const float *acc)
{
    const wcd_tiles *f = t->f;
    const wcd_tile_loops *loops = wcd_tile_loops_used();
    for (unsigned i = 0, vectors; i < t->tiles; i++) {
        const uint8_t *s = group_at(t, i, g, &vectors), *z = s + section(16 * f->s_size * vectors);
        for (unsigned b = 0; b < t->x->n; b++) {
            const unsigned at = (b * t->tiles + i) * WCD_TILE_ROWS;
            loops->add(f, s, z, vectors, sum[b], acc + at, t->total + at);
        }
    }
}

/* By groups, and in them by columns that share a power of two: rounding an input takes longer than to multiply a row by
 * it, so several tiles use it. */
static void fixed_product(const product *t)
{
    wcd_fixed x[WCD_TILE_X];
    float acc[WCD_TILE_SUMS * WCD_TILE_ROWS], sum[WCD_TILE_X];
    for (uint64_t col = 0, g = 0, n; col < t->v->cols; col += n, g++) {
        n = t->v->cols - col < t->f->group ? t->v->cols - col : t->f->group;
        memset(sum, 0, sizeof sum);
        memset(acc, 0, t->x->n * t->tiles * WCD_TILE_ROWS * sizeof *acc);
        for (uint64_t in = 0, some; in < n; in += some) {
            some = n - in < WCD_FIXED ? n - in : WCD_FIXED;
            for (unsigned b = 0; b < t->x->n; b++) {
                wcd_fixed_of_level()->round(t->x->x + b * t->x->ld + col + in, (unsigned)some, &x[b]);
                const int32_t all = x[b].sum[2] * 65536 + x[b].sum[1] * 256 + x[b].sum[0];
                sum[b] = wcd_fma((float)all, x[b].step, sum[b]);
            }
            fixed_columns(t, x, g, in, acc);
        }
        fixed_add(t, g, sum, acc);
    }
}

/* One tile of a lut with a table per row. */
static void product_by_columns(const product *t)
{
    const wcd_tile_loops *loops = wcd_tile_loops_used();
    const uint64_t cols = t->v->cols, blocks = cols / WCD_STRIP_BLOCK;
    const unsigned vectors = vectors_of(t->v, t->tile);
    const uint8_t *p = t->memory + t->tile * t->f->tile_size;
    for (unsigned i = 0; i < 16 * vectors; i += WCD_STRIP_ROWS) {
        const uint8_t *codes = p + strip_row(i, vectors, cols), *tables = p + 64 * i;
        for (unsigned b = 0; b < t->x->n; b++) {
            const float *x = t->x->x + b * t->x->ld;
            float lane[WCD_STRIP_ROWS * WCD_LANES] = {0};
            loops->strip(codes, tables, x, blocks, lane);
            strip_block(codes + blocks * 64 * WCD_STRIP_ROWS, tables, x + blocks * WCD_STRIP_BLOCK,
                        (unsigned)(cols % WCD_STRIP_BLOCK), lane);
            for (unsigned r = 0; r < WCD_STRIP_ROWS; r++)
                t->total[b * WCD_TILE_ROWS + i + r] = wcd_lanes_sum(lane + WCD_LANES * r);
        }
    }
}

/* The levels of a lut, which its part has no more to be read for. */
static void read_levels(wcd_tiles *f, const uint8_t *memory)
{
    for (unsigned j = 0; j < 4 / f->bits; j++)
        for (unsigned i = 0; i < 16; i++) {
            const unsigned q = i >> j * f->bits & ((1u << f->bits) - 1);
            f->meaning[j][i] = wc_bits_f32(wcd_u32(memory + 4 * q));
        }
}

/* Rows first .. first + n of the sums to y. */
static void put_sums(const product *t, unsigned first, unsigned n, float *y, size_t ldy, int add)
{
    const float *total = t->total + first;
    for (unsigned b = 0; b < t->x->n; b++, total += t->tiles * WCD_TILE_ROWS, y += ldy)
        for (unsigned i = 0; i < n; i++)
            y[i] = add ? y[i] + total[i] : total[i];
}

/* All rows of one set of inputs. */
static void multiply(product *t, uint64_t r0, uint64_t nr, float *y, size_t ldy, int add)
{
    const unsigned most = at_once(t->f, t->x->n) * WCD_TILE_ROWS;
    for (uint64_t some; nr; nr -= some, r0 += some, y += some) {
        const unsigned first = (unsigned)(r0 % WCD_TILE_ROWS);
        some = nr < most - first ? nr : most - first;
        t->tile = r0 / WCD_TILE_ROWS, t->tiles = (first + (unsigned)some - 1) / WCD_TILE_ROWS + 1;
        memset(t->total, 0, t->x->n * t->tiles * WCD_TILE_ROWS * sizeof *t->total);
        if (t->f->by_row)
            product_by_columns(t);
        else if (t->f->fixed)
            fixed_product(t);
        else
            float_product(t);
        put_sums(t, first, (unsigned)some, y, ldy, add);
    }
}

void wcd_tiles_product(const wcd_tiles *f, const wcd_view *v, const uint8_t *memory, uint64_t r0, uint64_t nr,
                       const wcd_vectors *x, float *y, size_t ldy, int add)
{
    float total[WCD_TILE_SUMS * WCD_TILE_ROWS];
    wcd_tiles here = *f;
    if (header_size(f)) read_levels(&here, memory);
    for (unsigned b = 0; b < x->n; b += WCD_TILE_X) {
        const wcd_vectors part = {x->x + b * x->ld, x->ld, x->n - b < WCD_TILE_X ? x->n - b : WCD_TILE_X};
        product t = {&here, v, memory + header_size(f), 0, 0, &part, total};
        multiply(&t, r0, nr, y + b * ldy, ldy, add);
    }
}
