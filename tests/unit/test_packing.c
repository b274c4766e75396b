/* test_packing.c - words of GPTQ, AWQ and compressed-tensors: against those that their own packers made
 * (tests/data/packing/words.txt, scripts/record_packing_fixtures.py), and there and back at every size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/packing.h"

enum { N = 32, K = 96, GROUPS = 3, MOST = K * N };

/* As in the script that recorded. */
static uint8_t number(uint64_t row, uint64_t col, unsigned bits)
{
    uint64_t x = (row * 2654435761u + col * 40503u * 65537u + 12345) & 0xffffffffu;
    return (uint8_t)(x >> 13 & ((1u << bits) - 1));
}

/* Codes [N, K], or zeros [N, GROUPS]; gptq's script had no zero of 0. */
static void numbers(uint8_t *dst, size_t cols, unsigned bits, uint64_t first, uint8_t least)
{
    for (size_t i = 0; i < N * cols; i++) {
        dst[i] = number(i / cols, first + i % cols, bits);
        if (dst[i] < least) dst[i] = least;
    }
}

/* Packs [N, cols] fields along the outputs (n) or along the columns, lines next to each other or down. */
static void pack(wc_packing packing, unsigned bits, const uint8_t *field, size_t cols, bool along_n, size_t lines_apart,
                 size_t step, uint32_t *word)
{
    memset(word, 0, MOST * sizeof *word);
    for (size_t line = 0; line < (along_n ? cols : N); line++)
        wc_pack_line(packing, bits, field + line * (along_n ? 1 : cols), along_n ? cols : 1, along_n ? N : cols,
                     word + line * lines_apart, step);
}

static size_t made(const char *packer, const char *tensor, unsigned bits, uint32_t *word)
{
    static uint8_t field[N * K];
    bool awq = !strcmp(packer, "awq"), v1 = !strcmp(packer, "gptq");
    wc_packing packing = awq ? WC_PACK_AWQ : WC_PACK_STREAM;
    size_t along_k = wc_pack_words(packing, bits, K), along_n = wc_pack_words(packing, bits, N);
    if (!strcmp(tensor, "qweight")) {
        numbers(field, K, bits, 0, 0);
        if (awq)
            pack(packing, bits, field, K, true, along_n, 1, word);
        else
            pack(packing, bits, field, K, false, 1, N, word);
        return awq ? K * along_n : along_k * N;
    }
    if (!strcmp(tensor, "weight_packed")) {
        numbers(field, K, bits, 0, 0);
        pack(packing, bits, field, K, false, along_k, 1, word);
        return N * along_k;
    }
    numbers(field, GROUPS, bits, 1000, v1);
    for (size_t i = 0; v1 && i < N * GROUPS; i++)
        field[i] = wc_gptq_zero(field[i], bits);
    bool down = !strcmp(tensor, "weight_zero_point");
    pack(packing, bits, field, GROUPS, true, down ? 1 : along_n, down ? GROUPS : 1, word);
    return GROUPS * along_n;
}

static void words_are_those_of_the_original_packers(void **state)
{
    static uint32_t word[MOST];
    char packer[32], tensor[32];
    unsigned bits, rows, cols;
    size_t lines = 0;
    FILE *f = fopen("tests/data/packing/words.txt", "r");
    (void)state;
    assert_non_null(f);
    for (; fscanf(f, "%31s %31s %u %u %u", packer, tensor, &bits, &rows, &cols) == 5; lines++) {
        size_t n = made(packer, tensor, bits, word);
        assert_int_equal(n, rows * cols);
        for (size_t i = 0; i < n; i++) {
            uint32_t want;
            assert_int_equal(fscanf(f, "%" SCNx32, &want), 1);
            if (word[i] != want)
                fail_msg("%s %s, %u bits: word %zu is %08x, not %08x", packer, tensor, bits, i, word[i], want);
        }
    }
    fclose(f);
    assert_int_equal(lines, 16);
}

/* Every width, lengths around whole words, steps of fields and words; what lies between stays as it was. */
static void fields_come_back(void **state)
{
    static const wc_packing packings[] = {WC_PACK_STREAM, WC_PACK_WORDS, WC_PACK_AWQ};
    uint8_t field[3 * 70], back[2 * 70];
    uint32_t word[2 * 70];
    (void)state;
    for (size_t p = 0; p < 3; p++)
        for (unsigned bits = 1; bits <= 8; bits++)
            for (size_t n = 1; n <= 70; n++) {
                if (packings[p] == WC_PACK_AWQ && bits != 4) continue;
                size_t words = wc_pack_words(packings[p], bits, n);
                memset(word, 0, sizeof word);
                memset(back, 0xee, sizeof back);
                for (size_t i = 0; i < n; i++)
                    field[3 * i] = number(i, n, bits);
                wc_pack_line(packings[p], bits, field, 3, n, word, 2);
                for (size_t i = 0; i < 70; i++)
                    assert_true(!word[2 * i + 1] && (i < words || !word[2 * i]));
                size_t first = n / 3;
                wc_unpack_line(packings[p], bits, word, 2, first, n - first, back, 2);
                for (size_t i = first; i < n; i++) {
                    assert_int_equal(back[2 * (i - first)], field[3 * i]);
                    assert_int_equal(back[2 * (i - first) + 1], 0xee);
                }
            }
}

/* The zero in the middle, as every loader of version 1 knows it; 0 wraps within its own field. */
static void zeros_of_version_one(void **state)
{
    static const struct {
        unsigned bits;
        uint32_t word;
    } known[] = {{2, 0x55555555}, {4, 0x77777777}, {8, 0x7f7f7f7f}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint8_t zero[32];
        uint32_t word[8] = {0};
        memset(zero, wc_gptq_zero((uint8_t)(1u << (known[i].bits - 1)), known[i].bits), sizeof zero);
        wc_pack_line(WC_PACK_STREAM, known[i].bits, zero, 1, 32, word, 1);
        for (size_t k = 0; k < wc_pack_words(WC_PACK_STREAM, known[i].bits, 32); k++)
            assert_int_equal(word[k], known[i].word);
    }
    for (unsigned bits = 1; bits <= 8; bits++)
        for (unsigned z = 0; z < 1u << bits; z++)
            assert_int_equal(wc_gptq_zero_read(wc_gptq_zero((uint8_t)z, bits), bits), z);
    assert_int_equal(wc_gptq_zero(0, 4), 15);
}

/* Three bits: value 10 straddles the first two words with 2 + 1 bits, value 21 the next two with 1 + 2. */
static void three_bits_straddle(void **state)
{
    uint8_t field[32] = {0};
    uint32_t word[3] = {0};
    (void)state;
    field[10] = 7, field[21] = 7;
    wc_pack_line(WC_PACK_STREAM, 3, field, 1, 32, word, 1);
    assert_int_equal(word[0], 0xc0000000);
    assert_int_equal(word[1], 0x80000001);
    assert_int_equal(word[2], 0x00000003);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_the_original_packers),
        cmocka_unit_test(fields_come_back),
        cmocka_unit_test(zeros_of_version_one),
        cmocka_unit_test(three_bits_straddle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
