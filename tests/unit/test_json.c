#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/escape.h"
#include "io/json.h"
#include "io_util.h"

static json_t *parse(const char *text)
{
    wc_ctx ctx = new_ctx();
    json_t *root;
    if (wc_json_parse(&ctx, text, strlen(text), "config.json", &root) != WC_OK) fail_msg("%s: %s", text, ctx.error);
    return root;
}

static void bad_documents_are_refused_with_label_line_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {{"", "line 1"},
                 {"{", "line 1"},
                 {"[1]", "top level"},
                 {"null", "top level"},
                 {"\"x\"", "top level"},
                 {"{} {}", "end of file"},
                 {"{\"a\": 1,}", "line 1"},
                 {"{\"a\": 1,\n \"a\": 2}", "line 2"},
                 {"{\"a\": 1, \"\\u0061\": 2}", "duplicate"},
                 {"{\"a\": NaN}", "line 1"},
                 {"{\"a\": Infinity}", "line 1"},
                 {"{\"a\": 1e999}", "line 1"},
                 {"{\"a\": 01}", "line 1"},
                 {"{\"a\": \"\xff\"}", "line 1"},
                 {"{\"a\": \"\\ud800\"}", "line 1"},
                 {"{\"\\u0000\": 1}", "line 1"},
                 {"{\"a\": \"\n\"}", "line 1"},
                 {"\xef\xbb\xbf{}", "line 1"},
                 {"{\"a\": /* no */ 1}", "line 1"},
                 {"{'a': 1}", "line 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx = new_ctx();
        json_t *root = (json_t *)&ctx;
        if (wc_json_parse(&ctx, cases[i].text, strlen(cases[i].text), "config.json", &root) != WC_BADFILE)
            fail_msg("accepted: %s", cases[i].text);
        assert_null(root);
        assert_text_contains(ctx.error, "config.json: ");
        assert_text_contains(ctx.error, cases[i].says);
    }
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    enum { DEEP = 100000, MANY = 9 << 20 };
    char *text = malloc(3 * MANY + 16);
    for (int legal = 0; legal < 2; legal++) { /* 128 levels pass, 129 and 10^5 do not */
        size_t depth = legal ? 127 : DEEP, n = (size_t)sprintf(text, "{\"a\":");
        memset(text + n, '[', depth);
        memset(text + n + depth, ']', depth);
        strcpy(text + n + 2 * depth, "}");
        wc_ctx ctx = new_ctx();
        json_t *root;
        assert_int_equal(wc_json_parse(&ctx, text, strlen(text), "x", &root), legal ? WC_OK : WC_BADFILE);
        if (!legal) assert_text_contains(ctx.error, "deeper than 128");
        json_decref(root);
    }
    size_t n = (size_t)sprintf(text, "{\"a\":[[]");
    for (int i = 1; i < MANY; i++, n += 3)
        memcpy(text + n, ",[]", 3);
    memcpy(text + n, "]}", 2);
    wc_ctx ctx = new_ctx();
    json_t *root;
    assert_int_equal(wc_json_parse(&ctx, text, n + 2, "x", &root), WC_BADFILE);
    assert_text_contains(ctx.error, "more than 8388608");
    free(text);
}

static void long_integers_become_reals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
        bool integer;
    } cases[] = {{"999999999999999999", 999999999999999999.0, true}, /* 18 digits */
                 {"-999999999999999999", -999999999999999999.0, true},
                 {"9223372036854775808", 9223372036854775808.0, false},
                 {"-9223372036854775808", -9223372036854775808.0, false},
                 {"1000000000000000019884624838656", 1e30, false},
                 {"0.12345678901234567890123", 0.12345678901234567890123, false},
                 {"12345678901234567890.5", 12345678901234567890.5, false},
                 {"1e3", 1000, false},
                 {"12345678901234567890e2", 1234567890123456789000.0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"s\": \"12345678901234567890\\\"98765432109876543210\", \"a\": %s}",
                 cases[i].text);
        json_t *root = parse(text), *v = json_object_get(root, "a");
        assert_int_equal(json_is_integer(v), cases[i].integer);
        /* 15 digits are kept: 1e-14 relative. A digit lost or an exponent off by one is 10 % or more. */
        double off = json_number_value(v) / cases[i].value - 1;
        if (!(off > -1e-14 && off < 1e-14)) fail_msg("%s read as %.17g", cases[i].text, json_number_value(v));
        /* Strings are left alone. */
        assert_string_equal(json_string_value(json_object_get(root, "s")),
                            "12345678901234567890\"98765432109876543210");
        json_decref(root);
    }
}

static void getters_take_defaults_for_missing_and_null(void **state)
{
    (void)state;
    json_t *o = parse("{\"n\": null, \"u\": 7, \"r\": 0.5, \"i\": 3, \"b\": true, \"s\": \"x\"}");
    static const char *const absent[] = {"missing", "n"};
    uint64_t u;
    double r;
    bool b;
    const char *s;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(wc_json_u64(NULL, o, absent[i], 42, "l", 1, 9, &u), WC_OK); /* a default may be out of range */
        assert_int_equal(u, 42);
        assert_int_equal(wc_json_real(NULL, o, absent[i], -2, "l", 0, 1, &r), WC_OK);
        assert_true(r == -2);
        assert_int_equal(wc_json_bool(NULL, o, absent[i], true, "l", &b), WC_OK);
        assert_true(b);
        assert_int_equal(wc_json_str(NULL, o, absent[i], "d", "l", &s), WC_OK);
        assert_string_equal(s, "d");
    }
    assert_int_equal(wc_json_u64(NULL, o, "u", 0, "l", 7, 7, &u), WC_OK);
    assert_int_equal(u, 7);
    assert_int_equal(wc_json_real(NULL, o, "r", 0, "l", 0, 1, &r), WC_OK);
    assert_true(r == 0.5);
    assert_int_equal(wc_json_real(NULL, o, "i", 0, "l", 0, 10, &r), WC_OK);
    assert_true(r == 3);
    assert_int_equal(wc_json_bool(NULL, o, "b", false, "l", &b), WC_OK);
    assert_true(b);
    assert_int_equal(wc_json_str(NULL, o, "s", NULL, "l", &s), WC_OK);
    assert_string_equal(s, "x");
    json_decref(o);
}

static void getters_refuse_wrong_types_and_ranges(void **state)
{
    (void)state;
    static const struct {
        char kind;
        const char *value, *says;
    } cases[] = {{'u', "1.0", "\"k\" is 1.0, expected an integer from 2 to 10"},
                 {'u', "1e1", "\"k\" is 10.0, expected"},
                 {'u', "\"4\"", "\"k\" is \"4\", expected"},
                 {'u', "-1", "\"k\" is -1"},
                 {'u', "1", "\"k\" is 1,"},
                 {'u', "11", "\"k\" is 11,"},
                 {'u', "true", "\"k\" is true"},
                 {'u', "[4]", "\"k\" is [4]"},
                 {'u', "12345678901234567890", "\"k\" is 1.2345678901234"},
                 {'r', "\"0.5\"", "expected a number from 0 to 1"},
                 {'r', "1.5", "\"k\" is 1.5"},
                 {'r', "false", "\"k\" is false"},
                 {'b', "1", "\"k\" is 1, expected true or false"},
                 {'b', "\"true\"", "expected true or false"},
                 {'s', "5", "\"k\" is 5, expected a string"},
                 {'s', "\"a\\u0000b\"", "without"},
                 {'s',
                  "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]",
                  "aaa..., expected a string"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"k\": %s}", cases[i].value);
        json_t *o = parse(text);
        wc_ctx ctx = new_ctx();
        uint64_t u = 99;
        double r = 99;
        bool b = true;
        const char *s = "99";
        wc_status status = cases[i].kind == 'u'   ? wc_json_u64(&ctx, o, "k", 0, "config.json", 2, 10, &u)
                           : cases[i].kind == 'r' ? wc_json_real(&ctx, o, "k", 0, "config.json", 0, 1, &r)
                           : cases[i].kind == 'b' ? wc_json_bool(&ctx, o, "k", false, "config.json", &b)
                                                  : wc_json_str(&ctx, o, "k", NULL, "config.json", &s);
        assert_int_equal(status, WC_BADFILE);
        assert_true(u == 99 && r == 99 && b && !strcmp(s, "99"));
        assert_text_contains(ctx.error, "config.json: ");
        assert_text_contains(ctx.error, cases[i].says);
        json_decref(o);
    }
}

static void files_are_read_up_to_a_limit(void **state)
{
    (void)state;
    wc_ctx ctx = new_ctx();
    json_t *root;
    put_file(in_scratch("a.json"), "{\"a\": 1}", 8);
    assert_int_equal(wc_json_read(&ctx, path_text, 8, &root), WC_OK);
    assert_int_equal(json_integer_value(json_object_get(root, "a")), 1);
    json_decref(root);
    assert_int_equal(wc_json_read(&ctx, path_text, 7, &root), WC_BADFILE);
    assert_int_equal(wc_json_read(&ctx, in_scratch("absent.json"), 7, &root), WC_IO);
}

static void names_are_escaped_for_a_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *name, *shown;
    } cases[] = {{"", ""},
                 {"model.layers.0", "model.layers.0"},
                 {"a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f"},
                 {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
                 {"bad\xff\xc3", "bad\\xff\\xc3"},
                 {"c1\xc2\x9b", "c1\\xc2\\x9b"},
                 {"bidi\xe2\x80\xae", "bidi\\xe2\\x80\\xae"},
                 {"line\xe2\x80\xa8", "line\\xe2\\x80\\xa8"},
                 {"a\\x", "a\\\\x"}};
    char shown[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(wc_escape_name(shown, sizeof shown, cases[i].name), cases[i].shown);
    assert_string_equal(wc_escape_name(shown, 8, "1234567"), "1234567"); /* just fits */
    assert_string_equal(wc_escape_name(shown, 8, "12345678"), "1234...");
    assert_string_equal(wc_escape_name(shown, 8,
                                       "123\xc3\xbc"
                                       "456"),
                        "123...");
    assert_string_equal(wc_escape_name(shown, 8, "\n\n"), "\\x0a...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_documents_are_refused_with_label_line_and_reason),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(long_integers_become_reals),
        cmocka_unit_test(getters_take_defaults_for_missing_and_null),
        cmocka_unit_test(getters_refuse_wrong_types_and_ranges),
        cmocka_unit_test(files_are_read_up_to_a_limit),
        cmocka_unit_test(names_are_escaped_for_a_terminal),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
