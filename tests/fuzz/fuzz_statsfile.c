/* Any bytes as a statistics file: as they are, and with the size and the checksum of header and table made right,
 * without which no mutation gets past them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "calib/statsfile.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {"tests/fuzz/seeds/statsfile.wcstats.bin", NULL};
const size_t wc_fuzz_max = 8192;

/* Offsets in the 320-byte header: see src/calib/statsfile.h. */
enum { AT_COUNT = 12, AT_SIZE = 304, AT_HASH = 312, HEADER = 320, RECORD = sizeof(wc_statsfile_record) };

static void exercise(const char *path)
{
    wc_ctx ctx;
    wc_statsfile f;
    wc_ctx_init(&ctx, 1);
    if (wc_statsfile_open(&ctx, path, &f) != WC_OK) {
        if (!ctx.error[0]) abort();
        return;
    }
    for (uint32_t i = 0; i < f.n && i < 8; i++) {
        wc_stats stats;
        wc_clear_error(&ctx);
        if (f.record[i].n < 64 &&
            wc_statsfile_get(&ctx, &f, f.record[i].layer, f.record[i].stage, f.record[i].n, &stats) == WC_OK)
            wc_stats_free(&stats);
    }
    wc_statsfile_close(&f);
}

static void open_image(const uint8_t *data, size_t size)
{
    char path[40]; /* of a file in memory: syncing a real one takes milliseconds */
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    exercise(path);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size ? size : 1);
    if (!p) return 0;
    memcpy(p, data, size);
    open_image(p, size);
    uint32_t n = 0;
    if (size >= HEADER) memcpy(&n, p + AT_COUNT, sizeof n);
    if (size >= HEADER && n <= (size - HEADER) / RECORD) {
        uint64_t whole = size, hash;
        XXH3_state_t xxh;
        memcpy(p + AT_SIZE, &whole, sizeof whole);
        XXH3_64bits_reset(&xxh);
        XXH3_64bits_update(&xxh, p, AT_HASH);
        XXH3_64bits_update(&xxh, p + HEADER, n * RECORD);
        hash = XXH3_64bits_digest(&xxh);
        memcpy(p + AT_HASH, &hash, sizeof hash);
        open_image(p, size);
    }
    free(p);
    return 0;
}
