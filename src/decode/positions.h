/* positions.h - which columns of a row have a value: what grids with holes and sparse parts share.
 *
 * A position stands for `block' consecutive columns, all of which have values or none has. Positions lie in the blob,
 * which nobody has checked: every number is cut at its limit, so hostile bytes give wrong values, always the same ones,
 * and no access outside. docs/FORMAT.md, section "Positions". */
#ifndef WCD_POSITIONS_H
#define WCD_POSITIONS_H

#include <stdint.h>

/* Layouts: lists of columns in 16 or 32 bits; a bit per column; n in every m columns. */
enum { WCD_LIST16 = 0, WCD_LIST32 = 1, WCD_MASK = 2, WCD_N_OF_M = 3 };

typedef struct wcd_positions {
    unsigned layout, n, m; /* n, m: of WCD_N_OF_M, else 0 */
    unsigned end_size;     /* bytes of a row's end; 0 where rows are equally long */
    unsigned code_bits;    /* of an n of m pattern */
    uint64_t block;        /* columns of a position */
    uint64_t nnz, count;   /* values; positions = nnz / block */
    uint64_t units;        /* places for a position in a row = cols / block */
    uint64_t row_size;     /* bytes of one row's mask or patterns */
    uint64_t ends, at;     /* offsets of the two sections in the blob */
} wcd_positions;

/* From the parameters layout, n, m, block (0: single columns) and nnz, as a record states them. 0: they contradict
 * each other or the shape. */
int wcd_positions_open(wcd_positions *p, unsigned layout, unsigned n, unsigned m, uint32_t block, uint64_t nnz,
                       uint64_t rows, uint64_t cols);
/* The same from bytes 12 to 27 of the parameters of a grid or a lut, of which byte 12, the layout, is not 0: a mask or
 * n of m. */
int wcd_positions_parse(wcd_positions *p, const uint8_t *params, uint64_t rows, uint64_t cols);
/* Places the two sections behind *end. */
void wcd_positions_place(wcd_positions *p, uint64_t rows, uint64_t *end);

/* For lists of single columns: the row's entries are those of value *first .. *end, and lie at the address returned, 2
 * or 4 bytes each. Columns outside the row may be among them. NULL: another layout. */
const uint8_t *wcd_positions_list(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t *first,
                                  uint64_t *end);

/* at [*..n] = the columns of row `row' that have a value, ascending, counted from col, among col .. col + n; returns
 * how many, and in *first the number of the first one's value: the others follow it, and all are below nnz. col is a
 * multiple of 256, 1 <= n <= 256, col + n inside the row. */
unsigned wcd_positions_span(const wcd_positions *p, const uint8_t *blob, uint64_t row, uint64_t col, unsigned n,
                            uint8_t *at, uint64_t *first);

/* The same where values are codes, one packed sequence of nnz values of `bits' bits at seq: q [n] gets them, has [n] is
 * 1 where there is one. */
void wcd_positions_codes(const wcd_positions *p, const uint8_t *blob, const uint8_t *seq, unsigned bits, uint64_t row,
                         uint64_t col, unsigned n, uint8_t *q, uint8_t *has);

#endif
