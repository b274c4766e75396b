/* packing.h - small integers in 32-bit words as GPTQ, AWQ and compressed-tensors checkpoints lay them out.
 *
 * A line is n unsigned fields of `bits' in words that are `step' apart. W [N, K] is a linear layer as Hugging Face has
 * it, G the number of its groups along K; fields are q, w = s (q - z), and z, both 0 .. 2^bits-1:
 *
 *     layout              tensor              shape                     a line is        packing
 *     gptq, gptq_v2       qweight     I32     [words(K), N]             a column: n      STREAM, step N
 *                         qzeros      I32     [G, words(N)]             a row: group     STREAM, step 1
 *     awq (gemm)          qweight     I32     [K, words(N)]             a row: k         AWQ, step 1
 *                         qzeros      I32     [G, words(N)]             a row: group     AWQ, step 1
 *     pack-quantized      packed      I32     [N, words(K)]             a row: n         STREAM, step 1
 *                         zero_point  I32     [words(N), G]             a column: group  STREAM, step G
 *
 * compressed-tensors calls its codes and zeros signed and stores them plus 2^(bits-1): the field is the unsigned number
 * that we have. Its files from before May 2026 have whole fields only in a word (WORDS); that differs from STREAM where
 * bits does not divide 32. gptq (v1) stores z - 1 in the field, gptq_v2 and all others z: see wc_gptq_zero. Sources:
 * the packers of AutoGPTQ and GPTQModel, AutoAWQ (gemm), compressed-tensors (pack_to_int32). */
#ifndef WC_BASE_PACKING_H
#define WC_BASE_PACKING_H

#include <stddef.h>
#include <stdint.h>

typedef enum wc_packing {
    WC_PACK_STREAM, /* one stream of bits, lowest first: field i in bits i * bits ..., also across words */
    WC_PACK_WORDS,  /* floor(32 / bits) fields a word, lowest first */
    WC_PACK_AWQ     /* 4 bits; the eight fields of a word in the order 0 2 4 6 1 3 5 7, lowest first */
} wc_packing;

/* Words of a line of n fields, 1 <= bits <= 8. */
size_t wc_pack_words(wc_packing packing, unsigned bits, size_t n);

/* word[0], word[step], ... |= the fields field[0], field[field_step], ... of a line; words are zero before. Fields
 * above 2^bits-1 lose their high bits. */
void wc_pack_line(wc_packing packing, unsigned bits, const uint8_t *field, size_t field_step, size_t n, uint32_t *word,
                  size_t step);

/* The inverse, fields `first' .. first + n of a line. Reads no word beyond that of the last field. */
void wc_unpack_line(wc_packing packing, unsigned bits, const uint32_t *word, size_t step, size_t first, size_t n,
                    uint8_t *field, size_t field_step);

/* The field that gptq (v1) stores for a zero point, and back. Within the field: 0 is stored as 2^bits-1. Readers of old
 * files take that for 2^bits. */
static inline uint8_t wc_gptq_zero(uint8_t zero, unsigned bits)
{
    return (uint8_t)((zero - 1u) & ((1u << bits) - 1));
}
static inline uint8_t wc_gptq_zero_read(uint8_t field, unsigned bits)
{
    return (uint8_t)((field + 1u) & ((1u << bits) - 1));
}

#endif
