/* file.c - the .wcz file: mapped, opened, its metadata unpacked. Also errors and memory. */
#include "generate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { MAX_TEXT = 1 << 28 }; /* bytes of config.json or tokenizer.json; the largest real ones have 2^25 */

gen_status gen_fail(gen_error *e, gen_status s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    for (char *p = e->text; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?';
    return s;
}

gen_status gen_alloc(void *out, size_t n, size_t size, const char *what, gen_error *e)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) return gen_fail(e, GEN_NOMEM, "no memory for %s: %zu times %zu bytes", what, n, size);
    memcpy(out, &p, sizeof p);
    return GEN_OK;
}

/* *map NULL on failure. */
static gen_status map_file(const char *path, void **map, size_t *size, gen_error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *map = NULL;
    if (fd < 0) return gen_fail(e, GEN_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return gen_fail(e, GEN_IO, "%s: not a file that can be mapped", path);
    }
    void *p = st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    int why = errno;
    close(fd);
    if (!st.st_size) return gen_fail(e, GEN_BADFILE, "%s: an empty file", path);
    if (p == MAP_FAILED) return gen_fail(e, GEN_IO, "%s: cannot be mapped: %s", path, strerror(why));
    *map = p;
    *size = (size_t)st.st_size;
    return GEN_OK;
}

gen_status gen_file_open(const char *path, gen_file *out, gen_error *e)
{
    gen_file f = {.map = NULL};
    snprintf(f.name, sizeof f.name, "%s", path);
    GEN_TRY(map_file(path, &f.map, &f.size, e));
    wcd_status s = wcd_open(&f.wcd, f.map, f.size);
    if (s != WCD_OK) {
        gen_fail(e, s == WCD_E_VERSION ? GEN_UNSUPPORTED : GEN_BADFILE, "%s: %s: %s", f.name, wcd_status_text(s),
                 wcd_open_reason(f.map, f.size));
        gen_file_close(&f);
        return s == WCD_E_VERSION ? GEN_UNSUPPORTED : GEN_BADFILE;
    }
    *out = f;
    return GEN_OK;
}

void gen_file_close(gen_file *f)
{
    if (f->map) munmap(f->map, f->size);
    f->map = NULL;
}

gen_status gen_file_text(const gen_file *f, const char *name, char **text, size_t *size, gen_error *e)
{
    wcd_meta m;
    char *p = NULL;
    if (wcd_meta_find(&f->wcd, name, &m) != WCD_OK)
        return gen_fail(e, GEN_UNSUPPORTED, "%s: has no %s inside, so it cannot be run", f->name, name);
    if (m.raw_size > MAX_TEXT || m.codec > 1 || (!m.codec && m.size != m.raw_size))
        return gen_fail(e, GEN_BADFILE, "%s: %s of %llu bytes, codec %u; at most %d bytes, codec 0 or 1 are read",
                        f->name, name, (unsigned long long)m.raw_size, (unsigned)m.codec, MAX_TEXT);
    GEN_TRY(gen_alloc(&p, (size_t)m.raw_size, 1, name, e));
    size_t got = (size_t)m.raw_size;
    if (m.codec)
        got = ZSTD_decompress(p, (size_t)m.raw_size, m.data, (size_t)m.size);
    else
        memcpy(p, m.data, (size_t)m.size);
    if (ZSTD_isError(got) || got != m.raw_size) {
        free(p);
        return gen_fail(e, GEN_BADFILE, "%s: %s cannot be decompressed: %s", f->name, name,
                        ZSTD_isError(got) ? ZSTD_getErrorName(got) : "fewer bytes than announced");
    }
    *text = p;
    *size = got;
    return GEN_OK;
}
