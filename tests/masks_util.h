/* masks_util.h - what every quantizer under a mask must do, for the tests of those that have holes in their format. */
#ifndef WC_TESTS_MASKS_UTIL_H
#define WC_TESTS_MASKS_UTIL_H

#include "prune_util.h"

/* A quantizer and the cases to try it on. */
typedef struct masked {
    size_t cases;
    /* One solve of case c; damping 0.01 when h is given. The caller frees the part. */
    wc_part (*solve)(size_t c, const float *w, size_t rows, size_t cols, const float *h, const uint8_t *mask,
                     int passes, int threads, double *loss);
    const uint8_t *(*codes)(const wc_part *p);               /* [rows, cols] */
    void (*assert_same)(const wc_part *a, const wc_part *b); /* all that is stored */
    double (*error)(const wc_part *p, const float *w, const float *h);
} masked;

static inline uint8_t *random_mask(size_t count, double kept)
{
    uint8_t *mask = malloc(count);
    for (size_t i = 0; i < count; i++)
        mask[i] = util_uniform() < kept;
    return mask;
}

/* Weights in holes a hundred times as large change nothing in plain rounding, and holes have code 0; also a row (3) and
 * a group of holes only. also: NULL, or what else holds of such a part. */
static inline void holes_have_no_say(const masked *m, void (*also)(const wc_part *p))
{
    size_t rows = 33, cols = 80;
    float *w = util_normals(rows * cols), *loud = malloc(rows * cols * sizeof *loud);
    uint8_t *mask = random_mask(rows * cols, 0.5);
    memset(mask + 3 * cols, 0, cols);
    memset(mask + 5 * cols + 16, 0, 16);
    for (size_t i = 0; i < rows * cols; i++) /* below the largest survivor, so that the tensor's exponent stays */
        w[i] *= 0.01f, loud[i] = mask[i] ? w[i] : 100 * w[i];
    for (size_t i = 0; i < rows * cols; i++)
        if (mask[i]) {
            w[i] = loud[i] = 8;
            break;
        }
    for (size_t c = 0; c < m->cases; c++) {
        wc_part a = m->solve(c, w, rows, cols, NULL, mask, 0, 2, NULL),
                b = m->solve(c, loud, rows, cols, NULL, mask, 0, 1, NULL);
        m->assert_same(&a, &b);
        for (size_t i = 0; i < rows * cols; i++)
            assert_true(mask[i] || m->codes(&a)[i] == 0);
        if (also) also(&a);
        wc_part_free(&a), wc_part_free(&b);
    }
    free(w), free(loud), free(mask);
}

/* The loss that feedback reports is the damped error with the holes' share in it: usually to 1e-5. Passes of descent
 * only lower it. */
static inline void loss_identity_and_descent(const masked *m)
{
    size_t rows = 50, cols = 90;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 200, 1, 0), *hd = util_damped(h, cols, 0.01);
    uint8_t *mask = random_mask(rows * cols, 0.6);
    for (size_t c = 0; c < m->cases; c++) {
        double last = INFINITY, loss;
        for (int passes = 0; passes < 4; passes++) {
            wc_part p = m->solve(c, w, rows, cols, h, mask, passes, 2, &loss);
            double e = m->error(&p, w, hd);
            if (!passes) assert_true(fabs(loss / e - 1) < 1e-4);
            assert_true(e <= last * (1 + 1e-5));
            last = e;
            wc_part_free(&p);
        }
        assert_true(last < 0.97 * loss);
    }
    free(w), free(h), free(hd), free(mask);
}

static inline void same_bytes_for_any_threads_and_level(const masked *m)
{
    static const char *const levels[] = {"c", "avx2", "avx512"};
    size_t rows = 150, cols = 120;
    float *w = util_normals(rows * cols), *h = util_moments(cols, 300, 1, 0);
    uint8_t *mask = random_mask(rows * cols, 0.4);
    for (size_t c = 0; c < m->cases; c++) {
        wc_part first = m->solve(c, w, rows, cols, h, mask, 2, 1, NULL);
        for (int i = 0; i < 4; i++) {
            if (i) setenv("WC_CPU", levels[i - 1], 1);
            wc_part p = m->solve(c, w, rows, cols, h, mask, 2, i ? 1 : 3, NULL);
            unsetenv("WC_CPU");
            m->assert_same(&first, &p);
            wc_part_free(&p);
        }
        wc_part_free(&first);
    }
    free(w), free(h), free(mask);
}

/* The error of what a recipe makes of w; holes are 0, and as many as the mask says. */
static inline double recipe_error(const char *text, const float *w, size_t rows, size_t cols, const float *h)
{
    struct pruned r = prune(text, w, rows, cols, h, 2);
    wc_positions none;
    if (r.status != WC_OK) fail_msg("%s: %s", text, r.error);
    for (size_t i = 0; i < rows * cols; i++)
        assert_true(r.mask[i] || r.what[i] == 0);
    assert_int_equal(part_positions(&r.part, &none)->nnz, r.kept);
    double e = util_error(w, r.what, rows, cols, h);
    free_pruned(&r);
    return e;
}

#endif
