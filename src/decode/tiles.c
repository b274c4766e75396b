#include "decode/tiles.h"

#include <string.h>

#include "base/half.h"
#include "decode/bytes.h"
#include "decode/packed.h"

enum { SECTION = 64, LEVELS = 64, TABLES = 16 * 64 /* bytes */, BYTE_ZERO = 128 };

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static uint64_t section(uint64_t size)
{
    return (size + SECTION - 1) / SECTION * SECTION;
}

static uint64_t plane_size(unsigned width, unsigned vectors, uint64_t n)
{
    return (n * width + 31) / 32 * 64 * vectors;
}

static uint64_t strip_size(uint64_t cols)
{
    return (cols + WCD_STRIP_BLOCK - 1) / WCD_STRIP_BLOCK * 64 * WCD_STRIP_ROWS;
}

static uint64_t group_size(const wcd_tiles *f, unsigned vectors, uint64_t n)
{
    if (f->by_row) return vectors * (TABLES + 2 * strip_size(n));
    uint64_t size = section(16 * f->s_size * vectors) + section(16 * f->z_size * vectors);
    if (!f->planes) return size + (n + 7) / 8 * 128 * vectors;
    for (unsigned p = 0; p < f->planes; p++)
        size += plane_size(f->width[p], vectors, n);
    return size;
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

/* What the column j of nibble i stands for. */
static void set_meaning(wcd_tiles *f, const float *level)
{
    for (unsigned p = 0; p < f->planes; p++)
        for (unsigned j = 0; j < 4 / f->width[p]; j++)
            for (unsigned i = 0; i < 16; i++) {
                unsigned q = (i >> j * f->width[p] & ((1u << f->width[p]) - 1)) << f->shift[p];
                f->meaning[p][j][i] = level ? level[q] : (float)q - (p ? 0 : f->z0);
            }
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
    if (out->bits == 8) out->z0 = BYTE_ZERO;
    for (unsigned k = 4, shift = 0; k && out->bits < 8; k /= 2)
        if (out->bits & k) {
            out->width[out->planes] = (uint8_t)k, out->shift[out->planes++] = (uint8_t)shift;
            shift += k;
        }
    if (out->by_row) out->planes = 0;
    if (!out->lut) set_meaning(out, NULL);
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

/* `width' bits from `shift' on of each of 8 bytes, close together. Three steps of halves that move next to each other.
 */
static uint32_t pack8(uint64_t q, unsigned width, unsigned shift)
{
    static const uint64_t low = 0x0101010101010101u, low2 = 0x0001000100010001u, low4 = 0x0000000100000001u;
    uint64_t x = q >> shift & low * ((1u << width) - 1);
    x = (x | x >> (8 - width)) & low2 * ((1u << 2 * width) - 1);
    x = (x | x >> (16 - 2 * width)) & low4 * ((1u << 4 * width) - 1);
    return (uint32_t)(x | x >> (32 - 4 * width));
}

/* n <= WCD_SPAN codes of a row, and zeros behind them up to a chunk's end, to its lane, from the first column of a
 * chunk on; chunks are `stride' bytes apart. */
static void put_plane(uint8_t *p, uint64_t stride, const uint8_t *q, unsigned n, unsigned width, unsigned shift)
{
    const unsigned most = 32 / width;
    for (unsigned i = 0; i < n; i += most, p += stride) {
        uint32_t bits = 0;
        for (unsigned j = 0; j < most; j += 8)
            bits |= (pack8(wcd_u64(q + i + j), width, shift)) << width * j;
        put32(p, bits);
    }
}

static void put_bytes(uint8_t *p, uint64_t stride, const uint8_t *q, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i / 8 * stride + i % 8 * 16] = (uint8_t)(q[i] - BYTE_ZERO);
}

/* One row and group of n columns from col on, at p the group of a tile of so many vectors. */
static void put_row(const wcd_tiles *f, const wcd_view *v, uint64_t row, uint64_t col, uint64_t n, unsigned vectors,
                    uint8_t *p)
{
    const unsigned lane = (unsigned)(row % 16), at = (unsigned)(row % WCD_TILE_ROWS) / 16;
    const uint64_t g = col / f->group, number = row * ((v->cols - 1) / f->group + 1) + g;
    uint8_t q[WCD_SPAN];
    float s = 0, z = 0;
    if (f->s_size == 4 || f->z_size == 1 || f->z_size == 4) v->d->steps(v, row, g, 1, &s, &z);
    put_number(p + 16 * f->s_size * at, f->s_size, lane, f->s_size == 2 ? f->scales + 2 * number : NULL, s);
    p += section(16 * f->s_size * vectors);
    put_number(p + 16 * f->z_size * at, f->z_size, lane, f->z_size == 2 ? f->zeros + 2 * number : NULL, z);
    p += section(16 * f->z_size * vectors);
    for (uint64_t i = 0; i < n; i += WCD_SPAN) {
        const unsigned some = n - i < WCD_SPAN ? (unsigned)(n - i) : WCD_SPAN;
        uint8_t *to = p;
        if (some % 32) memset(q + some / 32 * 32, 0, 32);
        wcd_unpack(f->codes + row * f->row_size, v->cols, f->bits, col + i, some, q);
        if (!f->planes) put_bytes(p + i / 8 * 128 * vectors + 128 * at + lane, 128 * vectors, q, some);
        for (unsigned k = 0; k < f->planes; k++) {
            put_plane(to + i * f->width[k] / 32 * 64 * vectors + 64 * at + 4 * lane, 64 * vectors, q, some, f->width[k],
                      f->shift[k]);
            to += plane_size(f->width[k], vectors, n);
        }
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

/* total [nx][WCD_TILE_ROWS] of the tile at p. */
static void tile_product(const wcd_tiles *f, uint64_t cols, const uint8_t *p, unsigned vectors, const wcd_vectors *x,
                         float *total)
{
    const wcd_tile_loops *loops = wcd_tile_loops_used();
    const int sums = f->z_size || f->z0 - f->z != 0;
    float acc[WCD_TILE_ROWS];
    memset(total, 0, x->n * WCD_TILE_ROWS * sizeof *total);
    for (uint64_t col = 0, n; col < cols; col += n) {
        n = cols - col < f->group ? cols - col : f->group;
        const uint8_t *z = p + section(16 * f->s_size * vectors), *codes = z + section(16 * f->z_size * vectors);
        for (unsigned b = 0; b < x->n; b++) {
            const float *xb = x->x + b * x->ld + col;
            const uint8_t *at = codes;
            memset(acc, 0, sizeof acc);
            if (!f->planes) loops->bytes(at, vectors, xb, n, acc);
            for (unsigned k = 0; k < f->planes; k++) {
                loops->nibbles(at, vectors, f->width[k], (float(*)[16])f->meaning[k], xb, n, acc);
                at += plane_size(f->width[k], vectors, n);
            }
            loops->add(f, p, z, vectors, sums ? sum_of(xb, n) : 0, acc, total + b * WCD_TILE_ROWS);
        }
        p += group_size(f, vectors, n);
    }
}

/* The same for a lut with a table per row. */
static void tile_by_columns(uint64_t cols, const uint8_t *p, unsigned vectors, const wcd_vectors *x, float *total)
{
    const wcd_tile_loops *loops = wcd_tile_loops_used();
    const uint64_t blocks = cols / WCD_STRIP_BLOCK;
    for (unsigned i = 0; i < 16 * vectors; i += WCD_STRIP_ROWS) {
        const uint8_t *codes = p + strip_row(i, vectors, cols), *tables = p + 64 * i;
        for (unsigned b = 0; b < x->n; b++) {
            const float *xb = x->x + b * x->ld;
            float lane[WCD_STRIP_ROWS * WCD_LANES] = {0};
            loops->strip(codes, tables, xb, blocks, lane);
            strip_block(codes + blocks * 64 * WCD_STRIP_ROWS, tables, xb + blocks * WCD_STRIP_BLOCK,
                        (unsigned)(cols % WCD_STRIP_BLOCK), lane);
            for (unsigned r = 0; r < WCD_STRIP_ROWS; r++)
                total[b * WCD_TILE_ROWS + i + r] = wcd_lanes_sum(lane + WCD_LANES * r);
        }
    }
}

/* The levels of a lut, which its part has no more to be read for. */
static void read_levels(wcd_tiles *f, const uint8_t *memory)
{
    float level[16];
    for (unsigned i = 0; i < 16; i++)
        level[i] = wc_bits_f32(wcd_u32(memory + 4 * i));
    set_meaning(f, level);
}

/* Rows first .. first + n of a tile's sums to y. */
static void put_sums(const float *total, unsigned first, unsigned n, unsigned nx, float *y, size_t ldy, int add)
{
    for (unsigned b = 0; b < nx; b++, total += WCD_TILE_ROWS, y += ldy)
        for (unsigned i = 0; i < n; i++)
            y[i] = add ? y[i] + total[first + i] : total[first + i];
}

void wcd_tiles_product(const wcd_tiles *f, const wcd_view *v, const uint8_t *memory, uint64_t r0, uint64_t nr,
                       const wcd_vectors *x, float *y, size_t ldy, int add)
{
    float total[WCD_TILE_X * WCD_TILE_ROWS];
    wcd_tiles here = *f;
    if (here.lut && !here.by_row) read_levels(&here, memory);
    memory += header_size(f);
    for (uint64_t some; nr; nr -= some, r0 += some, y += some) {
        const uint64_t tile = r0 / WCD_TILE_ROWS, first = r0 % WCD_TILE_ROWS;
        some = nr < WCD_TILE_ROWS - first ? nr : WCD_TILE_ROWS - first;
        for (unsigned b = 0; b < x->n; b += WCD_TILE_X) {
            const unsigned nx = x->n - b < WCD_TILE_X ? x->n - b : WCD_TILE_X;
            const wcd_vectors part = {x->x + b * x->ld, x->ld, nx};
            const uint8_t *at = memory + tile * here.tile_size;
            if (here.by_row)
                tile_by_columns(v->cols, at, vectors_of(v, tile), &part, total);
            else
                tile_product(&here, v->cols, at, vectors_of(v, tile), &part, total);
            put_sums(total, (unsigned)first, (unsigned)some, nx, y + b * ldy, ldy, add);
        }
    }
}
