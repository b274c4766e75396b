/* test_journal.c - what a journal gives back after every way in which a run can end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal.h"

enum { FINGERPRINT = 0x1234, RECORDS = 5, RECORD = sizeof(wc_journal_record) };

typedef struct scratch {
    wc_ctx ctx;
    char dir[64], path[80];
} scratch;

static int setup(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    wc_ctx_init(&s->ctx, 1);
    strcpy(s->dir, "/tmp/wc-journal-XXXXXX");
    if (!mkdtemp(s->dir)) return -1;
    snprintf(s->path, sizeof s->path, "%s/journal", s->dir);
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

static wc_journal must_open(scratch *s, bool fresh)
{
    wc_journal j;
    wc_clear_error(&s->ctx);
    if (wc_journal_open(&s->ctx, s->path, s->dir, FINGERPRINT, fresh, &j) != WC_OK) fail_msg("%s", s->ctx.error);
    return j;
}

/* RECORDS tensors with x = 10 * index. */
static void write_records(scratch *s)
{
    wc_journal j = must_open(s, true);
    for (uint32_t i = 0; i < RECORDS; i++)
        assert_int_equal(
            wc_journal_append(&s->ctx, &j, (wc_journal_record){.type = WC_JOURNAL_TENSOR, .index = i, .x = 10.0 * i}),
            WC_OK);
    wc_journal_close(&j, false);
}

static void records_come_back(void **state)
{
    scratch *s = *state;
    write_records(s);
    wc_journal j = must_open(s, false);
    assert_true(j.resumed);
    assert_int_equal(j.n, RECORDS);
    for (uint32_t i = 0; i < RECORDS; i++) {
        const wc_journal_record *r = wc_journal_find(&j, WC_JOURNAL_TENSOR, i, 0);
        assert_non_null(r);
        assert_true(r->x == 10.0 * i);
    }
    assert_null(wc_journal_find(&j, WC_JOURNAL_TENSOR, RECORDS, 0));
    assert_null(wc_journal_find(&j, WC_JOURNAL_TENSOR, 0, 1));
    assert_null(wc_journal_last(&j, WC_JOURNAL_EDGE));
    assert_int_equal(wc_journal_last(&j, WC_JOURNAL_TENSOR)->index, RECORDS - 1);
    wc_journal_close(&j, true);
    assert_int_equal(access(s->path, F_OK), -1);
}

static void the_newest_record_wins(void **state)
{
    scratch *s = *state;
    wc_journal j = must_open(s, false);
    assert_false(j.resumed);
    for (int i = 0; i < 200; i++) /* more than the first allocation holds */
        assert_int_equal(
            wc_journal_append(&s->ctx, &j, (wc_journal_record){.type = WC_JOURNAL_EDGE, .index = 7, .x = i}), WC_OK);
    assert_true(wc_journal_find(&j, WC_JOURNAL_EDGE, 7, 0)->x == 199);
    wc_journal_close(&j, false);
}

/* Cut at any length: the whole records before the cut come back, and appending goes on from there. */
static void a_torn_tail_is_dropped(void **state)
{
    scratch *s = *state;
    for (int bytes = 0; bytes <= (RECORDS + 1) * RECORD; bytes += 31) {
        write_records(s);
        assert_int_equal(truncate(s->path, bytes), 0);
        wc_journal j = must_open(s, false);
        size_t whole = bytes / RECORD > 0 ? (size_t)bytes / RECORD - 1 : 0;
        assert_int_equal(j.n, whole);
        assert_int_equal(wc_journal_append(&s->ctx, &j, (wc_journal_record){.type = WC_JOURNAL_EDGE, .index = 9}),
                         WC_OK);
        wc_journal_close(&j, false);
        j = must_open(s, false);
        assert_int_equal(j.n, whole + 1);
        assert_non_null(wc_journal_find(&j, WC_JOURNAL_EDGE, 9, 0));
        wc_journal_close(&j, false);
    }
}

/* One damaged byte: no record from there on is believed. */
static void damage_ends_the_journal(void **state)
{
    scratch *s = *state;
    for (int at = 0; at < (RECORDS + 1) * RECORD; at += 17) {
        write_records(s);
        FILE *f = fopen(s->path, "r+b");
        fseek(f, at, SEEK_SET);
        int old = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(old ^ 0x10, f);
        fclose(f);
        wc_journal j = must_open(s, false);
        assert_int_equal(j.n, at / RECORD > 0 ? at / RECORD - 1 : 0);
        wc_journal_close(&j, false);
    }
}

static void another_fingerprint_is_refused(void **state)
{
    scratch *s = *state;
    wc_journal j;
    write_records(s);
    assert_int_equal(wc_journal_open(&s->ctx, s->path, s->dir, FINGERPRINT + 1, false, &j), WC_RESUME);
    assert_non_null(strstr(s->ctx.error, "--fresh"));
    j = must_open(s, false); /* the refusal harmed nothing */
    assert_int_equal(j.n, RECORDS);
    wc_journal_close(&j, false);
    wc_clear_error(&s->ctx);
    assert_int_equal(wc_journal_open(&s->ctx, s->path, s->dir, FINGERPRINT + 1, true, &j), WC_OK);
    assert_int_equal(j.n, 0);
    assert_false(j.resumed);
    wc_journal_close(&j, false);
}

/* Killed after the renaming of its output: the records are about bytes that are no longer there under that name. */
static void without_its_file_nothing_is_believed(void **state)
{
    scratch *s = *state;
    wc_journal j;
    write_records(s);
    assert_int_equal(wc_journal_open(&s->ctx, s->path, "/tmp/no such file", FINGERPRINT, false, &j), WC_OK);
    assert_true(j.lost && !j.resumed);
    assert_int_equal(j.n, 0);
    wc_journal_close(&j, false);
    j = must_open(s, false); /* dropped for good */
    assert_true(!j.lost && !j.resumed);
    wc_journal_close(&j, false);
}

/* For who is about to begin something else: a start record alone is nothing yet. */
static void an_unfinished_run_is_seen_from_outside(void **state)
{
    scratch *s = *state;
    assert_int_equal(wc_journal_absent(&s->ctx, s->path), WC_OK);
    wc_journal j = must_open(s, true);
    assert_int_equal(wc_journal_absent(&s->ctx, s->path), WC_OK);
    wc_journal_close(&j, false);
    write_records(s);
    assert_int_equal(wc_journal_absent(&s->ctx, s->path), WC_RESUME);
    assert_non_null(strstr(s->ctx.error, "--fresh"));
}

static void a_second_user_is_refused(void **state)
{
    scratch *s = *state;
    wc_journal first = must_open(s, false), second;
    assert_int_equal(wc_journal_open(&s->ctx, s->path, s->dir, FINGERPRINT, false, &second), WC_IO);
    assert_non_null(strstr(s->ctx.error, "another wcompress"));
    wc_journal_close(&first, false);
    second = must_open(s, false);
    wc_journal_close(&second, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_record_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_ends_the_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(another_fingerprint_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(without_its_file_nothing_is_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfinished_run_is_seen_from_outside, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_user_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
