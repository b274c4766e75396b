/* rotate - the residual stream and the attention heads in another orthonormal basis (QuaRot, arXiv 2404.00456, and the
 * R1, R2 of SpinQuant, arXiv 2405.16406, without training). README.md has the equations and what it is good for.
 *
 * With x' = Q x the residual stream of the new model, and g the weights of a norm, which moves into what follows it:
 *
 *     norms               g' = 1                   RMSNorm(Q x) = Q RMSNorm(x) when g = 1
 *     embedding           e' = Q e
 *     q, k, gate, up      W' = W diag(g) Q^T
 *     v                   W' = (I x R) W diag(g) Q^T,  b' = (I x R) b       R: of one head, the same for all of a block
 *     o                   W' = Q W (I x R)^T,          b' = Q b             attention mixes tokens, not channels of v
 *     down                W' = Q W,                    b' = Q b
 *     head                W' = W diag(g) Q^T       a tied head becomes a matrix of its own
 *
 * A row times Q^T is Q times that row, a column is rotated as it is: so all of it is Q or R applied to vectors. Rows
 * are rotated as they are read; v, o and down, whose rows mix, are made whole, those of one block at a time. */
#include <stdlib.h>
#include <string.h>

#include "model/linear.h"
#include "remodel/rotation.h"
#include "remodel/step.h"

typedef struct options {
    int seed;
    bool heads, down;
    int kept;
} options;

static const wc_opt rotate_opts[] = {
    {"seed", WC_OPT_INT, offsetof(options, seed), 0, 0, 1 << 30, NULL, "another number, other signs"},
    {"heads", WC_OPT_BOOL, offsetof(options, heads), 1, 0, 1, NULL, "also rotate what v gives to o, head by head"},
    {"down", WC_OPT_BOOL, offsetof(options, down), 1, 0, 1, NULL,
     "a Hadamard transform of the inputs of down_proj, done at run time"},
    {"kept", WC_OPT_WORD, offsetof(options, kept), 0, 0, 2, "f32|f16|bf16",
     "type of changed tensors that are not compressed"},
    {0},
};

static const wc_dtype kept_types[] = {WC_F32, WC_F16, WC_BF16};

/* What happens to a tensor; the first are those of wc_block.linear. */
typedef enum fate {
    Q,
    K,
    V,
    O,
    GATE,
    UP,
    DOWN,
    EMBED,
    HEAD,
    ONES,
    V_BIAS,
    O_BIAS,
    DOWN_BIAS,
    N_FATES
} fate; /* N_FATES: nothing */

typedef struct rotate {
    wc_remodel_step step;
    wc_config before;
    wc_weight_source base;
    options opt;
    wc_rotation residual; /* Q */
    float *final_norm;    /* [H] */
    wc_weight from[N_FATES];
    /* the block in work */
    size_t layer;
    wc_rotation head;           /* R */
    float *gamma[2];            /* [H] of the norms before attention and mlp */
    float *dense[WC_N_LINEARS]; /* v, o and down */
} rotate;

/* ---- what happens to which tensor ------------------------------------------------------------------------------- */

static fate bias_fate(const rotate *r, size_t linear)
{
    if (linear == V) return r->opt.heads ? V_BIAS : N_FATES;
    return linear == O ? O_BIAS : linear == DOWN ? DOWN_BIAS : N_FATES;
}

/* *layer: the block, SIZE_MAX outside. */
static fate fate_of(const rotate *r, const char *name, size_t *layer)
{
    wc_stage stage;
    wc_tensor_spec spec[WC_MAX_SPECS];
    char expected[WC_NAME_SIZE];
    wc_role role = wc_model_role(&r->step.config, name, layer, &stage);
    if (role == WC_ROLE_EMBED) return EMBED;
    if (role == WC_ROLE_HEAD) return HEAD;
    if (*layer == SIZE_MAX) return role == WC_ROLE_NORM ? ONES : N_FATES;
    size_t n = wc_block_specs(&r->before, spec);
    for (size_t i = 0; i < n; i++) {
        wc_spec_name(&spec[i], *layer, expected);
        if (strcmp(name, expected)) continue;
        if (role == WC_ROLE_LINEAR) return (fate)spec[i].index;
        if (role == WC_ROLE_BIAS) return bias_fate(r, spec[i].index);
        return spec[i].index == WC_NORM_ATTENTION || spec[i].index == WC_NORM_MLP ? ONES : N_FATES;
    }
    return N_FATES;
}

static bool changes(const wc_remodel_step *s, const char *name)
{
    size_t layer;
    return fate_of((const rotate *)s, name, &layer) != N_FATES;
}

static bool rows_mix(const rotate *r, fate f)
{
    return f == O || f == DOWN || (f == V && r->opt.heads);
}

static const float *norm_before(const rotate *r, fate f)
{
    if (f == HEAD) return r->final_norm;
    if (f == EMBED) return NULL;
    return r->gamma[f == GATE || f == UP];
}

/* ---- rotated rows ----------------------------------------------------------------------------------------------- */

/* w [nr, cols] from the inputs' side: diag(g) Q^T; head by head R^T for o; nothing for down. */
static wc_status turn_inputs(wc_ctx *ctx, const rotate *r, fate f, float *w, size_t nr, size_t cols)
{
    if (f == DOWN || (f == O && !r->opt.heads)) return WC_OK;
    const wc_rotation *q = f == O ? &r->head : &r->residual;
    const float *gamma = f == O ? NULL : norm_before(r, f);
    double *x = malloc(2 * q->n * sizeof *x);
    if (!x) return wc_fail(ctx, WC_NOMEM, "no memory to rotate rows of %zu numbers", q->n);
    for (size_t i = 0; i < nr * cols; i += q->n)
        wc_rotation_floats(q, w + i, gamma, x, x + q->n);
    free(x);
    return WC_OK;
}

static wc_status turn_bias(wc_ctx *ctx, const rotate *r, fate f, float *dst, size_t n)
{
    const wc_rotation *q = f == V_BIAS ? &r->head : &r->residual;
    double *x;
    WC_TRY(WC_ALLOC(ctx, x, 2 * q->n, "a bias"));
    for (size_t i = 0; i < n; i += q->n)
        wc_rotation_floats(q, dst + i, NULL, x, x + q->n);
    free(x);
    return WC_OK;
}

static wc_status read_rows(wc_ctx *ctx, const wc_weight *w, size_t r0, size_t nr, float *dst)
{
    const rotate *r = w->source;
    fate f = (fate)w->index;
    if (f < EMBED && r->dense[f]) {
        memcpy(dst, r->dense[f] + r0 * w->cols, nr * w->cols * sizeof *dst);
        return WC_OK;
    }
    if (f == ONES) {
        for (size_t i = 0; i < nr * w->cols; i++)
            dst[i] = 1;
        return WC_OK;
    }
    WC_TRY(r->from[f].read(ctx, &r->from[f], r0, nr, dst));
    if (f >= V_BIAS) return turn_bias(ctx, r, f, dst, w->cols);
    return turn_inputs(ctx, r, f, dst, nr, w->cols);
}

/* ---- a block ---------------------------------------------------------------------------------------------------- */

static void drop_block(rotate *r)
{
    for (size_t i = 0; i < WC_N_LINEARS; i++)
        free(r->dense[i]), r->dense[i] = NULL;
    free(r->gamma[0]), free(r->gamma[1]);
    r->gamma[0] = r->gamma[1] = NULL;
    wc_rotation_free(&r->head);
    r->layer = SIZE_MAX;
}

static wc_status enter_block(wc_ctx *ctx, rotate *r, size_t layer)
{
    if (r->layer == layer) return WC_OK;
    drop_block(r);
    for (wc_norm norm = WC_NORM_ATTENTION; norm <= WC_NORM_MLP; norm++) {
        wc_tensor_spec spec = {.role = WC_ROLE_NORM, .index = norm};
        char name[WC_NAME_SIZE];
        wc_spec_name(&spec, layer, name);
        WC_TRY(wc_vector_read(ctx, &r->base, name, r->before.hidden, &r->gamma[norm]));
    }
    WC_TRY(wc_rotation_make(ctx, r->before.head_dim, (uint64_t)r->opt.seed << 32 | (layer + 1), &r->head));
    r->layer = layer;
    return WC_OK;
}

enum { TASK_ROWS = 64 };

static wc_status make_dense(wc_ctx *ctx, rotate *r, fate f)
{
    const wc_weight *w = &r->from[f];
    float *m;
    int worst = WC_OK;
    if (r->dense[f]) return WC_OK;
    WC_TRY(WC_ALLOC(ctx, m, w->rows * w->cols, "a rotated matrix"));
#pragma omp parallel for schedule(dynamic) num_threads(ctx->threads) reduction(max : worst)
    for (size_t r0 = 0; r0 < w->rows; r0 += TASK_ROWS) {
        size_t nr = wc_min(TASK_ROWS, w->rows - r0);
        int s = w->read(ctx, w, r0, nr, m + r0 * w->cols);
        if (s == WC_OK) s = turn_inputs(ctx, r, f, m + r0 * w->cols, nr, w->cols);
        if (s > worst) worst = s;
    }
    wc_status status = (wc_status)worst;
    const wc_rotation *q = f == V ? &r->head : &r->residual;
    for (size_t r0 = 0; status == WC_OK && r0 < w->rows; r0 += q->n)
        status = wc_rotation_columns(ctx, q, m + r0 * w->cols, w->cols);
    if (status == WC_OK)
        r->dense[f] = m;
    else
        free(m);
    return status;
}

/* Not const in truth: it remembers the block in work. The forward pass asks for weights from one thread. */
static wc_status find(wc_ctx *ctx, const void *self, const char *name, wc_weight *out)
{
    rotate *r = (rotate *)self;
    size_t layer;
    wc_weight from;
    fate f = fate_of(r, name, &layer);
    memset(out, 0, sizeof *out);
    WC_TRY(r->base.find(ctx, r->base.self, f == HEAD && r->before.tied ? wc_embed_name : name, &from));
    if (!from.rows) return WC_OK;
    if (f == N_FATES) {
        *out = from;
        return WC_OK;
    }
    if (layer != SIZE_MAX) WC_TRY(enter_block(ctx, r, layer));
    r->from[f] = from;
    *out = from;
    out->name = f == HEAD ? wc_head_name : from.name;
    out->read = read_rows;
    out->source = r;
    out->index = f;
    return rows_mix(r, f) ? make_dense(ctx, r, f) : WC_OK;
}

static void release(const void *self)
{
    const rotate *r = self;
    if (r->base.release) r->base.release(r->base.self);
}

/* ---- the pass --------------------------------------------------------------------------------------------------- */

static const char *applies(const wc_config *c, const void *opt)
{
    (void)opt;
    return c->sub_norm ? "BitNet's weights are ternary and would not be after a rotation" : NULL;
}

static uint64_t held(const rotate *r)
{
    const wc_config *c = &r->before;
    uint64_t h = c->hidden, attention = c->heads * c->head_dim, v = r->opt.heads ? c->kv_heads * c->head_dim : 0;
    return 4 * h * (v + attention + c->intermediate);
}

static void close_step(wc_remodel_step *s)
{
    rotate *r = (rotate *)s;
    drop_block(r);
    wc_rotation_free(&r->residual);
    free(r->final_norm);
    free(r);
}

static wc_status open_step(wc_ctx *ctx, const wc_config *c, const wc_weight_source *base, const void *opt,
                           wc_remodel_step **out)
{
    rotate *r;
    wc_status status;
    WC_TRY(WC_ALLOC(ctx, r, 1, "a rotation of the model"));
    r->before = *c;
    r->base = *base;
    r->opt = *(const options *)opt;
    r->layer = SIZE_MAX;
    WC_TRY_OUT(wc_rotation_make(ctx, c->hidden, (uint64_t)r->opt.seed << 32, &r->residual));
    WC_TRY_OUT(wc_vector_read(ctx, base, wc_final_norm_name, c->hidden, &r->final_norm));
    r->step = (wc_remodel_step){.config = *c,
                                .source = {.find = find, .release = release, .self = r, .label = base->label},
                                .kept = kept_types[r->opt.kept],
                                .adds = c->tied ? wc_head_name : NULL,
                                .held = held(r),
                                .changes = changes,
                                .close = close_step};
    r->step.config.tied = false;
    if (r->opt.down) r->step.before[DOWN] = "hadamard";
    *out = &r->step;
    return WC_OK;
out:
    close_step(&r->step);
    return status;
}

const wc_remodel_pass wc_remodel_rotate = {
    .face = {.name = "rotate",
             .summary =
                 "over the whole model, first in a recipe: a random orthonormal basis of the residual stream and "
                 "heads, folded into the weights",
             .opt_size = sizeof(options),
             .opts = rotate_opts},
    .applies = applies,
    .open = open_step,
};
