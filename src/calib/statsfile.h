/* statsfile.h - calibration statistics on disk (.wcstats), so that a sweep calibrates once.
 *
 * Layout, little-endian: a 320-byte header (magic "WCSTATS\n", version, counts, fingerprints of the model and of the
 * token windows, source text name), the record table {layer, stage, n, offset, size, xxh3}, an xxh3 of both, then one
 * blob per record: mean f32 [n], abs_mean f32 [n], the packed lower triangle of H f32 [n (n+1) / 2]. The fixed
 * statistics of the original model only: no drift. */
#ifndef WC_CALIB_STATSFILE_H
#define WC_CALIB_STATSFILE_H

#include "base/file.h"
#include "calib/stats.h"

typedef struct wc_statsfile_info {
    uint64_t model;   /* fingerprint of the checkpoint */
    uint64_t windows; /* wc_windows.hash */
    uint64_t tokens;
    uint64_t seqlen;
    char source[256]; /* what the tokens were made from */
} wc_statsfile_info;

typedef struct wc_statsfile_record {
    uint32_t layer, stage;
    uint64_t n, offset, size, xxh3;
} wc_statsfile_record;

typedef struct wc_statsfile {
    wc_statsfile_info info;
    wc_statsfile_record *record; /* [n], sorted by (layer, stage) */
    uint32_t n;
    uint64_t size; /* of the file */
    char *path;
    int fd;     /* writing */
    wc_map map; /* reading */
} wc_statsfile;

/* Writing: reserves the exact size (a full disk is known now) at path, which the caller renames by wc_statsfile_finish.
 * widths[i] belongs to (i / n_stages, i % n_stages); 0 leaves that record out. keep: the file of an earlier run is
 * continued. */
wc_status wc_statsfile_create(wc_ctx *ctx, const char *path, bool keep, const wc_statsfile_info *info,
                              const size_t *widths, uint32_t n_layers, uint32_t n_stages, wc_statsfile *out);
/* *xxh3: of the blob, to be remembered for wc_statsfile_have after a restart. */
wc_status wc_statsfile_put(wc_ctx *ctx, wc_statsfile *f, uint32_t layer, uint32_t stage, const wc_stats *s,
                           uint64_t *xxh3);
void wc_statsfile_have(wc_statsfile *f, uint32_t layer, uint32_t stage, uint64_t xxh3);
wc_status wc_statsfile_finish(wc_ctx *ctx, wc_statsfile *f, const char *final_path);

/* Whether the file begins as one of these. */
bool wc_statsfile_is(const char *path);

/* Reading. WC_BADFILE for a damaged, truncated or foreign file. */
wc_status wc_statsfile_open(wc_ctx *ctx, const char *path, wc_statsfile *out);
/* WC_BADFILE if the record is missing, has another width, or its checksum is wrong. Free with wc_stats_free. */
wc_status wc_statsfile_get(wc_ctx *ctx, const wc_statsfile *f, uint32_t layer, uint32_t stage, size_t n, wc_stats *out);
void wc_statsfile_close(wc_statsfile *f);

#endif
