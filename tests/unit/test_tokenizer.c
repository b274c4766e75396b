/* test_tokenizer.c - the tokenizer against ids recorded from the reference library
 * (scripts/record_tokenizer_fixtures.py), against a merge loop that looks for the best pair by brute force, on hostile
 * files and on texts without boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/text_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA "tests/data/tokenizer/"

static wc_ctx ctx;

static int setup(void **state)
{
    (void)state;
    wc_ctx_init(&ctx, 2);
    return 0;
}

static wc_tokenizer *open_file(const char *path)
{
    wc_buf json = {0};
    wc_tokenizer *t = NULL;
    if (wc_read_file(&ctx, path, 1 << 28, &json) != WC_OK ||
        wc_tokenizer_open(&ctx, (const char *)json.data, json.size, path, &t) != WC_OK)
        fail_msg("%s", ctx.error);
    wc_buf_free(&json);
    return t;
}

static wc_ids encode(const wc_tokenizer *t, const char *text, size_t size, unsigned flags)
{
    wc_ids ids = {0};
    if (wc_tokenizer_encode(&ctx, t, text, size, flags, &ids) != WC_OK) fail_msg("%s", ctx.error);
    return ids;
}

/* ---- recorded ids ---- */

static json_t *load_texts(void)
{
    json_error_t error;
    json_t *texts = json_load_file(DATA "texts.json", JSON_ALLOW_NUL, &error);
    if (!texts) fail_msg(DATA "texts.json: %s", error.text);
    return texts;
}

static void print_difference(const char *name, const char *line, const wc_ids *got)
{
    print_error("%s: recorded: %sgot:", name, line);
    for (size_t i = 0; i < got->n; i++)
        print_error(" %u", got->id[i]);
    print_error("\n");
}

/* One line "TEXT MODE ids..."; true when we give the same ids. */
static bool check_line(const wc_tokenizer *t, const char *name, const json_t *texts, const char *line)
{
    char *p;
    size_t number = strtoul(line, &p, 10);
    char mode = p[1];
    p += 2;
    const json_t *text = json_array_get(texts, number);
    assert_non_null(text);
    wc_ids ids = encode(t, json_string_value(text), json_string_length(text),
                        mode == 't'   ? WC_ENCODE_TEMPLATE
                        : mode == 's' ? WC_ENCODE_PLAIN_SPECIAL
                                      : 0);
    bool same = true;
    size_t i = 0;
    for (; *p == ' '; i++) {
        uint32_t id = (uint32_t)strtoul(p, &p, 10);
        same = same && i < ids.n && ids.id[i] == id;
    }
    same = same && i == ids.n;
    if (!same) print_difference(name, line, &ids);
    wc_ids_free(&ids);
    return same;
}

static void check_recorded(const char *name, const char *json_path)
{
    char path[256], *line = NULL;
    size_t capacity = 0, lines = 0, wrong = 0;
    snprintf(path, sizeof path, DATA "%s.ids", name);
    json_t *texts = load_texts();
    wc_tokenizer *t = open_file(json_path);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (; getline(&line, &capacity, f) > 0; lines++)
        wrong += !check_line(t, name, texts, line);
    free(line);
    fclose(f);
    json_decref(texts);
    wc_tokenizer_free(&t);
    if (wrong) fail_msg("%s: %zu of %zu lines differ", name, wrong, lines);
    assert_true(lines > 150);
}

static void families_give_the_recorded_ids(void **state)
{
    static const char *const names[] = {
        "gpt2",    "llama3",    "qwen2", "o200k",        "deepseek",         "starcoder",
        "roberta", "llama2",    "gemma", "llama2_first", "metaspace_always", "lowercase",
        "words",   "oniguruma", "tiny"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, DATA "%s.json", names[i]);
        check_recorded(names[i], path);
    }
}

static void real_models_give_the_recorded_ids(void **state)
{
    static const char *const names[] = {"docs4m", "stories260k", "aidreams260k"};
    const char *shared = getenv("WC_SHARED");
    size_t found = 0;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, "tests/data/%s/tokenizer.json", names[i]);
        if (!wc_file_exists(path))
            snprintf(path, sizeof path, "%s/models/%s/tokenizer.json", shared ? shared : "../shared", names[i]);
        if (!wc_file_exists(path)) {
            print_message("%s: no tokenizer.json here\n", names[i]);
            continue;
        }
        check_recorded(names[i], path);
        found++;
    }
    if (!found) skip();
}

/* ---- decoding ---- */

static void byte_level_ids_decode_to_the_text(void **state)
{
    static const char *const names[] = {"gpt2", "llama3", "o200k", "deepseek", "starcoder"};
    json_t *texts = load_texts();
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[256];
        snprintf(path, sizeof path, DATA "%s.json", names[k]);
        wc_tokenizer *t = open_file(path);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *text = json_array_get(texts, i);
            wc_ids ids = encode(t, json_string_value(text), json_string_length(text), 0);
            wc_buf out = {0};
            assert_int_equal(wc_tokenizer_decode(&ctx, t, ids.id, ids.n, &out), WC_OK);
            assert_int_equal(out.size, json_string_length(text));
            if (out.size) assert_memory_equal(out.data, json_string_value(text), out.size);
            wc_buf_free(&out);
            wc_ids_free(&ids);
        }
        wc_tokenizer_free(&t);
    }
    json_decref(texts);
}

static void sentencepiece_ids_decode_with_bytes_and_spaces(void **state)
{
    static const char text[] = "The quick\n fox \xf0\x9f\x98\x80</s>", want[] = " The quick\n fox \xf0\x9f\x98\x80</s>";
    static const uint32_t padding_row = 1 << 20;
    wc_tokenizer *t = open_file(DATA "llama2.json");
    wc_ids ids = encode(t, text, sizeof text - 1, 0);
    wc_buf out = {0};
    (void)state;
    assert_int_equal(wc_ids_append(&ctx, &ids, &padding_row, 1), WC_OK);
    assert_int_equal(wc_tokenizer_decode(&ctx, t, ids.id, ids.n, &out), WC_OK);
    assert_int_equal(out.size, sizeof want - 1);
    assert_memory_equal(out.data, want, out.size);
    wc_buf_free(&out);
    wc_ids_free(&ids);
    wc_tokenizer_free(&t);
}

/* The mapping is a bijection; the listed pairs are from GPT-2's encoder. */
static void byte_alphabet_is_the_published_one(void **state)
{
    static const struct {
        uint8_t byte;
        uint32_t cp;
    } known[] = {{0, 0x100},   {9, 0x109},   {10, 0x10a}, {32, 0x120}, {33, 33},     {126, 126}, {127, 0x121},
                 {128, 0x122}, {160, 0x142}, {161, 161},  {172, 172},  {173, 0x143}, {174, 174}, {255, 255}};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(wci_byte_char(known[i].byte), known[i].cp);
    size_t mapped = 0;
    for (uint32_t cp = 0; cp < 0x400; cp++) {
        uint8_t byte;
        if (!wci_char_byte(cp, &byte)) continue;
        assert_int_equal(wci_byte_char(byte), cp);
        mapped++;
    }
    assert_int_equal(mapped, 256);
}

/* ---- asking ---- */

static void questions_are_answered(void **state)
{
    uint32_t id = 0, eot = 0;
    wc_tokenizer *t = open_file(DATA "llama3.json");
    (void)state;
    assert_true(wc_tokenizer_bos(t, &id));
    assert_true(wc_tokenizer_token_id(t, "<|begin_of_text|>", &eot));
    assert_int_equal(id, eot);
    assert_true(wc_tokenizer_token_id(t, "<|eot_id|>", &eot));
    assert_int_equal(wc_tokenizer_size(t), eot + 1); /* it was added last */
    assert_true(wc_tokenizer_token_id(t, "\xc4\xa0the", &id));
    assert_false(wc_tokenizer_token_id(t, "no such token", &id));
    wc_tokenizer_free(&t);
    t = open_file(DATA "gpt2.json");
    assert_false(wc_tokenizer_bos(t, &id));
    wc_tokenizer_free(&t);
    wc_tokenizer_free(&t);
    wc_tokenizer_free(NULL);
}

/* ---- invalid UTF-8 ---- */

static int warnings;
static void count_warning(void *user, wc_log_level level, const char *line)
{
    (void)user;
    (void)line;
    warnings += level == WC_LOG_WARN;
}

static void invalid_utf8_becomes_replacement_characters(void **state)
{
    /* The maximal-subpart examples of the Unicode standard, tables 3-8 to 3-11. */
    static const struct {
        const char *bad, *good;
    } cases[] = {{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "????????A"},
                 {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "????????A"},
                 {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "?????A??B"},
                 {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "????A"},
                 {"ok \xe4\xbd", "ok ?"}};
    wc_tokenizer *t = open_file(DATA "gpt2.json");
    (void)state;
    ctx.log = count_warning;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_buf good = {0};
        for (const char *p = cases[i].good; *p; p++)
            wc_buf_append(&ctx, &good, *p == '?' ? "\xef\xbf\xbd" : p, *p == '?' ? 3 : 1);
        warnings = 0;
        wc_ids a = encode(t, cases[i].bad, strlen(cases[i].bad), 0);
        assert_int_equal(warnings, 1);
        wc_ids b = encode(t, (const char *)good.data, good.size, 0);
        assert_int_equal(warnings, 1);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
        wc_ids_free(&a);
        wc_ids_free(&b);
        wc_buf_free(&good);
    }
    ctx.log = NULL;
    wc_tokenizer_free(&t);
}

/* ---- the merge loop ---- */

enum { LETTERS = 3, TOKENS = 40 };

/* Merges by looking for the lowest rank, leftmost, each time: the definition. rank[a][b] is -1 or an index of merges.
 */
static size_t merge_by_definition(uint32_t *id, size_t n, int rank[TOKENS][TOKENS], const uint32_t *result)
{
    for (;;) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++) {
            int r = rank[id[i]][id[i + 1]];
            if (r >= 0 && (best == n || r < rank[id[best]][id[best + 1]])) best = i;
        }
        if (best == n) return n;
        id[best] = result[rank[id[best]][id[best + 1]]];
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        n--;
    }
}

static void merge_loop_equals_its_definition(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 60; round++) {
        char spelling[TOKENS][64] = {"a", "b", "c"}, text[120];
        int rank[TOKENS][TOKENS];
        uint32_t result[TOKENS], tokens = LETTERS, merges = 0;
        wc_buf json = {0}, list = {0};
        memset(rank, -1, sizeof rank);
        wc_buf_printf(&ctx, &json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2");
        while (tokens < 20) {
            uint32_t a = (uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % tokens;
            uint32_t b = (uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % tokens,
                     same = 0;
            char both[130];
            snprintf(both, sizeof both, "%s%s", spelling[a], spelling[b]);
            while (same < tokens && strcmp(spelling[same], both))
                same++;
            if (strlen(both) > 12 || rank[a][b] >= 0) continue;
            if (same == tokens) {
                snprintf(spelling[tokens], sizeof *spelling, "%.60s", both);
                wc_buf_printf(&ctx, &json, ",\"%s\":%u", both, tokens++);
            }
            rank[a][b] = (int)merges;
            result[merges] = same;
            wc_buf_printf(&ctx, &list, "%s\"%s %s\"", merges ? "," : "", spelling[a], spelling[b]);
            if (++merges == TOKENS) break;
        }
        wc_buf_printf(&ctx, &json, "},\"merges\":[%s]}}", (const char *)list.data);
        wc_tokenizer *t = NULL;
        if (wc_tokenizer_open(&ctx, (const char *)json.data, json.size, "random", &t) != WC_OK)
            fail_msg("%s", ctx.error);
        for (int k = 0; k < 40; k++) {
            uint32_t want[sizeof text];
            size_t n = 1 + (size_t)k * 3 % (sizeof text - 1);
            for (size_t i = 0; i < n; i++) {
                want[i] = (uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 40) % LETTERS;
                text[i] = (char)('a' + want[i]);
            }
            size_t m = merge_by_definition(want, n, rank, result);
            wc_ids ids = encode(t, text, n, 0);
            assert_int_equal(ids.n, m);
            assert_memory_equal(ids.id, want, m * sizeof *want);
            wc_ids_free(&ids);
        }
        wc_tokenizer_free(&t);
        wc_buf_free(&json);
        wc_buf_free(&list);
    }
}

/* A quadratic step would take minutes here; the whole test takes under a second or two. */
static void a_megabyte_without_boundaries_is_no_problem(void **state)
{
    static const struct {
        const char *file, *unit;
    } cases[] = {{"llama2", "a"},
                 {"llama2", "\xe2\x96\x81"},
                 {"llama2", " "},
                 {"gpt2", "a"},
                 {"gpt2", " "},
                 {"llama3", " "},
                 {"o200k", "a"},
                 {"o200k", "A"},
                 {"deepseek", "\n"},
                 {"roberta", " "},
                 {"metaspace_always", " "}};
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 4);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256];
        size_t unit = strlen(cases[i].unit), size = SIZE / unit * unit;
        snprintf(path, sizeof path, DATA "%s.json", cases[i].file);
        for (size_t k = 0; k < size; k += unit)
            memcpy(text + k, cases[i].unit, unit);
        double start = wc_now();
        wc_tokenizer *t = open_file(path);
        wc_ids ids = encode(t, text, size, 0);
        assert_true(ids.n > 0);
        print_message("%-16s 1 MiB of %-3s: %7zu ids, %.2f s\n", cases[i].file, cases[i].unit, ids.n, wc_now() - start);
        wc_ids_free(&ids);
        wc_tokenizer_free(&t);
    }
    free(text);
}

static void a_large_vocabulary_opens(void **state)
{
    enum { N = 250000 };
    wc_buf json = {0};
    wc_tokenizer *t = NULL;
    uint32_t id;
    (void)state;
    wc_buf_printf(&ctx, &json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0");
    for (int i = 1; i < N; i++)
        wc_buf_printf(&ctx, &json, ",\"token%d\":%d", i, i);
    wc_buf_printf(&ctx, &json, "},\"merges\":[]},\"added_tokens\":[]}");
    double start = wc_now();
    if (wc_tokenizer_open(&ctx, (const char *)json.data, json.size, "large", &t) != WC_OK) fail_msg("%s", ctx.error);
    print_message("%d tokens open in %.2f s\n", N, wc_now() - start);
    assert_int_equal(wc_tokenizer_size(t), N);
    assert_true(wc_tokenizer_token_id(t, "token249999", &id));
    assert_int_equal(id, 249999);
    wc_tokenizer_free(&t);
    wc_buf_free(&json);
}

/* ---- files that lie ---- */

#define BPE(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define AB                 BPE("\"a\":0,\"b\":1", "")

static const struct bad_file {
    const char *json;
    wc_status status;
    const char *sentence; /* a part of it */
} bad_files[] = {
    {"", WC_BADFILE, "not valid JSON"},
    {"[]", WC_BADFILE, "must be a JSON object"},
    {"{}", WC_BADFILE, "`model' must be"},
    {"{\"model\":{\"type\":\"BPE\"}}", WC_BADFILE, "`vocab' must be"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", WC_UNSUPPORTED, "Unigram models are not supported yet"},
    {"{\"model\":{\"vocab\":[]}}", WC_UNSUPPORTED, "Unigram models are not supported yet"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", WC_UNSUPPORTED, "WordPiece models are not supported yet"},
    {"{" BPE("\"a\":0,\"a\":1", "") "}", WC_BADFILE, "duplicate object key"},
    {"{" BPE("\"a\":-1", "") "}", WC_BADFILE, "token id -1 is not in"},
    {"{" BPE("\"a\":16777216", "") "}", WC_BADFILE, "token id 16777216 is not in"},
    {"{" BPE("\"a\":0.5", "") "}", WC_BADFILE, "must be an integer"},
    {"{" BPE("\"a\":0", "\"a a\"") "}", WC_BADFILE, "merge 0 has a part or a result"},
    {"{" BPE("\"a\":0,\"aa\":1", "\"a  a\"") "}", WC_BADFILE, "a merge must be two tokens"},
    {"{" BPE("\"a\":0,\"aa\":1", "\"aa\"") "}", WC_BADFILE, "a merge must be two tokens"},
    {"{" BPE("\"a\":0,\"aa\":1", "[\"a\",\"a\",\"a\"]") "}", WC_BADFILE, "a merge must be two tokens"},
    {"{" BPE("\"a\":0,\"aa\":1", "7") "}", WC_BADFILE, "a merge must be two tokens"},
    {"{" BPE("\"\\u0000\":0,\"\xf4\x8f\xbf\xbf\":1", "") "}", WC_UNSUPPORTED, "both U+0000 and U+10FFFF"},
    {"{" AB ",\"added_tokens\":{}}", WC_BADFILE, "`added_tokens' must be an array"},
    {"{" AB ",\"added_tokens\":[{\"id\":2}]}", WC_BADFILE, "`content' must be a string"},
    {"{" AB ",\"added_tokens\":[{\"id\":2,\"content\":\"x\",\"special\":1}]}", WC_BADFILE,
     "`special' must be true or false"},
    {"{" AB ",\"normalizer\":{\"type\":\"Precompiled\"}}", WC_UNSUPPORTED, "the normalizer `Precompiled'"},
    {"{" AB ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":7,\"content\":\"\"}}", WC_BADFILE,
     "`Regex' must be a string"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", WC_UNSUPPORTED, "the pre-tokenizer `UnicodeScripts'"},
    {"{" AB ",\"pre_tokenizer\":7}", WC_BADFILE, "an object with a `type'"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Odd\"}}", WC_BADFILE,
     "`behavior'"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"}}}", WC_UNSUPPORTED,
     "regular expression at byte"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}}", WC_UNSUPPORTED,
     "a class inside a class"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?R)\"}}}", WC_UNSUPPORTED,
     "this kind of (?...)"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\Ga\"}}}", WC_UNSUPPORTED,
     "the escape \\G"},
    {"{" AB ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}}", WC_BADFILE, "must be one character"},
    {"{" AB ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}", WC_UNSUPPORTED, "0 times the text"},
    {"{" AB ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}}",
     WC_BADFILE, "token `x' has no ids"},
};

static void damaged_files_are_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        const struct bad_file *b = &bad_files[i];
        wc_tokenizer *t = NULL;
        wc_clear_error(&ctx);
        wc_status status = wc_tokenizer_open(&ctx, b->json, strlen(b->json), "bad.json", &t);
        assert_null(t);
        if (status != b->status || !strstr(ctx.error, b->sentence))
            fail_msg("%s\n  gave %s: %s", b->json, wc_status_name(status), ctx.error);
        assert_non_null(strstr(ctx.error, "bad.json"));
    }
}

static void a_real_file_cut_anywhere_is_refused(void **state)
{
    wc_buf json = {0};
    (void)state;
    assert_int_equal(wc_read_file(&ctx, DATA "tiny.json", 1 << 20, &json), WC_OK);
    for (size_t size = 0; size < json.size; size++) {
        wc_tokenizer *t = NULL;
        assert_int_equal(wc_tokenizer_open(&ctx, (const char *)json.data, size, "cut", &t), WC_BADFILE);
    }
    wc_buf_free(&json);
}

/* Files that open, but would explode on this text; ids that were there before stay. */
static void explosions_are_stopped(void **state)
{
    static const char *const files[] = {
        "{" AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+)+$\"},\"behavior\":\"Isolated\"}}",
        "{" AB ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s{\"type\":\"NFC\"}]}}",
    };
    static const char doubling[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"},";
    static const uint32_t before[] = {3, 1};
    char text[64];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b'; /* so that the pattern cannot match, which takes 2^62 steps to see */
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        wc_buf json = {0}, steps = {0};
        wc_tokenizer *t = NULL;
        wc_ids ids = {0};
        for (int k = 0; k < 30; k++)
            wc_buf_append(&ctx, &steps, doubling, sizeof doubling - 1);
        wc_buf_append(&ctx, &steps, "", 1);
        const char *hole = strstr(files[i], "%s");
        if (hole)
            wc_buf_printf(&ctx, &json, "%.*s%s%s", (int)(hole - files[i]), files[i], (const char *)steps.data,
                          hole + 2);
        else
            wc_buf_printf(&ctx, &json, "%s", files[i]);
        assert_int_equal(wc_tokenizer_open(&ctx, (const char *)json.data, json.size, "bomb", &t), WC_OK);
        assert_int_equal(wc_ids_append(&ctx, &ids, before, 2), WC_OK);
        assert_int_equal(wc_tokenizer_encode(&ctx, t, text, sizeof text, 0, &ids), WC_BADFILE);
        assert_int_equal(ids.n, 2);
        wc_ids_free(&ids);
        wc_tokenizer_free(&t);
        wc_buf_free(&json);
        wc_buf_free(&steps);
    }
}

/* ---- threads ---- */

static void threads_share_one_tokenizer(void **state)
{
    static const char text[] =
        "The quick brown fox; it's 1234 times as quick as the lazy dog.\n\n  def f(x):\n\treturn x";
    wc_tokenizer *t = open_file(DATA "llama3.json");
    wc_ids want = encode(t, text, sizeof text - 1, 0);
    int wrong = 0;
    (void)state;
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (int i = 0; i < 200; i++) {
        wc_ids ids = {0};
        wrong += wc_tokenizer_encode(&ctx, t, text, sizeof text - 1, 0, &ids) != WC_OK || ids.n != want.n ||
                 memcmp(ids.id, want.id, want.n * sizeof *want.id) != 0;
        wc_ids_free(&ids);
    }
    assert_int_equal(wrong, 0);
    wc_ids_free(&want);
    wc_tokenizer_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(families_give_the_recorded_ids, setup),
        cmocka_unit_test_setup(real_models_give_the_recorded_ids, setup),
        cmocka_unit_test_setup(byte_level_ids_decode_to_the_text, setup),
        cmocka_unit_test_setup(sentencepiece_ids_decode_with_bytes_and_spaces, setup),
        cmocka_unit_test_setup(byte_alphabet_is_the_published_one, setup),
        cmocka_unit_test_setup(questions_are_answered, setup),
        cmocka_unit_test_setup(invalid_utf8_becomes_replacement_characters, setup),
        cmocka_unit_test_setup(merge_loop_equals_its_definition, setup),
        cmocka_unit_test_setup(a_megabyte_without_boundaries_is_no_problem, setup),
        cmocka_unit_test_setup(a_large_vocabulary_opens, setup),
        cmocka_unit_test_setup(damaged_files_are_refused_with_a_sentence, setup),
        cmocka_unit_test_setup(a_real_file_cut_anywhere_is_refused, setup),
        cmocka_unit_test_setup(explosions_are_stopped, setup),
        cmocka_unit_test_setup(threads_share_one_tokenizer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
