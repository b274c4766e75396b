/* kernel.h - a unit of a coded part while it is read, and what a CPU level can do about its rows. */
#ifndef WCD_CODED_KERNEL_H
#define WCD_CODED_KERNEL_H

#include "decode/decoder.h"
#include "decode/level.h"

enum {
    WCD_CODED_SYMBOLS = 64,
    WCD_CODED_SLOTS = 4096,
    WCD_CODED_BUCKET = WCD_CODED_SLOTS / WCD_CODED_SYMBOLS,
    WCD_CODED_CLASSES = 16,
    WCD_CODED_COLS = WCD_SPAN, /* of a unit */
    WCD_CODED_LANES = 16,
    WCD_CODED_RAW = 16,                  /* bits of an escaped k */
    WCD_CODED_MOST = 4 * WCD_CODED_LANES /* bytes that a group takes at most: two words a state */
};

/* The laws of a part, as the card's slots: 16 KiB that stay in the first cache. Slot i of a bucket belongs to the
 * bucket's own symbol while i < split, else to one other:
 *     bits 0..11 frequency of the own symbol, 12..23 bias, 24..30 split;   32..43 and 44..55 of the other, 56..61 which
 * The number of a slot among those of its symbol is (slot + bias) mod 4096. */
typedef struct wcd_coded_tables {
    uint64_t bucket[WCD_CODED_CLASSES][2][WCD_CODED_SYMBOLS];
    float value[WCD_CODED_CLASSES][2][WCD_CODED_SYMBOLS]; /* 64 j - shrink of symbols without low bits */
    uint32_t shrink[WCD_CODED_CLASSES]; /* i8 for |j| = 0, 1, 2, more: from the lowest byte to the highest */
    uint8_t shift[WCD_CODED_CLASSES], ready[WCD_CODED_CLASSES];
} wcd_coded_tables;

/* A unit being read. */
typedef struct wcd_coded_unit {
    const uint8_t *p, *end; /* words not read yet */
    uint32_t x[WCD_CODED_LANES];
    /* of each column class in this row: 128 times the class, and its shift times 2^16; as in the tables */
    uint32_t law[WCD_CODED_CLASSES], shrink[WCD_CODED_CLASSES];
    uint32_t state[WCD_CODED_COLS], class_of[WCD_CODED_COLS];
    float step[WCD_CODED_COLS];
    unsigned cols;
    uint32_t a, b; /* of the machine */
} wcd_coded_unit;

/* Class n of the tables, from its record; and d / 64 of a column with this code, rounded once. For layouts that others
 * make of a part. */
void wcd_coded_class(const uint8_t *record, wcd_coded_tables *t, unsigned n);
float wcd_coded_step(const wcd_coded_view *c, unsigned code);
/* The machine of a part: s' = (s >> 1) ^ (s odd ? [0] : 0) ^ (k odd ? [1] : 0), s < 256. */
const uint8_t *wcd_coded_machine(const wcd_coded_view *c);

/* The next row: groups reads those of its groups of 16 columns into dst that are whole and whose words are all there,
 * from the left, and returns the columns that it did. Every level gives the same bits and leaves the same unit. */
typedef struct wcd_coded_kernel {
    unsigned (*groups)(const wcd_coded_tables *t, wcd_coded_unit *u, float *dst);
} wcd_coded_kernel;

#endif
