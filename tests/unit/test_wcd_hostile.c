/* Damaged and hostile images against the decode library. Every image ends right before a page that must not be touched.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>

#include "wcz_image.h"
#include "wcz_util.h"

enum { ROOM = 1 << 16 };

static uint8_t *guard; /* the first byte that must not be touched; ROOM bytes before it are ours */

static int map_guard(void **state)
{
    long page = sysconf(_SC_PAGESIZE);
    uint8_t *p = mmap(NULL, ROOM + (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)state;
    if (p == MAP_FAILED) return -1;
    guard = p + ROOM;
    return mprotect(guard, (size_t)page, PROT_NONE);
}

/* A copy that ends at the guard, or up to 7 bytes before it when size is not a multiple of 8. */
static uint8_t *place(const uint8_t *image, uint64_t size)
{
    uint8_t *p = guard - (size + 7) / 8 * 8;
    memcpy(p, image, size);
    return p;
}

static const char *const golden[] = {
    "tests/data/golden/tiny.wcz",       "tests/data/golden/kinds.wcz", "tests/data/golden/parts.wcz",
    "tests/data/golden/transforms.wcz", "tests/data/golden/grids.wcz", "tests/data/golden/coded.wcz",
    "tests/data/golden/ggml.wcz",       "tests/data/golden/holes.wcz", "tests/data/golden/forms.wcz",
    "tests/data/golden/vectors.wcz",    "tests/data/golden/signs.wcz"};
enum { GOLDEN = sizeof golden / sizeof *golden };

static void every_flipped_bit_is_detected(void **state)
{
    (void)state;
    for (int g = 0; g < GOLDEN; g++) {
        uint64_t size;
        uint8_t *image = load(golden[g], &size);
        uint8_t *p = place(image, size);
        wcd_file f;
        assert_int_equal(wcd_open(&f, p, size), WCD_OK);
        assert_int_equal(wcd_verify(&f, NULL, NULL), WCD_OK);
        for (uint64_t i = 0; i < size; i++)
            for (int bit = 0; bit < 8; bit++) {
                p[i] ^= (uint8_t)(1 << bit);
                if (wcd_open(&f, p, size) == WCD_OK && wcd_verify(&f, NULL, NULL) == WCD_OK)
                    fail_msg("%s: bit %d of byte %llu", golden[g], bit, (unsigned long long)i);
                p[i] ^= (uint8_t)(1 << bit);
            }
        free(image);
    }
}

static void verify_names_what_is_damaged(void **state)
{
    static const struct {
        uint64_t at;
        const char *name;
    } cases[] = {{384, "m"}, {386, NULL}, {448, "w"}, {466, "w"}, {467, NULL}, {511, NULL}, {370, NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t size;
        uint8_t *image = load(golden[0], &size);
        wcd_file f;
        const char *bad;
        uint32_t bad_size;
        image[cases[i].at] ^= 1;
        assert_int_equal(wcd_open(&f, image, size), WCD_OK);
        assert_int_equal(wcd_verify(&f, &bad, &bad_size), WCD_E_CORRUPT);
        assert_int_equal(bad_size, cases[i].name ? 1 : 0);
        if (cases[i].name)
            assert_memory_equal(bad, cases[i].name, 1);
        else
            assert_null(bad);
        free(image);
    }
}

static void every_other_length_is_refused(void **state)
{
    (void)state;
    for (int g = 0; g < GOLDEN; g++) {
        uint64_t size;
        uint8_t *image = load(golden[g], &size);
        wcd_file f;
        for (uint64_t n = 0; n < size; n++) {
            uint8_t *p = place(image, n);
            wcd_status want = n < 8 ? WCD_E_NOT_WCZ : WCD_E_TRUNCATED;
            if (wcd_open(&f, p, n) != want) fail_msg("%s: %llu bytes", golden[g], (unsigned long long)n);
            if (n < 64) continue;
            /* The same with a header that agrees: now the blobs are missing. */
            image_put64(p + 16, n);
            image_rehash(p, n);
            if (image_exercise(p, n) == WCD_OK) fail_msg("%s: cut to %llu bytes", golden[g], (unsigned long long)n);
        }
        memset(guard - ROOM, 0, ROOM);
        memcpy(guard - size - 64, image, size);
        assert_int_equal(wcd_open(&f, guard - size - 64, size + 64), WCD_E_CORRUPT);
        free(image);
    }
}

/* One field of tiny.wcz set to another value, checksums made right. The offsets are those of docs/FORMAT.md section 16.
 */
static void every_lie_in_the_index_is_seen(void **state)
{
    static const struct {
        uint64_t at, value;
        int bytes;
        wcd_status status;
    } lies[] = {
        {8, 2, 2, WCD_E_VERSION},
        {10, 7, 2, WCD_OK},
        {12, 1, 4, WCD_E_VERSION},
        {16, 513, 8, WCD_E_TRUNCATED},
        {16, 448, 8, WCD_E_CORRUPT},
        {16, UINT64_MAX, 8, WCD_E_TRUNCATED},
        {24, 128, 8, WCD_E_CORRUPT},
        {32, 31, 8, WCD_E_CORRUPT},
        {32, 449, 8, WCD_E_CORRUPT},
        {32, UINT64_MAX, 8, WCD_E_CORRUPT},
        {32, 305, 8, WCD_E_CORRUPT},
        {48, 1, 8, WCD_E_CORRUPT},
        {64, 0, 4, WCD_E_CORRUPT},
        {64, 2, 4, WCD_E_CORRUPT},
        {64, UINT32_MAX, 4, WCD_E_CORRUPT},
        {68, 0, 4, WCD_E_CORRUPT},
        {72, 2, 4, WCD_E_CORRUPT},
        {76, 1, 4, WCD_E_CORRUPT},
        {80, 1, 1, WCD_E_CORRUPT},
        {95, 1, 1, WCD_E_CORRUPT},
        {96, 1, 4, WCD_E_CORRUPT},
        {96, UINT32_MAX, 4, WCD_E_CORRUPT},
        {100, 0, 4, WCD_E_CORRUPT},
        {100, 2, 4, WCD_E_CORRUPT},
        {100, UINT32_MAX, 4, WCD_E_CORRUPT},
        {104, 9, 4, WCD_E_CORRUPT},
        {104, 1, 4, WCD_E_CORRUPT},
        {104, UINT32_MAX, 4, WCD_E_CORRUPT},
        {108, 0, 4, WCD_E_CORRUPT},
        {108, 23, 4, WCD_E_VERSION},
        {108, 1, 4, WCD_OK},
        {112, 3, 8, WCD_E_CORRUPT},
        {112, UINT64_MAX, 8, WCD_E_CORRUPT},
        {112, (uint64_t)1 << 61, 8, WCD_E_CORRUPT},
        {112, 0, 8, WCD_E_CORRUPT},
        {120, 0, 8, WCD_E_CORRUPT},
        {120, 9, 8, WCD_E_CORRUPT},
        {120, UINT64_MAX - 6, 8, WCD_E_CORRUPT},
        {128, 1, 8, WCD_E_CORRUPT},
        {168, 1, 8, WCD_E_CORRUPT},
        {176, 1, 4, WCD_E_CORRUPT},
        {180, 0, 4, WCD_E_CORRUPT},
        {180, 2, 4, WCD_E_CORRUPT},
        {180, UINT32_MAX, 4, WCD_E_CORRUPT},
        {184, 0x80, 4, WCD_OK},
        {188, 1, 4, WCD_E_VERSION},
        {192, 1, 4, WCD_E_CORRUPT},
        {192, UINT32_MAX, 4, WCD_E_CORRUPT},
        {196, 1, 4, WCD_E_CORRUPT},
        {208, 1, 1, WCD_E_CORRUPT},
        {223, 1, 1, WCD_E_CORRUPT},
        {224, 3, 2, WCD_E_CORRUPT},
        {224, 4, 2, WCD_E_CORRUPT},
        {224, 5, 2, WCD_E_VERSION},
        {224, 6, 2, WCD_E_CORRUPT},
        {224, 99, 2, WCD_E_VERSION},
        {224, 0, 2, WCD_E_VERSION},
        {224, 1, 2, WCD_E_CORRUPT},
        {226, 2, 2, WCD_E_VERSION},
        {228, 1, 4, WCD_E_CORRUPT},
        {232, 384, 8, WCD_E_CORRUPT},
        {232, 512, 8, WCD_E_CORRUPT},
        {232, UINT64_MAX - 63, 8, WCD_E_CORRUPT},
        {240, 18, 8, WCD_E_CORRUPT},
        {240, 65, 8, WCD_E_CORRUPT},
        {240, UINT64_MAX, 8, WCD_E_CORRUPT},
        {256, 1, 4, WCD_E_VERSION},
        {260, 1, 4, WCD_E_VERSION},
        {264, 0, 1, WCD_E_CORRUPT},
        {264, 8, 1, WCD_E_CORRUPT},
        {268, 0, 4, WCD_E_CORRUPT},
        {268, 6, 4, WCD_E_CORRUPT},
        {268, UINT32_MAX, 4, WCD_E_CORRUPT},
        {272, 1, 4, WCD_E_CORRUPT},
        {295, 1, 1, WCD_E_CORRUPT},
        {296, 1, 1, WCD_E_CORRUPT},
        {304, 0, 4, WCD_E_CORRUPT},
        {308, 2, 4, WCD_E_CORRUPT},
        {312, 1, 4, WCD_OK},
        {312, 2, 4, WCD_E_VERSION},
        {316, 1, 4, WCD_E_CORRUPT},
        {320, 448, 8, WCD_E_CORRUPT},
        {328, 65, 8, WCD_E_CORRUPT},
        {328, UINT64_MAX, 8, WCD_E_CORRUPT},
        {336, 3, 8, WCD_E_CORRUPT},
        {352, 1, 1, WCD_E_CORRUPT},
        {368, 0, 1, WCD_E_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t size;
        uint8_t *image = load(golden[0], &size);
        uint8_t *p = place(image, size);
        for (int b = 0; b < lies[i].bytes; b++)
            p[lies[i].at + (unsigned)b] = (uint8_t)(lies[i].value >> 8 * b);
        image_rehash(p, size);
        wcd_status s = image_exercise(p, size);
        if (s != lies[i].status)
            fail_msg("%llu at byte %llu: status %d (%s), not %d", (unsigned long long)lies[i].value,
                     (unsigned long long)lies[i].at, (int)s, wcd_open_reason(p, size), (int)lies[i].status);
        free(image);
    }
}

/* The part records of the tensor `sum' of parts.wcz: four parts, of which the second and the fourth have two children
 * each. Record i is 80 bytes; byte 32 is the first child, 36 the number of children. */
static void every_lie_about_children_is_seen(void **state)
{
    static const struct {
        uint32_t part;
        unsigned at;
        uint32_t value;
        wcd_status status;
    } lies[] = {
        {1, 32, 3, WCD_E_CORRUPT},          {1, 32, 5, WCD_E_CORRUPT}, {1, 32, 0, WCD_E_CORRUPT},
        {1, 32, 1, WCD_E_CORRUPT},          {1, 36, 1, WCD_E_VERSION}, {1, 36, 3, WCD_E_VERSION},
        {1, 36, UINT32_MAX, WCD_E_VERSION}, {3, 32, 4, WCD_E_CORRUPT}, {1, 32, UINT32_MAX, WCD_E_CORRUPT},
        {1, 36, 0, WCD_E_VERSION},          {0, 36, 2, WCD_E_VERSION}, {0, 32, 4, WCD_E_VERSION},
        {4, 36, 2, WCD_E_VERSION},          {4, 0, 5, WCD_E_VERSION},  {4, 0, 0x10005, WCD_E_VERSION},
        {1, 0, 0x10001, WCD_E_VERSION},     {1, 40, 3, WCD_E_CORRUPT}, {1, 40, 0, WCD_E_CORRUPT},
        {4, 40, 1, WCD_E_CORRUPT},          {4, 40, 7, WCD_E_CORRUPT}, {4, 16, 35, WCD_E_CORRUPT},
        {4, 8, 64, WCD_E_CORRUPT},          {2, 48, 6, WCD_E_CORRUPT}, {2, 40, 0x101, WCD_E_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t size;
        uint8_t *image = load(golden[2], &size);
        uint8_t *p = place(image, size);
        wcd_file f;
        wcd_tensor t;
        assert_int_equal(wcd_open(&f, p, size), WCD_OK);
        assert_int_equal(wcd_find(&f, "sum", &t), WCD_OK);
        uint32_t base = lies[i].at == 32 && lies[i].value < 100 && lies[i].value ? t.first_part : 0;
        uint8_t *field = p + (f.parts - f.data) + 80 * (t.first_part + lies[i].part) + lies[i].at;
        for (int b = 0; b < 4; b++)
            field[b] = (uint8_t)((base + lies[i].value) >> 8 * b);
        image_rehash(p, size);
        wcd_status s = image_exercise(p, size);
        if (s != lies[i].status)
            fail_msg("%u at byte %u of part %u: status %d (%s), not %d", lies[i].value, lies[i].at, lies[i].part,
                     (int)s, wcd_open_reason(p, size), (int)lies[i].status);
        free(image);
    }
}

/* A product whose factor is a product: records as they would be, so that only the rule itself refuses it. */
static void factors_of_factors_are_refused(void **state)
{
    uint64_t size;
    uint8_t *image = load(golden[2], &size);
    uint8_t *p = place(image, size);
    wcd_file f;
    wcd_tensor t;
    (void)state;
    assert_int_equal(wcd_open(&f, p, size), WCD_OK);
    assert_int_equal(wcd_find(&f, "sum", &t), WCD_OK);
    uint8_t *record = p + (f.parts - f.data) + 80 * t.first_part;
    uint32_t child = t.first_part + 8; /* part 4 claims the two records behind those of part 3 */
    uint8_t *a = record + 80 * 4;
    memset(a + 40, 0, 32);
    a[0] = 5, a[40] = 1, a[36] = 2;
    for (int b = 0; b < 4; b++)
        a[32 + b] = (uint8_t)(child >> 8 * b);
    image_rehash(p, size);
    assert_int_equal(wcd_open(&f, p, size), WCD_E_CORRUPT);
    assert_string_equal(wcd_open_reason(p, size), "the parts of a part are not where they must be");
    free(image);
}

static uint64_t random_state = 20260101;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % below);
}

/* Random bytes over random places, checksums made right; a good part of it still opens, so the decoders run too. */
static void random_damage_never_reads_outside(void **state)
{
    static const uint8_t values[] = {0, 1, 2, 7, 8, 9, 0x7f, 0x80, 0xff};
    int opened = 0;
    (void)state;
    for (int g = 0; g < GOLDEN; g++) {
        uint64_t size;
        uint8_t *image = load(golden[g], &size);
        for (int round = 0; round < 5000; round++) {
            uint8_t *p = place(image, size);
            for (uint32_t n = 1 + draw(4); n; n--)
                p[draw((uint32_t)size)] = draw(2) ? values[draw(sizeof values)] : (uint8_t)draw(256);
            memcpy(p, image, 32);
            image_rehash(p, size);
            opened += image_exercise(p, size) == WCD_OK;
        }
        free(image);
    }
    assert_true(opened > 1000);
}

static void wrong_arguments_are_answered(void **state)
{
    uint64_t size;
    uint8_t *image = load(golden[0], &size);
    wcd_file f;
    wcd_tensor t;
    wcd_meta m;
    wcd_part_info info;
    float x[8] = {0};
    (void)state;
    assert_int_equal(wcd_open(NULL, image, size), WCD_E_ARGUMENT);
    assert_int_equal(wcd_open(&f, NULL, 64), WCD_E_ARGUMENT);
    assert_int_equal(wcd_open(&f, NULL, 0), WCD_E_NOT_WCZ);
    assert_int_equal(wcd_open(&f, image + 4, size - 4), WCD_E_ARGUMENT);
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    assert_int_equal(wcd_find(&f, "", &t), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_find(&f, "w", &t), WCD_OK);
    assert_int_equal(wcd_part(&t, 1, &info), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 2, 1, x, 5), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 0, UINT64_MAX, x, 5), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 0, 1, x, 4), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 0, 1, NULL, 5), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(&t, 2, 0, NULL, 5), WCD_OK);
    assert_int_equal(wcd_matvec(&t, NULL, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_rows(&t, 1, 2, x, x + 5), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_find(&f, "w", &m), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_meta_at(&f, 1, &m), WCD_E_ARGUMENT);
    assert_string_equal(wcd_status_text((wcd_status)99), "unknown status");
    assert_string_equal(wcd_version(), "0.1.0");
    free(image);
}

/* NULL for every pointer, and handles of nothing: zeroed, as after a close of the caller's own. */
static void null_and_closed_are_answered(void **state)
{
    uint64_t size;
    uint8_t *image = load(golden[0], &size);
    wcd_file f, closed = {0};
    wcd_tensor t, gone = {.file = &closed};
    wcd_meta m;
    wcd_part_info info;
    float x[8] = {0};
    const char *bad;
    uint32_t bad_size;
    (void)state;
    assert_int_equal(wcd_open(&f, image, size), WCD_OK);
    assert_int_equal(wcd_find(&f, "w", &t), WCD_OK);
    assert_int_equal(wcd_part(&t, 0, &info), WCD_OK);
    assert_int_equal(wcd_at(NULL, 0, &t), WCD_E_ARGUMENT);
    assert_int_equal(wcd_at(&f, 0, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(NULL, "w", &t), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(&f, NULL, &t), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(&f, "w", NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_rows(NULL, 0, 0, x, 8), WCD_E_ARGUMENT);
    assert_int_equal(wcd_raw_rows(NULL, 0, 0, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_raw_rows(&t, 0, 1, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_raw_rows(&t, t.rows, 1, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec(NULL, x, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec(&t, x, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_rows(NULL, 0, 0, x, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_transformed(NULL, 0, 0, x, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_transformed(&t, 0, 1, NULL, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec_transformed(&t, 0, t.rows + 1, x, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_transform(NULL, x, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_transform(&t, NULL, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_transform(&t, x, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part(NULL, 0, &info), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part(&t, 0, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part_child(NULL, &info, 0, &info), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part_child(&t, NULL, 0, &info), WCD_E_ARGUMENT);
    assert_int_equal(wcd_part_child(&t, &info, 0, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_verify(NULL, &bad, &bad_size), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_count(NULL), 0);
    assert_int_equal(wcd_meta_at(NULL, 0, &m), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_at(&f, 0, NULL), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_find(NULL, "m", &m), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_find(&f, NULL, &m), WCD_E_ARGUMENT);
    assert_int_equal(wcd_meta_find(&f, "m", NULL), WCD_E_ARGUMENT);
    assert_string_equal(wcd_open_reason(NULL, 64), "no image");
    assert_int_equal(wcd_at(&closed, 0, &t), WCD_E_ARGUMENT);
    assert_int_equal(wcd_find(&closed, "w", &t), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_meta_count(&closed), 0);
    assert_int_equal(wcd_meta_find(&closed, "m", &m), WCD_E_NOT_FOUND);
    assert_int_equal(wcd_verify(&closed, NULL, NULL), WCD_E_NOT_WCZ);
    assert_int_equal(wcd_rows(&gone, 0, 1, x, 8), WCD_E_ARGUMENT);
    assert_int_equal(wcd_raw_rows(&gone, 0, 0, x), WCD_E_ARGUMENT);
    assert_int_equal(wcd_matvec(&gone, x, x), WCD_OK); /* no rows, no part: nothing to do */
    assert_int_equal(wcd_part(&gone, 0, &info), WCD_E_ARGUMENT);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_detected),     cmocka_unit_test(verify_names_what_is_damaged),
        cmocka_unit_test(every_other_length_is_refused),     cmocka_unit_test(every_lie_in_the_index_is_seen),
        cmocka_unit_test(every_lie_about_children_is_seen),  cmocka_unit_test(factors_of_factors_are_refused),
        cmocka_unit_test(random_damage_never_reads_outside), cmocka_unit_test(wrong_arguments_are_answered),
        cmocka_unit_test(null_and_closed_are_answered),
    };
    return cmocka_run_group_tests(tests, map_guard, NULL);
}
