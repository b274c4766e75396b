/* part.h - the numbers of a compressed tensor, before they are bytes.
 *
 * A compressed tensor is a sum of parts, W^ = sum_k part_k. A method fills parts, a format turns one into bytes, and
 * neither knows the other: they meet in these structs. Pointers inside a part are owned by whoever holds the part
 * (wc_part_free). With all pointers NULL a part is a *plan*: its geometry alone determines its encoded size. */
#ifndef WC_BASE_PART_H
#define WC_BASE_PART_H

#include "base/dtype.h"
#include "base/mem.h"

/* Kinds and their ids in the file are the list in formats/formats.def. */
typedef enum wc_part_kind { WC_PART_FLOAT = 1, WC_PART_GRID = 2 } wc_part_kind;

typedef enum wc_dtype {
    WC_DTYPE_NONE = 0,
#define X(name, bits, id) WC_##name = id,
    WC_DTYPE_LIST(X)
#undef X
} wc_dtype;

const char *wc_dtype_name(wc_dtype t);         /* "BF16"; "?" if unknown */
unsigned wc_dtype_bits(wc_dtype t);            /* 0 if unknown */
wc_dtype wc_dtype_from_name(const char *name); /* WC_DTYPE_NONE if unknown */
bool wc_dtype_is_float(wc_dtype t);            /* F32, F16, BF16: the types that methods and the forward pass read */

/* Stored values, kept bit for bit. */
typedef struct wc_float {
    size_t rows, cols;
    wc_dtype dtype;
    const uint8_t *data; /* [rows, cols] of dtype, little-endian; NOT owned: it may point into a mapped file */
} wc_float;

/* A uniform grid: w^ = s (q - z), one scale s (and zero z) per row and group of `group' consecutive columns.
 *
 * s comes in two forms. One level: an f16 per group. Two levels: an f16 per row times an unsigned integer of scale_bits
 * per group. Both are times 2^scale_exp, one exponent for the tensor, so that f16 never under- or overflows. All
 * products are exact in f32: s = f16 * 2^e * code needs at most 11 + 8 mantissa bits; w^ = s (q - z) is one f32
 * rounding. The last group of a row is short when group does not divide cols. */
typedef enum wc_zero_kind {
    WC_ZERO_FIXED = 0, /* the same zero_fixed for the whole tensor (symmetric grids) */
    WC_ZERO_INT = 1    /* an integer 0 .. 2^bits-1 per group (asymmetric grids) */
} wc_zero_kind;

typedef struct wc_grid {
    size_t rows, cols, group; /* 1 <= group <= cols; groups per row = ceil(cols/group) */
    unsigned bits;            /* 1..8 */
    unsigned scale_bits;      /* 0: one level; 2..8: two levels */
    wc_zero_kind zero_kind;
    float zero_fixed;    /* in half steps, 0 .. 2^bits-1; used when WC_ZERO_FIXED */
    int scale_exp;       /* -126..126 */
    uint8_t *code;       /* q: [rows, cols], 0 .. 2^bits-1 */
    uint16_t *scale;     /* f16, sign allowed: [rows, groups] if scale_bits == 0, else [rows] */
    uint8_t *scale_code; /* [rows, groups] if scale_bits != 0, else NULL */
    uint8_t *zero;       /* [rows, groups] if WC_ZERO_INT, else NULL */
} wc_grid;

static inline size_t wc_grid_groups(const wc_grid *g)
{
    return wc_ceil_div(g->cols, g->group);
}

typedef struct wc_part {
    wc_part_kind kind;
    union {
        wc_float floats;
        wc_grid grid;
    };
} wc_part;

void wc_part_free(wc_part *p); /* frees what the part owns and zeroes it; NULL is fine */

/* Allocates the arrays that the geometry in *g calls for. On failure nothing is left allocated. */
wc_status wc_grid_alloc(wc_ctx *ctx, wc_grid *g);

#endif
