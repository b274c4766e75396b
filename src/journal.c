#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"

_Static_assert(sizeof(wc_journal_record) == 96, "records are written as they lie in memory: no padding");

static uint64_t check_of(const wc_journal_record *r)
{
    return XXH3_64bits(r, offsetof(wc_journal_record, check));
}

static wc_status remember(wc_ctx *ctx, wc_journal *j, const wc_journal_record *r)
{
    if (j->n == j->capacity) {
        size_t capacity = j->capacity ? 2 * j->capacity : 64;
        wc_journal_record *grown = realloc(j->record, capacity * sizeof *grown);
        if (!grown) return wc_fail(ctx, WC_NOMEM, "no memory for %zu journal records", capacity);
        j->record = grown;
        j->capacity = capacity;
    }
    j->record[j->n++] = *r;
    return WC_OK;
}

static wc_status append(wc_ctx *ctx, wc_journal *j, wc_journal_record *r, size_t at)
{
    r->check = check_of(r);
    WC_TRY(wc_pwrite(ctx, j->fd, j->path, r, sizeof *r, at * sizeof *r));
    if (fdatasync(j->fd)) return wc_fail(ctx, WC_IO, "%s: %s", j->path, strerror(errno));
    return WC_OK;
}

/* Reads the good records; *start is whether there is a start record. Everything from the first bad one on is cut off.
 */
static wc_status load(wc_ctx *ctx, wc_journal *j, uint64_t *fingerprint, bool *start)
{
    off_t end = lseek(j->fd, 0, SEEK_END);
    size_t whole = end > 0 ? (size_t)end / sizeof(wc_journal_record) : 0, good = 0;
    *start = false;
    for (; good < whole; good++) {
        wc_journal_record r;
        WC_TRY(wc_pread(ctx, j->fd, j->path, &r, sizeof r, good * sizeof r));
        if (r.check != check_of(&r) || (r.type == WC_JOURNAL_START) != (good == 0)) break;
        if (good == 0) {
            *fingerprint = r.a;
            *start = true;
        } else {
            WC_TRY(remember(ctx, j, &r));
        }
    }
    if (ftruncate(j->fd, (off_t)(good * sizeof(wc_journal_record))))
        return wc_fail(ctx, WC_IO, "%s: %s", j->path, strerror(errno));
    return WC_OK;
}

static wc_status start_over(wc_ctx *ctx, wc_journal *j, uint64_t fingerprint)
{
    wc_journal_record r = {.type = WC_JOURNAL_START, .a = fingerprint};
    j->n = 0;
    if (ftruncate(j->fd, 0)) return wc_fail(ctx, WC_IO, "%s: %s", j->path, strerror(errno));
    return append(ctx, j, &r, 0);
}

static wc_status refuse(wc_ctx *ctx, const char *path)
{
    return wc_fail(ctx, WC_RESUME,
                   "%s: an unfinished run with other weights, tokens, options or version is here; repeat that command "
                   "to continue it, or add --fresh to drop it",
                   path);
}

wc_status wc_journal_absent(wc_ctx *ctx, const char *path)
{
    struct stat st;
    return stat(path, &st) || (size_t)st.st_size <= sizeof(wc_journal_record) ? WC_OK : refuse(ctx, path);
}

wc_status wc_journal_open(wc_ctx *ctx, const char *path, const char *about, uint64_t fingerprint, bool fresh,
                          wc_journal *out)
{
    wc_journal j = {.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), .path = strdup(path)};
    wc_status status = WC_OK;
    uint64_t found = 0;
    bool start = false;
    if (j.fd < 0 || !j.path) WC_TRY_OUT(wc_fail(ctx, WC_IO, "%s: %s", path, strerror(errno)));
    if (flock(j.fd, LOCK_EX | LOCK_NB))
        WC_TRY_OUT(wc_fail(ctx, WC_IO, "%s: another wcompress is working on this output", path));
    WC_TRY_OUT(load(ctx, &j, &found, &start));
    if (start && found != fingerprint && !fresh) WC_TRY_OUT(refuse(ctx, path));
    j.lost = j.n > 0 && !fresh && access(about, F_OK);
    if (!start || fresh || j.lost || found != fingerprint) WC_TRY_OUT(start_over(ctx, &j, fingerprint));
    j.resumed = j.n > 0;
    *out = j;
    return WC_OK;
out:
    wc_journal_close(&j, false);
    return status;
}

wc_status wc_journal_append(wc_ctx *ctx, wc_journal *j, wc_journal_record r)
{
    WC_TRY(append(ctx, j, &r, j->n + 1));
    return remember(ctx, j, &r);
}

const wc_journal_record *wc_journal_find(const wc_journal *j, wc_journal_type type, uint32_t index, uint32_t part)
{
    for (size_t i = j->n; i-- > 0;)
        if (j->record[i].type == (uint32_t)type && j->record[i].index == index && j->record[i].part == part)
            return &j->record[i];
    return NULL;
}

const wc_journal_record *wc_journal_last(const wc_journal *j, wc_journal_type type)
{
    for (size_t i = j->n; i-- > 0;)
        if (j->record[i].type == (uint32_t)type) return &j->record[i];
    return NULL;
}

void wc_journal_close(wc_journal *j, bool remove_file)
{
    if (!j) return;
    if (remove_file && j->path) unlink(j->path);
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    free(j->record);
    memset(j, 0, sizeof *j);
    j->fd = -1;
}
