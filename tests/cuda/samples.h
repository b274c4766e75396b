/* samples.h - tensors out of nothing: parameters by choice, blobs of random bytes, images of files around them.
 *
 * A blob needs no encoder: its size is the one that the decoder accepts, and almost any bytes mean something; only
 * positions and prefix codes are made well-formed. */
#ifndef CUDA_SAMPLES_H
#define CUDA_SAMPLES_H

#include "decode/decoder.h"

enum { MAX_SPECS = 20 };
enum {
    FLOAT = 1,
    GRID = 2,
    LUT = 3,
    SPARSE = 4,
    LOWRANK = 5,
    SIGNS = 7,
    TRELLIS = 8,
    DIAGONAL = 9,
    HADAMARD = 10,
    PERMUTE = 12
};
enum { F32 = 1, F16 = 2, BF16 = 3, I32 = 6 };

/* A part of kind `kind'; size: of the blob, 0 to have it found by trying. */
typedef struct spec {
    uint16_t kind;
    uint8_t params[WCD_PARAMS];
    uint64_t size;
} spec;

/* A sum, then transforms, then children in the order of their parts. */
typedef struct sample {
    uint64_t rows, cols;
    uint32_t n_parts, n_transforms, n_all;
    spec spec[MAX_SPECS];
    uint8_t *image;
    wcd_file file;
    wcd_tensor t;
} sample;

/* Parts of [rows, cols] are then added in the order: sum, transforms, children. */
sample sample_sized(uint64_t rows, uint64_t cols, uint32_t n_parts, uint32_t n_transforms);
spec *sample_part(sample *s, uint16_t kind);
void sample_grid(sample *s, unsigned bits, unsigned scale_bits, unsigned zero_kind, uint32_t group, unsigned tile);
void sample_holes(sample *s, unsigned layout, unsigned n, unsigned m, uint32_t block, uint64_t nnz); /* of that part */
void sample_lut(sample *s, unsigned bits, unsigned scope, unsigned scaled, uint32_t group);
void sample_sparse(sample *s, unsigned dtype, unsigned layout, unsigned n, unsigned m, uint64_t nnz);
void sample_floats(sample *s, unsigned dtype);
/* modes: a digit per plane, as in the card; bytes: of all streams. */
void sample_coded_floats(sample *s, unsigned dtype, const char *modes, uint64_t bytes);
void sample_lowrank(sample *s, uint32_t rank, unsigned form, uint32_t m2, uint32_t n2);
/* Kind coded: tiles of `tile' rows, this many bytes of streams, cut into units of about the same size. */
void sample_trellis(sample *s, unsigned memory, unsigned classes, unsigned by_row, uint32_t tile, uint64_t bytes);
/* which: a digit per level. */
void sample_signs(sample *s, unsigned form, unsigned levels, uint32_t n, uint32_t subset, const char *which);

/* The image of a file with this one tensor, "w", its bytes drawn at random; finite: numbers are below 2 in magnitude.
 * 0: it does not open. free(s->image). */
int sample_build(sample *s, int finite, uint8_t dtype);

uint32_t sample_random(void);                            /* 31 bits */
void sample_put(uint8_t *p, uint64_t v, unsigned bytes); /* little-endian */

#endif
