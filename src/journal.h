/* journal.h - what is finished, on disk, so that kill -9 loses at most the tensor in work.
 *
 * An append-only file of fixed-size records, each with its own checksum. A record is written after the bytes it vouches
 * for are on disk. A torn last record is dropped at open. The first record holds the fingerprint of everything the
 * result depends on (weights, tokens, options, version): a journal of another run is refused, never mixed in. */
#ifndef WC_JOURNAL_H
#define WC_JOURNAL_H

#include "base/file.h"

typedef enum wc_journal_type {
    WC_JOURNAL_START = 1, /* fingerprint in a */
    WC_JOURNAL_PART,      /* a part is in the output: index, part, kind, version, params, a = xxh3; a record of its own
                             for each of its children, see wc_journal_child */
    WC_JOURNAL_TENSOR,    /* all parts of tensor `index' are: x = error, y = damping, flags, count = escalations */
    WC_JOURNAL_EDGE,      /* the activations that enter block `index' are: a, b = xxh3 of the two streams */
    WC_JOURNAL_LEVEL,     /* x = the error of tensor `index' with the first `part' levels of its stack (cut.h) */
    WC_JOURNAL_FOLD       /* the rows of tensor `index' are stored times candidate `count' of their diagonal (fold.h) */
} wc_journal_type;

typedef struct wc_journal_record {
    uint32_t type, index, part, flags;
    uint16_t kind, version;
    uint32_t count;
    uint8_t params[32];
    uint64_t a, b;
    double x, y;
    uint64_t check; /* xxh3 of all bytes before */
} wc_journal_record;

/* The number of child k of a part in the field `part'. */
static inline uint32_t wc_journal_child(uint32_t part, uint32_t k)
{
    return part | (k + 1) << 16;
}

typedef struct wc_journal {
    int fd;
    char *path;
    wc_journal_record *record; /* [n] as found at open and appended since, without the start record */
    size_t n, capacity;
    bool resumed; /* an earlier run's records were found */
    bool lost;    /* they were, but the file that they vouch for is gone: they were dropped */
} wc_journal;

/* Opens or creates; holds an exclusive lock until closed (WC_IO when another process has it). Records of another
 * fingerprint: WC_RESUME, unless fresh is set: then they are dropped. `about' is the unfinished file whose bytes the
 * records vouch for: without it they are worth nothing and are dropped. That happens when a run is killed between the
 * renaming of its output and the end of its journal, and the output is then made again. */
wc_status wc_journal_open(wc_ctx *ctx, const char *path, const char *about, uint64_t fingerprint, bool fresh,
                          wc_journal *out);
/* WC_RESUME when there is a journal of an unfinished run at all: for who is about to begin another one, hours before it
 * opens its own. */
wc_status wc_journal_absent(wc_ctx *ctx, const char *path);
/* Appends and syncs; fills in check. */
wc_status wc_journal_append(wc_ctx *ctx, wc_journal *j, wc_journal_record r);
/* The newest record of this type and index (and part), or NULL. */
const wc_journal_record *wc_journal_find(const wc_journal *j, wc_journal_type type, uint32_t index, uint32_t part);
const wc_journal_record *wc_journal_last(const wc_journal *j, wc_journal_type type);
void wc_journal_close(wc_journal *j, bool remove_file);

#endif
