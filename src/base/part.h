/* part.h - the numbers of a compressed tensor, before they are bytes.
 *
 * A compressed tensor is a sum of parts times transforms of its inputs, W^ = (sum_k part_k) C. A method fills parts, a
 * format turns one into bytes, and neither knows the other: they meet in these structs. Pointers inside a part are
 * owned by whoever holds the part (wc_part_free). With all pointers NULL a part is a *plan*: its geometry alone
 * determines its encoded size. */
#ifndef WC_BASE_PART_H
#define WC_BASE_PART_H

#include "base/dtype.h"
#include "base/ggml.h"
#include "base/mem.h"

/* Kinds and their ids in the file are the list in formats/formats.def. */
typedef enum wc_part_kind {
    WC_PART_FLOAT = 1,
    WC_PART_GRID = 2,
    WC_PART_LUT = 3,
    WC_PART_SPARSE = 4,
    WC_PART_LOWRANK = 5,
    WC_PART_VQ = 6,
    WC_PART_SIGNS = 7,
    WC_PART_CODED = 8,
    WC_PART_DIAGONAL = 9, /* a transform, as the next */
    WC_PART_HADAMARD = 10,
    WC_PART_GGML = 11,
    WC_PART_PERMUTE = 12 /* a transform */
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

/* How values are written in fewer bytes without loss: their bytes in planes (base/planes.h), each plane as it is, as
 * one constant, or in a prefix code of its own, in chunks of four streams. Made from the values (solve/plane_code.h);
 * it determines the size. */
enum { WC_PLANES = 8, WC_PLANE_CHUNK = 4096, WC_PLANE_STREAMS = 4, WC_CODE_BITS = 12 };
typedef enum wc_plane_mode { WC_PLANE_RAW = 0, WC_PLANE_CONSTANT = 1, WC_PLANE_CODED = 2 } wc_plane_mode;

typedef struct wc_float_code {
    unsigned planes; /* bytes of an element */
    unsigned drop;   /* low mantissa bits that are rounded away before; 0: lossless */
    double error;    /* |D|^2 / |W|^2 of that rounding; 0 if nothing is dropped */
    uint8_t mode[WC_PLANES], constant[WC_PLANES];
    uint8_t length[WC_PLANES][256]; /* of the codes in bits, 0: does not occur; a complete code of at least two */
    uint64_t chunks;                /* ceil(rows * cols / WC_PLANE_CHUNK) */
    uint16_t *size[WC_PLANES];      /* coded planes: bytes of each stream, [chunks, WC_PLANE_STREAMS] */
    uint64_t stream_bytes;          /* the sum of all these */
} wc_float_code;
void wc_float_code_free(wc_float_code *c); /* with the struct itself; NULL is fine */

/* Stored values, kept bit for bit. */
typedef struct wc_float {
    size_t rows, cols;
    wc_dtype dtype;
    const uint8_t *data; /* [rows, cols] of dtype, little-endian; NOT owned: it may point into a mapped file */
    uint8_t *owned;      /* NULL, or memory behind data that wc_part_free releases (wc_float_alloc) */
    wc_float_code *code; /* NULL: written as they are; else owned, also by a plan: the values have been seen */
} wc_float;

/* Which columns of the rows have values; elsewhere a part is 0. Geometry: known when planned. A position is `block'
 * consecutive columns that have values together, or none has.
 *
 * n:m: every m consecutive places for a position hold exactly n, which then cost ceil(log2 C(m, n)) bits per m; nnz =
 * rows * cols / m * n. A method with fewer survivors somewhere stores zeros at any free position. */
typedef struct wc_positions {
    uint64_t nnz;  /* values; a multiple of block */
    unsigned n, m; /* 0, 0: any positions; else 1 <= n < m <= 16, C(m, n) <= 256, m * block divides cols */
    size_t block;  /* 0, 1: single columns; else block divides cols */
} wc_positions;

/* A uniform grid: w^ = s (q - z), one scale s (and zero z) per row and group of `group' consecutive columns.
 *
 * s comes in three forms. One level: an f16 per group. Two levels: an f16 per row times an unsigned integer of
 * scale_bits per group. Tiles: a tile is `tile' consecutive rows of one group of columns; its steps lie on a line,
 * s = offset + step * code, with two f16 per tile and a code of scale_bits per row and group; a line of zeros likewise
 * (SpQR, arXiv 2306.03078). All are times 2^scale_exp, one exponent for the tensor, so that f16 never under- or
 * overflows. With integer and fixed zeros and no tiles all products are exact in f32: s = f16 * 2^e * code needs at
 * most 11 + 8 mantissa bits; w^ = s (q - z) is one f32 rounding. The last group of a row is short when group does not
 * divide cols, the last tile when tile does not divide rows. */
typedef enum wc_zero_kind {
    WC_ZERO_FIXED = 0, /* the same zero_fixed for the whole tensor (symmetric grids) */
    WC_ZERO_INT = 1,   /* an integer 0 .. 2^bits-1 per group (asymmetric grids) */
    WC_ZERO_F16 = 2,   /* an f16 per group: any real number, also outside the range of the codes */
    WC_ZERO_LINE = 3   /* offset + step * code on the line of its tile */
} wc_zero_kind;

typedef struct wc_grid {
    size_t rows, cols, group; /* 1 <= group <= cols; groups per row = ceil(cols/group) */
    unsigned bits;            /* 1..8 */
    unsigned scale_bits;      /* 0: one level; 2..8: two levels or tiles */
    wc_zero_kind zero_kind;
    unsigned zero_bits;  /* WC_ZERO_LINE: 2..8, else 0 */
    size_t tile;         /* 0: none; rows of a tile, 1..255, needs scale_bits */
    float zero_fixed;    /* in half steps, 0 .. 2^bits-1; used when WC_ZERO_FIXED */
    int scale_exp;       /* -126..126 */
    uint8_t *code;       /* q: [rows, cols], 0 .. 2^bits-1 */
    uint16_t *scale;     /* f16, sign allowed: [rows, groups] if scale_bits == 0, [rows] with two levels, [tiles of
                          * rows, groups, 2] offset and step with tiles */
    uint8_t *scale_code; /* [rows, groups] if scale_bits != 0, else NULL */
    uint8_t *zero;       /* [rows, groups] integers if WC_ZERO_INT, codes if WC_ZERO_LINE, else NULL */
    uint16_t *zero_f16;  /* f16: [rows, groups] if WC_ZERO_F16, [tiles of rows, groups, 2] if WC_ZERO_LINE, else NULL */
    bool holes;          /* only positions have codes; cols <= 2^24 */
    wc_positions at;     /* with holes: which */
    const uint8_t *mask; /* with holes: [rows, cols] 1: has a code, 0: w^ = 0; NOT owned */
} wc_grid;

static inline size_t wc_grid_groups(const wc_grid *g)
{
    return wc_ceil_div(g->cols, g->group);
}

/* f16 numbers of the lines of all tiles. */
static inline size_t wc_grid_lines(const wc_grid *g)
{
    return g->tile ? 2 * wc_ceil_div(g->rows, g->tile) * wc_grid_groups(g) : 0;
}

/* f16 numbers in `scale' and in `zero_f16', bits of a number in `zero' (0: there are none). */
static inline size_t wc_grid_scales(const wc_grid *g)
{
    return g->tile ? wc_grid_lines(g) : g->scale_bits ? g->rows : g->rows * wc_grid_groups(g);
}

static inline size_t wc_grid_zero_f16s(const wc_grid *g)
{
    return g->zero_kind == WC_ZERO_F16    ? g->rows * wc_grid_groups(g)
           : g->zero_kind == WC_ZERO_LINE ? wc_grid_lines(g)
                                          : 0;
}

static inline unsigned wc_grid_zero_code_bits(const wc_grid *g)
{
    return g->zero_kind == WC_ZERO_INT ? g->bits : g->zero_kind == WC_ZERO_LINE ? g->zero_bits : 0;
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
    bool holes;      /* as in a grid, also the next two */
    wc_positions at;
    const uint8_t *mask;
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
 * may be 0. The encoder picks the smallest layout that rows, cols, nnz, dtype, n:m and block (see wc_positions) allow.
 */
typedef struct wc_sparse {
    size_t rows, cols;   /* cols <= 2^24 */
    uint64_t nnz;        /* geometry: known when planned */
    wc_dtype dtype;      /* of the values: F16, BF16 or F32 */
    unsigned n, m;       /* as in wc_positions */
    size_t block;        /* as in wc_positions */
    int scale_exp;       /* F16: values are times 2^scale_exp, -126..126; else 0 */
    uint64_t *row_start; /* [rows + 1], row_start[0] = 0, row_start[rows] = nnz */
    uint32_t *col;       /* [nnz] strictly ascending within a row */
    void *value;         /* [nnz] bits of dtype: uint16_t (F16, BF16) or uint32_t (F32) in the machine's byte order */
} wc_sparse;

/* A product of thin factors. Each is a part of its own: float (F32, F16, BF16), grid, lut or sparse; its numbers are
 * encoded and decoded as those of any part. r = rank, m = rows, n = cols:
 *
 *     form    w^                                                   A               B                link
 *     AB      A B                                                  [m, r]          [r, n]           none
 *     CUR     A link B                                             [m, r]          [r, n]           [r, r]
 *     PIVOT   the rows marked in `pivot' are those of B, in        [m - r, r]      [r, n]           none
 *             order; the others are A B, in order
 *     MPO     w^[i1 m2 + i2, j1 n2 + j2] = (A B)[i1 n1 + j1,       [m1 n1, r]      [r, m2 n2]       none
 *             i2 n2 + j2], m = m1 m2, n = n1 n2 */
typedef enum wc_lowrank_form {
    WC_LOWRANK_AB = 0,
    WC_LOWRANK_CUR = 1,
    WC_LOWRANK_PIVOT = 2,
    WC_LOWRANK_MPO = 3
} wc_lowrank_form;

typedef struct wc_lowrank {
    size_t rows, cols, rank; /* rank >= 1; PIVOT: below rows */
    wc_lowrank_form form;
    size_t m2, n2;                /* MPO: divisors of rows and cols; else 0 */
    uint8_t *pivot;               /* PIVOT: [rows] 1 in `rank' places, else 0; owned. Other forms, and plans: NULL */
    struct wc_part *a, *b, *link; /* owned, on the heap; plans in a plan (wc_lowrank_plan) */
} wc_lowrank;

/* Shape of child k (0: A, 1: B, 2: link) of a low-rank part. */
void wc_lowrank_child_shape(const wc_lowrank *l, size_t k, size_t *rows, size_t *cols);

/* Planes of signs, each times a magnitude, added up. A plane is a bit per weight, 1 for minus: [rows, its columns], a
 * row in ceil(columns / 8) bytes, bit j mod 8 of byte j / 8. The forms differ in where magnitudes come from:
 *
 *     WC_SIGNS_PRODUCT   2^scale_exp U_l V_l: a product of rank `rank' for each level l
 *     WC_SIGNS_SCALES    2^scale_exp times an f16 per row and group of `group' of the level's columns, or one of two
 *                        such scales that a second plane chooses between. A level has all columns, those of a subset,
 *                        or the others
 *     WC_SIGNS_EXPERTS   2^scale_exp u v^T, u and v the means over `rank' experts; a router, that readers of weights do
 *                        not need, mixes them per token */
typedef enum wc_signs_form { WC_SIGNS_PRODUCT = 0, WC_SIGNS_SCALES = 1, WC_SIGNS_EXPERTS = 2 } wc_signs_form;

enum {
    WC_SIGNS_MAX_LEVELS = 32,  /* of a product */
    WC_SIGNS_MAX_PLANES = 16,  /* of scales */
    WC_SIGNS_MAX_EXPERTS = 16, /* experts have one level */
    /* wc_signs.which */
    WC_SIGNS_ALL = 0,
    WC_SIGNS_SUBSET = 1,
    WC_SIGNS_REST = 2,
    WC_SIGNS_COLUMNS = 3, /* mask of the three above */
    WC_SIGNS_SPLIT = 4    /* a second plane chooses the first (0) or second scale (1) */
};

typedef struct wc_signs {
    size_t rows, cols;
    wc_signs_form form;
    unsigned levels;
    int scale_exp;                      /* -126..126 */
    size_t rank;                        /* product: 1..min(rows, cols); experts: how many; scales: 0 */
    size_t group;                       /* scales: 1..cols, counted among the columns of the level; else 0 */
    size_t subset;                      /* scales: columns in the subset, below cols; 0: there is none */
    uint8_t which[WC_SIGNS_MAX_PLANES]; /* scales: [levels]; else 0 */
    uint8_t *column;                    /* [cols] 1: in the subset; NULL without one */
    uint8_t *sign;                      /* the planes of all levels, one after the other */
    uint8_t *choice;                    /* the second planes of the levels that split, in the same way; or NULL */
    uint16_t *u;                        /* f16; product: [levels, rows, rank]; experts: [rank, rows]; scales: for each
                                         * level [rows, groups] or, split, [rows, groups, 2] */
    uint16_t *v;                        /* f16; product: [levels, rank, cols]; experts: [rank, cols]; scales: NULL */
    uint16_t *router;                   /* f16 [cols, rank] with more than one expert, else NULL */
} wc_signs;

/* Columns of a level, bytes of its plane, its scales per row (both of a split counted). */
size_t wc_signs_cols(const wc_signs *s, unsigned level);
size_t wc_signs_plane(const wc_signs *s, unsigned level);
size_t wc_signs_scales(const wc_signs *s, unsigned level);
/* Where a level's plane begins in sign; its second plane in choice; its scales in u. */
size_t wc_signs_sign_at(const wc_signs *s, unsigned level);
size_t wc_signs_choice_at(const wc_signs *s, unsigned level);
size_t wc_signs_scales_at(const wc_signs *s, unsigned level);

/* Points of a trellis code, entropy-coded: w^[r, c] = d_c (j - shrink), j an integer, d_c = step * 2^(-col_step[c] /
 * 16). Down each column, tile of rows by tile, the parities of j obey the machine with 2^memory states that starts at 0
 * (solve/trellis.h). Rows and columns have classes; the sum of the two says which law of probabilities j has, and how
 * much smaller in magnitude the value is than j. */
typedef struct wc_coded_law {
    int8_t first, second; /* 1/16 bit */
    uint8_t bend;         /* its square over 2048, in bits */
} wc_coded_law;

typedef struct wc_coded_class {
    uint8_t shift;       /* low bits of k that are not modelled, 0..12 */
    int8_t shrink[3];    /* for |j| = 1, 2 and above, 1/64 */
    wc_coded_law law[2]; /* for even and odd j */
} wc_coded_class;

enum { WC_CODED_CLASSES = 16, WC_CODED_ROW_MIDDLE = 8 };

typedef struct wc_coded {
    size_t rows, cols, tile; /* tile: 1..4096 rows that decode together */
    uint64_t bytes;          /* of the blob: geometry; numbers must fit */
    unsigned memory;         /* log2 of the number of states: 0, 2..8 */
    unsigned classes;        /* 1..16; not geometry, nor is what follows */
    bool row_classes;
    float step;         /* positive, normal */
    int16_t *point;     /* j [rows, cols] */
    uint8_t *col_step;  /* [cols] */
    uint8_t *col_class; /* [cols] 0..15 */
    uint8_t *row_class; /* [rows] 0..15 */
    wc_coded_class law[WC_CODED_CLASSES];
} wc_coded;

/* Transforms: C of W^ = (sum of parts) C, [cols, cols], so that the parts are multiplied with C x. They are parts
 * without values of their own, and have the shape [1, cols] of what they store. */

/* C = diag(c), c[j] = scale[j] * 2^scale_exp. */
typedef struct wc_diagonal {
    size_t cols;
    int scale_exp;   /* -126..126 */
    uint16_t *scale; /* f16 [cols], finite and not 0 */
} wc_diagonal;

/* C = blocks of H diag(s) / sqrt(order) along the diagonal: signs s, then H, the Hadamard matrix of Sylvester, H_1 = 1,
 * H_2n = [H_n H_n; H_n -H_n]. C is orthogonal. */
typedef struct wc_hadamard {
    size_t cols, order; /* order: a power of two that divides cols, 2 .. 2^30 */
    uint8_t *negative;  /* [cols] 1 where s is -1, else 0 */
} wc_hadamard;

/* C moves columns: (C x)[j] = x[from[j]]. */
typedef struct wc_permute {
    size_t cols;    /* at most 2^32 */
    uint32_t *from; /* [cols] every number below cols once */
} wc_permute;

/* The blocks of one of ggml's types (base/ggml.h has the meaning of the numbers). The blob is exactly what a GGUF file
 * holds for the tensor, so that an export copies it. Arrays that the type has no use for are NULL. */
typedef struct wc_ggml {
    size_t rows, cols; /* cols a multiple of type->block */
    const wc_ggml_type *type;
    const uint8_t *blocks; /* NULL, or the blob itself, NOT owned; the arrays below are then not looked at */
    uint16_t *code;        /* [rows, cols / dim] below type->codes */
    uint8_t *sign;  /* [rows, cols / 8] bit j: weight j of the eight is negative; an even number of them for 7 bits */
    uint8_t *scale; /* [rows, cols / sub] of scale_bits */
    uint8_t *min;   /* [rows, cols / sub] of min_bits */
    uint16_t *d;    /* f16 [rows, cols / block], finite */
    uint16_t *m;    /* f16 [rows, cols / block], finite: w = S v - M, so the type's own minimum with its sign changed
                     * where it is added */
} wc_ggml;

/* NULL for an id that is not in the list; by name, as in "Q4_K". */
const wc_ggml_type *wc_ggml_type_by_id(unsigned id);
const wc_ggml_type *wc_ggml_type_by_name(const char *name);
/* The levels of a type with dim 1: level [codes]. */
void wc_ggml_levels(const wc_ggml_type *t, float *level);
/* The magnitudes of a type with dim 4 or 8: entry [codes, dim]. */
void wc_ggml_entries(const wc_ggml_type *t, float *entry);

typedef struct wc_part {
    wc_part_kind kind;
    union {
        wc_float floats;
        wc_grid grid;
        wc_lut lut;
        wc_sparse sparse;
        wc_lowrank lowrank;
        wc_vq vq;
        wc_signs signs;
        wc_coded coded;
        wc_diagonal diagonal;
        wc_hadamard hadamard;
        wc_permute permute;
        wc_ggml ggml;
    };
} wc_part;

bool wc_part_is_transform(wc_part_kind kind);

void wc_part_free(wc_part *p); /* frees what the part owns, its factors too, and zeroes it; NULL is fine */

void wc_part_shape(const wc_part *p, size_t *rows, size_t *cols);

/* The parts that p is made of, in the order of the file: a low-rank part has two, A and B, or three, A, B and the link,
 * all others none. An entry is NULL when the factor is missing. */
enum { WC_PART_CHILDREN = 3 };
size_t wc_part_children(const wc_part *p, const wc_part *child[WC_PART_CHILDREN]);

/* Allocate the arrays that the geometry calls for, zeroed. On failure nothing is left allocated, and every array
 * pointer is NULL. */
wc_status wc_float_alloc(wc_ctx *ctx, wc_float *f); /* fill f->owned; data points to it */
wc_status wc_grid_alloc(wc_ctx *ctx, wc_grid *g);
wc_status wc_lut_alloc(wc_ctx *ctx, wc_lut *l);
wc_status wc_vq_alloc(wc_ctx *ctx, wc_vq *v);
wc_status wc_sparse_alloc(wc_ctx *ctx, wc_sparse *s);
wc_status wc_signs_alloc(wc_ctx *ctx, wc_signs *s);
wc_status wc_coded_alloc(wc_ctx *ctx, wc_coded *c);
wc_status wc_diagonal_alloc(wc_ctx *ctx, wc_diagonal *d);
wc_status wc_hadamard_alloc(wc_ctx *ctx, wc_hadamard *h);
wc_status wc_permute_alloc(wc_ctx *ctx, wc_permute *p);
wc_status wc_ggml_alloc(wc_ctx *ctx, wc_ggml *g);
wc_status wc_lowrank_alloc(wc_ctx *ctx, wc_lowrank *l, const wc_part *a,
                           const wc_part *b);     /* plans of A, B: both made */
wc_status wc_part_alloc(wc_ctx *ctx, wc_part *p); /* any of the above but low rank */

/* The geometry of a low-rank part: copies the plans of the factors, which own nothing, to the heap. A method's plan()
 * cannot fail, so neither can this: without memory a and b are NULL, and the encoder then reports WC_NOMEM. The caller
 * frees the plan with wc_part_free. wc_lowrank_link does the same for the link of a CUR. */
void wc_lowrank_plan(wc_lowrank *l, const wc_part *a, const wc_part *b);
void wc_lowrank_link(wc_lowrank *l, const wc_part *link);

#endif
