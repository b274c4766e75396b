/* cut.h - files that can be made smaller after the fact: stacks of levels, and the order in which they are worth
 * having.
 *
 * A stack is a part of which the first few levels are a part too (bitstack). The order lists every level of every stack
 * of a file; any prefix that has at least the first level of each is a model. It is computed when the file is made,
 * stored as the metadata entry `cut_order' (docs/FORMAT.md), and never changed: cutting drops the end of the list. */
#ifndef WC_CUT_H
#define WC_CUT_H

#include "io/wcz.h"
#include "report.h"

typedef struct wc_cut_level {
    uint32_t tensor; /* number in the file; its last part is the stack */
    uint32_t levels; /* how many levels the stack has from here on */
    double error;    /* of the tensor then */
    uint64_t bytes;  /* of this level; not stored */
} wc_cut_level;

/* Bytes of the metadata entry for n levels. */
uint64_t wc_cut_order_size(size_t n);

/* Sorts level [n], the levels of all stacks in any order, into the order of a file: BitStack's (arXiv 2410.23918), with
 * the fall of the layer error per byte in place of a search by perplexity. First levels come first, in order of
 * tensors; they cannot be dropped. Then second levels, the one that lowers its layer's error most per byte first, then
 * third levels, and so on. Equal ones: lower tensor first. */
wc_status wc_cut_order_sort(wc_ctx *ctx, wc_cut_level *level, size_t n);

/* dst [wc_cut_order_size(n)]; made: levels of the file that the order was computed for. */
void wc_cut_order_encode(const wc_cut_level *level, size_t n, uint32_t made, uint8_t *dst);

typedef struct wc_cut_order {
    wc_cut_level *level; /* [n], bytes filled in */
    size_t n, floor;     /* the first `floor' cannot be dropped */
    uint32_t made;
} wc_cut_order;

/* Reads and checks the order of a file against its stacks; free with wc_cut_order_free. WC_UNSUPPORTED: the file has
 * none. WC_BADFILE: it is not that of this file. */
wc_status wc_cut_order_read(wc_ctx *ctx, const wc_wcz_reader *r, wc_cut_order *out);
void wc_cut_order_free(wc_cut_order *o);

typedef struct wc_cut_options {
    const char *input, *output; /* output NULL: INPUT.cut.wcz beside it */
    uint64_t size;              /* bytes that the result may have at most */
    bool force, dry_run;
} wc_cut_options;

/* Verifies the file, keeps the longest prefix of its order that fits, writes the rest of the file unchanged.
 * WC_BUDGET: even the floor is larger, with both numbers. */
wc_status wc_cut(wc_ctx *ctx, const wc_cut_options *opt, wc_report *report);

#endif
