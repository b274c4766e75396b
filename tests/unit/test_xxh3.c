/* Our XXH3-64 against libxxhash: every length up to 2048 at every alignment class, and lengths around the block size.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <xxhash.h>

#include "decode/xxh3.h"

enum { MAX = 1 << 20 };

static int fill(void **state)
{
    uint8_t *p = malloc(MAX + 8);
    uint64_t x = 88172645463325252u;
    if (!p) return -1;
    for (size_t i = 0; i < MAX + 8; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (uint8_t)(x >> 32);
    }
    *state = p;
    return 0;
}

static int drop(void **state)
{
    free(*state);
    return 0;
}

static void every_length_agrees(void **state)
{
    const uint8_t *p = *state;
    for (size_t n = 0; n <= 2048; n++)
        assert_int_equal(wcd_xxh3(p + n % 8, n), XXH3_64bits(p + n % 8, n));
    for (size_t blocks = 3; blocks <= 1024; blocks *= 2)
        for (size_t n = 1024 * blocks - 65; n <= 1024 * blocks + 65 && n <= MAX; n++)
            assert_int_equal(wcd_xxh3(p, n), XXH3_64bits(p, n));
}

/* Multiplications that carry through all 128 bits. */
static void extreme_bytes_agree(void **state)
{
    uint8_t ones[600];
    (void)state;
    for (size_t i = 0; i < sizeof ones; i++)
        ones[i] = 0xff;
    for (size_t n = 0; n <= sizeof ones; n++)
        assert_int_equal(wcd_xxh3(ones, n), XXH3_64bits(ones, n));
}

static void nothing_has_the_published_hash(void **state)
{
    (void)state;
    assert_int_equal(wcd_xxh3(NULL, 0), 0x2D06800538D394C2u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_length_agrees, fill, drop),
        cmocka_unit_test(extreme_bytes_agree),
        cmocka_unit_test(nothing_has_the_published_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
