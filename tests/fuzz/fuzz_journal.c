/* Any bytes as a journal: as they are, and with the checksums of all records made right. What is found is whole
 * records. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "journal.h"
#include "fuzz/fuzz.h"

const char *const wc_fuzz_seeds[] = {"tests/fuzz/seeds/journal.bin", NULL};
const size_t wc_fuzz_max = 2048;

static void open_image(const uint8_t *data, size_t size, bool fresh)
{
    char path[40]; /* of a file in memory: syncing a real one takes milliseconds */
    wc_ctx ctx;
    wc_journal j;
    int fd = memfd_create("fuzz", 0);
    wc_ctx_init(&ctx, 1);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    wc_status status = wc_journal_open(&ctx, path, path, 1, fresh, &j);
    if (status == WC_OK) {
        if (j.n > size / sizeof *j.record) abort();
        (void)wc_journal_last(&j, WC_JOURNAL_EDGE);
        (void)wc_journal_find(&j, WC_JOURNAL_TENSOR, 3, 0);
        wc_journal_close(&j, false);
    } else if (status != WC_RESUME || !ctx.error[0]) {
        abort();
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size ? size : 1);
    if (!p) return 0;
    memcpy(p, data, size);
    open_image(p, size, false);
    for (size_t at = 0; at + sizeof(wc_journal_record) <= size; at += sizeof(wc_journal_record)) {
        uint64_t check = XXH3_64bits(p + at, offsetof(wc_journal_record, check));
        memcpy(p + at + offsetof(wc_journal_record, check), &check, sizeof check);
    }
    open_image(p, size, false);
    open_image(p, size, true);
    free(p);
    return 0;
}
