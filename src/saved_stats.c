#include "saved_stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "io/gguf_model.h"
#include "model/model.h"

/* Hugging Face's name of a linear of a stage, or of the head. */
static void matrix_name(size_t layer, size_t linear, bool head, char name[WC_NAME_SIZE])
{
    if (head)
        snprintf(name, WC_NAME_SIZE, "%s", wc_head_name);
    else
        snprintf(name, WC_NAME_SIZE, "model.layers.%zu.%s.weight", layer, wc_linear_suffix(linear));
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static wc_status open_imatrix(wc_ctx *ctx, wc_saved_stats *s)
{
    WC_TRY(wc_imatrix_open(ctx, s->path, &s->imatrix));
    const wc_imatrix *m = &s->imatrix;
    s->info = (wc_statsfile_info){.windows = XXH3_64bits(m->gguf.map.data, m->gguf.map.size), .seqlen = m->chunk_size};
    s->info.tokens = m->legacy ? 0 : (uint64_t)m->entry[0].count;
    snprintf(s->info.source, sizeof s->info.source, "importance matrix%s%.200s", *m->source ? " of " : "", m->source);
    return WC_OK;
}

wc_status wc_saved_stats_open(wc_ctx *ctx, const char *path, wc_saved_stats *out)
{
    wc_saved_stats s = {.file = {.fd = -1}, .path = strdup(path)};
    wc_status status = s.path ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a path");
    if (status == WC_OK) {
        s.diagonal = wc_file_exists(path) && !wc_statsfile_is(path);
        status = s.diagonal ? open_imatrix(ctx, &s) : wc_statsfile_open(ctx, path, &s.file);
    }
    if (status != WC_OK) {
        wc_saved_stats_close(&s);
        return status;
    }
    if (!s.diagonal) s.info = s.file.info;
    *out = s;
    return WC_OK;
}

/* The first of the stage's matrices that the file has: they share their input. */
static wc_status find_entry(wc_ctx *ctx, const wc_saved_stats *s, size_t layer, size_t stage, bool head,
                            const wc_imatrix_entry **out)
{
    char name[WC_NAME_SIZE], gguf[WC_GGUF_NAME_ROOM] = "";
    const size_t *linear;
    size_t n = wc_stage_linears((wc_stage)stage, &linear);
    *out = NULL;
    for (size_t i = 0; i < n && !*out; i++) {
        matrix_name(layer, linear[i], head, name);
        if (wc_gguf_name(name, gguf)) *out = wc_imatrix_find(&s->imatrix, gguf);
    }
    if (*out) return WC_OK;
    return wc_fail(ctx, WC_BADFILE, "%s: the importance matrix has no entry %s%s", s->path, gguf,
                   head ? " (llama-imatrix makes one with --process-output)" : "");
}

static wc_status diagonal_stats(wc_ctx *ctx, const wc_imatrix_entry *e, const char *path, size_t n, wc_stats *out)
{
    float *h = NULL, *mean = NULL, *abs_mean = NULL, *square = NULL;
    wc_status status;
    WC_TRY_OUT(WC_ALLOC(ctx, h, n * n, "second moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, mean, n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, abs_mean, n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, square, n, "second moments"));
    WC_TRY_OUT(wc_imatrix_means(ctx, e, path, n, square, mean));
    for (size_t i = 0; i < n; i++) {
        h[i * n + i] = square[i];
        abs_mean[i] = sqrtf(square[i] * 0.636619772f); /* 2 / pi */
    }
    *out = (wc_stats){.n = n, .tokens = (uint64_t)e->count, .h = h, .mean = mean, .abs_mean = abs_mean};
    h = mean = abs_mean = NULL;
out:
    free(h), free(mean), free(abs_mean), free(square);
    return status;
}

wc_status wc_saved_stats_get(wc_ctx *ctx, const wc_saved_stats *s, size_t layer, size_t stage, size_t layers, size_t n,
                             wc_stats *out)
{
    const wc_imatrix_entry *e;
    if (!s->diagonal) return wc_statsfile_get(ctx, &s->file, (uint32_t)layer, (uint32_t)stage, n, out);
    WC_TRY(find_entry(ctx, s, layer, stage, layer == layers, &e));
    return diagonal_stats(ctx, e, s->path, n, out);
}

void wc_saved_stats_close(wc_saved_stats *s)
{
    if (!s) return;
    if (s->path && !s->diagonal) wc_statsfile_close(&s->file);
    wc_imatrix_close(&s->imatrix);
    free(s->path);
    memset(s, 0, sizeof *s);
}

/* ---- as an importance matrix ------------------------------------------------------------------------------------ */

typedef struct conversion {
    wc_ctx *ctx;
    wc_statsfile file;
    float **square, **mean; /* [file.n] */
    wc_imatrix_out *entry;  /* [n] */
    size_t n;
} conversion;

static wc_status take_diagonal(conversion *x, size_t i)
{
    const wc_statsfile_record *r = &x->file.record[i];
    wc_stats s;
    WC_TRY(WC_ALLOC(x->ctx, x->square[i], r->n, "second moments"));
    WC_TRY(WC_ALLOC(x->ctx, x->mean[i], r->n, "means"));
    WC_TRY(wc_statsfile_get(x->ctx, &x->file, r->layer, r->stage, (size_t)r->n, &s));
    for (size_t j = 0; j < s.n; j++)
        x->square[i][j] = s.h[j * s.n + j];
    memcpy(x->mean[i], s.mean, s.n * sizeof *s.mean);
    wc_stats_free(&s);
    return WC_OK;
}

/* Records are sorted; the one of the head is alone in the last "layer". */
static wc_status add_entries(conversion *x, size_t i)
{
    const wc_statsfile_record *r = &x->file.record[i];
    const size_t *linear;
    bool head = i + 1 == x->file.n && r->stage == 0;
    if (r->stage >= WC_N_STAGES)
        return wc_fail(x->ctx, WC_BADFILE, "%s: has statistics of a stage %u", x->file.path, r->stage);
    size_t n = head ? 1 : wc_stage_linears((wc_stage)r->stage, &linear);
    WC_TRY(take_diagonal(x, i));
    for (size_t k = 0; k < n; k++) {
        char name[WC_NAME_SIZE], gguf[WC_GGUF_NAME_ROOM];
        matrix_name(r->layer, head ? 0 : linear[k], head, name);
        if (!wc_gguf_name(name, gguf)) return wc_fail(x->ctx, WC_BUG, "%s has no name in GGUF", name);
        wc_imatrix_out *e = &x->entry[x->n++];
        snprintf(e->name, sizeof e->name, "%.63s", gguf);
        e->n = (size_t)r->n, e->square = x->square[i], e->mean = x->mean[i];
    }
    return WC_OK;
}

wc_status wc_saved_stats_to_imatrix(wc_ctx *ctx, const char *path, const char *output, bool legacy)
{
    conversion x = {.ctx = ctx};
    wc_status status;
    WC_TRY(wc_statsfile_open(ctx, path, &x.file));
    const wc_statsfile_info *info = &x.file.info;
    uint64_t chunks = info->seqlen ? info->tokens / info->seqlen : 0;
    wc_imatrix_text text = {.source = info->source, .chunks = (uint32_t)chunks, .chunk_size = (uint32_t)info->seqlen};
    if (!chunks || chunks > INT32_MAX || info->seqlen > UINT32_MAX)
        WC_TRY_OUT(wc_fail(ctx, WC_BADFILE, "%s: was made of %llu tokens in windows of %llu", path,
                           (unsigned long long)info->tokens, (unsigned long long)info->seqlen));
    WC_TRY_OUT(WC_ALLOC(ctx, x.square, x.file.n, "second moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, x.mean, x.file.n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, x.entry, x.file.n * WC_N_LINEARS, "importance matrices"));
    for (size_t i = 0; i < x.file.n; i++)
        WC_TRY_OUT(add_entries(&x, i));
    status = wc_imatrix_write(ctx, output, legacy, x.entry, x.n, &text);
out:
    for (size_t i = 0; i < x.file.n; i++)
        free(x.square ? x.square[i] : NULL), free(x.mean ? x.mean[i] : NULL);
    free(x.square), free(x.mean), free(x.entry);
    wc_statsfile_close(&x.file);
    return status;
}
