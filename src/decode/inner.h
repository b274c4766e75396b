/* inner.h - the inner loops of decoders and products, one family for every CPU level (level.h).
 *
 * inner.c has them in portable C, which is the truth; inner_kernel.c has them for the levels above. Same bits. A *lane*
 * is one of the 16 partial sums of a product; lanes are always [rows][16], and are added to. */
#ifndef WCD_INNER_H
#define WCD_INNER_H

#include <stddef.h>

#include "decode/level.h"
#include "decode/packed.h"

/* Rows of packed codes from a column on that begins a block of 64 and a group. */
typedef struct wcd_codes {
    const uint8_t *at; /* the first row's first block */
    uint64_t stride;   /* bytes from row to row */
    unsigned bits;
    uint64_t group;     /* columns: 16, 32 or a multiple of 64 */
    const float *s, *z; /* [rows][ld]: those of each group */
    unsigned ld;
    const float *levels; /* NULL: w = s (q - z); else [rows][16], bits <= 4: w = s levels[q], no z; 2^bits of them,
                            repeated */
} wcd_codes;

/* Columns 64 b .. 64 b + 63 of an input in 8 bits, x = d q (int8.c): the codes, and per lane, which has the columns
 * 4 j .. 4 j + 3 here, u = d times the sum of its codes. */
typedef struct wcd_int8_block {
    float u[16];
    int8_t q[WCD_BLOCK];
} wcd_int8_block;

typedef struct wcd_inner {
    /* out [64 blocks] = the codes of full blocks */
    void (*unpack)(const uint8_t *p, unsigned bits, uint64_t blocks, uint8_t *out);
    /* w [n] = the first row's values; n is a multiple of 64 */
    void (*values)(const wcd_codes *c, uint64_t n, float *w);
    /* lane [nr][16] += nr rows times x [n]; n is a multiple of 64 */
    void (*dot)(const wcd_codes *c, unsigned nr, uint64_t n, const float *x, float *lane);
    /* The same over blocks x [n / 64] of an input in 8 bits, with their d: for every group of columns, lane j += s (t -
     * z u), where t is the sum over its blocks b of d[b] (sum of q x.q over the lane's columns), an exact integer, and
     * u that of x[b].u; every += and - is a fused multiply-add. In a block of several groups lane j is of the group of
     * column 4 j, but the functions for levels above C are for groups of whole blocks only; no levels. */
    void (*dot8)(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_block *x, const float *d, float *lane);
    /* lane[(r nx + b) 16 ..] += row r of w [nr, ldw] times row b of x [nx, ldx], n columns */
    void (*lanes)(const float *w, size_t ldw, unsigned nr, const float *x, size_t ldx, unsigned nx, unsigned n,
                  float *lane);
    /* dst [n] = f32(f16 at p) * scale */
    void (*halves)(const uint8_t *p, uint64_t n, float scale, float *dst);
    /* dst [n] = bf16 at p */
    void (*brains)(const uint8_t *p, uint64_t n, float *dst);
    /* lane[k mod 16] += (f16 value[k] * scale) x[col[k]], k < n, where x is 0 for columns from cols on; col: u16 */
    void (*listed)(const uint8_t *col, const uint8_t *value, uint64_t n, float scale, const float *x, uint64_t cols,
                   float *lane);
    /* out [n] = the sums of lane [n][16], added in halves (8, 4, 2, 1) */
    void (*sums)(const float *lane, unsigned n, float *out);
} wcd_inner;

const wcd_inner *wcd_inner_loops(void); /* of the level in use */

/* dot8 of the level in use for any group. */
void wcd_inner_dot8(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_block *x, const float *d, float *lane);

#endif
