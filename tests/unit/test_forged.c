/* What a .wcz says about itself may be anybody's words: `restore' writes no names that lead out of the folder and no
 * tensors that are not the original's, `--like' takes no recipe that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "replay.h"
#include "restore.h"
#include "wcz_util.h"

static void names_of_files(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } cases[] = {{"model.safetensors", true},
                 {"model-00001-of-00002.safetensors", true},
                 {"config.json", true},
                 {"caf\xc3\xa9.safetensors", true},
                 {"", false},
                 {".", false},
                 {"..", false},
                 {".hidden", false},
                 {"../x", false},
                 {"a/b", false},
                 {"/etc/passwd", false},
                 {"a\\b", false},
                 {"a\nb", false},
                 {"a\x1b[2J", false},
                 {"a\x7f", false}};
    char name[256] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (wc_restore_name(cases[i].name) != cases[i].good) fail_msg("%s", cases[i].name);
    memset(name, 'x', 200);
    assert_true(wc_restore_name(name));
    name[200] = 'x';
    assert_false(wc_restore_name(name));
}

static void must(const wc_ctx *ctx, wc_status status)
{
    if (status != WC_OK) fail_msg("%s: %s", wc_status_name(status), ctx->error);
}

/* A .wcz with one grid, not lossless, and a metadata entry. */
static void forge(const char *path, const char *entry, const void *data, size_t size)
{
    wc_ctx ctx;
    wc_wcz *z;
    wc_part part = grid_fill(grid_plan(4, 32, 4, 32, 0, false));
    wc_wcz_meta meta = {entry, data, size};
    wc_wcz_tensor tensor = {
        .name = "w", .source_dtype = WC_F16, .n_dims = 2, .dims = {4, 32}, .n_parts = 1, .parts = &part};
    char partial[300];
    wc_ctx_init(&ctx, 1);
    snprintf(partial, sizeof partial, "%s.partial", path);
    must(&ctx, wc_wcz_layout(&ctx, &tensor, 1, &meta, 1, &z));
    must(&ctx, wc_wcz_create(&ctx, z, partial));
    must(&ctx, wc_wcz_put(&ctx, z, 0, 0, &part, NULL));
    must(&ctx, wc_wcz_finish(&ctx, z, path));
    wc_wcz_free(&z);
    wc_part_free(&part);
}

/* A forged file is refused before the folder is made. */
static void forged_files_write_nothing(void **state)
{
    static const struct {
        const char *entry;
        wc_status status;
        const char *says;
    } cases[] = {
        {WC_HEADER_PREFIX "../evil.safetensors", WC_BADFILE, "no name of a file"},
        {WC_HEADER_PREFIX "/tmp/evil.safetensors", WC_BADFILE, "no name of a file"},
        {"../evil.json", WC_BADFILE, "no name of a file"},
        {"config.json", WC_UNSUPPORTED, "not made by `wcompress lossless'"},
        {WC_HEADER_PREFIX "model.safetensors", WC_UNSUPPORTED, "tensor 0 was compressed with loss"},
    };
    static const uint8_t header[] = {10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    char path[256], dir[256], evil[256];
    snprintf(path, sizeof path, "%s/forged.wcz", (char *)*state);
    snprintf(dir, sizeof dir, "%s/out", (char *)*state);
    snprintf(evil, sizeof evil, "%s/evil.safetensors", (char *)*state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx;
        wc_report report;
        wc_ctx_init(&ctx, 1);
        assert_int_equal(wc_report_init(&report, &ctx, "restore"), WC_OK);
        report.json = report.quiet = true;
        forge(path, cases[i].entry, header, sizeof header);
        wc_status s = wc_restore(&ctx, path, dir, true, &report);
        if (s != cases[i].status || !strstr(ctx.error, cases[i].says))
            fail_msg("%s: status %d, %s", cases[i].entry, s, ctx.error);
        assert_false(wc_file_exists(dir) || wc_file_exists(evil));
        wc_report_free(&report);
    }
}

/* A name is used as a rule's pattern, an index as a place in a list. */
static void forged_recipes_are_refused(void **state)
{
    static const struct {
        const char *provenance;
        wc_status status;
        const char *says;
    } cases[] = {
        {"{\"recipes\": [\"rtn(bits=4)\"], \"tensors\": {\"w\": 0}}", WC_OK, ""},
        {"{\"recipes\": [\"rtn(bits=4)\"], \"tensors\": {\"w*\": 0}}", WC_BADFILE, "no recipe that could be used"},
        {"{\"recipes\": [\"rtn(bits=4)\"], \"tensors\": {\"[a-z]\": 0}}", WC_BADFILE, "no recipe that could be used"},
        {"{\"recipes\": [\"rtn(bits=4)\"], \"tensors\": {\"w\": 1}}", WC_BADFILE, "no recipe that could be used"},
        {"{\"recipes\": [\"rtn(bits=4)\"], \"tensors\": {\"w\": -1}}", WC_BADFILE, "no recipe that could be used"},
        {"{\"recipes\": [7], \"tensors\": {\"w\": 0}}", WC_BADFILE, "no recipe that could be used"},
        {"{\"recipes\": {}, \"tensors\": {\"w\": 0}}", WC_BADFILE, "tells no recipes"},
        {"{}", WC_BADFILE, "tells no recipes"},
        {"no JSON", WC_BADFILE, "tells no recipes"},
    };
    char path[256];
    snprintf(path, sizeof path, "%s/forged.wcz", (char *)*state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wc_ctx ctx;
        wc_replay r;
        wc_ctx_init(&ctx, 1);
        forge(path, "provenance.json", cases[i].provenance, strlen(cases[i].provenance));
        wc_status s = wc_replay_read(&ctx, path, &r);
        if (s != cases[i].status || !strstr(ctx.error, cases[i].says))
            fail_msg("%s: status %d, %s", cases[i].provenance, s, ctx.error);
        wc_replay_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_files),
        cmocka_unit_test(forged_files_write_nothing),
        cmocka_unit_test(forged_recipes_are_refused),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
