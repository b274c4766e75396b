/* diff.h - two models held against each other, tensor by tensor, whatever either is stored as. */
#ifndef WC_DIFF_H
#define WC_DIFF_H

#include "report.h"

typedef struct wc_diff_options {
    const char *a, *b; /* a: what b is held against */
    double tolerance;  /* relative errors up to it count as equal */
    bool all;          /* print the equal tensors, too */
} wc_diff_options;

/* What one tensor has. Values are compared as the f32 that both sides decode to; NaNs are equal to NaNs. */
typedef struct wc_diff_tensor {
    bool in_a, in_b, same_shape;
    bool numeric;          /* both sides have values; else only bytes are compared */
    bool raw;              /* both sides store plain elements of one type, so that bytes can be compared */
    bool same_bytes;       /* of raw ones */
    uint64_t elements;     /* of A */
    uint64_t n_different;  /* elements with other values */
    uint64_t n_not_finite; /* of those, where either is a NaN or an infinity: they are in no error */
    double error;          /* |A - B| / |A| in Frobenius norms; infinite when A is all zero and B is not */
    double max_abs;        /* the largest |a - b|, at */
    uint64_t row, col;
} wc_diff_tensor;

typedef struct wc_diff_result {
    size_t tensors; /* names in either */
    size_t equal, close, different, only_a, only_b;
    double error, max_abs; /* over all compared values: |A - B| / |A|, max |a - b| */
} wc_diff_result;

/* Fills report->facts and prints. WC_OK also when they differ: *out says how. Memory: a few row blocks. */
wc_status wc_diff(wc_ctx *ctx, const wc_diff_options *opt, wc_report *report, wc_diff_result *out);

#endif
