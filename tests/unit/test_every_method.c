/* Every method, by itself and in lists, through the driver on matrices and inputs that nobody trains: one row, one
 * column, odd sizes, weights that are 0, tiny, huge or alone, inputs that never vary, were always 0, or have too few
 * tokens for their width. Each ends in a reason why it does not apply, or in a tensor that decodes to numbers, with an
 * error that the file repeats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compress.h"
#include "gptq_util.h"
#include "parts_util.h"

/* ---- what is tried ---------------------------------------------------------------------------------------------- */

static const struct {
    size_t rows, cols;
} shapes[] = {{1, 1}, {1, 9}, {9, 1}, {5, 3}, {17, 40}, {40, 17}};

typedef enum inputs { GOOD, RANK_ONE, ALWAYS_ZERO, DEAD_AND_FEW, N_INPUTS } inputs;
typedef enum weights { ORDINARY, ZERO_ROWS, ALL_ZERO, ALL_EQUAL, TINY, LARGE, ONE_ALONE, N_WEIGHTS } weights;

/* Beside every method as it is: options that lead elsewhere in its code, and lists. A rank of 1 is possible everywhere.
 */
static const char *const more[] = {
    "rtn(bits=1,group=0,sym=no)",
    "rtn(bits=4,group=0,scale_bits=0,search=slim) | slim(rank=1)",
    "hqq(bits=2,group=3)",
    "gptq(bits=2,group=16,sym=no,scale_bits=3,zero_bits=3,tile=2)",
    "gptq(bits=3,static_groups=no,order=natural,scale_bits=0)",
    "lut(bits=2,group=5)",
    "lut(levels=gaussian,bits=3,group=4)",
    "gptvq(bits=1,dim=3,signs=yes,entry_bits=16)",
    "aqlm(bits=2,dim=4,code_bits=4)",
    "binary(split=false,salient=0.5,group=4)",
    "binarymos(experts=3)",
    "bitstack(levels=2,scale=no) | rtn(bits=2)",
    "rd(bits=4,states=1)",
    "outliers(frac=10%,criterion=spqr) | gptq(bits=3)",
    "gptq(bits=3) | outliers(frac=10%,criterion=gain) | eora(rank=1)",
    "svd(rank=1,storage=pifa) | gptq(bits=3)",
    "svd(rank=1,factor_bits=4)",
    "svdllm(rank=1) | gptq(bits=4) | qera(rank=1,metric=rms)",
    "saes(rank=1,adaptive=true)",
    "curing(rank=1,link=weights)",
    "rocket(rank=1) | rtn(bits=3)",
    "mpo(rank=1) | hqq",
    "magnitude(50%) | rtn(bits=3)",
    "magnitude(100%) | gptq",
    "wanda(1:2,update=admm)",
    "wanda(50%) | nf4",
    "ria(30%,compare=row,update=obs) | lut(bits=3)",
    "sparsegpt(2:4) | gptq(bits=4) | eora(rank=1)",
    "gqsa(1:2,group=2,saliency=diagonal) | gptq(bits=4,group=2)",
    "awq | hadamard | gptq(bits=3)",
    "reorder(by=inputs,group=4) | gptq(bits=3,group=4) | outliers(frac=10%)",
    "reorder | sparsegpt(50%) | gptq(bits=4,group=8)",
    "hadamard(order=2) | sparsegpt(50%) | gptq(bits=4)",
};

/* ---- the matrices ----------------------------------------------------------------------------------------------- */

static float weight_of(weights kind, size_t r, size_t j, size_t cols)
{
    float w = sinf((float)(r * cols + j) * 1.7f + 0.3f);
    switch (kind) {
    case ZERO_ROWS: return r % 2 ? w : 0;
    case ALL_ZERO: return 0;
    case ALL_EQUAL: return -0.25f;
    case TINY: return w * 1e-30f;
    case LARGE: return w * 1e3f;
    case ONE_ALONE: return r || j ? 0 : 3;
    default: return w;
    }
}

static weights weight_kind;

static wc_status read_weight(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    for (size_t i = 0; i < nr * w->cols; i++)
        dst[i] = weight_of(weight_kind, r0 + i / w->cols, i % w->cols, w->cols);
    return WC_OK;
}

typedef struct moments {
    float *h, *c, *r, *mean, *abs_mean;
} moments;

/* Averages over tokens; what drifts is a tenth of every input, and of the residual stream. */
static wc_stats make_stats(inputs kind, size_t rows, size_t n, moments *m)
{
    size_t tokens = kind == DEAD_AND_FEW ? n / 3 + 1 : 3 * n + 2;
    float *x = calloc(n, sizeof *x);
    *m = (moments){calloc(n * n, 4), calloc(n * n, 4), calloc(rows * n, 4), calloc(n, 4), calloc(n, 4)};
    for (size_t t = 0; t < tokens; t++) {
        for (size_t j = 0; j < n; j++) {
            float free_one = util_normal(), common = sinf((float)t) * (float)(j + 1);
            x[j] = kind == ALWAYS_ZERO || (kind == DEAD_AND_FEW && j % 3 == 0) ? 0
                   : kind == RANK_ONE                                          ? common
                                                                               : free_one;
        }
        for (size_t i = 0; i < n; i++) {
            m->mean[i] += x[i] / (float)tokens, m->abs_mean[i] += fabsf(x[i]) / (float)tokens;
            for (size_t j = 0; j < n; j++) {
                m->h[i * n + j] += x[i] * x[j] / (float)tokens;
                m->c[i * n + j] += 0.1f * x[i] * x[j] / (float)tokens;
            }
        }
    }
    for (size_t i = 0; i < rows * n; i++)
        m->r[i] = 0.01f * m->mean[i % n];
    free(x);
    return (wc_stats){n, tokens, m->h, m->c, m->r, m->mean, m->abs_mean};
}

static void free_stats(moments *m)
{
    free(m->h), free(m->c), free(m->r), free(m->mean), free(m->abs_mean);
}

/* ---- one case --------------------------------------------------------------------------------------------------- */

static size_t applied, refused, wrong;

/* Says what is wrong, and goes on: a fault is rarely alone. */
#define COMPLAIN(...) (wrong++, print_error(__VA_ARGS__))

static const char *const input_names[] = {"good", "of rank one", "always zero", "dead and few", "unknown"};
static const char *const weight_names[] = {"ordinary", "zero rows", "all zero", "all equal",
                                           "tiny",     "large",     "one alone"};

static const char *why_not(const wc_recipe *r, size_t rows, size_t cols)
{
    for (size_t i = 0; i < r->n; i++) {
        wc_place at = wc_recipe_place(r, i, rows, cols);
        const wc_method *m = r->step[i].method;
        const char *reason = m->applies ? m->applies(&at, r->step[i].opt) : NULL;
        if (reason) return reason;
    }
    return NULL;
}

/* tr(D H D^T) / tr(W H W^T) in double. */
static double error_of(const float *dense, size_t rows, size_t n, const float *h)
{
    double left = 0, whole = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double hij = h ? (double)h[i * n + j] : i == j, a = (double)weight_of(weight_kind, r, i, n),
                       b = (double)weight_of(weight_kind, r, j, n);
                whole += a * b * hij;
                left += (a - (double)dense[r * n + i]) * (b - (double)dense[r * n + j]) * hij;
            }
    if (weight_kind == ALL_ZERO) assert_true(left == 0);
    return whole > 0 ? left / whole : left > 0 ? INFINITY : 0;
}

static void check_result(const char *where, const wc_packed *p, const wc_tensor_result *result, const wc_stats *stats)
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    float *dense = malloc(p->rows * p->cols * sizeof *dense);
    assert_int_equal(wc_packed_rows(&ctx, p, 0, p->rows, dense), WC_OK);
    for (size_t i = 0; i < p->rows * p->cols; i++)
        if (!isfinite(dense[i])) {
            COMPLAIN("%s: a weight of %g\n", where, (double)dense[i]);
            break;
        }
    double error = error_of(dense, p->rows, p->cols, stats ? stats->h : NULL);
    /* f32 against double: usually 1e-6; 1e-3 and more for another matrix */
    if (result->error != error && !(fabs(result->error - error) < 1e-4 * (1 + error)))
        COMPLAIN("%s: error %g, by its bytes %g\n", where, result->error, error);
    free(dense);
}

static void try(const char *path, const char *text, size_t rows, size_t cols, const wc_stats *stats, int what)
{
    wc_ctx ctx;
    wc_recipe recipe;
    wc_part plan[WC_RECIPE_MAX + 1] = {{0}};
    wc_packed packed;
    wc_tensor_result result;
    wc_wcz *z;
    size_t n = 0, transforms = 0;
    wc_ctx_init(&ctx, 2);
    if (wc_recipe_parse(&ctx, text, &recipe) != WC_OK) fail_msg("%s: %s", text, ctx.error);
    const char *reason = why_not(&recipe, rows, cols);
    if (reason || !recipe.n || recipe.step[0].method->role == WC_STEP_COPY) {
        assert_true(!reason || strlen(reason) > 8);
        refused += reason != NULL;
        wc_recipe_free(&recipe);
        return;
    }
    for (int pass = 0; pass < 2; pass++) /* parts of the sum, then transforms, as the plan has them */
        for (size_t i = 0; i < recipe.n; i++) {
            wc_place at = wc_recipe_place(&recipe, i, rows, cols);
            if ((recipe.step[i].method->role == WC_STEP_TRANSFORM) != pass) continue;
            recipe.step[i].method->plan(&at, recipe.step[i].opt, &plan[n + transforms]);
            bool made = plan[n + transforms].kind != 0;
            pass ? (transforms += made) : (n += made);
        }
    wc_wcz_tensor t = {"w", WC_F32, 2, {rows, cols}, n, plan, transforms};
    if (wc_wcz_layout(&ctx, &t, 1, NULL, 0, &z) != WC_OK) fail_msg("%s: %s", text, ctx.error);
    assert_int_equal(wc_wcz_create(&ctx, z, path), WC_OK);
    wc_weight w = {.rows = rows, .cols = cols, .name = "w", .read = read_weight};
    wc_compress_job job = {.weight = &w, .recipe = &recipe, .stats = stats, .wcz = z};
    char where[256];
    snprintf(where, sizeof where, "%s: %zu x %zu, weights %s, inputs %s", text, rows, cols, weight_names[weight_kind],
             input_names[what]);
    applied++;
    if (wc_compress(&ctx, &job, &packed, &result) != WC_OK) {
        COMPLAIN("%s: %s\n", where, ctx.error);
    } else {
        check_result(where, &packed, &result, stats);
        wc_packed_free(&packed);
    }
    wc_wcz_free(&z);
    for (size_t i = 0; i < n + transforms; i++)
        wc_part_free(&plan[i]);
    wc_recipe_free(&recipe);
}

static void try_all(const char *path, size_t rows, size_t cols, const wc_stats *stats, int what)
{
    char text[128];
    for (const wc_method *const *m = wc_methods; *m; m++) {
        bool alone = (*m)->role != WC_STEP_TRANSFORM;
        if (stats || !((*m)->needs & WC_NEEDS_HESSIAN)) {
            snprintf(text, sizeof text, alone ? "%s" : "%s | rtn(bits=3)", (*m)->name);
            try(path, text, rows, cols, stats, what);
        }
    }
    for (size_t i = 0; stats && i < sizeof more / sizeof *more; i++)
        try(path, more[i], rows, cols, stats, what);
}

static void all_of_them(void **state)
{
    char path[300];
    snprintf(path, sizeof path, "%s/w.partial", (char *)*state);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < N_INPUTS + 1; kind++) {
            moments m = {0};
            wc_stats stats = {0};
            if (kind < N_INPUTS) stats = make_stats((inputs)kind, shapes[s].rows, shapes[s].cols, &m);
            for (weight_kind = 0; weight_kind < N_WEIGHTS; weight_kind++)
                if (((size_t)weight_kind + s + (size_t)kind) % 3 == 0) /* a third of all pairs, another one per shape */
                    try_all(path, shapes[s].rows, shapes[s].cols, kind < N_INPUTS ? &stats : NULL, kind);
            free_stats(&m);
        }
    print_message("%zu tensors made, %zu reasons given\n", applied, refused);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_of_them, make_scratch, remove_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
