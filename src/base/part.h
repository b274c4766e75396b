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
typedef enum wc_part_kind {
    WC_PART_FLOAT = 1,
    WC_PART_GRID = 2,
    WC_PART_LUT = 3,
    WC_PART_SPARSE = 4,
    WC_PART_LOWRANK = 5,
    WC_PART_VQ = 6
} wc_part_kind;

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
    uint8_t *owned;      /* NULL, or memory behind data that wc_part_free releases (wc_float_alloc) */
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

/* Levels from a table: w^ = s T[q] with codes q of `bits' bits, tables T of 2^bits f16 levels, one table per tensor,
 * row, or row and group, and s = scale * 2^scale_exp, one f16 scale per row and group of `group' consecutive columns.
 * Without scales s = 2^scale_exp. s and T[q] are exact in f32, so w^ is one f32 rounding. */
typedef enum wc_lut_scope {
    WC_LUT_TENSOR = 0, /* table [1, 2^bits] */
    WC_LUT_ROW = 1,    /* table [rows, 2^bits] */
    WC_LUT_GROUP = 2   /* table [rows, groups, 2^bits] */
} wc_lut_scope;

typedef struct wc_lut {
    size_t rows, cols, group; /* 1 <= group <= cols, as in a grid; cols when nothing is grouped */
    unsigned bits;            /* 1..8 */
    wc_lut_scope scope;
    bool scaled;     /* there are scales */
    int scale_exp;   /* -126..126 */
    uint8_t *code;   /* q: [rows, cols], 0 .. 2^bits-1 */
    uint16_t *table; /* T: f16 [wc_lut_tables, 2^bits] */
    uint16_t *scale; /* f16 [rows, groups] if scaled, else NULL */
} wc_lut;

static inline size_t wc_lut_groups(const wc_lut *l)
{
    return wc_ceil_div(l->cols, l->group);
}

static inline size_t wc_lut_tables(const wc_lut *l)
{
    return l->scope == WC_LUT_TENSOR ? 1 : l->scope == WC_LUT_ROW ? l->rows : l->rows * wc_lut_groups(l);
}

/* Vectors from codebooks: every run of `dim' consecutive columns of a row is w^ = s (C_0[q_0] + C_1[q_1] + ..), one
 * entry from each of `books' codebooks of 2^bits entries; with a sign plane w^ = -(..) where it is 1. The last vector
 * of a row is short when dim does not divide cols: the rest of its entries is not used. Codebooks are shared by blocks
 * of block_rows x block_cols weights. Entries are f16, or integers of 8 bits times one f16 step per codebook. Scales
 * are those of a grid: an f16 per row and group, or an f16 per row times an integer per group; without them s =
 * 2^scale_exp. */
typedef struct wc_vq {
    size_t rows, cols;
    unsigned dim, books, bits;     /* 1..16, 1..8, 1..16 */
    size_t block_rows, block_cols; /* 1..rows; 1..cols, a multiple of dim unless it is cols */
    unsigned entry_bits;           /* 16: f16; 8: integers and steps */
    bool scaled;
    unsigned scale_bits; /* 0: one level; 2..8: two levels; 0 when not scaled */
    size_t group;        /* columns per scale, 1..cols */
    bool signs;
    int scale_exp;       /* -126..126 */
    uint16_t *code;      /* q: [rows, books, vectors] 0 .. 2^bits-1 */
    uint16_t *entry;     /* f16 [blocks, books, 2^bits, dim] if entry_bits == 16, else NULL */
    int8_t *small_entry; /* the same if entry_bits == 8, else NULL */
    uint16_t *step;      /* f16 [blocks, books] if entry_bits == 8, else NULL */
    uint16_t *scale;     /* f16 [rows, groups] if scale_bits == 0, else [rows]; NULL if not scaled */
    uint8_t *scale_code; /* [rows, groups] if scale_bits != 0, else NULL */
    uint8_t *sign;       /* [rows, cols] 0, 1 if signs, else NULL */
} wc_vq;

static inline size_t wc_vq_vectors(const wc_vq *v)
{
    return wc_ceil_div(v->cols, v->dim);
}

static inline size_t wc_vq_groups(const wc_vq *v)
{
    return wc_ceil_div(v->cols, v->group);
}

/* Blocks that have codebooks of their own; block b of the rows and c of the columns is b * (blocks of columns) + c. */
static inline size_t wc_vq_blocks(const wc_vq *v)
{
    return wc_ceil_div(v->rows, v->block_rows) * wc_ceil_div(v->cols, v->block_cols);
}

/* Explicit positions: w^[r, col[k]] = value[k] for row_start[r] <= k < row_start[r + 1], 0 elsewhere. A stored value
 * may be 0. The encoder picks the smallest layout that rows, cols, nnz, dtype and n:m allow.
 *
 * n:m: every m consecutive columns (m divides cols) hold exactly n positions, which then cost ceil(log2 C(m, n)) bits
 * per m columns; nnz = rows * cols / m * n. A method with fewer survivors somewhere stores zeros at any free position.
 */
typedef struct wc_sparse {
    size_t rows, cols;   /* cols <= 2^24 */
    uint64_t nnz;        /* geometry: known when planned */
    wc_dtype dtype;      /* of the values: F16, BF16 or F32 */
    unsigned n, m;       /* 0, 0: any positions; else 1 <= n < m <= 16, C(m, n) <= 256, m divides cols */
    int scale_exp;       /* F16: values are times 2^scale_exp, -126..126; else 0 */
    uint64_t *row_start; /* [rows + 1], row_start[0] = 0, row_start[rows] = nnz */
    uint32_t *col;       /* [nnz] strictly ascending within a row */
    void *value;         /* [nnz] bits of dtype: uint16_t (F16, BF16) or uint32_t (F32) in the machine's byte order */
} wc_sparse;

/* A product: w^ = A B, A [rows, rank], B [rank, cols]. Each factor is a part of its own: float (F32, F16, BF16),
 * grid, lut or sparse; its numbers are encoded and decoded as those of any part. */
typedef struct wc_lowrank {
    size_t rows, cols, rank; /* rank >= 1 */
    struct wc_part *a, *b;   /* owned, on the heap; plans in a plan (wc_lowrank_plan) */
} wc_lowrank;

typedef struct wc_part {
    wc_part_kind kind;
    union {
        wc_float floats;
        wc_grid grid;
        wc_lut lut;
        wc_sparse sparse;
        wc_lowrank lowrank;
        wc_vq vq;
    };
} wc_part;

void wc_part_free(wc_part *p); /* frees what the part owns, its factors too, and zeroes it; NULL is fine */

void wc_part_shape(const wc_part *p, size_t *rows, size_t *cols);

/* The parts that p is made of, in the order of the file: a low-rank part has two, A and B, all others none. An entry is
 * NULL when the factor is missing. */
enum { WC_PART_CHILDREN = 2 };
size_t wc_part_children(const wc_part *p, const wc_part *child[WC_PART_CHILDREN]);

/* Allocate the arrays that the geometry calls for, zeroed. On failure nothing is left allocated, and every array
 * pointer is NULL. */
wc_status wc_float_alloc(wc_ctx *ctx, wc_float *f); /* fill f->owned; data points to it */
wc_status wc_grid_alloc(wc_ctx *ctx, wc_grid *g);
wc_status wc_lut_alloc(wc_ctx *ctx, wc_lut *l);
wc_status wc_vq_alloc(wc_ctx *ctx, wc_vq *v);
wc_status wc_sparse_alloc(wc_ctx *ctx, wc_sparse *s);
wc_status wc_lowrank_alloc(wc_ctx *ctx, wc_lowrank *l, const wc_part *a,
                           const wc_part *b);     /* plans of A, B: both made */
wc_status wc_part_alloc(wc_ctx *ctx, wc_part *p); /* any of the above but low rank */

/* The geometry of a low-rank part: copies the plans of the factors, which own nothing, to the heap. A method's plan()
 * cannot fail, so neither can this: without memory a and b are NULL, and the encoder then reports WC_NOMEM. The caller
 * frees the plan with wc_part_free. */
void wc_lowrank_plan(wc_lowrank *l, const wc_part *a, const wc_part *b);

#endif
