/* cmd_verify.c - `wcompress verify': proves that a .wcz is whole, decodes, and comes from a given model. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "input.h"
#include "io/escape.h"

typedef struct options {
    wc_cli_common common;
    const char *against;
} options;

static const wc_cli_option verify_options[] = {
    {"against", 'a', WC_CLI_TEXT, offsetof(options, against), "MODEL", "also prove that it was made from this model"},
    WC_CLI_COMMON(options),
};

static wc_status check_bytes(wc_ctx *ctx, const wc_wcz_reader *r)
{
    const char *bad = NULL;
    uint32_t size = 0;
    wcd_status s = wcd_verify(&r->file, &bad, &size);
    if (s == WCD_OK) return WC_OK;
    if (!bad) return wc_fail(ctx, WC_VERIFY, "%s: damaged outside the tensors (header or padding)", r->path);
    char name[256], shown[WC_SHOWN];
    snprintf(name, sizeof name, "%.*s", (int)size, bad);
    return wc_fail(ctx, WC_VERIFY, "%s: the bytes of `%s' do not match their checksum", r->path,
                   wc_escape_name(shown, sizeof shown, name));
}

/* Every numeric tensor decodes to finite values; those that are stored bit for bit may have others. */
static wc_status check_values(wc_ctx *ctx, const wc_wcz_reader *r)
{
    for (uint32_t i = 0; i < wcd_count(&r->file); i++) {
        wcd_tensor t;
        float *row;
        wcd_status s = wcd_at(&r->file, i, &t);
        if (s == WCD_OK && wcd_raw_rows(&t, 0, 0, NULL) == WCD_OK) continue;
        WC_TRY(WC_ALLOC(ctx, row, t.cols, "a row"));
        for (uint64_t k = 0; s == WCD_OK && k < t.rows; k++) {
            s = wcd_rows(&t, k, 1, row, t.cols);
            for (uint64_t j = 0; s == WCD_OK && j < t.cols; j++)
                if (!isfinite(row[j])) {
                    wc_fail(ctx, WC_VERIFY,
                            "%s: `%s' decodes to a value that is not finite at [%" PRIu64 ", %" PRIu64 "]", r->path,
                            wc_wcz_name(r, &t), k, j);
                    free(row);
                    return WC_VERIFY;
                }
        }
        free(row);
        if (s != WCD_OK && s != WCD_E_NOT_NUMERIC)
            return wc_fail(ctx, WC_VERIFY, "%s: `%s': %s", r->path, wc_wcz_name(r, &t), wcd_status_text(s));
    }
    return WC_OK;
}

static wc_status recorded_fingerprint(wc_ctx *ctx, const wc_wcz_reader *r, uint64_t *out)
{
    wc_buf text;
    WC_TRY(wc_wcz_meta_read(ctx, r, "provenance.json", &text));
    json_t *facts = json_loadb((char *)text.data, text.size, 0, NULL);
    const char *hex = json_string_value(json_object_get(json_object_get(facts, "model"), "fingerprint"));
    wc_status status = WC_OK;
    if (!hex || sscanf(hex, "%" SCNx64, out) != 1)
        status = wc_fail(ctx, WC_BADFILE, "%s: its provenance names no model", r->path);
    json_decref(facts);
    wc_buf_free(&text);
    return status;
}

static wc_status check_origin(wc_ctx *ctx, const wc_wcz_reader *r, const char *model)
{
    wc_checkpoint c;
    uint64_t recorded, found;
    WC_TRY(recorded_fingerprint(ctx, r, &recorded));
    WC_TRY(wc_checkpoint_open(ctx, model, &c));
    wc_status status = wc_checkpoint_fingerprint(ctx, &c, &found);
    wc_checkpoint_close(&c);
    if (status == WC_OK && found != recorded)
        status =
            wc_fail(ctx, WC_VERIFY,
                    "%s: was made from another model than %s (fingerprint %016" PRIx64 ", that one has %016" PRIx64 ")",
                    r->path, model, recorded, found);
    return status;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    const options *o = opt;
    wc_wcz_reader r;
    char size[32];
    (void)n;
    WC_TRY(wc_wcz_open(ctx, operand[0], &r));
    wc_status status = check_bytes(ctx, &r);
    if (status == WC_OK) status = check_values(ctx, &r);
    if (status == WC_OK && o->against) status = check_origin(ctx, &r, o->against);
    if (status == WC_OK)
        wc_report_result(report, "%s: good: %u tensors, %s, every checksum matches, every value decodes%s%s",
                         operand[0], wcd_count(&r.file), wc_size_text(r.map.size, size),
                         o->against ? ", made from " : "", o->against ? o->against : "");
    json_object_set_new(report->facts, "result",
                        json_pack("{s:o, s:b, s:o}", "file", wc_report_text(operand[0]), "good", status == WC_OK,
                                  "reason", wc_report_text(status == WC_OK ? "" : ctx->error)));
    wc_wcz_close(&r);
    return status;
}

const wc_command wc_command_verify = {
    .name = "verify",
    .operands = "FILE.wcz",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "prove that a .wcz is whole and decodes",
    .description =
        "Reads every byte: all checksums must match, all padding be zero, all values decode to finite numbers. With\n"
        "--against, the file must have been made from exactly that model. Exit code 4 if anything is wrong.\n\n"
        "  wcompress verify model.wcz --against model/",
    .opt_size = sizeof(options),
    .options = verify_options,
    .run = run,
};
