/* integers.h - the numbers of a grid, w = s (q - z), as other formats hold them: integer q and z, 16-bit s. */
#ifndef WC_EXPORT_INTEGERS_H
#define WC_EXPORT_INTEGERS_H

#include "decode/decoder.h"
#include "export/scheme.h"

typedef struct wc_integers {
    const char *name, *path; /* tensor and file, for messages; borrowed */
    size_t rows, cols, group, groups;
    unsigned bits;
    int32_t *g_idx; /* [cols] the group of each column; NULL: column / group. Owned */
    wcd_tensor tensor;
    wcd_view view;
    wc_dtype scale_dtype; /* F16 if that holds every scale exactly, else BF16; or what was asked for */
    size_t rounded;       /* scales that it does not hold */
    bool has_zero_0;      /* some zero is 0 */
} wc_integers;

/* The tensor of this name, whose scheme has no refusal: reads all its scales and zeros. asked: the type that scales are
 * rounded to; WC_DTYPE_NONE: whichever is exact, BF16 with its rounding where F16 would overflow, and else
 * WC_UNSUPPORTED names a scale that is exact in neither. A scale that overflows in the type asked for is refused too.
 * in must outlive *out, which is freed with wc_integers_free. */
wc_status wc_integers_open(wc_ctx *ctx, const wc_input *in, const wc_scheme *scheme, wc_dtype asked, wc_integers *out);
void wc_integers_free(wc_integers *t); /* NULL is fine */

/* The group of a column: the row of scales that its codes are multiplied with. */
size_t wc_integers_group(const wc_integers *t, size_t col);

/* scale [rows, groups] as bits of scale_dtype, zero [rows, groups]; either may be NULL. */
void wc_integers_steps(const wc_integers *t, uint16_t *scale, uint8_t *zero);

/* code [nr, cols] = q of rows r0 .. r0 + nr, columns as in W, also where a permutation goes before the grid. What a
 * mask leaves out, and what a step of 0 makes 0 anyway, becomes the code of 0, z. Each code is held against the value
 * that the file decodes to: s (q - z) is that value to the bit, or this is WC_BUG. */
wc_status wc_integers_codes(wc_ctx *ctx, const wc_integers *t, size_t r0, size_t nr, uint8_t *code);

#endif
