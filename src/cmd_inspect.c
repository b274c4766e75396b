/* cmd_inspect.c - `wcompress inspect': explains a file fully, without reading its blobs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "input.h"
#include "io/escape.h"

typedef struct options {
    wc_cli_common common;
} options;

static const wc_cli_option inspect_options[] = {WC_CLI_COMMON(options)};

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t u64_at(const uint8_t *p)
{
    return u32_at(p) | (uint64_t)u32_at(p + 4) << 32;
}

/* "2:4" or "50% mask", and " x16" for blocks, from layout, n, m and the number of values. */
static void positions_text(const wcd_part_info *p, const uint8_t *layout, uint64_t nnz, uint32_t block, char *dst,
                           size_t size)
{
    static const char *const layouts[] = {"16-bit columns", "32-bit columns", "mask"};
    char blocks[24] = "";
    if (block) snprintf(blocks, sizeof blocks, " x%u", block);
    if (layout[0] == 3)
        snprintf(dst, size, "%u:%u%s", layout[1], layout[2], blocks);
    else
        snprintf(dst, size, "%.4g%% %s%s", 100.0 * (double)nnz / ((double)p->rows * (double)p->cols),
                 layouts[layout[0]], blocks);
}

static void sparse_text(const wcd_part_info *p, char *dst, size_t size)
{
    char positions[48];
    positions_text(p, p->params + 1, u64_at(p->params + 8), u32_at(p->params + 16), positions, sizeof positions);
    snprintf(dst, size, "sparse %s %s", positions, wc_dtype_name((wc_dtype)p->params[0]));
}

/* "50% mask" of a grid or a lut with holes, else "". */
static void holes_text(const wcd_part_info *p, char dst[48])
{
    dst[0] = 0;
    if (p->params[12]) positions_text(p, p->params + 12, u64_at(p->params + 16), u32_at(p->params + 24), dst, 48);
}

static void grid_text(const wcd_part_info *p, char *dst, size_t size)
{
    char holes[48];
    holes_text(p, holes);
    snprintf(dst, size, "grid %ub g%u%s%s%s%s", p->params[0], u32_at(p->params + 4), p->params[2] ? " asym" : " sym",
             p->params[1] ? " two-level" : "", *holes ? " of " : "", holes);
}

static void lut_text(const wcd_part_info *p, char *dst, size_t size)
{
    static const char *const tables[] = {"one table", "row tables", "group tables"};
    char holes[48];
    holes_text(p, holes);
    snprintf(dst, size, "lut %ub g%u %s%s%s%s", p->params[0], u32_at(p->params + 4), tables[p->params[1]],
             p->params[2] ? " scaled" : "", *holes ? " of " : "", holes);
}

/* "vq 2x8b d8 i8 scaled signs": codebooks x bits of a code, columns of a vector, entries of a codebook. */
static void vq_text(const uint8_t *params, char *dst, size_t size)
{
    snprintf(dst, size, "vq %ux%ub d%u %s%s%s%s", params[1], params[2], params[0], params[4] == 8 ? "i8" : "f16",
             u32_at(params + 12) || u32_at(params + 16) ? " blocks" : "", params[5] ? " scaled" : "",
             params[7] ? " signs" : "");
}

/* "grid 3b g128 sym" from the parameters of a part; see the cards in docs/FORMAT.md. */
static void leaf_text(const wcd_part_info *p, char *dst, size_t size)
{
    static const char *const forms[] = {"signs %u levels r%u", "signs %u planes g%u", "signs %u x %u experts"};
    uint32_t group = u32_at(p->params + 4);
    if (!strcmp(p->kind_name, "grid"))
        grid_text(p, dst, size);
    else if (!strcmp(p->kind_name, "lut"))
        lut_text(p, dst, size);
    else if (!strcmp(p->kind_name, "vq"))
        vq_text(p->params, dst, size);
    else if (!strcmp(p->kind_name, "coded"))
        snprintf(dst, size, "coded %.4gb %u states", 8.0 * (double)p->blob_size / ((double)p->rows * (double)p->cols),
                 1u << p->params[0]);
    else if (!strcmp(p->kind_name, "sparse"))
        sparse_text(p, dst, size);
    else if (!strcmp(p->kind_name, "signs"))
        snprintf(dst, size, forms[p->params[0]], p->params[1], group);
    else if (!strcmp(p->kind_name, "hadamard"))
        snprintf(dst, size, "hadamard %u", 1u << p->params[0]);
    else if (!strcmp(p->kind_name, "float"))
        snprintf(dst, size, "float %s%s", wc_dtype_name((wc_dtype)p->params[0]), p->params[1] ? " coded" : "");
    else if (!strcmp(p->kind_name, "ggml"))
        snprintf(dst, size, "ggml %s", wc_ggml_type_by_id(p->params[0])->name);
    else
        snprintf(dst, size, "%s", p->kind_name);
}

/* The same for a part with its factors: "lowrank r64 (float F16 x grid 4b g128 sym)", "lowrank cur r64 (C x R x U)".
 * *bytes: of all their blobs. */
static void part_text(const wcd_tensor *t, const wcd_part_info *p, char *dst, size_t size, uint64_t *bytes)
{
    static const char *const forms[] = {"", " cur", " pivot", " mpo"};
    *bytes = p->blob_size;
    if (!p->n_children) {
        leaf_text(p, dst, size);
        return;
    }
    int used = snprintf(dst, size, "%s%s r%u", p->kind_name, forms[p->params[4]], u32_at(p->params));
    for (uint32_t k = 0; k < p->n_children && used > 0 && (size_t)used < size; k++) {
        char factor[96] = "";
        wcd_part_info child;
        if (wcd_part_child(t, p, k, &child) != WCD_OK) continue;
        leaf_text(&child, factor, sizeof factor);
        used += snprintf(dst + used, size - (size_t)used, "%s%s%s", k ? " x " : " (", factor,
                         k + 1 == p->n_children ? ")" : "");
        *bytes += child.blob_size;
    }
}

typedef struct totals {
    uint64_t weights, bytes, compressed_weights, compressed_bytes;
    size_t compressed, fallbacks;
    double error_sum, error_max;
    size_t errors;
} totals;

static void show_tensor(const wcd_tensor *t, const char *name, json_t *list, totals *sum, wc_report *report)
{
    char shown[WC_SHOWN], parts[1024] = "", shape[64], error[32] = "";
    uint64_t bytes = 0;
    bool compressed = false;
    json_t *part_list = json_array(), *transforms = json_array();
    for (uint32_t i = 0; i < t->n_parts + t->n_transforms; i++) {
        wcd_part_info p;
        char one[256];
        uint64_t part_bytes;
        if (wcd_part(t, i, &p) != WCD_OK) continue;
        part_text(t, &p, one, sizeof one, &part_bytes);
        /* An input meets the transforms first, in their order. */
        const char *between = i >= t->n_parts ? ", inputs " : i ? " + " : "";
        snprintf(parts + strlen(parts), sizeof parts - strlen(parts), "%s%s", between, one);
        json_array_append_new(
            i < t->n_parts ? part_list : transforms,
            json_pack("{s:s, s:s, s:I}", "kind", p.kind_name, "text", one, "bytes", (json_int_t)part_bytes));
        bytes += part_bytes;
        compressed |= strcmp(p.kind_name, "float") != 0;
    }
    uint64_t weights = t->rows * t->cols;
    sum->weights += weights, sum->bytes += bytes;
    if (compressed) sum->compressed++, sum->compressed_weights += weights, sum->compressed_bytes += bytes;
    if (compressed && isfinite(t->error)) {
        sum->errors++, sum->error_sum += t->error;
        if (t->error > sum->error_max) sum->error_max = t->error;
        snprintf(error, sizeof error, "%.5f%s", t->error, t->flags & WCD_TENSOR_ERROR_PLAIN ? " (|W|)" : "");
    }
    bool fallback = t->flags & WCD_TENSOR_FALLBACK;
    sum->fallbacks += fallback;
    snprintf(shape, sizeof shape, "%llu x %llu", (unsigned long long)t->rows, (unsigned long long)t->cols);
    wc_report_result(report, "%-48s %-5s %15s %12llu B %7.3f b  %-24s %s%s", wc_escape_name(shown, sizeof shown, name),
                     wc_dtype_name((wc_dtype)t->source_dtype), shape, (unsigned long long)bytes,
                     weights ? 8.0 * (double)bytes / (double)weights : 0, parts, error, fallback ? " fallback" : "");
    json_array_append_new(
        list, json_pack("{s:s%, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:b}", "name", t->name, (size_t)t->name_size,
                        "source_dtype", wc_dtype_name((wc_dtype)t->source_dtype), "rows", (json_int_t)t->rows, "cols",
                        (json_int_t)t->cols, "bytes", (json_int_t)bytes, "parts", part_list, "transforms", transforms,
                        "error", wc_report_number(compressed ? t->error : NAN), "error_is_plain",
                        (t->flags & WCD_TENSOR_ERROR_PLAIN) != 0, "fallback", fallback));
}

static wc_status show_metas(wc_ctx *ctx, const wc_wcz_reader *r, wc_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < wcd_meta_count(&r->file); i++) {
        wcd_meta m;
        if (wcd_meta_at(&r->file, i, &m) != WCD_OK) continue;
        wc_report_result(report, "carries %.*s (%llu bytes stored, %llu raw)", (int)m.name_size, m.name,
                         (unsigned long long)m.size, (unsigned long long)m.raw_size);
        json_array_append_new(list, json_pack("{s:s%, s:I, s:I}", "name", m.name, (size_t)m.name_size, "stored",
                                              (json_int_t)m.size, "raw", (json_int_t)m.raw_size));
    }
    json_object_set_new(report->facts, "metadata", list);
    wcd_meta m;
    wc_buf text = {0};
    if (wcd_meta_find(&r->file, "provenance.json", &m) != WCD_OK) return WC_OK;
    WC_TRY(wc_wcz_meta_read(ctx, r, "provenance.json", &text));
    json_t *facts = json_loadb((char *)text.data, text.size, 0, NULL);
    json_t *brief = facts ? json_deep_copy(facts) : NULL;
    json_object_del(brief, "tensors"); /* one line per tensor follows anyway */
    char *shown = brief ? json_dumps(brief, JSON_INDENT(1)) : NULL;
    if (shown) wc_report_result(report, "made by %s", shown);
    free(shown);
    json_decref(brief);
    if (facts) json_object_set_new(report->facts, "provenance", facts);
    wc_buf_free(&text);
    return WC_OK;
}

static wc_status inspect_wcz(wc_ctx *ctx, const wc_wcz_reader *r, wc_report *report)
{
    totals sum = {0};
    char size[32];
    json_t *list = json_array();
    WC_TRY(show_metas(ctx, r, report));
    for (uint32_t i = 0; i < wcd_count(&r->file); i++) {
        wcd_tensor t;
        if (wcd_at(&r->file, i, &t) == WCD_OK) show_tensor(&t, wc_wcz_name(r, &t), list, &sum, report);
    }
    double all = sum.weights ? 8.0 * (double)r->map.size / (double)sum.weights : 0;
    wc_report_result(report, "%u tensors, %llu weights, %llu bytes (%s): %.4f bits per weight all in",
                     wcd_count(&r->file), (unsigned long long)sum.weights, (unsigned long long)r->map.size,
                     wc_size_text(r->map.size, size), all);
    if (sum.compressed)
        wc_report_result(report,
                         "%zu compressed: %.4f bits per weight; error mean %.5f, worst %.5f over %zu; fallbacks %zu",
                         sum.compressed, 8.0 * (double)sum.compressed_bytes / (double)sum.compressed_weights,
                         sum.errors ? sum.error_sum / (double)sum.errors : 0, sum.error_max, sum.errors, sum.fallbacks);
    json_object_set_new(report->facts, "tensors", list);
    json_object_set_new(report->facts, "file",
                        json_pack("{s:I, s:I, s:f, s:i}", "bytes", (json_int_t)r->map.size, "weights",
                                  (json_int_t)sum.weights, "bits_per_weight", all, "fallbacks", (int)sum.fallbacks));
    return WC_OK;
}

static wc_status inspect_checkpoint(const wc_checkpoint *c, wc_report *report)
{
    json_t *list = json_array();
    uint64_t weights = 0, bytes = 0;
    char shown[WC_SHOWN], size[32], shape[64];
    for (size_t i = 0; i < c->n; i++) {
        const wc_st_tensor *t = c->tensor[i];
        snprintf(shape, sizeof shape, "%llu x %llu", (unsigned long long)t->rows, (unsigned long long)t->cols);
        const char *type = t->packed ? wc_quant_text(t->packed)
                           : t->ggml ? wc_gguf_type_name(t->ggml)
                                     : wc_dtype_name(t->dtype);
        wc_report_result(report, "%-52s %-6s %18s %14llu B", wc_escape_name(shown, sizeof shown, t->name), type, shape,
                         (unsigned long long)t->size);
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", t->name, "dtype", type, "rows",
                                              (json_int_t)t->rows, "cols", (json_int_t)t->cols, "bytes",
                                              (json_int_t)t->size));
        weights += t->rows * t->cols, bytes += t->size;
    }
    wc_report_result(report, "%zu tensors in %zu file%s, %llu weights, %s", c->n, c->n_shards,
                     c->n_shards == 1 ? "" : "s", (unsigned long long)weights, wc_size_text(bytes, size));
    json_object_set_new(report->facts, "tensors", list);
    return WC_OK;
}

static wc_status run(wc_ctx *ctx, const void *opt, int n, char **operand, wc_report *report)
{
    (void)opt, (void)n;
    bool compressed;
    WC_TRY(wc_input_is_wcz(ctx, operand[0], &compressed));
    if (compressed) {
        wc_wcz_reader r;
        WC_TRY(wc_wcz_open(ctx, operand[0], &r));
        wc_status status = inspect_wcz(ctx, &r, report);
        wc_wcz_close(&r);
        return status;
    }
    wc_checkpoint c;
    WC_TRY(wc_checkpoint_open(ctx, operand[0], &c));
    wc_status status = inspect_checkpoint(&c, report);
    wc_checkpoint_close(&c);
    return status;
}

const wc_command wc_command_inspect = {
    .name = "inspect",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "explain a .wcz fully, or list the tensors of a model",
    .description = "For a .wcz: how it was made (recipe, calibration, versions), what it carries, and for every tensor "
                   "its parts,\n"
                   "bytes, bits per weight and error. Reads the index only; `verify' reads everything.\n\n"
                   "  wcompress inspect model.wcz",
    .opt_size = sizeof(options),
    .options = inspect_options,
    .run = run,
};
