/* decoder.h - what a part kind is to the decode library, and a part ready to be read.
 *
 * A decoder is two functions: open checks parameters and sizes once, span turns up to WCD_SPAN neighbouring values of a
 * row into f32. Rows, sums of parts and products with a vector are written once over span (view.c). Nothing allocates.
 * The names here are hidden in the shared library; the toolkit uses them through the static one. */
#ifndef WCD_DECODER_H
#define WCD_DECODER_H

#include "decode/fused.h"
#include "decode/inner.h"
#include "decode/positions.h"
#include "wcdecode.h"

enum {
    WCD_PARAMS = 32, /* bytes of kind-specific parameters in a part record */
    WCD_SPAN = 256, /* values decoded at once: 1 KiB of f32 on the stack, and 4 packed blocks to spread the call over */
    WCD_BLOCK_ROWS = 8, /* rows that a kind with `block' decodes at once: 8 KiB on the stack */
    WCD_LANES = 16,     /* partial sums of a product */
    WCD_VECTORS = 64,   /* inputs that are multiplied at once */
    WCD_VIEWS = 4       /* a part and its children */
};

/* Limit of rows, cols and rows * cols: whatever is computed from them below (times 64 bits, plus padding) fits 64 bits.
 */
#define WCD_MAX_ELEMENTS ((uint64_t)1 << 56)

enum { WCD_PLANES = 8 };

typedef struct wcd_float_view {
    uint32_t dtype;
    uint8_t coded, width; /* width: bytes of an element; only when coded, as all that follows */
    uint8_t mode[WCD_PLANES], constant[WCD_PLANES];
    uint64_t first[WCD_PLANES], bases[WCD_PLANES], entries[WCD_PLANES]; /* offsets of each plane's sections */
    uint64_t streams, stream_bytes;
} wcd_float_view;

typedef struct wcd_grid_view {
    unsigned bits, scale_bits;     /* scale_bits 0: one level of scales */
    unsigned zero_kind, zero_bits; /* of the card; bits of a number in zero_codes, 0: there are none */
    unsigned tile;                 /* rows of a tile; 0: no tiles */
    float zero_fixed, exp2;        /* exp2 = 2^scale_exp */
    uint32_t group;
    uint64_t groups, row_size; /* groups per row; bytes of the codes of one row, if it has no holes */
    const uint8_t *scales, *scale_codes, *zeros, *zero_codes;
    int holes; /* codes only at the positions p */
    wcd_positions p;
} wcd_grid_view;

typedef struct wcd_lut_view {
    unsigned bits, scope; /* scope 0: one table, 1: per row, 2: per row and group */
    int scaled;
    float exp2; /* 2^scale_exp */
    uint32_t group;
    uint64_t groups, row_size;
    const uint8_t *tables, *scales;
    int holes; /* codes only at the positions p */
    wcd_positions p;
} wcd_lut_view;

typedef struct wcd_sparse_view {
    unsigned dtype;
    float exp2;
    wcd_positions p;
    const uint8_t *values;
} wcd_sparse_view;

typedef struct wcd_lowrank_view {
    uint64_t rank;
    unsigned form;
    uint64_t m2, n2; /* of an MPO */
} wcd_lowrank_view;

typedef struct wcd_vq_view {
    unsigned dim, books, bits, entry_bits, scale_bits;
    int scaled, signs;
    float exp2;
    uint32_t group, block_rows, block_cols;   /* blocks 0: all rows, all columns */
    uint64_t groups, vectors, col_blocks;     /* per row */
    uint64_t plane_size, row_size, sign_size; /* bytes of one codebook's codes of a row, of all; of its signs */
    const uint8_t *entries, *steps, *scales, *scale_codes, *sign_plane;
} wcd_vq_view;

typedef struct wcd_signs_view {
    unsigned form, levels;
    uint32_t n;      /* form 0: rank; 1: columns per scale; 2: experts */
    uint32_t subset; /* form 1: columns in the subset */
    float exp2;
    uint64_t row_size, u, v, stride; /* forms 0 and 2: bytes of a row of signs; offsets in a level; bytes of a level */
    uint8_t which[16];               /* form 1, per level */
} wcd_signs_view;

typedef struct wcd_coded_view {
    unsigned memory, classes;
    int row_classes;
    uint32_t tile;
    float step;
    uint64_t blocks, stream_words;
    const uint8_t *col_step, *col_class, *row_class, *ends, *stream;
} wcd_coded_view;

typedef struct wcd_diagonal_view {
    float exp2; /* 2^scale_exp */
} wcd_diagonal_view;

typedef struct wcd_hadamard_view {
    uint64_t order;
    float scale; /* 1 / sqrt(order) */
} wcd_hadamard_view;

typedef struct wcd_permute_view {
    unsigned bytes; /* of a number */
} wcd_permute_view;

typedef struct wcd_ggml_view {
    const struct wcd_ggml_block *type;
    const struct wcd_ggml_values *values;
} wcd_ggml_view;

/* A checked part: [rows, cols] values at blob [size]. Points into the image, owns nothing. The views of a part's
 * children lie right behind its own, v[1], v[2], .., wherever views are kept: that way they can be copied. */
typedef struct wcd_view {
    const struct wcd_decoder *d;
    uint64_t rows, cols;
    const uint8_t *blob;
    uint64_t size;
    int numeric;         /* 0: bytes without an f32 meaning; span must not be called */
    unsigned n_children; /* set before d->open is called */
    uint32_t tile;       /* rows that decode together, so that ranges had better begin with a tile; 0: each alone */
    union {
        wcd_float_view f;
        wcd_grid_view g;
        wcd_lut_view l;
        wcd_sparse_view s;
        wcd_lowrank_view r;
        wcd_vq_view q;
        wcd_signs_view p;
        wcd_coded_view c;
        wcd_diagonal_view d;
        wcd_hadamard_view h;
        wcd_ggml_view b;
        wcd_permute_view m;
    } u;
} wcd_view;

/* n <= WCD_VECTORS inputs: x[b * ld ..]. */
typedef struct wcd_vectors {
    const float *x;
    size_t ld;
    unsigned n;
} wcd_vectors;

/* The same, and their whole blocks of 64 columns in 8 bits: input b in wcd_int8_bytes(cols) bytes at memory + b times
 * that, which wcd_int8_make has filled from x [cols]. memory: a multiple of 4, or NULL: f32 alone. */
typedef struct wcd_int8 {
    wcd_vectors x;
    const void *memory;
} wcd_int8;
uint64_t wcd_int8_bytes(uint64_t cols);
void wcd_int8_make(uint64_t cols, const float *x, void *memory);
/* The codes from column col on, a multiple of WCD_SCALED. */
wcd_int8_codes wcd_int8_at(const wcd_int8 *x, uint64_t cols, uint64_t col);

typedef struct wcd_tiles wcd_tiles; /* tiles.h */

typedef struct wcd_decoder {
    uint16_t id, version;
    const char *name;
    /* v holds rows, cols, blob and size; checks params and size against the shape and fills the rest. Must not read the
     * blob. WCD_E_CORRUPT, or WCD_E_VERSION for a value that only a newer writer can mean. */
    wcd_status (*open)(const uint8_t params[WCD_PARAMS], wcd_view *v);
    /* dst [n] = values (row, col) .. (row, col + n); col is a multiple of WCD_SPAN, 1 <= n <= WCD_SPAN, inside the row.
     * Safe for any bytes in the blob. */
    void (*span)(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst);

    /* NULL, or rows r0 .. r0 + nr as a whole, row i to dst + i * ld: faster, the same values. */
    void (*rows)(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);
    /* NULL, or the same added to dst: for kinds whose rows cost less together. */
    void (*add_rows)(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);

    /* The rest is for kinds that are made of other parts, at most WCD_VIEWS - 1 of them. Children have f32 values and
     * no children. How many: any parameters are answered, NULL is none. */
    unsigned (*children)(const uint8_t params[WCD_PARAMS]);
    void (*child_shape)(const wcd_view *v, unsigned k, uint64_t *rows, uint64_t *cols);
    /* NULL, or span for nr <= WCD_BLOCK_ROWS rows at once: row i goes to dst + i * ld. The same values. */
    void (*block)(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n, float *dst, size_t ld);
    /* NULL, or wcd_span_product in another way, that is faster for one input: the same bits. */
    void (*product)(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add);
    /* NULL, or what wcd_view_products does, in an order of its own or with spans that cost less together. */
    void (*products)(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy, int add);
    /* NULL, or the same with inputs in 8 bits as well, which are there. */
    void (*products8)(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_int8 *x, float *y, size_t ldy, int add);

    /* NULL, or what tiles.h needs to know of a part, in *out, which is zeros: 0 where it cannot be laid out so. steps:
     * s [n] and z [n] of a row and of n <= WCD_SPAN groups from group0 on, for kinds that have numbers of other sizes
     * than f16. */
    int (*tiles)(const wcd_view *v, wcd_tiles *out);
    void (*steps)(const wcd_view *v, uint64_t row, uint64_t group0, unsigned n, float *s, float *z);

    /* Transforms: both are set, there is no span, and numeric stays 0. In place, over v->cols numbers: w = w C for a
     * row of a sum of parts, x = C x for an input. */
    void (*row)(const wcd_view *v, float *w);
    void (*input)(const wcd_view *v, float *x);
} wcd_decoder;

/* NULL when this library does not know the kind. */
const wcd_decoder *wcd_decoder_for(uint16_t kind);

/* Bits per element of a dtype id; 0 if unknown. */
unsigned wcd_dtype_bits(uint32_t dtype);

/* dst [n] = values of type F32, F16 or BF16 at p, which need not be aligned; 0 for other types. */
int wcd_floats(uint32_t dtype, const uint8_t *p, uint64_t n, float *dst);

/* Every check that a part needs; *out is set only on success. Does not read blob [size], which may be NULL to check
 * parameters and sizes alone. WCD_E_VERSION: unknown kind or version. */
wcd_status wcd_view_open(uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS], const uint8_t *blob,
                         uint64_t size, uint64_t rows, uint64_t cols, wcd_view *out);

/* Opens child k of the part at v, in the same way, into v[1 + k]: its shape follows from the part's. WCD_E_CORRUPT also
 * when it has children or no f32 values. A part can be read when all v->n_children are open. */
wcd_status wcd_view_child(wcd_view *v, unsigned k, uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS],
                          const uint8_t *blob, uint64_t size);

/* Part i of a tensor's sum, or transform i - n_parts, and its children. */
wcd_status wcd_tensor_part(const wcd_tensor *t, uint32_t i, wcd_view out[WCD_VIEWS]);
/* Rows that ranges for threads are a multiple of: whole tiles of a part, and 64, so that nobody shares a cache line of
 * y. */
uint64_t wcd_tensor_grain(const wcd_tensor *t);

/* A stack of levels, of which the first few are a part too (kind signs, products): how many there are, or 0 for a part
 * that is none; the part that is level l alone; and what cutting to 1 <= levels <= all of them makes of the parameters
 * and of the size of the blob, which is a prefix of the whole. */
unsigned wcd_stack_levels(const wcd_view *v);
wcd_view wcd_stack_level(const wcd_view *v, unsigned l);
uint64_t wcd_stack_cut(const wcd_view *v, unsigned levels, uint8_t params[WCD_PARAMS]);

/* Of a grid: s [n] and z [n] of a row and of n <= WCD_SPAN groups from group0 on. */
void wcd_grid_steps(const wcd_view *v, uint64_t row, uint64_t group0, unsigned n, float *s, float *z);

/* *out = 2^e for a byte e that is a signed exponent in -126..126, else 0 is returned. */
int wcd_exp2(uint8_t e, float *out);

/* Values in the span that begins at col. */
static inline unsigned wcd_span_at(const wcd_view *v, uint64_t col)
{
    return v->cols - col < WCD_SPAN ? (unsigned)(v->cols - col) : WCD_SPAN;
}

/* dst[i * ld .. + cols) = or += row r0 + i, i < nr. The first part of a sum is set, not added to zero: that keeps -0.
 * WCD_E_ARGUMENT: rows outside the part; WCD_E_NOT_NUMERIC. */
wcd_status wcd_view_set_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);
wcd_status wcd_view_add_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);

/* y[b * ldy + i] = or += row r0 + i times input b, i < nr, b < x->n: the kind's own products, or the next. The caller
 * has checked rows and numeric. An input's results are the same bits whatever is beside it. wcd_view_product: of one
 * input, x [cols], y [nr]; wcd_view_dot: and of one row. */
void wcd_view_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                       int add);
void wcd_view_product(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add);
float wcd_view_dot(const wcd_view *v, uint64_t row, const float *x);

/* The same over span or block: 16 partial sums in f32 per row, lane j taking the columns j mod 16 in order with fused
 * multiply-adds (fused.h), added in halves (8, 4, 2, 1). */
void wcd_span_product(const wcd_view *v, uint64_t r0, uint64_t nr, const float *x, float *y, int add);
void wcd_span_products(const wcd_view *v, uint64_t r0, uint64_t nr, const wcd_vectors *x, float *y, size_t ldy,
                       int add);

/* wcd_span_product for kinds of packed codes with scales per group of 16, 32 or a multiple of 64 columns, without
 * decoded values on the way. codes_of fills in the rows row .. row + nr from column col on, which begins a group: nr <=
 * WCD_CODE_ROWS, n_groups <= WCD_CODE_GROUPS; s and z are there for it to use. */
typedef struct wcd_code_rows {
    wcd_codes codes;
    float s[WCD_CODE_ROWS * WCD_CODE_GROUPS], z[WCD_CODE_ROWS * WCD_CODE_GROUPS], levels[WCD_CODE_ROWS * 16];
} wcd_code_rows;
typedef void wcd_codes_of(const wcd_view *v, uint64_t row, unsigned nr, uint64_t col, unsigned n_groups,
                          wcd_code_rows *out);
void wcd_codes_product(const wcd_view *v, wcd_codes_of *codes_of, uint64_t group, uint64_t r0, uint64_t nr,
                       const float *x, float *y, int add);
/* The same for several inputs with their whole blocks in 8 bits (inner.h, dot8); the last cols mod 64 columns are not.
 */
void wcd_codes_products8(const wcd_view *v, wcd_codes_of *codes_of, uint64_t group, uint64_t r0, uint64_t nr,
                         const wcd_int8 *x, float *y, size_t ldy, int add);
static inline int wcd_codes_group(uint64_t group)
{
    return group == 16 || group == 32 || group % WCD_BLOCK == 0;
}

/* Whether a full span can be decoded in this way: it begins with a group, or lies in one. */
static inline int wcd_codes_spans(uint64_t group)
{
    return wcd_codes_group(group) && (WCD_SPAN % group == 0 || group % WCD_SPAN == 0);
}

/* The two halves of such a sum: lane[j mod 16] += w[j] x[j] for j < n (fused.h), and the sum of the lanes, which are
 * used up. */
static inline void wcd_lanes_add(float lane[WCD_LANES], const float *w, const float *x, unsigned n)
{
    for (; n >= WCD_LANES; n -= WCD_LANES, w += WCD_LANES, x += WCD_LANES)
        for (int j = 0; j < WCD_LANES; j++)
            lane[j] = wcd_fma(w[j], x[j], lane[j]);
    for (unsigned j = 0; j < n; j++)
        lane[j] = wcd_fma(w[j], x[j], lane[j]);
}

static inline float wcd_lanes_sum(float lane[WCD_LANES])
{
    for (int half = WCD_LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* y[b * ldy + i] = or += the sum of lane[(i nx + b) 16 ..], i < nr <= WCD_BLOCK_ROWS, b < nx <= WCD_VECTORS. */
void wcd_lanes_put(const float *lane, unsigned nr, unsigned nx, float *y, size_t ldy, int add);

#endif
