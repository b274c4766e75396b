/* tiles.h - a part laid out anew for products: 16 rows in the lanes of a vector, and something made of an input that
 * all of them use.
 *
 * Grids of up to 7 bits are multiplied by inputs in fixed point (fixed.h). Codes of 8 bits are signed bytes q - 128,
 * multiplied as floats. Of a lut of 1, 2 or 4 bits, neighbouring columns share a *nibble*: four, two or one. Whatever
 * its bits mean, a nibble adds one of 16 numbers to a row's sum, so for every nibble there is a table
 *
 *     T[i] = sum over its columns j of c_j[i] x_j,        c_j[i] the level that the bits of column j in i stand for,
 *
 * made once and used for all rows of a tile: a weight of 4 bits costs a look-up and an addition, one of 2 half of each.
 *
 * Layout, for every tile of WCD_TILE_ROWS rows, for every group of n columns, with V = 8 vectors of 16 rows to a tile
 * (fewer in the last), sections beginning at multiples of 64 bytes:
 *
 *     scales    [V][16] of s_size bytes       zeros    [V][16] of z_size bytes
 *     grids     of every 128 columns [V] as fixed.h has it
 *     bytes     [ceil(n / 8)][V][8 columns][16] i8
 *     luts      [ceil(n / (32 / bits))][V][16] u32: column j of the chunk in bits `bits' j ..
 *
 * In front of the first tile stand the levels of a lut, 16 f32. Rows and columns that are not there have codes 0.
 *
 * A lut with a table per row has 16 columns in the lanes instead (by_row), and the sum and the bits of wcd_matvec; what
 * it gains is that its codes come as one stream. A tile of it is
 *
 *     tables    [V][16 rows][16] f32
 *     codes     [2 V strips][ceil(cols / 128) blocks][8 rows][16] u32: column 16 k + j of the block in bits 4 k .. of j
 */
#ifndef WCD_TILES_H
#define WCD_TILES_H

#include "decode/decoder.h"

enum {
    WCD_TILE_VECTORS = 8,
    WCD_TILE_ROWS = 16 * WCD_TILE_VECTORS,
    WCD_TILE_X = 8,       /* inputs that share a group's codes while they are in the first cache */
    WCD_TILE_AT_ONCE = 8, /* that an input in fixed point serves */
    WCD_TILE_SUMS = 32,   /* inputs times tiles at once, at most */
    WCD_STRIP_ROWS = 8,
    WCD_STRIP_BLOCK = 128 /* columns */
};

/* What a kind says of a part (decoder.h, tiles), and what follows from that. */
struct wcd_tiles {
    unsigned bits;
    uint64_t group;          /* columns that share s and z */
    unsigned s_size, z_size; /* bytes of a number: 0 none, 1 u8 (z), 2 f16, 4 f32 */
    float exp2;              /* what f16 scales are multiplied with, or all of s */
    float z;                 /* without z_size: of all rows */
    int lut;                 /* codes mean levels */
    int by_row;              /* a lut of 4 bits without scales, with a table per row */
    const uint8_t *codes;    /* rows of packed codes, row_size bytes each */
    uint64_t row_size;
    const uint8_t *scales, *zeros; /* f16 [rows, groups], where s_size, z_size are 2 */
    const uint8_t *levels;         /* f16 [2^bits] of a lut, or [rows, 16] */

    int fixed;                /* a grid of up to 7 bits */
    float z0;                 /* what codes of a grid are counted from: the middle */
    uint64_t tile_size, size; /* bytes of a full tile; of all */
    float meaning[4][16];     /* of a lut, once its levels are read: c of every column of a nibble */
};

/* acc is [vectors][16]: of a tile's rows, for one group and input. */
typedef struct wcd_tile_loops {
    /* acc += n columns of a lut of `width' bits times x: for every chunk of 8 nibbles, whose look-ups u_0 .. u_7 are,
     * ((u0 + u1) + (u2 + u3)) + ((u4 + u5) + (u6 + u7)); T is a product and then fused multiply-adds, by columns. A
     * nibble without columns adds 0. */
    void (*nibbles)(const uint8_t *p, unsigned vectors, unsigned width, float (*c)[16], const float *x, uint64_t n,
                    float *acc);
    /* The same of bytes: every chunk of 8 columns is a product and fused multiply-adds, and then added to acc. */
    void (*bytes)(const uint8_t *p, unsigned vectors, const float *x, uint64_t n, float *acc);
    /* total += s (acc + (z0 - z) sum), two fused multiply-adds; just s acc where no z is another than z0. */
    void (*add)(const wcd_tiles *f, const uint8_t *s, const uint8_t *z, unsigned vectors, float sum, const float *acc,
                float *total);
    /* lane [8][16] += 8 rows times x, n whole blocks of a strip at p; as wcd_span_product does. */
    void (*strip)(const uint8_t *p, const uint8_t *tables, const float *x, uint64_t n, float *lane);
} wcd_tile_loops;

/* Whether the part at v gains by tiles; fills *out, without pointers where v->blob is NULL. */
int wcd_tiles_of(const wcd_view *v, wcd_tiles *out);

/* Lays out `n' tiles from `first' on, of all tiles at `memory'. Tiles have their own bytes, so several threads may. */
void wcd_tiles_make(const wcd_tiles *f, const wcd_view *v, uint64_t first, uint64_t n, uint8_t *memory);

/* y[b * ldy + i] = or += rows r0 + i times input b; ranges had better be whole tiles, which is what is computed. */
void wcd_tiles_product(const wcd_tiles *f, const wcd_view *v, const uint8_t *memory, uint64_t r0, uint64_t nr,
                       const wcd_vectors *x, float *y, size_t ldy, int add);

static inline uint64_t wcd_tiles_count(const wcd_view *v)
{
    return (v->rows - 1) / WCD_TILE_ROWS + 1;
}

#endif
