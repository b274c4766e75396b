/* kernel.h - a block of one of ggml's types taken apart, for the decoder and the CUDA library. */
#ifndef WCD_GGML_KERNEL_H
#define WCD_GGML_KERNEL_H

#include "decode/decoder.h"

enum { WCD_GGML_MOST = 256 }; /* weights of a block */

/* Whatever the bytes of a block are: codes below wcd_ggml_block.codes (TQ2_0: below 4), scales and mins below 2^ their
 * bits. */
typedef struct wcd_ggml_fields {
    float d, m; /* f16 in the file */
    uint16_t code[WCD_GGML_MOST];
    uint8_t sign[WCD_GGML_MOST / 8], scale[WCD_GGML_MOST / 16], min[WCD_GGML_MOST / 16];
} wcd_ggml_fields;

/* A type: the numbers of base/ggml.h. */
struct wcd_ggml_block {
    unsigned id, block, bytes, sub, dim, bits, codes;
    float mul, add;
    unsigned scale_bits, min_bits, has_m;
    int lo;
    /* b [bytes]; *f is zeros. */
    void (*unpack)(const uint8_t *b, wcd_ggml_fields *f);
};

/* What codes of a type stand for, where it is not code + lo. */
struct wcd_ggml_values {
    unsigned id;
    const int8_t *table;   /* [codes] of dim 1 */
    const uint16_t *word;  /* [codes] else: coordinate j of an entry is the level word >> bits * j, */
    const uint8_t *levels; /* of [4], 2 bits, for dim 8, and of [8], 3 bits, for dim 4 */
};

#endif
