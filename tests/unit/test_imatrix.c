/* Importance matrices of llama.cpp: both forms as bytes made here, everything that is refused, and our own writer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "io/imatrix.h"
#include "io_util.h"
#include "saved_stats.h"

/* ---- the older form, field by field ----------------------------------------------------------------------------- */

static void put32(wc_buf *b, int32_t x)
{
    assert_int_equal(wc_buf_append(NULL, b, &x, 4), WC_OK);
}

static void put_word(wc_buf *b, const char *s)
{
    put32(b, (int32_t)strlen(s));
    assert_int_equal(wc_buf_append(NULL, b, s, strlen(s)), WC_OK);
}

static void put_floats(wc_buf *b, const float *x, size_t n)
{
    assert_int_equal(wc_buf_append(NULL, b, x, n * sizeof *x), WC_OK);
}

/* blk.0.ffn_down with 3 inputs in 2 calls, then blk.0.attn_q with 2 in none: its values are means already. */
static wc_buf legacy_image(bool tail)
{
    static const float down[] = {2, 4, 6}, q[] = {0.5f, 0};
    wc_buf b = {0};
    put32(&b, 2);
    put_word(&b, "blk.0.ffn_down.weight");
    put32(&b, 2), put32(&b, 3), put_floats(&b, down, 3);
    put_word(&b, "blk.0.attn_q.weight");
    put32(&b, 0), put32(&b, 2), put_floats(&b, q, 2);
    if (tail) put32(&b, 7), put_word(&b, "wiki\n.txt");
    return b;
}

static void the_older_form_is_read(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_imatrix m;
    float square[3], mean[3];
    (void)state;
    for (int tail = 0; tail < 2; tail++) {
        wc_buf b = legacy_image(tail);
        assert_int_equal(wc_imatrix_parse(&ctx, b.data, b.size, "x", &m), WC_OK);
        assert_true(m.legacy);
        assert_int_equal(m.n_entries, 2);
        assert_int_equal(m.chunks, tail ? 7 : 0);
        assert_string_equal(m.source, tail ? "wiki\\x0a.txt" : "");
        assert_string_equal(m.entry[0].name, "blk.0.attn_q.weight"); /* sorted */
        assert_null(wc_imatrix_find(&m, "blk.0.attn_k.weight"));
        const wc_imatrix_entry *down = wc_imatrix_find(&m, "blk.0.ffn_down.weight");
        assert_int_equal(wc_imatrix_means(&ctx, down, "x", 3, square, mean), WC_OK);
        assert_true(square[0] == 1 && square[1] == 2 && square[2] == 3 && mean[1] == 0);
        assert_int_equal(wc_imatrix_means(&ctx, &m.entry[0], "x", 2, square, mean), WC_OK);
        assert_true(square[0] == 0.5f && square[1] == 0);
        assert_int_equal(wc_imatrix_means(&ctx, down, "x", 4, square, mean), WC_BADFILE);
        assert_text_contains(ctx.error, "blk.0.ffn_down.weight has 3 inputs of 1 experts, the model's matrix has 4");
        wc_clear_error(&ctx);
        wc_imatrix_close(&m);
        wc_buf_free(&b);
    }
}

static void every_cut_of_the_older_form_is_refused(void **state)
{
    wc_ctx ctx = new_ctx();
    wc_imatrix m;
    wc_buf b = legacy_image(true), whole = legacy_image(false);
    (void)state;
    for (size_t n = 0; n < b.size; n++) {
        uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a byte too much */
        memcpy(exact, b.data, n);
        bool good = n == whole.size || n == whole.size + 4; /* both fields of the tail are optional */
        assert_int_equal(wc_imatrix_parse(&ctx, exact, n, "x", &m), good ? WC_OK : WC_BADFILE);
        if (good)
            wc_imatrix_close(&m);
        else
            assert_true(ctx.error[0]);
        wc_clear_error(&ctx);
        free(exact);
    }
    wc_buf_free(&b), wc_buf_free(&whole);
}

static void a_false_older_form_is_refused(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        int32_t value;
        const char *want;
    } cases[] = {
        {"no entries", 0, 0, "the number of entries is 0"},
        {"negative entries", 0, -5, "the number of entries is -5"},
        {"absurd entries", 0, 0x7fffffff, "the number of entries is 2147483647"},
        {"one entry less", 0, 1, "the length of the text's name is"},
        {"one entry more", 0, 3, "not printable"},
        {"no name", 4, 0, "the length of a name is 0"},
        {"long name", 4, 0x7fffff00, "the length of a name is"},
        {"a control character", 8, 0x01010101, "not printable"},
        {"negative calls", 29, -1, "the number of calls is -1"},
        {"no values", 33, 0, "the number of values is 0"},
        {"absurd values", 33, 0x40000000, "the number of values is 1073741824"},
    };
    wc_ctx ctx = new_ctx();
    wc_imatrix m;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_buf b = legacy_image(true);
        memcpy(b.data + cases[i].at, &cases[i].value, 4);
        wc_clear_error(&ctx);
        if (wc_imatrix_parse(&ctx, b.data, b.size, "x", &m) != WC_BADFILE) fail_msg("%s: accepted", cases[i].what);
        assert_text_contains(ctx.error, cases[i].want);
        wc_buf_free(&b);
    }
    wc_buf twice = {0};
    put32(&twice, 2);
    for (int i = 0; i < 2; i++)
        put_word(&twice, "a"), put32(&twice, 1), put32(&twice, 1), put32(&twice, 0);
    wc_clear_error(&ctx);
    assert_int_equal(wc_imatrix_parse(&ctx, twice.data, twice.size, "x", &m), WC_BADFILE);
    assert_text_contains(ctx.error, "entry a is there twice");
    wc_buf_free(&twice);
}

static void values_that_cannot_be_are_refused(void **state)
{
    static const struct {
        float sum2, sum;
        bool good;
    } cases[] = {{0, 0, true}, {1, -1, true}, {-1, 0, false}, {NAN, 0, false}, {INFINITY, 0, false}, {1, NAN, false}};
    wc_ctx ctx = new_ctx();
    float square, mean;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_imatrix_entry e = {.name = "q",
                              .n = 1,
                              .experts = 1,
                              .count = 4,
                              .sum2 = (const uint8_t *)&cases[i].sum2,
                              .sum = (const uint8_t *)&cases[i].sum};
        wc_clear_error(&ctx);
        assert_int_equal(wc_imatrix_means(&ctx, &e, "x", 1, &square, &mean), cases[i].good ? WC_OK : WC_BADFILE);
        if (cases[i].good) assert_true(square == cases[i].sum2 / 4 && mean == cases[i].sum / 4);
    }
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

typedef struct tensor {
    const char *name;
    uint32_t type;
    uint64_t rows, cols; /* rows 0: one dimension */
    float fill;
} tensor;

static wc_status fill(wc_ctx *ctx, void *self, size_t i, wc_buf *out)
{
    const tensor *t = (const tensor *)self + i;
    for (uint64_t k = 0; k < (t->rows ? t->rows : 1) * t->cols; k++) {
        float x = t->fill + (float)k;
        WC_TRY(wc_buf_append(ctx, out, &x, t->type == WC_GGML_F32 ? 4 : 2));
    }
    return WC_OK;
}

static wc_status open_gguf(wc_ctx *ctx, const tensor *t, size_t n, wc_imatrix *m)
{
    wc_gguf_writer w = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s", in_scratch("m.gguf"));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(wc_gguf_put_tensor(ctx, &w, t[i].name, t[i].type, t[i].rows, t[i].cols), WC_OK);
    assert_int_equal(wc_gguf_write(ctx, &w, path, fill, (void *)t), WC_OK);
    wc_gguf_writer_free(&w);
    return wc_imatrix_open(ctx, path, m);
}

static void gguf_is_read_or_refused(void **state)
{
    enum { MOST = 4 };
    static const struct {
        tensor t[MOST];
        size_t n;
        const char *want; /* NULL: good */
    } cases[] = {
        {{{"a.in_sum2", 0, 0, 3, 8}, {"a.counts", 0, 0, 1, 4}}, 2, NULL},
        {{{"a.in_sum2", 0, 1, 3, 8}, {"a.counts", 0, 1, 1, 4}, {"a.in_sum", 0, 1, 3, 2}}, 3, NULL},
        {{{"a.counts", 0, 2, 1, 4}, {"a.in_sum2", 0, 2, 3, 8}, {"b", 0, 0, 3, 1}}, 3, NULL},
        {{{"a.in_sum2", 0, 0, 3, 8}}, 1, "a.in_sum2 is there without a.counts"},
        {{{"a.in_sum2", 0, 0, 3, 8}, {"a.counts", 0, 0, 1, 0}}, 2, "a was made of 0 tokens"},
        {{{"a.in_sum2", 0, 0, 3, 8}, {"a.counts", 0, 0, 1, NAN}}, 2, "a was made of nan tokens"},
        {{{"a.in_sum2", 0, 0, 3, 8}, {"a.counts", 0, 0, 2, 4}}, 2, "3 sums of squares, 0 sums and 2 counts"},
        {{{"a.in_sum2", 0, 0, 3, 8}, {"a.counts", 0, 0, 1, 4}, {"a.in_sum", 0, 0, 2, 0}},
         3,
         "3 sums of squares, 2 sums"},
        {{{"a.in_sum2", 1, 0, 3, 8}, {"a.counts", 0, 0, 1, 4}}, 2, "must be F32"},
        {{{"a.in_sum", 0, 0, 3, 8}, {"a.counts", 0, 0, 1, 4}}, 2, "it has no entry"},
        {{{".in_sum2", 0, 0, 3, 8}, {".counts", 0, 0, 1, 4}}, 2, "it has no entry"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx = new_ctx();
        wc_imatrix m;
        wc_status status = open_gguf(&ctx, cases[i].t, cases[i].n, &m);
        assert_int_equal(status, cases[i].want ? WC_BADFILE : WC_OK);
        if (cases[i].want)
            assert_text_contains(ctx.error, cases[i].want);
        else
            assert_true(m.n_entries == 1 && m.entry[0].count == 4 && m.entry[0].n == 3 * m.entry[0].experts);
        if (!cases[i].want) wc_imatrix_close(&m);
    }
}

/* What we write is what we read, in both forms; the older one has no means. */
static void written_and_read_again(void **state)
{
    static const float x2[] = {1, 0, 0.3f}, x[] = {-1, 0, 0.25f}, y2[] = {5};
    static const wc_imatrix_out entries[] = {{"blk.1.ffn_up.weight", 3, x2, x}, {"blk.0.attn_q.weight", 1, y2, y2}};
    const wc_imatrix_text text = {"some text", 3, 128};
    wc_ctx ctx = new_ctx();
    char path[1024];
    (void)state;
    snprintf(path, sizeof path, "%s", in_scratch("w"));
    for (int legacy = 0; legacy < 2; legacy++) {
        wc_imatrix m;
        float square[3], mean[3];
        assert_int_equal(wc_imatrix_write(&ctx, path, legacy, entries, 2, &text), WC_OK);
        assert_int_equal(wc_imatrix_open(&ctx, path, &m), WC_OK);
        assert_int_equal(m.legacy, legacy);
        assert_int_equal(m.n_entries, 2);
        assert_int_equal(m.chunks, 3);
        assert_int_equal(m.chunk_size, legacy ? 0 : 128);
        assert_string_equal(m.source, "some text");
        assert_int_equal(wc_imatrix_means(&ctx, &m.entry[1], "x", 3, square, mean), WC_OK);
        for (int i = 0; i < 3; i++) {
            /* Usually 1e-8: a product and a quotient, each rounded to f32. */
            assert_true(fabsf(square[i] - x2[i]) < 1e-6f);
            assert_true(fabsf(mean[i] - (legacy ? 0 : x[i])) < 1e-6f);
        }
        wc_imatrix_close(&m);
    }
}

/* ---- as statistics ---------------------------------------------------------------------------------------------- */

/* q, k and v share an input: any of them serves; the head is asked for behind the last block. */
static void an_entry_becomes_a_diagonal(void **state)
{
    static const tensor t[] = {{"blk.1.attn_k.weight.in_sum2", 0, 0, 2, 8},
                               {"blk.1.attn_k.weight.counts", 0, 0, 1, 4},
                               {"output.weight.in_sum2", 0, 0, 3, 0},
                               {"output.weight.counts", 0, 0, 1, 1}};
    wc_ctx ctx = new_ctx();
    wc_imatrix m;
    wc_saved_stats s;
    wc_stats stats;
    (void)state;
    assert_int_equal(open_gguf(&ctx, t, 4, &m), WC_OK);
    wc_imatrix_close(&m);
    assert_int_equal(wc_saved_stats_open(&ctx, in_scratch("m.gguf"), &s), WC_OK);
    assert_true(s.diagonal);
    assert_int_equal(wc_saved_stats_get(&ctx, &s, 1, 0, 2, 2, &stats), WC_OK);
    assert_true(stats.h[0] == 2 && stats.h[3] == 2.25f && stats.h[1] == 0 && stats.h[2] == 0 && !stats.c);
    assert_true(fabsf(stats.abs_mean[1] - 0.7978846f * 1.5f) < 1e-6f);
    wc_stats_free(&stats);
    assert_int_equal(wc_saved_stats_get(&ctx, &s, 2, 0, 2, 3, &stats), WC_OK);
    assert_true(stats.h[8] == 2);
    wc_stats_free(&stats);
    assert_int_equal(wc_saved_stats_get(&ctx, &s, 0, 0, 2, 2, &stats), WC_BADFILE);
    assert_text_contains(ctx.error, "no entry blk.0.attn_v.weight");
    wc_clear_error(&ctx);
    assert_int_equal(wc_saved_stats_get(&ctx, &s, 1, 0, 2, 3, &stats), WC_BADFILE);
    wc_saved_stats_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_older_form_is_read),        cmocka_unit_test(every_cut_of_the_older_form_is_refused),
        cmocka_unit_test(a_false_older_form_is_refused), cmocka_unit_test(values_that_cannot_be_are_refused),
        cmocka_unit_test(gguf_is_read_or_refused),       cmocka_unit_test(written_and_read_again),
        cmocka_unit_test(an_entry_becomes_a_diagonal),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
