#include "calib/statsfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"

static const char magic[8] = "WCSTATS\n";
enum { VERSION = 1, MAX_WIDTH = 1 << 20, MAX_RECORDS = 1 << 20 };

typedef struct header {
    char magic[8];
    uint32_t version, n;
    wc_statsfile_info info;
    uint64_t size;
    uint64_t table; /* xxh3 of this header up to here, then the records */
} header;
_Static_assert(sizeof(header) == 320, "written as it lies in memory: no padding");
_Static_assert(sizeof(wc_statsfile_record) == 40, "written as it lies in memory: no padding");

static uint64_t blob_size(uint64_t n)
{
    return 4 * (2 * n + n * (n + 1) / 2);
}

static uint64_t table_hash(const header *h, const wc_statsfile_record *record, size_t n)
{
    XXH3_state_t xxh;
    XXH3_64bits_reset(&xxh);
    XXH3_64bits_update(&xxh, h, offsetof(header, table));
    XXH3_64bits_update(&xxh, record, n * sizeof *record);
    return XXH3_64bits_digest(&xxh);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static wc_status reserve(wc_ctx *ctx, wc_statsfile *f, bool keep)
{
    f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC | (keep ? 0 : O_TRUNC), 0666);
    if (f->fd < 0) return wc_fail(ctx, WC_IO, "%s: %s", f->path, strerror(errno));
    int err = posix_fallocate(f->fd, 0, (off_t)f->size);
    if (err && err != EOPNOTSUPP && err != EINVAL)
        return wc_fail(ctx, WC_IO, "%s: cannot reserve %llu bytes for statistics: %s", f->path,
                       (unsigned long long)f->size, strerror(err));
    return WC_OK;
}

wc_status wc_statsfile_create(wc_ctx *ctx, const char *path, bool keep, const wc_statsfile_info *info,
                              const size_t *widths, uint32_t n_layers, uint32_t n_stages, wc_statsfile *out)
{
    wc_statsfile f = {.info = *info, .fd = -1, .path = strdup(path)};
    wc_status status = f.path ? WC_OK : wc_fail(ctx, WC_NOMEM, "no memory for a path");
    if (status == WC_OK) status = WC_ALLOC(ctx, f.record, (size_t)n_layers * n_stages, "statistics records");
    for (uint32_t i = 0; status == WC_OK && i < n_layers * n_stages; i++)
        if (widths[i])
            f.record[f.n++] = (wc_statsfile_record){
                .layer = i / n_stages, .stage = i % n_stages, .n = widths[i], .size = blob_size(widths[i])};
    f.size = sizeof(header) + f.n * sizeof *f.record;
    for (uint32_t i = 0; i < f.n; i++) {
        f.record[i].offset = f.size;
        f.size += f.record[i].size;
    }
    if (status == WC_OK) status = reserve(ctx, &f, keep);
    if (status != WC_OK) {
        wc_statsfile_close(&f);
        return status;
    }
    *out = f;
    return WC_OK;
}

static wc_statsfile_record *find(const wc_statsfile *f, uint32_t layer, uint32_t stage)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (f->record[i].layer == layer && f->record[i].stage == stage) return &f->record[i];
    return NULL;
}

wc_status wc_statsfile_put(wc_ctx *ctx, wc_statsfile *f, uint32_t layer, uint32_t stage, const wc_stats *s,
                           uint64_t *xxh3)
{
    wc_statsfile_record *r = find(f, layer, stage);
    if (!r || r->n != s->n) return wc_fail(ctx, WC_BUG, "%s: no place for layer %u stage %u", f->path, layer, stage);
    float *blob, *p;
    WC_TRY(WC_ALLOC(ctx, blob, r->size / 4, "a statistics record"));
    memcpy(blob, s->mean, s->n * sizeof *blob);
    memcpy(blob + s->n, s->abs_mean, s->n * sizeof *blob);
    p = blob + 2 * s->n;
    for (size_t i = 0; i < s->n; i++) {
        memcpy(p, s->h + i * s->n, (i + 1) * sizeof *p);
        p += i + 1;
    }
    *xxh3 = r->xxh3 = XXH3_64bits(blob, r->size);
    wc_status status = wc_pwrite(ctx, f->fd, f->path, blob, r->size, r->offset);
    free(blob);
    if (status == WC_OK && fdatasync(f->fd)) status = wc_fail(ctx, WC_IO, "%s: %s", f->path, strerror(errno));
    return status;
}

void wc_statsfile_have(wc_statsfile *f, uint32_t layer, uint32_t stage, uint64_t xxh3)
{
    wc_statsfile_record *r = find(f, layer, stage);
    if (r) r->xxh3 = xxh3;
}

wc_status wc_statsfile_finish(wc_ctx *ctx, wc_statsfile *f, const char *final_path)
{
    header h = {.version = VERSION, .n = f->n, .info = f->info, .size = f->size};
    memcpy(h.magic, magic, sizeof magic);
    h.table = table_hash(&h, f->record, f->n);
    WC_TRY(wc_pwrite(ctx, f->fd, f->path, f->record, f->n * sizeof *f->record, sizeof h));
    WC_TRY(wc_pwrite(ctx, f->fd, f->path, &h, sizeof h, 0));
    return wc_commit_file(ctx, f->fd, f->path, final_path);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Everything that a later read relies on, checked once. */
static wc_status check(wc_ctx *ctx, const wc_statsfile *f, const header *h)
{
    if (f->map.size < sizeof *h || memcmp(h->magic, magic, sizeof magic))
        return wc_fail(ctx, WC_BADFILE, "%s: not a statistics file of wcompress", f->path);
    if (h->version != VERSION)
        return wc_fail(ctx, WC_UNSUPPORTED, "%s: statistics version %u, this program reads %d", f->path, h->version,
                       VERSION);
    if (h->size != f->map.size || h->n > MAX_RECORDS || sizeof *h + h->n * sizeof *f->record > f->map.size)
        return wc_fail(ctx, WC_BADFILE, "%s: has %llu bytes, its header says %llu: truncated or damaged", f->path,
                       (unsigned long long)f->map.size, (unsigned long long)h->size);
    const wc_statsfile_record *r = (const wc_statsfile_record *)(f->map.data + sizeof *h);
    if (h->table != table_hash(h, r, h->n)) return wc_fail(ctx, WC_BADFILE, "%s: the header is damaged", f->path);
    for (uint32_t i = 0; i < h->n; i++)
        if (!r[i].n || r[i].n > MAX_WIDTH || r[i].size != blob_size(r[i].n) || r[i].offset % 4 ||
            r[i].offset > f->map.size || r[i].size > f->map.size - r[i].offset)
            return wc_fail(ctx, WC_BADFILE, "%s: record %u lies outside the file", f->path, i);
    return WC_OK;
}

bool wc_statsfile_is(const char *path)
{
    char first[sizeof magic];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool yes = fd >= 0 && read(fd, first, sizeof first) == (ssize_t)sizeof first && !memcmp(first, magic, sizeof magic);
    if (fd >= 0) close(fd);
    return yes;
}

wc_status wc_statsfile_open(wc_ctx *ctx, const char *path, wc_statsfile *out)
{
    wc_statsfile f = {.fd = -1, .path = strdup(path)};
    wc_status status = f.path ? wc_map_open(ctx, path, &f.map) : wc_fail(ctx, WC_NOMEM, "no memory for a path");
    header h = {0};
    if (status == WC_OK) {
        memcpy(&h, f.map.data ? f.map.data : (const uint8_t *)"", f.map.data ? wc_min(sizeof h, f.map.size) : 0);
        status = check(ctx, &f, &h);
    }
    if (status == WC_OK) status = WC_ALLOC(ctx, f.record, h.n, "statistics records");
    if (status != WC_OK) {
        wc_statsfile_close(&f);
        return status;
    }
    memcpy(f.record, f.map.data + sizeof h, h.n * sizeof *f.record);
    f.n = h.n;
    f.info = h.info;
    f.info.source[sizeof f.info.source - 1] = 0;
    f.size = f.map.size;
    *out = f;
    return WC_OK;
}

static wc_status unpack(wc_ctx *ctx, const float *blob, size_t n, wc_stats *out)
{
    float *h = NULL, *mean = NULL, *abs_mean = NULL;
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, h, n * n, "second moments"));
    WC_TRY_OUT(WC_ALLOC(ctx, mean, n, "means"));
    WC_TRY_OUT(WC_ALLOC(ctx, abs_mean, n, "means"));
    memcpy(mean, blob, n * sizeof *mean);
    memcpy(abs_mean, blob + n, n * sizeof *mean);
    const float *p = blob + 2 * n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            h[i * n + j] = h[j * n + i] = *p++;
    *out = (wc_stats){.n = n, .h = h, .mean = mean, .abs_mean = abs_mean};
    return WC_OK;
out:
    free(h);
    free(mean);
    free(abs_mean);
    return status;
}

wc_status wc_statsfile_get(wc_ctx *ctx, const wc_statsfile *f, uint32_t layer, uint32_t stage, size_t n, wc_stats *out)
{
    const wc_statsfile_record *r = find(f, layer, stage);
    if (!r || r->n != n)
        return wc_fail(ctx, WC_BADFILE, "%s: has no statistics of width %zu for block %u stage %u", f->path, n, layer,
                       stage);
    const uint8_t *blob = f->map.data + r->offset;
    if (XXH3_64bits(blob, r->size) != r->xxh3)
        return wc_fail(ctx, WC_BADFILE, "%s: the statistics of block %u stage %u are damaged", f->path, layer, stage);
    WC_TRY(unpack(ctx, (const float *)blob, n, out));
    out->tokens = f->info.tokens;
    wc_map_release(&f->map, r->offset, r->size);
    return WC_OK;
}

void wc_statsfile_close(wc_statsfile *f)
{
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    wc_map_close(&f->map);
    free(f->record);
    free(f->path);
    memset(f, 0, sizeof *f);
    f->fd = -1;
}
