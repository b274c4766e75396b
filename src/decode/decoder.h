/* decoder.h - what a part kind is to the decode library, and a part ready to be read.
 *
 * A decoder is two functions: open checks parameters and sizes once, span turns up to WCD_SPAN neighbouring values of a
 * row into f32. Rows, sums of parts and products with a vector are written once over span (view.c). Nothing allocates.
 * The names here are hidden in the shared library; the toolkit uses them through the static one. */
#ifndef WCD_DECODER_H
#define WCD_DECODER_H

#include "wcdecode.h"

enum {
    WCD_PARAMS = 32, /* bytes of kind-specific parameters in a part record */
    WCD_SPAN = 256 /* values decoded at once: 1 KiB of f32 on the stack, and 4 packed blocks to spread the call over */
};

/* Limit of rows, cols and rows * cols: whatever is computed from them below (times 64 bits, plus padding) fits 64 bits.
 */
#define WCD_MAX_ELEMENTS ((uint64_t)1 << 56)

typedef struct wcd_float_view {
    uint32_t dtype;
} wcd_float_view;

typedef struct wcd_grid_view {
    unsigned bits, scale_bits; /* scale_bits 0: one level of scales */
    int zero_int;              /* a zero per group, else zero_fixed */
    float zero_fixed, exp2;    /* exp2 = 2^scale_exp */
    uint32_t group;
    uint64_t groups, row_size; /* groups per row; bytes of the codes of one row */
    const uint8_t *scales, *scale_codes, *zeros;
} wcd_grid_view;

/* A checked part: [rows, cols] values at blob [size]. Points into the image, owns nothing. */
typedef struct wcd_view {
    const struct wcd_decoder *d;
    uint64_t rows, cols;
    const uint8_t *blob;
    uint64_t size;
    int numeric; /* 0: bytes without an f32 meaning; span must not be called */
    union {
        wcd_float_view f;
        wcd_grid_view g;
    } u;
} wcd_view;

typedef struct wcd_decoder {
    uint16_t id, version;
    const char *name;
    /* v holds rows, cols, blob and size; checks params and size against the shape and fills the rest. Must not read the
     * blob. WCD_E_CORRUPT, or WCD_E_VERSION for a value that only a newer writer can mean. */
    wcd_status (*open)(const uint8_t params[WCD_PARAMS], wcd_view *v);
    /* dst [n] = values (row, col) .. (row, col + n); col is a multiple of WCD_SPAN, 1 <= n <= WCD_SPAN, inside the row.
     * Safe for any bytes in the blob. */
    void (*span)(const wcd_view *v, uint64_t row, uint64_t col, unsigned n, float *dst);
} wcd_decoder;

/* NULL when this library does not know the kind. */
const wcd_decoder *wcd_decoder_for(uint16_t kind);

/* Bits per element of a dtype id; 0 if unknown. */
unsigned wcd_dtype_bits(uint32_t dtype);

/* Every check that a part needs; *out is set only on success. Does not read blob [size], which may be NULL to check
 * parameters and sizes alone. WCD_E_VERSION: unknown kind or version. */
wcd_status wcd_view_open(uint16_t kind, uint16_t version, const uint8_t params[WCD_PARAMS], const uint8_t *blob,
                         uint64_t size, uint64_t rows, uint64_t cols, wcd_view *out);

/* dst[i * ld .. + cols) = or += row r0 + i, i < nr. The first part of a sum is set, not added to zero: that keeps -0.
 * WCD_E_ARGUMENT: rows outside the part; WCD_E_NOT_NUMERIC. */
wcd_status wcd_view_set_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);
wcd_status wcd_view_add_rows(const wcd_view *v, uint64_t r0, uint64_t nr, float *dst, size_t ld);

/* Row `row' times x [cols]: 16 partial sums in f32, lane j taking the columns j mod 16 in order, added in halves
 * (8, 4, 2, 1). The caller has checked row and numeric. */
float wcd_view_dot(const wcd_view *v, uint64_t row, const float *x);

#endif
