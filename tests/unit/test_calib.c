/* test_calib.c - token windows, statistics, the store of activations, the statistics file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calib/stats.h"
#include "calib/statsfile.h"
#include "calib/store.h"
#include "calib/tokens.h"
#include "gptq_util.h"

typedef struct scratch {
    wc_ctx ctx;
    char dir[64], path[80];
} scratch;

static int setup(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    wc_ctx_init(&s->ctx, 2);
    strcpy(s->dir, "/tmp/wc-calib-XXXXXX");
    if (!mkdtemp(s->dir)) return -1;
    snprintf(s->path, sizeof s->path, "%s/file", s->dir);
    util_state = 88172645463325252u;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scratch *s = *state;
    unlink(s->path);
    rmdir(s->dir);
    free(s);
    return 0;
}

/* ---- windows ---------------------------------------------------------------------------------------------------- */

enum { IDS = 100 };

/* Ids 0 .. IDS-1 in the scratch file. */
static void write_ids(const scratch *s)
{
    FILE *f = fopen(s->path, "wb");
    for (uint32_t i = 0; i < IDS; i++)
        fwrite(&i, sizeof i, 1, f);
    fclose(f);
}

static void windows_are_spread_evenly(void **state)
{
    static const struct {
        size_t seqlen, max_tokens, n, second; /* expected count, and first id of the second window */
    } cases[] = {
        {10, 0, 10, 10}, {10, 100, 10, 10}, {10, 50, 5, 20}, {10, 20, 2, 50},
        {30, 0, 3, 30},  {33, 70, 2, 33},   {100, 0, 1, 0},  {10, 5, 1, 0}, /* at least one window */
    };
    scratch *s = *state;
    write_ids(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_text_options o = {.ids_file = s->path, .seqlen = cases[i].seqlen, .max_tokens = cases[i].max_tokens};
        wc_windows w;
        assert_int_equal(wc_windows_make(&s->ctx, NULL, IDS, &o, &w), WC_OK);
        assert_int_equal(w.n, cases[i].n);
        assert_int_equal(w.stream_tokens, IDS);
        for (size_t k = 0; k < w.n; k++)
            for (size_t j = 1; j < w.seqlen; j++)
                assert_int_equal(w.id[k * w.seqlen + j], w.id[k * w.seqlen] + j);
        if (w.n > 1) assert_int_equal(w.id[w.seqlen], cases[i].second);
        wc_windows_free(&w);
    }
}

static void windows_that_cannot_be_are_refused(void **state)
{
    scratch *s = *state;
    wc_windows w;
    write_ids(s);
    static const struct {
        size_t seqlen, vocab;
        const char *sentence;
    } bad[] = {
        {IDS + 1, IDS, "100 tokens of text, one window needs 101"},
        {10, IDS - 1, "token 99 has id 99, but the model's vocabulary has 99 rows"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_text_options o = {.ids_file = s->path, .seqlen = bad[i].seqlen};
        wc_clear_error(&s->ctx);
        assert_int_equal(wc_windows_make(&s->ctx, NULL, bad[i].vocab, &o, &w), WC_BADFILE);
        if (!strstr(s->ctx.error, bad[i].sentence)) fail_msg("`%s' lacks `%s'", s->ctx.error, bad[i].sentence);
    }
    wc_text_options always = {.ids_file = s->path, .seqlen = 10, .bos = WC_BOS_ALWAYS};
    wc_clear_error(&s->ctx);
    assert_int_equal(wc_windows_make(&s->ctx, NULL, IDS, &always, &w), WC_OPTION);
}

static wc_tokenizer *tokenizer_with_bos(wc_ctx *ctx)
{
    wc_buf text;
    wc_tokenizer *t;
    assert_int_equal(wc_read_file(ctx, "tests/data/tokenizer/llama2.json", 1 << 26, &text), WC_OK);
    assert_int_equal(wc_tokenizer_open(ctx, (char *)text.data, text.size, "llama2", &t), WC_OK);
    wc_buf_free(&text);
    return t;
}

static void bos_leads_every_window(void **state)
{
    scratch *s = *state;
    wc_tokenizer *t = tokenizer_with_bos(&s->ctx);
    uint32_t bos;
    wc_windows w;
    write_ids(s);
    assert_true(wc_tokenizer_bos(t, &bos));
    wc_text_options o = {.ids_file = s->path, .seqlen = 10, .bos_per_window = true};
    assert_int_equal(wc_windows_make(&s->ctx, t, 1 << 20, &o, &w), WC_OK);
    assert_int_equal(w.n, IDS / 9);
    for (size_t k = 0; k < w.n; k++) {
        assert_int_equal(w.id[k * 10], bos);
        assert_int_equal(w.id[k * 10 + 1], k * 9);
    }
    wc_windows_free(&w);
    o.seqlen = 1; /* no room beside BOS */
    assert_int_equal(wc_windows_make(&s->ctx, t, 1 << 20, &o, &w), WC_OPTION);
    wc_tokenizer_free(&t);
}

/* ---- statistics ------------------------------------------------------------------------------------------------- */

enum { WIDTH = 40, TOKENS = 210, RESIDUAL = 9 };

/* The inputs and residual streams of TOKENS tokens; original NULL: no drift. */
typedef struct streams {
    const float *x, *original, *y, *y_original;
} streams;

static void sum_in_chunks(wc_ctx *ctx, const streams *in, size_t chunk, wc_stats *out)
{
    wc_stats_sum sum;
    bool drift = in->original != NULL;
    assert_int_equal(wc_stats_begin(ctx, WIDTH, drift, drift ? RESIDUAL : 0, &sum), WC_OK);
    for (size_t t = 0; t < TOKENS; t += chunk) {
        wc_stats_chunk c = {.t = t + chunk < TOKENS ? chunk : TOKENS - t, .x = in->x + t * WIDTH};
        if (drift) {
            c.x_original = in->original + t * WIDTH;
            c.y = in->y + t * RESIDUAL;
            c.y_original = in->y_original + t * RESIDUAL;
        }
        assert_int_equal(wc_stats_add(ctx, &sum, &c), WC_OK);
    }
    assert_int_equal(wc_stats_finish(ctx, &sum, out), WC_OK);
}

/* E[(a_i - b_i) x_j], b NULL: 0; by a plain loop in double. */
static double moment(const float *a, const float *b, size_t i, size_t width, const float *x, size_t j)
{
    double sum = 0;
    for (size_t t = 0; t < TOKENS; t++)
        sum += ((double)a[t * width + i] - (b ? (double)b[t * width + i] : 0)) * (double)x[t * WIDTH + j];
    return sum / TOKENS;
}

static double mean_of(const float *x, size_t i, bool absolute)
{
    double sum = 0;
    for (size_t t = 0; t < TOKENS; t++)
        sum += absolute ? fabs((double)x[t * WIDTH + i]) : (double)x[t * WIDTH + i];
    return sum / TOKENS;
}

/* Oracle: the definitions. Usually 1e-7 apart; a transposed or wrongly signed cross moment, or a missing token, gives
 * 1e-2 and more. */
static void statistics_are_their_definitions_for_chunks_of_any_size(void **state)
{
    static const size_t chunks[] = {1, 7, 64, TOKENS};
    scratch *s = *state;
    float *x = util_normals(TOKENS * WIDTH), *original = util_normals(TOKENS * WIDTH);
    float *y = util_normals(TOKENS * RESIDUAL), *y_original = util_normals(TOKENS * RESIDUAL);
    for (size_t i = 0; i < TOKENS * WIDTH; i++)
        x[i] += 1, original[i] = x[i] + 0.5f * original[i];
    for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
        wc_stats stats;
        sum_in_chunks(&s->ctx, &(streams){x, original, y, y_original}, chunks[k], &stats);
        assert_int_equal(stats.tokens, TOKENS);
        for (size_t i = 0; i < WIDTH; i++) {
            assert_true(fabs(mean_of(x, i, false) - (double)stats.mean[i]) < 1e-6);
            assert_true(fabs(mean_of(x, i, true) - (double)stats.abs_mean[i]) < 1e-6);
            for (size_t j = 0; j < WIDTH; j++) {
                assert_true(fabs(moment(x, NULL, i, WIDTH, x, j) - (double)stats.h[i * WIDTH + j]) < 1e-5);
                assert_true(fabs(moment(original, x, i, WIDTH, x, j) - (double)stats.c[i * WIDTH + j]) < 1e-5);
            }
        }
        for (size_t i = 0; i < RESIDUAL; i++)
            for (size_t j = 0; j < WIDTH; j++)
                assert_true(fabs(moment(y_original, y, i, RESIDUAL, x, j) - (double)stats.r[i * WIDTH + j]) < 1e-5);
        wc_stats_free(&stats);
    }
    free(x), free(original), free(y), free(y_original);
}

static void a_value_that_is_not_finite_names_its_channel(void **state)
{
    scratch *s = *state;
    float *x = util_normals(4 * WIDTH);
    wc_stats_sum sum;
    x[2 * WIDTH + 33] = NAN;
    assert_int_equal(wc_stats_begin(&s->ctx, WIDTH, false, 0, &sum), WC_OK);
    assert_int_equal(wc_stats_add(&s->ctx, &sum, &(wc_stats_chunk){.t = 4, .x = x}), WC_NUMERIC);
    assert_non_null(strstr(s->ctx.error, "channel 33 of 40"));
    wc_stats_drop(&sum);
    free(x);
}

/* ---- store ------------------------------------------------------------------------------------------------------ */

static void stores_in_memory_and_in_files_are_alike(void **state)
{
    scratch *s = *state;
    float *in = util_normals(3 * 50), out[50];
    for (int file = 0; file < 2; file++) {
        wc_store store;
        assert_int_equal(wc_store_open(&s->ctx, file ? s->path : NULL, false, 3, 50, &store), WC_OK);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(wc_store_write(&s->ctx, &store, 2 - i, in + i * 50, 50), WC_OK);
        assert_int_equal(wc_store_sync(&s->ctx, &store), WC_OK);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(wc_store_read(&s->ctx, &store, 2 - i, out, 50), WC_OK);
            assert_memory_equal(out, in + i * 50, sizeof out);
        }
        wc_store_close(&store, false);
    }
    wc_store kept; /* what a file held is still there */
    assert_int_equal(wc_store_open(&s->ctx, s->path, true, 3, 50, &kept), WC_OK);
    assert_int_equal(wc_store_read(&s->ctx, &kept, 0, out, 50), WC_OK);
    assert_memory_equal(out, in + 100, sizeof out);
    wc_store_close(&kept, true);
    assert_int_equal(access(s->path, F_OK), -1);
    free(in);
}

/* ---- statistics file -------------------------------------------------------------------------------------------- */

static const wc_statsfile_info info = {.model = 11, .windows = 22, .tokens = TOKENS, .seqlen = 30, .source = "a text"};

/* Two blocks of one stage, the second left out; the first is the statistics of x. */
static void write_statsfile(scratch *s, const float *x)
{
    const size_t widths[] = {WIDTH, 0};
    wc_statsfile f;
    wc_stats stats;
    uint64_t hash;
    char partial[96];
    snprintf(partial, sizeof partial, "%s.partial", s->path);
    sum_in_chunks(&s->ctx, &(streams){.x = x}, TOKENS, &stats);
    assert_int_equal(wc_statsfile_create(&s->ctx, partial, false, &info, widths, 2, 1, &f), WC_OK);
    assert_int_equal(wc_statsfile_put(&s->ctx, &f, 0, 0, &stats, &hash), WC_OK);
    assert_int_equal(wc_statsfile_finish(&s->ctx, &f, s->path), WC_OK);
    wc_statsfile_close(&f);
    wc_stats_free(&stats);
}

static void statistics_survive_the_file(void **state)
{
    scratch *s = *state;
    float *x = util_normals(TOKENS * WIDTH);
    wc_statsfile f;
    wc_stats want, got;
    write_statsfile(s, x);
    sum_in_chunks(&s->ctx, &(streams){.x = x}, TOKENS, &want);
    assert_int_equal(wc_statsfile_open(&s->ctx, s->path, &f), WC_OK);
    assert_memory_equal(&f.info, &info, sizeof info);
    assert_int_equal(wc_statsfile_get(&s->ctx, &f, 0, 0, WIDTH, &got), WC_OK);
    assert_memory_equal(got.h, want.h, WIDTH * WIDTH * sizeof *got.h);
    assert_memory_equal(got.mean, want.mean, WIDTH * sizeof *got.mean);
    assert_memory_equal(got.abs_mean, want.abs_mean, WIDTH * sizeof *got.abs_mean);
    assert_null(got.c);
    wc_stats_free(&got);
    assert_int_equal(wc_statsfile_get(&s->ctx, &f, 1, 0, WIDTH, &got), WC_BADFILE);
    wc_clear_error(&s->ctx);
    assert_int_equal(wc_statsfile_get(&s->ctx, &f, 0, 0, WIDTH + 1, &got), WC_BADFILE);
    wc_statsfile_close(&f);
    wc_stats_free(&want);
    free(x);
}

/* Every flipped bit is found: at open in header and table, at get in the values. */
static void damage_to_the_file_is_found(void **state)
{
    scratch *s = *state;
    float *x = util_normals(TOKENS * WIDTH);
    wc_buf good;
    write_statsfile(s, x);
    assert_int_equal(wc_read_file(&s->ctx, s->path, 1 << 20, &good), WC_OK);
    for (size_t at = 0; at < good.size + 40; at += at < 400 ? 1 : 97) {
        bool cut = at >= good.size;
        size_t size = cut ? good.size - (at - good.size) - 1 : good.size;
        if (!cut) good.data[at] ^= 4;
        assert_int_equal(wc_write_file_atomic(&s->ctx, s->path, good.data, size), WC_OK);
        if (!cut) good.data[at] ^= 4;
        wc_statsfile f;
        wc_stats stats;
        wc_clear_error(&s->ctx);
        wc_status status = wc_statsfile_open(&s->ctx, s->path, &f);
        if (status == WC_OK) {
            status = wc_statsfile_get(&s->ctx, &f, 0, 0, WIDTH, &stats);
            if (status == WC_OK) wc_stats_free(&stats);
            wc_statsfile_close(&f);
        }
        if (status != WC_BADFILE && status != WC_UNSUPPORTED) fail_msg("byte %zu: %s", at, wc_status_name(status));
    }
    wc_buf_free(&good);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(windows_are_spread_evenly, setup, teardown),
        cmocka_unit_test_setup_teardown(windows_that_cannot_be_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bos_leads_every_window, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_are_their_definitions_for_chunks_of_any_size, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_that_is_not_finite_names_its_channel, setup, teardown),
        cmocka_unit_test_setup_teardown(stores_in_memory_and_in_files_are_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_survive_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_to_the_file_is_found, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
