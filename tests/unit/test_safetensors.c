#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>

#include "io/safetensors_write.h"
#include "io_util.h"

#define REFERENCE "tests/data/safetensors/reference.safetensors"

/* Parses a header as that of a file with `data' bytes behind it. */
static wc_status parse_text(wc_ctx *ctx, const char *text, size_t n, uint64_t data, wc_safetensors *st)
{
    return wc_safetensors_parse(ctx, (const uint8_t *)text, n, 8 + n + data, "x.safetensors", st);
}

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

/* The reject list of the format, by the numbers of the reader's specification; `data' bytes follow the header. */
static const struct {
    int item;
    const char *header;
    uint64_t data;
    const char *says;
} rejected[] = {
    {4, "\xff", 0, "expected `{'"},
    {4, "{\"\xff\":1}", 0, "not UTF-8"},
    {4, "{\"\xc0\x80\":1}", 0, "not UTF-8"},     /* overlong */
    {4, "{\"\xed\xa0\x80\":1}", 0, "not UTF-8"}, /* surrogate */
    {4, "{\"\xe2\x82\":1}", 0, "not UTF-8"},
    {5, "", 0, "ends early"},
    {5, "{", 0, "ends early"},
    {5, "[]", 0, "expected `{'"},
    {5, "null", 0, "expected `{'"},
    {5, "\"x\"", 0, "expected `{'"},
    {5, "{} x", 0, "after the closing brace"},
    {5, "{}{}", 0, "after the closing brace"},
    {5, "{" T("a", "U8", "1", 0, 1) ",}", 1, "expected `\"'"},
    {5, "{" T("a", "U8", "1", 0, 1), 1, "ends early"},
    {5, "{\"a", 0, "inside a string"},
    {5, "{\"a\\", 0, "inside a string"},
    {5, "{\"a\n\":1}", 0, "control character"},
    {5, "{\"\\x\":1}", 0, "unknown escape"},
    {5, "{\"\\u12\":1}", 0, "hexadecimal"},
    {5, "{\"\\ud800\":1}", 0, "lone surrogate"},
    {5, "{\"\\ud800\\u0041\":1}", 0, "lone surrogate"},
    {5, "{\"\\udc00\":1}", 0, "lone surrogate"},
    {6, "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor `a' has no \"dtype\""},
    {6, "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor `a' has no \"shape\""},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor `a' has no \"data_offsets\""},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "expected `,'"},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "expected `]'"},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "expected `['"},
    {6, "{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "expected `\"'"},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]}}", 1, "non-negative integer"},
    {6, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":null}}", 1, "expected `['"},
    {6, "{\"a\":[\"U8\",[1],[0,1]]}", 1, "expected `{'"},
    {6, "{\"a\":null}", 0, "expected `{'"},
    {6, "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "same key twice"},
    {7, "{" T("a", "U9", "1", 0, 1) "}", 1, "unknown dtype `U9'"},
    {7, "{" T("a", "u8", "1", 0, 1) "}", 1, "unknown dtype `u8'"},
    {7, "{" T("a", "", "1", 0, 1) "}", 1, "unknown dtype `'"},
    {8, "{" T("a", "U8", "-1", 0, 1) "}", 1, "non-negative integer"},
    {8, "{" T("a", "U8", "1.0", 0, 1) "}", 1, "fraction or an exponent"},
    {8, "{" T("a", "U8", "1e0", 0, 1) "}", 1, "fraction or an exponent"},
    {8, "{" T("a", "U8", "01", 0, 1) "}", 1, "leading zero"},
    {8, "{" T("a", "U8", "\"1\"", 0, 1) "}", 1, "non-negative integer"},
    {8, "{" T("a", "U8", "true", 0, 1) "}", 1, "non-negative integer"},
    {8, "{" T("a", "U8", "18446744073709551617", 0, 1) "}", 1, "2^48"},
    {8, "{" T("a", "U8", "281474976710656", 0, 1) "}", 1, "2^48"},
    {9, "{" T("a", "I32", "2, 18446744073709551614", 0, 16) "}", 16, "2^48"},
    {9, "{" T("a", "I32", "140737488355328,140737488355328", 0, 16) "}", 16, "overflows"},
    {9, "{" T("a", "I32", "140737488355328,131071", 0, 16) "}", 16, "overflows"}, /* only with the bits */
    {9, "{" T("a", "I32", "140737488355328,140737488355328,0", 0, 0) "}", 0, "overflows"},
    {10, "{" T("a", "F4", "1", 0, 1) "}", 1, "whole number of bytes"},
    {10, "{" T("a", "F6_E2M3", "2", 0, 2) "}", 2, "whole number of bytes"},
    {11, "{" T("a", "BF16", "4096,4096", 0, 33554400) "}", 33554400,
     "tensor `a': header says BF16 [4096, 4096] = 33554432 bytes, its offsets span 33554400"},
    {12, "{" T("a", "U8", "1", 1, 0) "}", 1, "end before they begin"},
    {12, "{" T("a", "U8", "1", 1, 2) "}", 2, "a hole"},
    {12, "{" T("a", "U8", "1", 0, 1) "," T("b", "U8", "1", 2, 3) "}", 3,
     "tensor `b' begins at data byte 2, the one before it ends at 1: a hole"},
    {12, "{" T("a", "U8", "2", 0, 2) "," T("b", "U8", "2", 1, 3) "}", 3, "overlap"},
    {12, "{" T("a", "U8", "2", 0, 2) "," T("b", "U8", "2", 0, 2) "," T("c", "U8", "2", 0, 2) "}", 2, "overlap"},
    {13, "{" T("a", "U8", "2", 0, 2) "}", 3, "1 bytes follow the last tensor"},
    {13, "{}", 1, "1 bytes follow"},
    {13, "{" T("a", "U8", "9", 0, 9) "}", 2, "file is 7 bytes short"},
    {14, "{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
    {14, "{\"__metadata__\":{\"a\":{}}}", 0, "not a string"},
    {14, "{\"__metadata__\":{\"a\":null}}", 0, "not a string"},
    {14, "{\"__metadata__\":[]}", 0, "expected `{'"},
    {14, "{\"__metadata__\":\"x\"}", 0, "expected `{'"},
    {15, "{" T("a", "U8", "0", 0, 0) "," T("a", "U8", "0", 0, 0) "}", 0, "tensor name `a' appears twice"},
    {15, "{" T("a", "U8", "1", 0, 1) "," T("\\u0061", "U8", "1", 1, 2) "}", 2, "tensor name `a' appears twice"},
    {15, "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ appears twice"},
    {15, "{\"__metadata__\":{\"k\":\"1\",\"\\u006b\":\"2\"}}", 0, "metadata key `k' appears twice"},
    {17, "{\"a\":{\"x\":[[[[1]]]]}}", 0, "nested deeper than 4"},
    {17, "{\"a\":{\"x\":{\"y\":{\"z\":{}}}}}", 0, "nested deeper than 4"},
    {18, "{" T("a\\u0000b", "U8", "0", 0, 0) "}", 0, "\\u0000"},
    {18, "{" T("\\u001b[31m\\n", "U8", "2", 0, 1) "}", 1, "tensor `\\x1b[31m\\x0a'"},
    {20, "\xef\xbb\xbf{}", 0, "expected `{'"},
    {6, "{\"a\":{\"x\":tru}}", 0, "expected a value"},
    {6, "{\"a\":{\"x\":-}}", 0, "malformed number"},
    {6, "{\"a\":{\"x\":01}}", 0, "malformed number"},
    {6, "{\"a\":{\"x\":1.}}", 0, "malformed number"},
    {6, "{\"a\":{\"x\":1e}}", 0, "malformed number"},
};

static void the_reject_list_is_rejected_in_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rejected / sizeof *rejected; i++) {
        wc_ctx ctx = new_ctx();
        wc_safetensors st;
        size_t n = strlen(rejected[i].header);
        /* An exact copy, so that a sanitizer sees one byte too far. */
        char *copy = malloc(n ? n : 1);
        memcpy(copy, rejected[i].header, n);
        wc_status status = parse_text(&ctx, copy, n, rejected[i].data, &st);
        free(copy);
        if (status != WC_BADFILE)
            fail_msg("item %d: %s: status %s", rejected[i].item, rejected[i].header, wc_status_name(status));
        assert_true(strstr(ctx.error, "x.safetensors: ") == ctx.error);
        assert_text_contains(ctx.error, rejected[i].says);
        for (const char *p = ctx.error; *p; p++)
            assert_true((unsigned char)*p >= 0x20);
        assert_null(st.tensor);
    }
}

static void nine_dimensions_are_unsupported_not_bad(void **state)
{
    (void)state;
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    const char *nine = "{" T("a", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}",
               *eight = "{" T("a", "U8", "1,1,1,1,1,1,1,1", 0, 1) "}";
    assert_int_equal(parse_text(&ctx, nine, strlen(nine), 1, &st), WC_UNSUPPORTED);
    assert_text_contains(ctx.error, "more than 8 dimensions");
    assert_int_equal(parse_text(NULL, eight, strlen(eight), 1, &st), WC_OK);
    wc_safetensors_close(&st);
}

/* Every prefix of a good header, and every single byte changed to each of a few others: refused or a consistent result,
 * and never out of bounds (this test earns its keep under a sanitizer). */
static void cut_and_altered_headers_never_slip_through(void **state)
{
    (void)state;
    static const char good[] =
        "{\"__metadata__\":{\"k\":\"v\"}," T("a\\u00e9", "F32", "2,3", 0, 24) ",\n" T("b", "U8", "0", 24, 24) "}  ";
    static const char others[] = "\"\\{}[],:0 9\x80\x01n";
    size_t n = sizeof good - 1;
    wc_safetensors st;
    for (size_t cut = 0; cut <= n; cut++) {
        char *copy = malloc(cut ? cut : 1);
        memcpy(copy, good, cut);
        assert_int_equal(parse_text(NULL, copy, cut, 24, &st) == WC_OK, cut + 2 >= n);
        wc_safetensors_close(&st);
        free(copy);
    }
    for (size_t at = 0; at < n; at++)
        for (const char *o = others; *o; o++) {
            char copy[sizeof good];
            memcpy(copy, good, sizeof good);
            copy[at] = *o;
            if (parse_text(NULL, copy, n, 24, &st) != WC_OK) continue;
            uint64_t total = 0;
            for (size_t i = 0; i < st.n; i++)
                total += st.tensor[i].size;
            assert_int_equal(total, 24);
            wc_safetensors_close(&st);
        }
}

static void good_headers_are_understood(void **state)
{
    (void)state;
    /* Leading space, header order other than data order, an empty tensor, a scalar, 3-D, unknown keys, escapes. */
    static const char text[] =
        " \n{ \"z\" : "
        "{\"shape\":[2,3,4],\"extra\":[1.5e-3,{\"a\":null},true],\"dtype\":\"BF16\",\"data_offsets\":[5,53]},"
        "\"__metadata__\":{\"format\":\"pt\",\"\\ud83d\\ude00\":\"\\t\\u00fc\"}," T("s", "I8", "", 0, 1) "," T(
            "e", "F32", "0,7", 1, 1) "," T("v", "F32", "1", 1, 5) "," T("h", "F4", "3,2", 53, 56) "}\t ";
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    if (parse_text(&ctx, text, sizeof text - 1, 56, &st) != WC_OK) fail_msg("%s", ctx.error);
    static const struct {
        const char *name;
        uint64_t rows, cols, offset, size;
    } expected[] = {{"s", 1, 1, 0, 1}, {"e", 0, 7, 1, 0}, {"v", 1, 1, 1, 4}, {"z", 6, 4, 5, 48}, {"h", 3, 2, 53, 3}};
    assert_int_equal(st.n, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(st.tensor[i].name, expected[i].name);
        assert_int_equal(st.tensor[i].rows, expected[i].rows);
        assert_int_equal(st.tensor[i].cols, expected[i].cols);
        assert_int_equal(st.tensor[i].offset, 8 + sizeof text - 1 + expected[i].offset);
        assert_int_equal(st.tensor[i].size, expected[i].size);
    }
    char shape[64];
    assert_string_equal(wc_st_shape(shape, sizeof shape, &st.tensor[3]), "BF16 [2, 3, 4]");
    assert_int_equal(st.n_meta, 2);
    assert_string_equal(st.meta[0].key, "format");
    assert_string_equal(st.meta[0].value, "pt");
    assert_string_equal(st.meta[1].key, "\xf0\x9f\x98\x80");
    assert_string_equal(st.meta[1].value, "\t\xc3\xbc");
    assert_true(st.leading_space);
    assert_int_equal(st.n_unknown_keys, 1);
    assert_text_contains(log_text, "WARN x.safetensors: 1 unknown keys");
    wc_safetensors_close(&st);
    wc_safetensors_close(&st); /* twice is harmless */
    assert_int_equal(parse_text(&ctx, "{\"__metadata__\":null}", 21, 0, &st), WC_OK);
    assert_text_contains(log_text, "__metadata__ is null");
    wc_safetensors_close(&st);
}

static void the_first_eight_bytes_are_judged_before_anything_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        uint64_t file_size;
        const char *says;
    } cases[] = {{"", 0, 0, "0 bytes is too short"},
                 {"\x02", 1, 1, "1 bytes is too short"},
                 {"\x02\0\0\0\0\0\0", 7, 7, "7 bytes is too short"},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff", 8, 1000, "18446744073709551615 bytes, the limit is 100000000"},
                 {"\x01\xe1\xf5\x05\0\0\0\0", 8, 1 << 30, "100000001 bytes, the limit"},
                 {"\x3c\0\0\0\0\xff\xff\xff", 8, 1000, "not a safetensors file"},
                 {"\x0b\0\0\0\0\0\0\0", 8, 18, "at least 1 bytes short"},
                 {"\x00\xe1\xf5\x05\0\0\0\0", 8, 1000, "likely an interrupted download"},
                 {"version https://git-lfs.example", 31, 130, "git lfs pull"},
                 {"GGUF\x03\0\0\0", 8, 8, "GGUF"},
                 {"PK\x03\x04\0\0\x08\x08", 8, 8, "zip archive"},
                 {"<!DOCTYPE html>", 15, 15, "HTML"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx = new_ctx();
        size_t n;
        assert_int_equal(
            wc_safetensors_header_size(&ctx, (const uint8_t *)cases[i].bytes, cases[i].n, cases[i].file_size, "f", &n),
            WC_BADFILE);
        assert_text_contains(ctx.error, cases[i].says);
        if (cases[i].n != cases[i].file_size || cases[i].n > 64) continue;
        put_file(in_scratch("first8"), cases[i].bytes, cases[i].n); /* and through a file */
        wc_safetensors st;
        wc_clear_error(&ctx);
        assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_BADFILE);
        assert_text_contains(ctx.error, cases[i].says);
    }
}

/* Huge headers: each is refused or read in time and memory proportional to its size. Usually below 1.5 s in all; a
 * parser that is quadratic in the number of entries takes hours. */
static void huge_headers_are_bounded(void **state)
{
    (void)state;
    enum { SIZE = 99000000 };
    char *text = malloc(SIZE + 256);
    wc_safetensors st;
    wc_ctx ctx = new_ctx();
    double start = wc_now();

    size_t n = (size_t)sprintf(text, "{"); /* 16: the same range again and again, all legal until the coverage check */
    size_t entries = 0;
    while (n < SIZE / 4)
        n += (size_t)sprintf(text + n, "%s\"%zx\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}",
                             entries ? "," : "", entries),
            entries++;
    n += (size_t)sprintf(text + n, "}");
    assert_int_equal(parse_text(&ctx, text, n, 1, &st), WC_BADFILE);
    assert_text_contains(ctx.error, "overlap");

    n = (size_t)sprintf(text, "{\"a\":{\"x\":"); /* 17: deep, twice */
    memset(text + n, '[', SIZE - n);
    assert_int_equal(parse_text(NULL, text, SIZE, 0, &st), WC_BADFILE);
    memset(text, '{', SIZE);
    assert_int_equal(parse_text(NULL, text, SIZE, 0, &st), WC_BADFILE);

    text[0] = '{', text[1] = '"'; /* 17: \u0000 a hundred MB long */
    for (n = 2; n + 6 < SIZE; n += 6)
        memcpy(text + n, "\\u0000", 6);
    assert_int_equal(parse_text(NULL, text, n, 0, &st), WC_BADFILE);

    memset(text + 2, 'k', SIZE); /* 17: one 99 MB key */
    n = SIZE + (size_t)sprintf(text + SIZE, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    assert_int_equal(parse_text(NULL, text, n, 0, &st), WC_OK);
    assert_int_equal(strlen(st.tensor[0].name), SIZE - 2);
    wc_safetensors_close(&st);
    /* Usually 0.2 GiB, the text itself included; the limit catches a parser that needs several times that. */
    print_message("%zu entries and 4 x 99 MB: %.2f s, %.2f GiB\n", entries, wc_now() - start,
                  (double)wc_peak_rss() / 0x1p30);
    assert_true(wc_peak_rss() < 1ull << 30);
    free(text);
}

static void a_sparse_100_gib_file_opens_at_once_and_reads_right(void **state)
{
    (void)state;
    enum { GIB = 30 };
    char header[512];
    uint64_t total = 100ull << GIB;
    snprintf(header, sizeof header,
             "{\"big\":{\"dtype\":\"F32\",\"shape\":[25,1073741824],\"data_offsets\":[0,%llu]},"
             "\"odd\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[%llu,%llu]},"
             "\"end\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[%llu,%llu]}}",
             (unsigned long long)total, (unsigned long long)total, (unsigned long long)total + 3,
             (unsigned long long)total + 3, (unsigned long long)total + 9);
    put_safetensors(in_scratch("sparse.safetensors"), header, NULL, 0);
    uint64_t n = 8 + strlen(header);
    int fd = open(path_text, O_RDWR);
    if (fd < 0 || ftruncate(fd, (off_t)(n + total + 9))) {
        if (fd >= 0) close(fd);
        unlink(path_text);
        print_message("skipped: this file system does not take a 100 GiB sparse file\n");
        skip();
    }
    assert_int_equal(pwrite(fd, "abcdefghi", 9, (off_t)(n + total)), 9);
    assert_int_equal(pwrite(fd, "\0\0\x80\x3f", 4, (off_t)(n + (total / 2))), 4);
    close(fd);
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    double start = wc_now();
    if (wc_safetensors_open(&ctx, path_text, &st) != WC_OK) fail_msg("%s", ctx.error);
    double seconds = wc_now() - start;
    assert_int_equal(st.n, 3);
    assert_memory_equal(st.map.data + st.tensor[1].offset, "abc", 3);
    assert_memory_equal(st.map.data + st.tensor[2].offset, "defghi", 6);
    assert_memory_equal(st.map.data + st.tensor[0].offset + total / 2, "\0\0\x80\x3f", 4);
    wc_safetensors_close(&st);
    unlink(path_text);
    print_message("opened in %.2f ms\n", 1e3 * seconds);
    assert_true(seconds < 0.5); /* usually 0.05 ms; reading the data would take minutes */
}

static void only_regular_files_are_opened_and_links_are_followed(void **state)
{
    (void)state;
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    char target[1024];
    assert_int_equal(mkfifo(in_scratch("fifo.safetensors"), 0600), 0);
    assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_IO); /* and does not hang */
    assert_text_contains(ctx.error, "not a regular file");
    assert_int_equal(wc_safetensors_open(NULL, scratch, &st), WC_IO);
    assert_int_equal(wc_safetensors_open(NULL, in_scratch("absent"), &st), WC_IO);
    assert_int_equal(wc_safetensors_open(NULL, "/dev/zero", &st), WC_IO);
    put_safetensors(strcpy(target, in_scratch("target")), "{" T("a", "U8", "2", 0, 2) "}", NULL, 2);
    assert_int_equal(symlink(target, in_scratch("link.safetensors")), 0);
    assert_int_equal(wc_safetensors_open(NULL, path_text, &st), WC_OK);
    assert_string_equal(st.path, path_text);
    wc_safetensors_close(&st);
}

/* ---- writing ---- */

static wc_status produce_in_pieces(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    const uint8_t *p = user;
    WC_TRY(wc_st_put(ctx, sink, p, 5));
    WC_TRY(wc_st_put(ctx, sink, p + 5, 0));
    return wc_st_put(ctx, sink, p + 5, 7);
}

static wc_status produce_too_few(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    return wc_st_put(ctx, sink, user, 11);
}

static wc_status produce_too_many(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    WC_TRY(wc_st_put(ctx, sink, user, 8));
    return wc_st_put(ctx, sink, user, 5);
}

static wc_status produce_failure(wc_ctx *ctx, void *user, wc_st_sink *sink)
{
    (void)user, (void)sink;
    return wc_fail(ctx, WC_NUMERIC, "no numbers today");
}

static void the_writer_makes_the_bytes_of_the_reference(void **state)
{
    (void)state;
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    wc_buf expected, written;
    if (wc_safetensors_open(&ctx, REFERENCE, &st) != WC_OK) fail_msg("%s", ctx.error);
    wc_st_item item[64];
    assert_true(st.n < 64);
    for (size_t i = 0; i < st.n; i++) { /* listed backwards: the order must not matter */
        const wc_st_tensor *t = &st.tensor[st.n - 1 - i];
        item[i] =
            (wc_st_item){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims, .data = st.map.data + t->offset};
        memcpy(item[i].dims, t->dims, sizeof t->dims);
    }
    if (wc_safetensors_write(&ctx, in_scratch("again.safetensors"), item, st.n, NULL, 0) != WC_OK)
        fail_msg("%s", ctx.error);
    assert_int_equal(wc_read_file(&ctx, REFERENCE, 1 << 20, &expected), WC_OK);
    assert_int_equal(wc_read_file(&ctx, path_text, 1 << 20, &written), WC_OK);
    assert_int_equal(written.size, expected.size);
    assert_memory_equal(written.data, expected.data, expected.size);
    wc_buf_free(&expected);
    wc_buf_free(&written);
    wc_safetensors_close(&st);
}

static void a_second_reader_sees_the_same_tensors(void **state)
{
    (void)state;
    uint8_t raw[12] = {1, 2, 3, 250, 251, 252, 7, 8, 9, 10, 11, 12};
    const wc_st_item item[] = {
        {.name = "tricky \"\\\n\x01 \xc3\xbc", .dtype = WC_U8, .n_dims = 2, .dims = {3, 4}, .data = raw},
        {.name = "pieces", .dtype = WC_F32, .n_dims = 1, .dims = {3}, .produce = produce_in_pieces, .user = raw},
        {.name = "none", .dtype = WC_BF16, .n_dims = 3, .dims = {2, 0, 2}},
        {.name = "half", .dtype = WC_F16, .n_dims = 2, .dims = {1, 1}, .data = raw}};
    const wc_st_meta meta[] = {{"wcompress", "1"}, {"note", "\"quoted\"\t\xf0\x9f\x98\x80"}};
    wc_ctx ctx = new_ctx();
    if (wc_safetensors_write(&ctx, in_scratch("w.safetensors"), item, 4, meta, 2) != WC_OK) fail_msg("%s", ctx.error);
    char command[1200], tmp[1200];
    snprintf(tmp, sizeof tmp, "%s.tmp", path_text);
    assert_false(wc_file_exists(tmp));
    snprintf(command, sizeof command, "/usr/bin/python3 tests/oracle/read_safetensors.py '%s'", path_text);
    char *listing = output_of(command, NULL);
    assert_string_equal(listing, "68616c66 F16 [1, 1] 0102\n"
                                 "6e6f6e65 BF16 [2, 0, 2] \n"
                                 "706965636573 F32 [3] 010203fafbfc0708090a0b0c\n"
                                 "747269636b7920225c0a0120c3bc U8 [3, 4] 010203fafbfc0708090a0b0c\n");
    free(listing);
    wc_safetensors st; /* and our own reader: metadata, alignment */
    assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_OK);
    assert_int_equal(st.n_meta, 3);
    assert_string_equal(st.meta[0].key, "format");
    assert_string_equal(st.meta[0].value, "pt");
    assert_string_equal(st.meta[2].value, meta[1].value);
    for (size_t i = 0; i < st.n; i++)
        assert_int_equal(st.tensor[i].offset % (wc_dtype_bits(st.tensor[i].dtype) / 8), 0);
    wc_safetensors_close(&st);
}

static void the_readers_agree_on_the_reference(void **state)
{
    (void)state;
    char *listing = output_of("/usr/bin/python3 tests/oracle/read_safetensors.py " REFERENCE, NULL);
    wc_safetensors st;
    wc_ctx ctx = new_ctx();
    size_t lines = 0;
    assert_int_equal(wc_safetensors_open(&ctx, REFERENCE, &st), WC_OK);
    for (const char *p = listing; *p; p++)
        lines += *p == '\n';
    assert_int_equal(st.n, lines);
    for (size_t i = 0; i < st.n; i++) {
        const wc_st_tensor *t = &st.tensor[i];
        wc_buf line = {0};
        char shape[64];
        wc_buf_printf(&ctx, &line, "\n");
        for (const char *p = t->name; *p; p++)
            wc_buf_printf(&ctx, &line, "%02x", (unsigned char)*p);
        wc_buf_printf(&ctx, &line, " %s ", wc_st_shape(shape, sizeof shape, t));
        for (size_t k = 0; k < t->size; k++)
            wc_buf_printf(&ctx, &line, "%02x", st.map.data[t->offset + k]);
        wc_buf_append(&ctx, &line, "\n", 2);
        const char *want = (const char *)line.data; /* the first line has no newline before it */
        if (!strstr(listing, want) && strncmp(listing, want + 1, strlen(want + 1))) fail_msg("not listed:%s", want);
        wc_buf_free(&line);
    }
    wc_safetensors_close(&st);
    free(listing);
}

static void bad_requests_leave_the_old_file_and_no_temporary(void **state)
{
    (void)state;
    uint8_t raw[16] = {0};
    static const struct {
        wc_st_item item[2];
        size_t n;
        wc_st_meta meta;
        wc_status status;
        const char *says;
    } cases[] = {
        {{{.name = "a", .dtype = WC_F32, .n_dims = 1, .dims = {3}, .produce = produce_too_few}},
         1,
         {0},
         WC_BUG,
         "1 of 12 bytes"},
        {{{.name = "a", .dtype = WC_F32, .n_dims = 1, .dims = {3}, .produce = produce_too_many}},
         1,
         {0},
         WC_BUG,
         "5 bytes given where 4"},
        {{{.name = "a", .dtype = WC_F32, .n_dims = 1, .dims = {3}, .produce = produce_failure}},
         1,
         {0},
         WC_NUMERIC,
         "no numbers today"},
        {{{.name = "a", .dtype = WC_U8}, {.name = "a", .dtype = WC_U8}}, 2, {0}, WC_BADFILE, "two tensors"},
        {{{.name = "__metadata__", .dtype = WC_U8}}, 1, {0}, WC_BADFILE, "__metadata__"},
        {{{.name = "\xff", .dtype = WC_U8, .n_dims = 1}}, 1, {0}, WC_BADFILE, "not UTF-8"},
        {{{.name = "a", .dtype = WC_F4, .n_dims = 1, .dims = {3}}}, 1, {0}, WC_BUG, "no size"},
        {{{.name = "a", .dtype = WC_DTYPE_NONE, .n_dims = 1, .dims = {3}}}, 1, {0}, WC_BUG, "no size"},
        {{{.name = "a", .dtype = WC_U8, .n_dims = 2, .dims = {1ull << 40, 1ull << 40}}}, 1, {0}, WC_BUG, "no size"},
        {{{.name = "a", .dtype = WC_U8, .n_dims = 1}}, 1, {"format", "tf"}, WC_BUG, "`format' given twice"},
    };
    char path[1024], tmp[1040];
    strcpy(path, in_scratch("kept.safetensors"));
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx = new_ctx();
        wc_buf now;
        wc_st_item item[2];
        memcpy(item, cases[i].item, sizeof item);
        item[0].user = raw;
        put_file(path, "old", 3);
        assert_int_equal(wc_safetensors_write(&ctx, path, item, cases[i].n, &cases[i].meta, cases[i].meta.key != NULL),
                         cases[i].status);
        assert_text_contains(ctx.error, cases[i].says);
        assert_int_equal(wc_read_file(NULL, path, 100, &now), WC_OK);
        assert_string_equal((char *)now.data, "old");
        assert_false(wc_file_exists(tmp));
        wc_buf_free(&now);
    }
    wc_ctx ctx = new_ctx();
    assert_int_equal(wc_safetensors_write(&ctx, in_scratch("no/such/folder"), NULL, 0, NULL, 0), WC_IO);
    assert_int_equal(wc_safetensors_write(&ctx, in_scratch("empty.safetensors"), NULL, 0, NULL, 0), WC_OK);
    wc_safetensors st;
    assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_OK);
    assert_int_equal(st.n, 0);
    wc_safetensors_close(&st);
}

/* Writing over the mapped source must not change what is being read. */
static void a_file_can_be_written_over_its_own_source(void **state)
{
    (void)state;
    wc_ctx ctx = new_ctx();
    wc_safetensors st;
    put_safetensors(in_scratch("self.safetensors"), "{" T("a", "U8", "6", 0, 6) "}", "abcdef", 6);
    assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_OK);
    const wc_st_item item = {
        .name = "a", .dtype = WC_U8, .n_dims = 1, .dims = {6}, .data = st.map.data + st.tensor[0].offset};
    assert_int_equal(wc_safetensors_write(&ctx, path_text, &item, 1, NULL, 0), WC_OK);
    assert_memory_equal(st.map.data + st.tensor[0].offset, "abcdef", 6);
    wc_safetensors_close(&st);
    assert_int_equal(wc_safetensors_open(&ctx, path_text, &st), WC_OK);
    assert_memory_equal(st.map.data + st.tensor[0].offset, "abcdef", 6);
    wc_safetensors_close(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reject_list_is_rejected_in_a_sentence),
        cmocka_unit_test(nine_dimensions_are_unsupported_not_bad),
        cmocka_unit_test(cut_and_altered_headers_never_slip_through),
        cmocka_unit_test(good_headers_are_understood),
        cmocka_unit_test(the_first_eight_bytes_are_judged_before_anything_is_read),
        cmocka_unit_test(huge_headers_are_bounded),
        cmocka_unit_test(a_sparse_100_gib_file_opens_at_once_and_reads_right),
        cmocka_unit_test(only_regular_files_are_opened_and_links_are_followed),
        cmocka_unit_test(the_writer_makes_the_bytes_of_the_reference),
        cmocka_unit_test(the_readers_agree_on_the_reference),
        cmocka_unit_test(a_second_reader_sees_the_same_tensors),
        cmocka_unit_test(bad_requests_leave_the_old_file_and_no_temporary),
        cmocka_unit_test(a_file_can_be_written_over_its_own_source),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
