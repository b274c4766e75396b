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
enum { WCD_CODE_ROWS = 4, WCD_CODE_GROUPS = 128 }; /* of what is made for a product at once, at most */
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

/* Inputs in 8 bits, x = d q with one d for every WCD_SCALED columns, from a column on that begins those: of input b < n
 * the codes q[b ld + ..] and d[b ld / 4 + ..] (int8.c). */
enum { WCD_SCALED = 128 };
typedef struct wcd_int8_codes {
    const int8_t *q;
    const float *d;
    uint64_t ld; /* a multiple of 4 */
    unsigned n;
} wcd_int8_codes;

typedef struct wcd_inner {
    /* out [64 blocks] = the codes of full blocks */
    void (*unpack)(const uint8_t *p, unsigned bits, uint64_t blocks, uint8_t *out);
    /* w [n] = the first row's values; n is a multiple of 64 */
    void (*values)(const wcd_codes *c, uint64_t n, float *w);
    /* lane [nr][16] += nr rows times x [n]; n is a multiple of 64 */
    void (*dot)(const wcd_codes *c, unsigned nr, uint64_t n, const float *x, float *lane);
    /* lane[(r x->n + b) 16 ..] += row r times input b in 8 bits. Lane j has the columns 4 j .. 4 j + 3 of every block.
     * Over each 128 columns, or 64 where groups are not multiples of 128, it gets s (d (t - z u)): t is the sum of its
     * codes times codes of x, u the sum of those of x, both exact; d times is rounded, and each += and - is a fused
     * multiply-add. In a block of several groups lane j is of the group of column 4 j. No levels; ld is
     * WCD_CODE_GROUPS. */
    void (*dot8)(const wcd_codes *c, unsigned nr, uint64_t n, const wcd_int8_codes *x, float *lane);
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

#endif
