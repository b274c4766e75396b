/* io_util.h - what the tests of src/io share: a scratch folder, small files, a log that is kept. */
#ifndef WC_TESTS_IO_UTIL_H
#define WC_TESTS_IO_UTIL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char scratch[64];     /* a fresh folder for this program */
static char log_text[4096];  /* every logged line */
static char path_text[1024]; /* the last in_scratch() */

static inline void keep_log(void *user, wc_log_level level, const char *line)
{
    (void)user;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof log_text - n, "%s%s\n", level == WC_LOG_WARN ? "WARN " : "", line);
}

static inline wc_ctx new_ctx(void)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 2);
    ctx.log = keep_log;
    log_text[0] = 0;
    return ctx;
}

static inline int make_scratch(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/wc-io-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int remove_scratch(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return system(command);
}

static inline const char *in_scratch(const char *name)
{
    snprintf(path_text, sizeof path_text, "%s/%s", scratch, name);
    return path_text;
}

static inline void put_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A safetensors file: header as given, then `size' bytes of data (NULL: 0, 1, 2, ...). */
static inline void put_safetensors(const char *path, const char *header, const void *data, size_t size)
{
    uint64_t n = strlen(header);
    uint8_t *whole = malloc(8 + n + size);
    assert_non_null(whole);
    memcpy(whole, &n, 8);
    memcpy(whole + 8, header, n);
    for (size_t i = 0; i < size; i++)
        whole[8 + n + i] = data ? ((const uint8_t *)data)[i] : (uint8_t)i;
    put_file(path, whole, 8 + n + size);
    free(whole);
}

/* Runs a shell command and returns its output, NUL-terminated; fails the test when the command does. */
static inline char *output_of(const char *command, size_t *size)
{
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = 0, capacity = 1 << 16;
    char *text = malloc(capacity);
    for (size_t got; (got = fread(text + n, 1, capacity - n - 1, p)) > 0; n += got)
        if (capacity - n - got < 2) text = realloc(text, capacity *= 2);
    text[n] = 0;
    assert_int_equal(pclose(p), 0);
    if (size) *size = n;
    return text;
}

#define assert_text_contains(text, part)                                                     \
    do {                                                                                     \
        if (!strstr((text), (part))) fail_msg("`%s' does not contain `%s'", (text), (part)); \
    } while (0)

/* Models that ship beside the tree; NULL and a message when they are not there. */
static inline const char *shared_folder(void)
{
    const char *dir = getenv("WC_SHARED");
    if (!dir) dir = "../shared";
    if (wc_is_dir(dir)) return dir;
    print_message("skipped: no folder %s (set WC_SHARED)\n", dir);
    return NULL;
}

#endif
