#include "solve/vq_panel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/panel.h"

enum { LANES = WCK_VQ_LANES };

/* Partial choices for LANES rows: sums of entries, and the codes behind them. */
typedef struct wc_vq_beam {
    size_t n;
    uint16_t code[WC_VQ_MAX_BEAM][WC_VQ_BOOKS][LANES];
    float sum[WC_VQ_MAX_BEAM][WC_VQ_DIM][LANES];
} wc_vq_beam;

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static size_t features_of(size_t d)
{
    return d + d * (d - 1) / 2;
}

wc_status wc_vq_work_alloc(const wc_vq_solver *s, wc_vq_work *w)
{
    wc_ctx *ctx = s->ctx;
    size_t all = s->out->cols * s->rows;
    float **panels[] = {&w->e, &w->t, &w->x, &w->q};
    *w = (wc_vq_work){.s = s};
    for (size_t i = 0; i < sizeof panels / sizeof *panels; i++)
        WC_TRY(WC_ALLOC(ctx, *panels[i], all, "a panel"));
    WC_TRY(WC_ALLOC(ctx, w->code, s->books * s->vectors * s->rows, "a panel's codes"));
    if (s->out->signs) WC_TRY(WC_ALLOC(ctx, w->sign, all, "a panel's signs"));
    if (s->out->signs) WC_TRY(WC_ALLOC(ctx, w->features, s->k * features_of(s->d), "a codebook's products"));
    WC_TRY(WC_ALLOC(ctx, w->scale, s->groups * s->rows, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, w->inv, s->groups * s->rows, "a panel's scales"));
    WC_TRY(WC_ALLOC(ctx, w->g, s->d * s->rows, "a panel's vectors"));
    WC_TRY(WC_ALLOC(ctx, w->u, s->d * s->rows, "a panel's vectors"));
    WC_TRY(WC_ALLOC(ctx, w->loss, s->rows, "a panel's losses"));
    WC_TRY(WC_ALLOC(ctx, w->norm, s->books * s->k, "norms of codebooks"));
    WC_TRY(WC_ALLOC(ctx, w->beams, 2, "partial choices of codes"));
    WC_TRY(WC_ALLOC(ctx, w->score, s->p->beam * LANES, "scores of codes"));
    return WC_ALLOC(ctx, w->pick, s->p->beam * LANES, "the best codes");
}

void wc_vq_work_free(wc_vq_work *w)
{
    free(w->e), free(w->t), free(w->x), free(w->q), free(w->code), free(w->sign), free(w->features), free(w->scale);
    free(w->inv), free(w->g), free(w->u), free(w->loss), free(w->norm), free(w->beams), free(w->score), free(w->pick);
}

/* ---- panels ----------------------------------------------------------------------------------------------------- */

bool wc_vq_panel_at(const wc_vq_solver *s, size_t i, wc_vq_work *w)
{
    size_t rows = s->out->rows, end = rows;
    w->panel = i;
    if (s->per_strip) {
        size_t strip = i / s->per_strip * s->out->block_rows;
        w->r0 = strip + i % s->per_strip * s->rows;
        end = wc_min(strip + s->out->block_rows, rows);
    } else {
        w->r0 = i * s->rows;
    }
    w->nr = w->r0 < end ? wc_min(s->rows, end - w->r0) : 0;
    return w->nr > 0;
}

void wc_vq_panel_load(wc_vq_work *w, bool codes)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, planes = s->books * s->vectors, cols = s->out->cols;
    for (size_t r = 0; r < nr; r++)
        for (size_t g = 0; g < s->groups; g++) {
            float scale = s->scale[(w->r0 + r) * s->groups + g];
            w->scale[g * nr + r] = scale;
            w->inv[g * nr + r] = scale > 0 ? 1 / scale : 0;
        }
    if (!codes) return;
    for (size_t r = 0; r < nr; r++)
        for (size_t i = 0; i < planes; i++)
            w->code[i * nr + r] = s->out->code[(w->r0 + r) * planes + i];
    for (size_t r = 0; r < nr && w->sign; r++)
        for (size_t j = 0; j < cols; j++)
            w->sign[j * nr + r] = s->out->sign[(w->r0 + r) * cols + j];
}

void wc_vq_panel_store_codes(const wc_vq_work *w)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, planes = s->books * s->vectors;
    for (size_t r = 0; r < nr; r++)
        for (size_t i = 0; i < planes; i++)
            s->out->code[(w->r0 + r) * planes + i] = w->code[i * nr + r];
    if (w->sign) wc_panel_store_codes(w->sign, s->out->cols, w->r0, nr, s->out->sign);
}

size_t wc_vq_book_at(const wc_vq_work *w, size_t r, size_t v)
{
    const wc_vq_solver *s = w->s;
    size_t block = (w->r0 + r) / s->out->block_rows * s->col_blocks + v * s->d / s->out->block_cols;
    return block * s->books;
}

size_t wc_vq_strip_end(const wc_vq_work *w, size_t r)
{
    size_t rows = w->s->out->block_rows;
    return wc_min(((w->r0 + r) / rows + 1) * rows - w->r0, w->nr);
}

static size_t width_of(const wc_vq_solver *s, size_t v)
{
    return wc_min(s->d, s->out->cols - v * s->d);
}

void wc_vq_expand(const wc_vq_work *w, const float *value, size_t books, float *y)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d;
    memset(y, 0, s->out->cols * nr * sizeof *y);
    for (size_t v = 0; v < s->vectors; v++)
        for (size_t a = 0, b; a < nr; a = b) {
            const float *book = value + wc_vq_book_at(w, a, v) * s->k * d;
            b = wc_vq_strip_end(w, a);
            for (size_t j = 0; j < width_of(s, v); j++) {
                size_t column = v * d + j;
                float *out = y + column * nr;
                const float *scale = w->scale + column / s->out->group * nr;
                for (size_t m = 0; m < books; m++)
                    for (size_t r = a; r < b; r++)
                        out[r] += book[(m * s->k + w->code[(m * s->vectors + v) * nr + r]) * d + j];
                for (size_t r = a; r < b; r++)
                    out[r] *= w->sign && w->sign[column * nr + r] ? -scale[r] : scale[r];
            }
        }
}

/* ---- tables for the search -------------------------------------------------------------------------------------- */

/* norm_k = c_k A c_k. */
static void norms(size_t k, size_t d, const float *book, const float *metric, float *norm)
{
    for (size_t i = 0; i < k; i++) {
        const float *c = book + i * d;
        float sum = 0;
        for (size_t a = 0; a < d; a++) {
            float row = 0;
            for (size_t b = 0; b < d; b++)
                row += metric[a * d + b] * c[b];
            sum += row * c[a];
        }
        norm[i] = sum;
    }
}

/* With signs S the norm is c S A S c = sum_j A_jj c_j^2 + sum_{i<j} (c_i c_j) (2 S_i S_j A_ij): the products c_i c_j
 * are numbers of the entry, the factor behind them one of the vector. */
static void signed_table(size_t k, size_t d, const float *book, const float *metric, float *norm, float *features)
{
    for (size_t i = 0; i < k; i++) {
        const float *c = book + i * d;
        norm[i] = 0;
        for (size_t a = 0; a < d; a++) {
            *features++ = c[a];
            norm[i] += metric[a * d + a] * c[a] * c[a];
        }
        for (size_t a = 0; a < d; a++)
            for (size_t b = a + 1; b < d; b++)
                *features++ = c[a] * c[b];
    }
}

/* ---- beam search ------------------------------------------------------------------------------------------------ */

/* Rows r0 .. r0 + n of the panel, and the codebooks of their block. */
typedef struct lanes {
    size_t r0, n;
    const float *book; /* [books, k, d] */
} lanes;

static inline const float *entry_of(const wc_vq_solver *s, const lanes *l, size_t m, size_t code)
{
    return l->book + (m * s->k + code) * s->d;
}

static void begin(const wc_vq_work *w, const wc_vq_choice *c, const lanes *l, wc_vq_beam *b)
{
    const wc_vq_solver *s = w->s;
    b->n = 1;
    memset(b->code[0], 0, sizeof b->code[0]);
    memset(b->sum[0], 0, sizeof b->sum[0]);
    for (size_t m = 0; m < (c->keep ? s->books : c->from); m++)
        for (size_t r = 0; r < l->n; r++) {
            uint16_t code = w->code[(m * s->vectors + c->v) * w->nr + l->r0 + r];
            const float *entry = entry_of(s, l, m, code);
            b->code[0][m][r] = code;
            for (size_t j = 0; j < s->d; j++)
                b->sum[0][j][r] += entry[j];
        }
}

/* One choice o of the other codebooks: adding c_k costs base + c_k A c_k + c_k . f, f = 2 (A o - g), base = o A o - 2 o
 * . g.
 */
static void linear_form(const wc_vq_work *w, const wc_vq_choice *c, const lanes *l, float (*o)[LANES], float f[][LANES],
                        float base[LANES])
{
    size_t d = w->s->d;
    memset(base, 0, LANES * sizeof *base);
    for (size_t j = 0; j < d; j++) {
        const float *g = w->g + j * w->nr + l->r0;
        float ao[LANES] = {0};
        for (size_t i = 0; i < d; i++)
            for (size_t r = 0; r < LANES; r++)
                ao[r] += c->metric[j * d + i] * o[i][r];
        for (size_t r = 0; r < l->n; r++) {
            base[r] += o[j][r] * (ao[r] - 2 * g[r]);
            f[j][r] = 2 * (ao[r] - g[r]);
        }
        for (size_t r = l->n; r < LANES; r++)
            f[j][r] = 0;
    }
}

/* The best choices with codebook m, from those without it. */
static void step_beam(wc_vq_work *w, const wc_vq_choice *c, const lanes *l, size_t m, wc_vq_beam *from, wc_vq_beam *to)
{
    const wc_vq_solver *s = w->s;
    wck_vq_table table = {s->k, s->d, l->book + m * s->k * s->d, w->norm + m * s->k};
    float f[WC_VQ_DIM][LANES], base[LANES];
    to->n = wc_min(c->beam, from->n * s->k);
    for (size_t i = 0; i < to->n * LANES; i++)
        w->score[i] = INFINITY, w->pick[i] = 0;
    for (size_t h = 0; h < from->n; h++) {
        for (size_t r = 0; c->keep && r < l->n; r++)
            for (size_t j = 0; j < s->d; j++)
                from->sum[h][j][r] -= entry_of(s, l, m, from->code[h][m][r])[j];
        linear_form(w, c, l, from->sum[h], f, base);
        s->kernel->search(&table, f[0], base, (uint32_t)(h * s->k), to->n, w->score, w->pick);
    }
    for (size_t h = 0; h < to->n; h++)
        for (size_t r = 0; r < LANES; r++) {
            size_t old = w->pick[h * LANES + r] / s->k, code = w->pick[h * LANES + r] % s->k;
            const float *entry = entry_of(s, l, m, code);
            for (size_t i = 0; i < s->books; i++)
                to->code[h][i][r] = from->code[old][i][r];
            to->code[h][m][r] = (uint16_t)code;
            for (size_t j = 0; j < s->d; j++)
                to->sum[h][j][r] = from->sum[old][j][r] + entry[j];
        }
}

static void choose_sum(wc_vq_work *w, const wc_vq_choice *c, const lanes *l, float *y)
{
    const wc_vq_solver *s = w->s;
    wc_vq_beam *from = w->beams, *to = w->beams + 1;
    const float *scale = w->scale + c->v * s->d / s->out->group * w->nr + l->r0;
    begin(w, c, l, from);
    for (size_t m = c->from; m < c->to; m++) {
        step_beam(w, c, l, m, from, to);
        wc_vq_beam *t = from;
        from = to, to = t;
    }
    for (size_t m = 0; m < s->books; m++)
        for (size_t r = 0; r < l->n; r++)
            w->code[(m * s->vectors + c->v) * w->nr + l->r0 + r] = from->code[0][m][r];
    for (size_t j = 0; j < width_of(s, c->v); j++)
        for (size_t r = 0; r < l->n; r++)
            y[j * w->nr + l->r0 + r] = scale[r] * from->sum[0][j][r];
}

/* One codebook of magnitudes: the signs of w->u, and those there are, each with its best entry. */
static void choose_signed(wc_vq_work *w, const wc_vq_choice *c, const lanes *l, float *y)
{
    const wc_vq_solver *s = w->s;
    size_t d = s->d, first = c->v * d;
    const float *scale = w->scale + first / s->out->group * w->nr + l->r0;
    wck_vq_table table = {s->k, features_of(d), w->features, w->norm};
    float sign[2][WC_VQ_DIM][LANES] = {{{0}}}, f[WC_VQ_DIM * (WC_VQ_DIM + 1) / 2][LANES];
    float base[LANES] = {0}, *pair;
    for (size_t r = 0; r < LANES; r++)
        w->score[r] = INFINITY, w->pick[r] = 0;
    for (size_t h = 0; h < (c->keep ? 2 : 1); h++) {
        for (size_t j = 0; j < width_of(s, c->v); j++)
            for (size_t r = 0; r < l->n; r++) {
                size_t at = l->r0 + r;
                bool minus = h ? w->sign[(first + j) * w->nr + at] : w->u[j * w->nr + at] < 0;
                sign[h][j][r] = minus ? -1 : 1;
            }
        for (size_t j = 0; j < d; j++)
            for (size_t r = 0; r < LANES; r++)
                f[j][r] = r < l->n ? -2 * sign[h][j][r] * w->g[j * w->nr + l->r0 + r] : 0;
        pair = f[d];
        for (size_t i = 0; i < d; i++)
            for (size_t j = i + 1; j < d; j++, pair += LANES)
                for (size_t r = 0; r < LANES; r++)
                    pair[r] = 2 * c->metric[i * d + j] * sign[h][i][r] * sign[h][j][r];
        s->kernel->search(&table, f[0], base, (uint32_t)(h * s->k), 1, w->score, w->pick);
    }
    for (size_t r = 0; r < l->n; r++) {
        size_t h = w->pick[r] / s->k, code = w->pick[r] % s->k;
        w->code[c->v * w->nr + l->r0 + r] = (uint16_t)code;
        for (size_t j = 0; j < width_of(s, c->v); j++) {
            w->sign[(first + j) * w->nr + l->r0 + r] = sign[h][j][r] < 0;
            y[j * w->nr + l->r0 + r] = scale[r] * sign[h][j][r] * entry_of(s, l, 0, code)[j];
        }
    }
}

void wc_vq_choose(wc_vq_work *w, const wc_vq_choice *c, float *y)
{
    const wc_vq_solver *s = w->s;
    size_t size = s->k * s->d;
    for (size_t a = 0, b; a < w->nr; a = b) {
        const float *book = s->now.value + wc_vq_book_at(w, a, c->v) * size;
        b = wc_vq_strip_end(w, a);
        if (w->sign)
            signed_table(s->k, s->d, book, c->metric, w->norm, w->features);
        else
            for (size_t m = c->from; m < c->to; m++)
                norms(s->k, s->d, book + m * size, c->metric, w->norm + m * s->k);
        for (size_t r = a; r < b; r += LANES) {
            lanes l = {r, wc_min(LANES, b - r), book};
            if (w->sign)
                choose_signed(w, c, &l, y);
            else
                choose_sum(w, c, &l, y);
        }
    }
}
