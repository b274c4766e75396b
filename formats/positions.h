/* positions.h - the encoders' side of positions: which columns of a row have a value (docs/FORMAT.md, section
 * "Positions"). Grids with holes and sparse parts share it. */
#ifndef WC_FORMAT_POSITIONS_H
#define WC_FORMAT_POSITIONS_H

#include "base/part.h"

enum { WC_LIST16 = 0, WC_LIST32 = 1, WC_MASK = 2, WC_N_OF_M = 3 };

/* Where the positions of a [rows, cols] part go. */
typedef struct wc_positions_layout {
    const char *kind; /* of the part, for messages */
    size_t rows, cols;
    wc_positions p;
    int layout;
    unsigned end_size, code_bits; /* bytes of a row end; bits of a pattern */
    uint64_t row_size;            /* bytes of one row's mask or patterns */
    uint64_t ends, at;            /* offsets of the two sections */
} wc_positions_layout;

/* The layout that p allows: WC_N_OF_M for n of m, else the one given. WC_BUG on bad geometry. */
wc_status wc_positions_lay_out(wc_ctx *ctx, const char *kind, size_t rows, size_t cols, const wc_positions *p,
                               int layout, wc_positions_layout *out);
/* Places the two sections behind *end. */
void wc_positions_place(wc_positions_layout *l, uint64_t *end);

/* Row after row: has [cols] is 1 where row r has a value. *count: values in all rows so far, 0 before the first row.
 * dst is the blob, zeroed. WC_BUG when the row does not have the structure of the geometry, and, in the last row, when
 * all together are not nnz. */
wc_status wc_positions_put(wc_ctx *ctx, const wc_positions_layout *l, size_t r, const uint8_t *has, uint64_t *count,
                           uint8_t *dst);
/* The codes [rows, cols] of `bits' bits at the positions of mask [rows, cols]: one packed sequence [nnz] at dst, and
 * the two sections of positions. dst is the blob, zeroed. */
wc_status wc_positions_put_codes(wc_ctx *ctx, const wc_positions_layout *l, const uint8_t *mask, const uint8_t *code,
                                 unsigned bits, uint8_t *dst);

/* The parameters of a part with holes: bytes 12 to 27 of a grid or a lut. */
void wc_positions_params(const wc_positions_layout *l, uint8_t *params);

#endif
