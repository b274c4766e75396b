/* saved_stats.h - calibration statistics from a file, whichever kind it is: one of our own (calib/statsfile.h), or an
 * importance matrix of llama.cpp (io/imatrix.h); and the first written as the second.
 *
 * Of an importance matrix only E[x_j^2] is known, and E[x_j] perhaps. H is then the diagonal matrix of the squares:
 * what steps by H (error feedback, whitening) falls back on weighting every column by itself. E|x_j|, which AWQ and
 * some metrics of low-rank methods want, is taken for sqrt(2 / pi) times the root mean square, as of a normal
 * distribution around zero; the methods use its proportions only. */
#ifndef WC_SAVED_STATS_H
#define WC_SAVED_STATS_H

#include "calib/statsfile.h"
#include "io/imatrix.h"
#include "model/config.h"

typedef struct wc_saved_stats {
    wc_statsfile_info info; /* of an importance matrix: windows is a hash of the file, model 0: it does not say */
    bool diagonal;          /* it is an importance matrix */
    wc_statsfile file;
    wc_imatrix imatrix;
    char *path;
} wc_saved_stats;

/* WC_BADFILE: neither kind, or damaged. */
wc_status wc_saved_stats_open(wc_ctx *ctx, const char *path, wc_saved_stats *out);
/* The inputs, n of them, of a stage of a block; layer = number of blocks, stage 0: of the head. WC_BADFILE: the file
 * does not have them. Free with wc_stats_free. */
wc_status wc_saved_stats_get(wc_ctx *ctx, const wc_saved_stats *s, size_t layer, size_t stage, size_t layers, size_t n,
                             wc_stats *out);
void wc_saved_stats_close(wc_saved_stats *s); /* zeroed and NULL are fine */

/* The diagonals of one of our own files as an importance matrix, GGUF or legacy. */
wc_status wc_saved_stats_to_imatrix(wc_ctx *ctx, const char *path, const char *output, bool legacy);

#endif
