/* test_cli.c - sizes, options and operands as the user writes them; the tables behind them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "report.h"

static void sizes_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"1024", 1024},
        {"1024B", 1024},
        {"1KB", 1000},
        {"1KiB", 1024},
        {"500MB", 500000000},
        {"6GiB", 6442450944},
        {"1.5GiB", 1610612736},
        {"2 TiB", 2199023255552},
        {"0.5KiB", 512},
    };
    static const char *const bad[] = {"",     "G",     "8G",      "8g",  "8K",  "-1",   "-1GiB",
                                      "lots", "1GiBs", "1 GiB x", "nan", "inf", "1e30", "9000000TiB"};
    wc_ctx ctx;
    uint64_t bytes;
    (void)state;
    wc_ctx_init(&ctx, 1);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (wc_parse_size(&ctx, good[i].text, &bytes) != WC_OK) fail_msg("%s: %s", good[i].text, ctx.error);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (wc_parse_size(&ctx, bad[i], &bytes) != WC_OPTION)
            fail_msg("`%s' was taken for %llu", bad[i], (unsigned long long)bytes);
}

typedef struct options {
    wc_cli_common common;
    uint64_t count, size;
    double real;
    const char *text;
    wc_cli_list list;
    bool flag;
} options;

static const wc_cli_option table[] = {
    {"count", 'c', WC_CLI_COUNT, offsetof(options, count), "N", "a count"},
    {"size", 0, WC_CLI_SIZE, offsetof(options, size), "SIZE", "a size"},
    {"real", 0, WC_CLI_REAL, offsetof(options, real), "X", "a number"},
    {"text", 't', WC_CLI_TEXT, offsetof(options, text), "WORD", "a word"},
    {"list", 'l', WC_CLI_LIST, offsetof(options, list), "WORD", "words"},
    {"flag", 'f', WC_CLI_FLAG, offsetof(options, flag), NULL, "a flag"},
    WC_CLI_COMMON(options),
};

static void defaults(void *opt)
{
    ((options *)opt)->count = 42;
}

static const wc_command command = {.name = "test",
                                   .operands = "A [B]",
                                   .min_operands = 1,
                                   .max_operands = 2,
                                   .opt_size = sizeof(options),
                                   .options = table,
                                   .defaults = defaults};

/* Parses the words of a line; operands in `operand'. */
static wc_status parse(wc_ctx *ctx, const char *line, options *o, int *n, char **operand)
{
    static char copy[256];
    char *argv[20] = {"test"}, *save = NULL;
    int argc = 1;
    strcpy(copy, line);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    wc_ctx_init(ctx, 1);
    return wc_cli_parse(ctx, &command, argc, argv, o, n, operand);
}

static void options_and_operands_may_be_mixed(void **state)
{
    wc_ctx ctx;
    options o;
    int n;
    char *operand[20];
    (void)state;
    if (parse(&ctx, "one -c7 --size 2KiB --real=-0.5 -t x two -l a --list=b -f -j 3 --json", &o, &n, operand) != WC_OK)
        fail_msg("%s", ctx.error);
    assert_int_equal(n, 2);
    assert_string_equal(operand[0], "one");
    assert_string_equal(operand[1], "two");
    assert_int_equal(o.count, 7);
    assert_int_equal(o.size, 2048);
    assert_true(o.real == -0.5);
    assert_string_equal(o.text, "x");
    assert_int_equal(o.list.n, 2);
    assert_string_equal(o.list.item[1], "b");
    assert_true(o.flag && o.common.json && !o.common.quiet);
    assert_int_equal(o.common.threads, 3);
    wc_cli_free(&command, &o);
    assert_int_equal(parse(&ctx, "-- -c", &o, &n, operand), WC_OK);
    assert_string_equal(operand[0], "-c");
    assert_int_equal(o.count, 42); /* the default, and nothing left from before */
    assert_int_equal(o.list.n, 0);
    wc_cli_free(&command, &o);
    assert_int_equal(parse(&ctx, "--help", &o, &n, operand), WC_OK); /* asks for no operand */
    assert_true(o.common.help);
}

static void wrong_words_are_named(void **state)
{
    static const struct {
        const char *line, *sentence;
    } bad[] = {
        {"", "A [B] is missing"},
        {"one two three", "`three' is one operand too many"},
        {"one --zap", "unknown option `--zap'"},
        {"one -z", "unknown option"},
        {"one --count", "needs a value"},
        {"one --count x", "--count x: not a whole number"},
        {"one --count -1", "--count -1: not a whole number"},
        {"one --count 99999999999999999999", "not a whole number"},
        {"one --count 3x", "not a whole number"},
        {"one --real x", "--real x: not a number"},
        {"one --real inf", "--real inf: not a number"},
        {"one --size 3G", "`3G' is no size"},
        {"one --flag=3", "--flag"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_ctx ctx;
        options o;
        int n;
        char *operand[20];
        assert_int_equal(parse(&ctx, bad[i].line, &o, &n, operand), WC_OPTION);
        if (!strstr(ctx.error, bad[i].sentence))
            fail_msg("`%s': `%s' lacks `%s'", bad[i].line, ctx.error, bad[i].sentence);
        wc_cli_free(&command, &o);
    }
}

static void tables_hold_together(void **state)
{
    (void)state;
    for (const wc_command *const *c = wc_commands; *c; c++) {
        bool letter[128] = {false};
        assert_ptr_equal(wc_command_find((*c)->name), *c);
        for (const wc_cli_option *o = (*c)->options; o->name; o++) {
            assert_non_null(o->help);
            if ((o->type == WC_CLI_FLAG) != (o->arg == NULL))
                fail_msg("%s --%s: flags and only flags have no value", (*c)->name, o->name);
            for (const wc_cli_option *p = (*c)->options; p < o; p++)
                if (!strcmp(p->name, o->name)) fail_msg("%s has --%s twice", (*c)->name, o->name);
            if (!o->letter) continue;
            if (letter[(int)o->letter]) fail_msg("%s has -%c twice", (*c)->name, o->letter);
            letter[(int)o->letter] = true;
        }
    }
    assert_null(wc_command_find("zap"));
}

static void numbers_read_well(void **state)
{
    char text[32];
    (void)state;
    assert_string_equal(wc_size_text(512, text), "512 B");
    assert_string_equal(wc_size_text(1536, text), "1.50 KiB");
    assert_string_equal(wc_size_text((uint64_t)6 << 30, text), "6.00 GiB");
    assert_string_equal(wc_size_text(UINT64_MAX, text), "16384.00 PiB");
    assert_string_equal(wc_time_text(14.4, text), "0:14");
    assert_string_equal(wc_time_text(7509, text), "2:05:09");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_units),      cmocka_unit_test(options_and_operands_may_be_mixed),
        cmocka_unit_test(wrong_words_are_named), cmocka_unit_test(tables_hold_together),
        cmocka_unit_test(numbers_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
