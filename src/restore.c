#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/escape.h"
#include "io/safetensors.h"
#include "io/wcz.h"

enum { PIECE = 4 << 20 };

bool wc_restore_name(const char *name)
{
    if (!*name || *name == '.' || strlen(name) > 200) return false;
    for (const char *p = name; *p; p++)
        if (*p == '/' || *p == '\\' || (unsigned char)*p < ' ' || *p == 127) return false;
    return true;
}

typedef struct restore {
    wc_ctx *ctx;
    wc_wcz_reader wcz;
    const char *dir;
    bool force;
    wc_report *report;
    uint64_t bytes;
    size_t files;
} restore;

/* The file's name of metadata entry i, in name [256]; *header: it is a safetensors header. False: nothing to write. */
static bool file_of(const restore *r, uint32_t i, char name[256], bool *header)
{
    wcd_meta m;
    size_t prefix = strlen(WC_HEADER_PREFIX);
    if (wcd_meta_at(&r->wcz.file, i, &m) != WCD_OK || m.name_size >= 256) return false;
    *header = m.name_size > prefix && !memcmp(m.name, WC_HEADER_PREFIX, prefix);
    size_t skip = *header ? prefix : 0;
    memcpy(name, m.name + skip, m.name_size - skip);
    name[m.name_size - skip] = 0;
    return strcmp(name, "provenance.json") != 0;
}

/* Everything that can be refused before the first byte is written. */
static wc_status check_all(restore *r)
{
    wc_ctx *ctx = r->ctx;
    size_t headers = 0;
    for (uint32_t i = 0; i < wcd_meta_count(&r->wcz.file); i++) {
        char name[256], shown[WC_SHOWN];
        bool header;
        if (!file_of(r, i, name, &header)) continue;
        headers += header;
        if (!wc_restore_name(name))
            return wc_fail(ctx, WC_BADFILE, "%s: `%s' is no name of a file to restore", r->wcz.path,
                           wc_escape_name(shown, sizeof shown, name));
        char *path = wc_path_join(r->dir, name);
        if (!path) return wc_fail(ctx, WC_NOMEM, "no memory for a path");
        bool there = wc_file_exists(path) && !r->force;
        if (there) wc_fail(ctx, WC_OPTION, "%s: exists; give -f to replace it, or -o another folder", path);
        free(path);
        if (there) return WC_OPTION;
    }
    if (!headers)
        return wc_fail(ctx, WC_UNSUPPORTED,
                       "%s: was not made by `wcompress lossless', so the original files are not in it", r->wcz.path);
    for (uint32_t i = 0; i < wcd_count(&r->wcz.file); i++) {
        wcd_tensor t;
        if (wcd_at(&r->wcz.file, i, &t) != WCD_OK || wcd_raw_rows(&t, 0, 0, NULL) != WCD_OK)
            return wc_fail(ctx, WC_UNSUPPORTED, "%s: tensor %u was compressed with loss", r->wcz.path, i);
    }
    return WC_OK;
}

/* The bytes of one tensor at `offset' of the file. */
static wc_status write_tensor(restore *r, int fd, const char *path, const wc_st_tensor *s, uint64_t offset)
{
    wcd_tensor t;
    uint8_t *buffer;
    if (wcd_find(&r->wcz.file, s->name, &t) != WCD_OK || t.rows != s->rows || t.cols != s->cols ||
        t.source_dtype != (uint32_t)s->dtype)
        return wc_fail(r->ctx, WC_BADFILE, "%s: the header of %s and its tensors contradict each other", r->wcz.path,
                       path);
    if (!s->size) return WC_OK;
    uint64_t row = s->size / s->rows, most = row < PIECE ? PIECE / row : 1;
    if (wc_dtype_bits(s->dtype) % 8) most = s->rows; /* rows may end within a byte */
    WC_TRY(WC_ALLOC(r->ctx, buffer, wc_min(most, s->rows) * (row + 1), "rows of a tensor"));
    wc_status status = WC_OK;
    for (uint64_t r0 = 0; status == WC_OK && r0 < s->rows; r0 += most) {
        uint64_t n = wc_min(most, s->rows - r0), bytes = most >= s->rows ? s->size : n * row;
        if (wcd_raw_rows(&t, r0, n, buffer) != WCD_OK)
            status = wc_fail(r->ctx, WC_BADFILE, "%s: cannot decode a tensor of %s", r->wcz.path, path);
        if (status == WC_OK) status = wc_pwrite(r->ctx, fd, path, buffer, bytes, offset + r0 * row);
    }
    free(buffer);
    return status;
}

/* entry: u64 size of the file, then its first bytes up to the end of the header. */
static wc_status write_safetensors(restore *r, int fd, const char *path, const wc_buf *entry)
{
    enum { SIZE = 8 };
    wc_ctx *ctx = r->ctx;
    wc_safetensors st;
    uint64_t file_size = 0;
    size_t n;
    for (int i = 0; i < SIZE && entry->size > SIZE; i++)
        file_size |= (uint64_t)entry->data[i] << 8 * i;
    const uint8_t *header = entry->data + SIZE;
    size_t header_size = entry->size > SIZE ? entry->size - SIZE : 0;
    WC_TRY(wc_safetensors_header_size(ctx, header, header_size, file_size, path, &n));
    if (n + 8 != header_size) return wc_fail(ctx, WC_BADFILE, "%s: the header of %s is damaged", r->wcz.path, path);
    WC_TRY(wc_safetensors_parse(ctx, header + 8, n, file_size, path, &st));
    wc_status status = wc_pwrite(ctx, fd, path, header, header_size, 0);
    for (size_t i = 0; status == WC_OK && i < st.n; i++)
        status = write_tensor(r, fd, path, &st.tensor[i], st.tensor[i].offset);
    wc_safetensors_close(&st);
    r->bytes += file_size;
    return status;
}

static wc_status write_one(restore *r, const char *name, bool header, const wc_buf *entry)
{
    char *path = wc_path_join(r->dir, name), *partial = path ? malloc(strlen(path) + 9) : NULL;
    wc_status status = partial ? WC_OK : wc_fail(r->ctx, WC_NOMEM, "no memory for a path");
    if (status == WC_OK && !header) {
        status = wc_write_file_atomic(r->ctx, path, entry->data, entry->size);
    } else if (status == WC_OK) {
        sprintf(partial, "%s.partial", path);
        int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        status = fd < 0 ? wc_fail(r->ctx, WC_IO, "%s: %s", partial, strerror(errno))
                        : write_safetensors(r, fd, partial, entry);
        if (status == WC_OK) status = wc_commit_file(r->ctx, fd, partial, path);
        if (fd >= 0) close(fd);
        if (fd >= 0 && status != WC_OK) unlink(partial);
    }
    if (status == WC_OK) wc_report_step(r->report, "wrote   %s", path);
    r->files++;
    free(path), free(partial);
    return status;
}

static wc_status restore_all(restore *r)
{
    WC_TRY(check_all(r));
    if (mkdir(r->dir, 0777) && errno != EEXIST)
        return wc_fail(r->ctx, WC_IO, "%s: cannot make the folder: %s", r->dir, strerror(errno));
    for (uint32_t i = 0; i < wcd_meta_count(&r->wcz.file); i++) {
        char name[256], entry_name[300];
        bool header;
        wc_buf entry = {0};
        if (!file_of(r, i, name, &header)) continue;
        snprintf(entry_name, sizeof entry_name, "%s%s", header ? WC_HEADER_PREFIX : "", name);
        wc_status status = wc_wcz_meta_read(r->ctx, &r->wcz, entry_name, &entry);
        if (status == WC_OK) status = write_one(r, name, header, &entry);
        wc_buf_free(&entry);
        WC_TRY(status);
    }
    return WC_OK;
}

/* Blobs are compared with their checksums first: a damaged file must not become a model that looks whole. */
static wc_status verify(wc_ctx *ctx, const wc_wcz_reader *wcz)
{
    return wcd_verify(&wcz->file, NULL, NULL) == WCD_OK
               ? WC_OK
               : wc_fail(ctx, WC_VERIFY, "%s: damaged; `wcompress verify' says where", wcz->path);
}

wc_status wc_restore(wc_ctx *ctx, const char *wcz_path, const char *dir, bool force, wc_report *report)
{
    restore r = {.ctx = ctx, .dir = dir, .force = force, .report = report};
    char size[32];
    WC_TRY(wc_wcz_open(ctx, wcz_path, &r.wcz));
    wc_status status = verify(ctx, &r.wcz);
    if (status == WC_OK) status = restore_all(&r);
    if (status == WC_OK) {
        wc_report_result(report, "restored %zu files to %s, %s of safetensors, equal to the byte", r.files, dir,
                         wc_size_text(r.bytes, size));
        json_object_set_new(report->facts, "result",
                            json_pack("{s:o, s:I, s:I}", "output", wc_report_text(dir), "files", (json_int_t)r.files,
                                      "bytes", (json_int_t)r.bytes));
    }
    wc_wcz_close(&r.wcz);
    return status;
}
