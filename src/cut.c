#include "cut.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/bytes.h"
#include "decode/decoder.h"
#include "input.h"

/* docs/FORMAT.md, metadata `cut_order': a head, then an entry per level. */
enum { HEAD_SIZE = 16, ENTRY_SIZE = 16, ALIGN = 64 };

/* ---- the order -------------------------------------------------------------------------------------------------- */

uint64_t wc_cut_order_size(size_t n)
{
    return HEAD_SIZE + (uint64_t)ENTRY_SIZE * n;
}

static int by_tensor(const void *a, const void *b)
{
    const wc_cut_level *x = a, *y = b;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return x->levels < y->levels ? -1 : x->levels > y->levels;
}

struct ranked {
    wc_cut_level level;
    double gain; /* fall of the error per byte; what is not a number comes last */
};

static int by_worth(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->level.levels != y->level.levels) return x->level.levels < y->level.levels ? -1 : 1;
    if (x->gain != y->gain && x->level.levels > 1) return x->gain > y->gain ? -1 : 1;
    return by_tensor(&x->level, &y->level);
}

wc_status wc_cut_order_sort(wc_ctx *ctx, wc_cut_level *level, size_t n)
{
    struct ranked *list;
    WC_TRY(WC_ALLOC(ctx, list, n, "the order of levels"));
    qsort(level, n, sizeof *level, by_tensor);
    for (size_t i = 0; i < n; i++) {
        double fall = i && level[i].levels > 1 ? level[i - 1].error - level[i].error : 0;
        list[i] = (struct ranked){level[i], isfinite(fall) ? fall / (double)level[i].bytes : -INFINITY};
    }
    qsort(list, n, sizeof *list, by_worth);
    for (size_t i = 0; i < n; i++)
        level[i] = list[i].level;
    free(list);
    return WC_OK;
}

static void put(uint8_t *dst, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(value >> 8 * i);
}

void wc_cut_order_encode(const wc_cut_level *level, size_t n, uint32_t made, uint8_t *dst)
{
    memset(dst, 0, HEAD_SIZE);
    put(dst, made, 4);
    put(dst + 4, n, 4);
    for (size_t i = 0; i < n; i++) {
        uint8_t *entry = dst + HEAD_SIZE + i * ENTRY_SIZE;
        uint64_t error;
        memcpy(&error, &level[i].error, sizeof error);
        put(entry, level[i].tensor, 4);
        put(entry + 4, level[i].levels, 4);
        put(entry + 8, error, 8);
    }
}

void wc_cut_order_free(wc_cut_order *o)
{
    if (!o) return;
    free(o->level);
    memset(o, 0, sizeof *o);
}

/* The last part of tensor i, opened; *levels = 0 when that is no stack. */
static wcd_view stack_of(const wc_wcz_reader *r, uint32_t i, wcd_part_info *info, unsigned *levels)
{
    wcd_tensor t;
    wcd_view v = {0};
    *levels = 0;
    if (wcd_at(&r->file, i, &t) != WCD_OK || wcd_part(&t, t.n_parts - 1, info) != WCD_OK || info->n_children) return v;
    if (wcd_view_open(info->kind, info->version, info->params, info->blob, info->blob_size, t.rows, t.cols, &v) ==
        WCD_OK)
        *levels = wcd_stack_levels(&v);
    return v;
}

/* Every level of every stack listed occurs once, after the one below it, first levels before all others. */
static wc_status check_order(wc_ctx *ctx, const wc_wcz_reader *r, wc_cut_order *o)
{
    uint32_t *seen;
    wc_status status = WC_OK;
    WC_TRY(WC_ALLOC(ctx, seen, r->file.n_tensors, "the order of levels"));
    for (size_t i = 0; i < o->n; i++) {
        wc_cut_level *l = &o->level[i];
        wcd_part_info info;
        unsigned levels = 0;
        wcd_view v = {0};
        if (l->tensor < r->file.n_tensors) v = stack_of(r, l->tensor, &info, &levels);
        bool first = l->levels == 1;
        if (!levels || l->levels > levels || ++seen[l->tensor] != l->levels || (first && o->floor != i))
            WC_TRY_OUT(wc_fail(ctx, WC_BADFILE,
                               "%s: entry %zu of its cut order, level %" PRIu32 " of tensor %" PRIu32
                               ", does not fit the file",
                               r->path, i, l->levels, l->tensor));
        l->bytes = v.size / levels;
        o->floor += first;
    }
    for (size_t i = 0; i < o->n; i++) {
        wcd_part_info info;
        unsigned levels;
        (void)stack_of(r, o->level[i].tensor, &info, &levels);
        if (seen[o->level[i].tensor] != levels)
            WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "%s: its cut order lacks levels of tensor %" PRIu32, r->path,
                               o->level[i].tensor));
    }
out:
    free(seen);
    return status;
}

wc_status wc_cut_order_read(wc_ctx *ctx, const wc_wcz_reader *r, wc_cut_order *out)
{
    wcd_meta m;
    wc_buf b = {0};
    wc_status status = WC_OK;
    wc_cut_order o = {0};
    memset(out, 0, sizeof *out);
    if (wcd_meta_find(&r->file, "cut_order", &m) != WCD_OK)
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: has no stacks to cut (make it with `compress --recipe bitstack')",
                       r->path);
    WC_TRY(wc_wcz_meta_read(ctx, r, "cut_order", &b));
    if (b.size < HEAD_SIZE || wcd_u64(b.data + 8) || b.size != wc_cut_order_size(wcd_u32(b.data + 4)))
        WC_TRY_OUT(
            wc_fail(ctx, WC_BADFILE, "%s: its cut order has %zu bytes, which is no list of levels", r->path, b.size));
    o.n = wcd_u32(b.data + 4);
    o.made = wcd_u32(b.data);
    WC_TRY_OUT(WC_ALLOC(ctx, o.level, o.n, "the order of levels"));
    for (size_t i = 0; i < o.n; i++) {
        const uint8_t *entry = b.data + HEAD_SIZE + i * ENTRY_SIZE;
        uint64_t error = wcd_u64(entry + 8);
        o.level[i] = (wc_cut_level){.tensor = wcd_u32(entry), .levels = wcd_u32(entry + 4)};
        memcpy(&o.level[i].error, &error, sizeof error);
    }
    WC_TRY_OUT(check_order(ctx, r, &o));
    *out = o;
    o.level = NULL;
out:
    wc_buf_free(&b);
    wc_cut_order_free(&o);
    return status;
}

/* ---- cutting ---------------------------------------------------------------------------------------------------- */

typedef struct cut {
    wc_ctx *ctx;
    const wc_cut_options *opt;
    wc_wcz_reader r;
    wc_cut_order order;
    size_t keep;       /* levels kept: a prefix of the order */
    uint64_t size;     /* of the result */
    wc_wcz_edit *edit; /* [floor] one per stack */
    uint64_t weights, stack_weights, stack_bytes;
    double error_sum, error_max;
} cut;

static uint64_t room(uint64_t size)
{
    return wc_round_up(size, ALIGN);
}

/* Size of the file with the first `keep' levels of the order: that of the whole less what the blobs lose. */
static wc_status size_with(cut *c, size_t keep, uint64_t *out)
{
    uint32_t *levels;
    uint64_t size = c->r.map.size - room(wc_cut_order_size(c->order.n)) + room(wc_cut_order_size(keep));
    WC_TRY(WC_ALLOC(c->ctx, levels, c->r.file.n_tensors, "numbers of levels"));
    for (size_t i = 0; i < keep; i++)
        levels[c->order.level[i].tensor]++;
    for (size_t i = 0; i < c->order.n; i++) {
        const wc_cut_level *l = &c->order.level[i]; /* the stack's last level stands for the stack */
        wcd_part_info info;
        unsigned all;
        wcd_view v = stack_of(&c->r, l->tensor, &info, &all);
        if (l->levels == all) size -= room(v.size) - room(l->bytes * levels[l->tensor]);
    }
    free(levels);
    *out = size;
    return WC_OK;
}

/* The size grows with every level: bisection. */
static wc_status choose(cut *c)
{
    size_t low = c->order.floor, high = c->order.n;
    uint64_t floor, size;
    WC_TRY(size_with(c, low, &floor));
    if (floor > c->opt->size)
        return wc_fail(c->ctx, WC_BUDGET,
                       "%s: %" PRIu64 " bytes are too few: with one level of every stack it has %" PRIu64,
                       c->opt->input, c->opt->size, floor);
    while (low < high) {
        size_t mid = low + (high - low + 1) / 2;
        WC_TRY(size_with(c, mid, &size));
        if (size <= c->opt->size)
            low = mid;
        else
            high = mid - 1;
    }
    c->keep = low;
    return size_with(c, low, &c->size);
}

/* One edit per stack: later levels of the prefix overwrite what earlier ones said. */
static wc_status make_edits(cut *c)
{
    size_t *slot;
    WC_TRY(WC_ALLOC(c->ctx, c->edit, c->order.floor, "cuts"));
    WC_TRY(WC_ALLOC(c->ctx, slot, c->r.file.n_tensors, "cuts"));
    for (size_t i = 0; i < c->keep; i++) {
        const wc_cut_level *l = &c->order.level[i];
        wcd_part_info info;
        unsigned all;
        wcd_view v = stack_of(&c->r, l->tensor, &info, &all);
        if (l->levels == 1) slot[l->tensor] = i; /* first levels are the first entries */
        wc_wcz_edit *e = &c->edit[slot[l->tensor]];
        *e = (wc_wcz_edit){.tensor = l->tensor, .part = info.index, .error = l->error};
        memcpy(e->params, info.params, sizeof e->params);
        e->size = wcd_stack_cut(&v, l->levels, e->params);
    }
    free(slot);
    for (size_t i = 0; i < c->order.floor; i++) {
        wcd_tensor t;
        (void)wcd_at(&c->r.file, c->edit[i].tensor, &t);
        c->stack_weights += t.rows * t.cols;
        c->stack_bytes += c->edit[i].size;
        c->error_sum += c->edit[i].error;
        c->error_max = fmax(c->error_max, c->edit[i].error);
    }
    for (uint32_t i = 0; i < wcd_count(&c->r.file); i++) {
        wcd_tensor t;
        (void)wcd_at(&c->r.file, i, &t);
        c->weights += t.rows * t.cols;
    }
    return WC_OK;
}

static wc_status write_result(cut *c, const char *output, const char *partial)
{
    uint8_t *bytes;
    wc_wcz_meta meta = {.name = "cut_order", .size = wc_cut_order_size(c->keep)};
    WC_TRY(WC_ALLOC(c->ctx, bytes, meta.size, "the order of levels"));
    wc_cut_order_encode(c->order.level, c->keep, c->order.made, bytes);
    meta.data = bytes;
    wc_status status = wc_wcz_rewrite(c->ctx, &c->r, c->edit, c->order.floor, &meta, partial, output);
    free(bytes);
    return status;
}

static void show(const cut *c, const char *output, wc_report *report)
{
    char size[32], whole[32];
    double bits = c->weights ? 8.0 * (double)c->size / (double)c->weights : 0;
    double linear = c->stack_weights ? 8.0 * (double)c->stack_bytes / (double)c->stack_weights : 0;
    double mean = c->order.floor ? c->error_sum / (double)c->order.floor : 0;
    wc_report_result(report,
                     "%s   %s  %" PRIu64 " bytes (%s of %s), %zu of %" PRIu32
                     " levels, %.3f bits/weight all in, stacks %.3f",
                     c->opt->dry_run ? "plan " : "wrote", output, c->size, wc_size_text(c->size, size),
                     wc_size_text(c->r.map.size, whole), c->keep, c->order.made, bits, linear);
    wc_report_result(report, "error   mean %.5f, worst %.5f", mean, c->error_max);
    json_object_set_new(report->facts, "result",
                        json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o}", "output", wc_report_text(output),
                                  "bytes", (json_int_t)c->size, "levels", (json_int_t)c->keep, "levels_made",
                                  (json_int_t)c->order.made, "levels_floor", (json_int_t)c->order.floor,
                                  "bits_per_weight", bits, "bits_per_linear_weight", linear, "error_mean",
                                  wc_report_number(mean), "error_worst", wc_report_number(c->error_max)));
}

/* A damaged file must not get new checksums. */
static wc_status check_input(cut *c)
{
    if (wcd_verify(&c->r.file, NULL, NULL) == WCD_OK) return WC_OK;
    return wc_fail(c->ctx, WC_VERIFY, "%s: is damaged (see `wcompress verify')", c->opt->input);
}

static wc_status cut_into(cut *c, const char *output, const char *partial, wc_report *report)
{
    wc_input in = {.path = (char *)c->opt->input};
    WC_TRY(wc_output_check(c->ctx, &in, output, c->opt->force || c->opt->dry_run));
    WC_TRY(check_input(c));
    WC_TRY(wc_cut_order_read(c->ctx, &c->r, &c->order));
    WC_TRY(choose(c));
    WC_TRY(make_edits(c));
    if (!c->opt->dry_run) WC_TRY(write_result(c, output, partial));
    show(c, output, report);
    return WC_OK;
}

wc_status wc_cut(wc_ctx *ctx, const wc_cut_options *opt, wc_report *report)
{
    cut c = {.ctx = ctx, .opt = opt};
    char *output = NULL, *partial = NULL, *work = NULL;
    WC_TRY(wc_wcz_open(ctx, opt->input, &c.r));
    wc_status status = wc_output_names(ctx, opt->input, ".cut.wcz", opt->output, NULL, &output, &partial, &work);
    if (status == WC_OK) status = cut_into(&c, output, partial, report);
    wc_cut_order_free(&c.order);
    wc_wcz_close(&c.r);
    free(c.edit), free(output), free(partial), free(work);
    return status;
}
