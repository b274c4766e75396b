#include "solve/vq_books.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "linalg/linalg.h"
#include "solve/panel.h"

static const double enough = 3e-4; /* a round of k-means that gains less is the last */

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static size_t entries_of(const wc_vq_solver *s)
{
    return s->strips * s->col_blocks * s->books * s->k;
}

wc_status wc_vq_sums_alloc(const wc_vq_solver *s, wc_vq_sums *out)
{
    bool alone = s->per_strip <= 1; /* every row block in one panel: panels never meet in an entry */
    *out = (wc_vq_sums){.shares = alone ? 1 : wc_min(WC_VQ_SHARES, s->panels), .entries = entries_of(s), .d = s->d};
    size_t all = out->shares * out->entries;
    WC_TRY(WC_ALLOC(s->ctx, out->num, all * s->d, "sums of codebooks"));
    WC_TRY(WC_ALLOC(s->ctx, out->den, all * s->d * s->d, "sums of codebooks"));
    return WC_ALLOC(s->ctx, out->err, all, "sums of codebooks");
}

void wc_vq_sums_free(wc_vq_sums *sums)
{
    free(sums->num), free(sums->den), free(sums->err);
}

wc_status wc_vq_books_alloc(const wc_vq_solver *s, wc_vq_books *out)
{
    WC_TRY(WC_ALLOC(s->ctx, out->value, entries_of(s) * s->d, "codebooks"));
    return WC_ALLOC(s->ctx, out->step, entries_of(s) / s->k, "steps of codebooks");
}

void wc_vq_books_free(wc_vq_books *b)
{
    free(b->value), free(b->step);
}

/* ---- sums over panels ------------------------------------------------------------------------------------------- */

void wc_vq_for_panels(const wc_vq_solver *s, wc_vq_work *work, void (*run)(wc_vq_work *w, void *arg), void *arg)
{
    size_t shares = wc_min(WC_VQ_SHARES, s->panels);
#pragma omp parallel for schedule(dynamic) num_threads((int)wc_min((size_t)s->ctx->threads, shares))
    for (size_t share = 0; share < shares; share++) {
        wc_vq_work *w = work + omp_get_thread_num();
        w->share = share;
        for (size_t i = share; i < s->panels; i += shares)
            if (wc_vq_panel_at(s, i, w)) run(w, arg);
    }
}

static void clear(wc_vq_sums *sums)
{
    size_t all = sums->shares * sums->entries, d = sums->d;
    memset(sums->num, 0, all * d * sizeof *sums->num);
    memset(sums->den, 0, all * d * d * sizeof *sums->den);
    memset(sums->err, 0, all * sizeof *sums->err);
}

static void fold(double *sum, size_t shares, size_t n)
{
    for (size_t i = 1; i < shares; i++)
        for (size_t j = 0; j < n; j++)
            sum[j] += sum[i * n + j];
}

/* All shares into the first. */
static void gather(wc_vq_sums *sums)
{
    size_t d = sums->d;
    fold(sums->num, sums->shares, sums->entries * d);
    fold(sums->den, sums->shares, sums->entries * d * d);
    fold(sums->err, sums->shares, sums->entries);
}

/* Rows a .. b of the panel for vector v: one block, so one codebook m. Sums and codes of row a on. */
typedef struct run {
    size_t a, b, first;   /* first: number of the codebook's first entry, counted over all shares */
    const uint16_t *code; /* [b - a] */
} run;

static run run_from(const wc_vq_work *w, const wc_vq_sums *sums, size_t m, size_t v, size_t a)
{
    const wc_vq_solver *s = w->s;
    size_t share = sums->shares > 1 ? w->share : 0;
    return (run){.a = a,
                 .b = wc_vq_strip_end(w, a),
                 .first = share * sums->entries + (wc_vq_book_at(w, a, v) + m) * s->k,
                 .code = w->code + (m * s->vectors + v) * w->nr + a};
}

/* num += s S y for the entries of codebook m; y [d, nr]. */
static void add_num(const wc_vq_work *w, wc_vq_sums *sums, size_t m, size_t v, const float *y)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d, count = wc_min(d, s->out->cols - v * d);
    const float *scale = w->scale + v * d / s->out->group * nr;
    for (size_t a = 0; a < nr; a = wc_vq_strip_end(w, a)) {
        run u = run_from(w, sums, m, v, a);
        double *num = sums->num + u.first * d;
        for (size_t j = 0; j < count; j++) {
            const uint8_t *sign = w->sign ? w->sign + (v * d + j) * nr : NULL;
            for (size_t r = a; r < u.b; r++) {
                float x = scale[r] * y[j * nr + r];
                num[u.code[r - a] * d + j] += (double)(sign && sign[r] ? -x : x);
            }
        }
    }
}

/* den += s^2 A for the vectors of a run: their number is small, the products of A many, so first the weights. */
static void add_plain_den(const run *u, const float *scale, const float *metric, size_t k, size_t d, float *weight,
                          double *den)
{
    memset(weight, 0, k * sizeof *weight);
    for (size_t r = u->a; r < u->b; r++)
        weight[u->code[r - u->a]] += scale[r] * scale[r];
    for (size_t i = 0; i < k; i++, den += d * d)
        for (size_t j = 0; j < d * d && weight[i] > 0; j++)
            den[j] += (double)(weight[i] * metric[j]);
}

/* den += s^2 S A S. */
static void add_signed_den(const wc_vq_work *w, const run *u, size_t v, double *den)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d, count = wc_min(d, s->out->cols - v * d);
    const float *metric = s->metric + v * d * d, *scale = w->scale + v * d / s->out->group * nr;
    for (size_t r = u->a; r < u->b; r++) {
        double *to = den + u->code[r - u->a] * d * d;
        float x[WC_VQ_DIM];
        for (size_t j = 0; j < count; j++)
            x[j] = w->sign[(v * d + j) * nr + r] ? -scale[r] : scale[r];
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < count; j++)
                to[i * d + j] += (double)(x[i] * x[j] * metric[i * d + j]);
    }
}

static void add_den(wc_vq_work *w, wc_vq_sums *sums, size_t m, size_t v)
{
    const wc_vq_solver *s = w->s;
    size_t d = s->d;
    for (size_t a = 0; a < w->nr; a = wc_vq_strip_end(w, a)) {
        run u = run_from(w, sums, m, v, a);
        double *den = sums->den + u.first * d * d;
        if (w->sign)
            add_signed_den(w, &u, v, den);
        else
            add_plain_den(&u, w->scale + v * d / s->out->group * w->nr, s->metric + v * d * d, s->k, d, w->norm, den);
    }
}

/* err += f A f; f, af [d, nr]. */
static void add_err(const wc_vq_work *w, wc_vq_sums *sums, size_t m, size_t v, const float *f, const float *af)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, count = wc_min(s->d, s->out->cols - v * s->d);
    for (size_t a = 0; a < nr; a = wc_vq_strip_end(w, a)) {
        run u = run_from(w, sums, m, v, a);
        double *err = sums->err + u.first;
        for (size_t j = 0; j < count; j++)
            for (size_t r = a; r < u.b; r++)
                err[u.code[r - a]] += (double)(f[j * nr + r] * af[j * nr + r]);
    }
}

/* ---- entries as they are stored --------------------------------------------------------------------------------- */

static float f16_value(float x)
{
    return wc_f16_f32(wc_f32_f16(x));
}

/* The smallest f16 step with which 127 of them reach `top', or half a step less. */
static float step_for(float top)
{
    uint16_t half = wc_f32_f16(top / 127);
    if (wc_f16_f32(half) * 127.5f < top) half++;
    return wc_f16_f32(half);
}

static void round_book(const wc_vq_solver *s, wc_vq_books *b, size_t book)
{
    size_t size = s->k * s->d;
    float *value = b->value + book * size, top = 0;
    for (size_t i = 0; i < size && s->out->entry_bits == 16; i++)
        value[i] = f16_value(value[i]);
    if (s->out->entry_bits == 16) return;
    for (size_t i = 0; i < size; i++)
        top = fmaxf(top, fabsf(value[i]));
    float step = b->step[book] = step_for(top), inv = step > 0 ? 1 / step : 0;
    for (size_t i = 0; i < size; i++)
        value[i] = step * fmaxf(-127, fminf(127, rintf(value[i] * inv)));
}

/* ---- small systems ---------------------------------------------------------------------------------------------- */

/* a [d, d] = its lower Cholesky factor, with a ridge for directions that nothing determines; false when a is 0. */
static bool factor(double *a, size_t d, double ridge)
{
    double trace = 0;
    for (size_t i = 0; i < d; i++)
        trace += a[i * d + i];
    if (!(trace > 0)) return false;
    for (size_t i = 0; i < d; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i * d + j] + (i == j ? ridge * trace : 0);
            for (size_t k = 0; k < j; k++)
                sum -= a[i * d + k] * a[j * d + k];
            a[i * d + j] = i == j ? sqrt(fmax(sum, ridge * trace)) : sum / a[j * d + j];
        }
    }
    return true;
}

/* x = (L L^T)^{-1} b */
static void solve(const double *l, size_t d, const double *b, double *x)
{
    for (size_t i = 0; i < d; i++) {
        x[i] = b[i];
        for (size_t k = 0; k < i; k++)
            x[i] -= l[i * d + k] * x[k];
        x[i] /= l[i * d + i];
    }
    for (size_t i = d; i-- > 0;) {
        for (size_t k = i + 1; k < d; k++)
            x[i] -= l[k * d + i] * x[k];
        x[i] /= l[i * d + i];
    }
}

/* ---- seeds ------------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

typedef struct ranked {
    float distance;
    uint32_t at;
} ranked;

static int nearer(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Vectors of a block: all if they are few, else some, drawn by a fixed rule. */
typedef struct sampler {
    size_t most;
    float *x;     /* [most, d] */
    ranked *rank; /* [most] */
} sampler;

static size_t sample_size(const wc_vq_solver *s)
{
    size_t strip = wc_min(s->out->block_rows, s->out->rows), across = wc_ceil_div(s->out->block_cols, s->d);
    size_t wanted = 16 * s->k < 8192 ? 8192 : 16 * s->k;
    return wc_min(strip * across, wanted);
}

/* x [d] = what codebooks before m leave of vector v of row r, in units of its scale. */
static void sample_vector(const wc_vq_solver *s, size_t m, size_t r, size_t v, float *x)
{
    const wc_vq *o = s->out;
    size_t d = s->d, block = r / o->block_rows * s->col_blocks + v * d / o->block_cols;
    float scale = s->scale[r * s->groups + v * d / o->group], inv = scale > 0 ? 1 / scale : 0,
          unit = ldexpf(1, -o->scale_exp);
    for (size_t j = 0; j < d; j++)
        x[j] = v * d + j < o->cols ? s->p->w[r * o->cols + v * d + j] * unit * inv : 0;
    for (size_t i = 0; i < m; i++) {
        size_t code = o->code[(r * s->books + i) * s->vectors + v];
        const float *entry = s->now.value + ((block * s->books + i) * s->k + code) * d;
        for (size_t j = 0; j < d; j++)
            x[j] -= entry[j];
    }
    for (size_t j = 0; j < d && o->signs; j++)
        x[j] = fabsf(x[j]);
}

/* Squared distances from the mean in units of the covariance. */
static void mahalanobis(const float *x, size_t n, size_t d, ranked *rank)
{
    double mean[WC_VQ_DIM] = {0}, cov[WC_VQ_DIM * WC_VQ_DIM] = {0}, z[WC_VQ_DIM], y[WC_VQ_DIM];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            mean[j] += (double)x[i * d + j] / (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < d; a++)
            for (size_t b = 0; b <= a; b++)
                cov[a * d + b] += ((double)x[i * d + a] - mean[a]) * ((double)x[i * d + b] - mean[b]);
    bool spread = factor(cov, d, 1e-9);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            z[j] = (double)x[i * d + j] - mean[j];
        if (spread) solve(cov, d, z, y);
        for (size_t j = 0; j < d && spread; j++)
            sum += z[j] * y[j];
        rank[i] = (ranked){(float)sum, (uint32_t)i};
    }
}

static void seed_block(const wc_vq_solver *s, size_t m, size_t block, const sampler *sample)
{
    const wc_vq *o = s->out;
    size_t d = s->d, r0 = block / s->col_blocks * o->block_rows, c0 = block % s->col_blocks * o->block_cols;
    size_t rows = wc_min(o->block_rows, o->rows - r0), across = wc_ceil_div(wc_min(o->block_cols, o->cols - c0), d);
    size_t all = rows * across, n = wc_min(all, sample->most);
    float *book = s->now.value + (block * s->books + m) * s->k * d;
    for (size_t i = 0; i < n; i++) {
        size_t at = n == all ? i : mix(i + 1) % all;
        sample_vector(s, m, r0 + at / across, c0 / d + at % across, sample->x + i * d);
    }
    mahalanobis(sample->x, n, d, sample->rank);
    qsort(sample->rank, n, sizeof *sample->rank, nearer);
    for (size_t k = 0; k < s->k; k++)
        memcpy(book + k * d, sample->x + sample->rank[(2 * k + 1) * n / (2 * s->k)].at * d, d * sizeof *book);
}

static wc_status seed(const wc_vq_solver *s, size_t m)
{
    size_t blocks = s->strips * s->col_blocks, threads = wc_min((size_t)s->ctx->threads, blocks);
    sampler one = {.most = sample_size(s)};
    wc_status status = WC_OK;
    float *x = NULL;
    ranked *rank = NULL;
    WC_TRY_OUT(WC_ALLOC(s->ctx, x, threads * one.most * s->d, "seeds of a codebook"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, rank, threads * one.most, "seeds of a codebook"));
#pragma omp parallel for schedule(dynamic) num_threads((int)threads)
    for (size_t b = 0; b < blocks; b++) {
        size_t t = (size_t)omp_get_thread_num() * one.most;
        seed_block(s, m, b, &(sampler){one.most, x + t * s->d, rank + t});
    }
out:
    free(x), free(rank);
    return status;
}

/* ---- k-means ---------------------------------------------------------------------------------------------------- */

void wc_vq_targets(wc_vq_work *w, size_t v, const float *t, const float *metric)
{
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d, count = wc_min(d, s->out->cols - v * d);
    const float *inv = w->inv + v * d / s->out->group * nr;
    memset(w->g, 0, d * nr * sizeof *w->g);
    for (size_t j = 0; j < count; j++)
        for (size_t r = 0; r < nr; r++)
            w->u[j * nr + r] = t[j * nr + r] * inv[r];
    for (size_t i = 0; i < count; i++)
        s->grid->combine(count, nr, metric + i, d, w->u, w->g + i * nr);
}

struct kmeans {
    wc_vq_sums *sums;
    size_t m;
};

/* Nearest entries of codebook m for a panel, and the sums of the entries that would be best for them. */
static void assign(wc_vq_work *w, void *arg)
{
    const struct kmeans *a = arg;
    const wc_vq_solver *s = w->s;
    size_t nr = w->nr, d = s->d, all = s->out->cols * nr;
    wc_panel_load(s->p->w, s->out->cols, w->r0, nr, s->out->scale_exp, w->e);
    wc_vq_panel_load(w, true);
    wc_vq_expand(w, s->now.value, a->m, w->q); /* 0 for the first: its signs are not there yet */
    for (size_t v = 0; v < s->vectors; v++) {
        const float *metric = s->metric + v * d * d;
        wc_vq_targets(w, v, w->e + v * d * nr, metric);
        wc_vq_choose(w, &(wc_vq_choice){v, a->m, a->m + 1, 1, metric, false}, w->t + v * d * nr);
    }
    for (size_t i = 0; i < all; i++)
        w->t[i] = w->e[i] - w->t[i], w->e[i] -= w->q[i];
    for (size_t v = 0; v < s->vectors; v++) {
        const float *metric = s->metric + v * d * d, *f = w->t + v * d * nr;
        size_t count = wc_min(d, s->out->cols - v * d);
        memset(w->g, 0, d * nr * sizeof *w->g);
        memset(w->u, 0, d * nr * sizeof *w->u);
        for (size_t i = 0; i < count; i++) {
            s->grid->combine(count, nr, metric + i, d, w->e + v * d * nr, w->g + i * nr);
            s->grid->combine(count, nr, metric + i, d, f, w->u + i * nr);
        }
        add_num(w, a->sums, a->m, v, w->g);
        add_den(w, a->sums, a->m, v);
        add_err(w, a->sums, a->m, v, f, w->u);
    }
    wc_vq_panel_store_codes(w);
}

/* An entry without vectors moves to one side of the entry that costs most, which moves to the other. */
static void fill_gaps(const wc_vq_solver *s, const wc_vq_sums *sums, size_t book, bool *used)
{
    size_t d = s->d, first = book * s->k;
    double *err = sums->err + first;
    for (size_t k = 0; k < s->k; k++) {
        size_t worst = 0;
        if (used[k]) continue;
        for (size_t i = 1; i < s->k; i++)
            if (err[i] > err[worst]) worst = i;
        if (!(err[worst] > 0)) return;
        double trace = 0;
        for (size_t j = 0; j < d; j++)
            trace += sums->den[(first + worst) * d * d + j * (d + 1)];
        float *from = s->now.value + (first + worst) * d, *to = s->now.value + (first + k) * d;
        for (size_t j = 0; j < d; j++) {
            float away = (float)sqrt(err[worst] / trace) * (mix((first + k) * d + j) & 1 ? 0.5f : -0.5f);
            to[j] = from[j] + away;
            from[j] -= away;
        }
        err[k] = err[worst] = err[worst] / 4;
        memcpy(sums->den + (first + k) * d * d, sums->den + (first + worst) * d * d, d * d * sizeof *sums->den);
        used[k] = true;
    }
}

/* Every entry of codebook m at the optimum for its vectors. */
static void centre(const wc_vq_solver *s, const wc_vq_sums *sums, size_t m, bool *used)
{
    size_t d = s->d, blocks = s->strips * s->col_blocks;
    for (size_t b = 0; b < blocks; b++) {
        size_t book = b * s->books + m;
        for (size_t k = 0; k < s->k; k++) {
            size_t at = book * s->k + k;
            double l[WC_VQ_DIM * WC_VQ_DIM], x[WC_VQ_DIM];
            memcpy(l, sums->den + at * d * d, d * d * sizeof *l);
            used[k] = factor(l, d, 1e-9);
            if (!used[k]) continue;
            solve(l, d, sums->num + at * d, x);
            for (size_t j = 0; j < d; j++)
                s->now.value[at * d + j] = (float)x[j];
        }
        fill_gaps(s, sums, book, used);
    }
}

static double total(const wc_vq_solver *s, const wc_vq_sums *sums, size_t m)
{
    double sum = 0;
    for (size_t b = 0; b < s->strips * s->col_blocks; b++)
        for (size_t k = 0; k < s->k; k++)
            sum += sums->err[(b * s->books + m) * s->k + k];
    return sum;
}

wc_status wc_vq_kmeans(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, size_t m)
{
    struct kmeans a = {sums, m};
    double last = INFINITY;
    bool *used, more = true;
    WC_TRY(seed(s, m));
    WC_TRY(WC_ALLOC(s->ctx, used, s->k, "a codebook's entries"));
    for (int round = 0; round < s->p->em && more; round++) {
        clear(sums);
        wc_vq_for_panels(s, work, assign, &a);
        gather(sums);
        double cost = total(s, sums, m);
        more = cost < last * (1 - enough);
        last = cost;
        centre(s, sums, m, used);
    }
    free(used);
    for (size_t b = 0; b < s->strips * s->col_blocks; b++)
        round_book(s, &s->now, b * s->books + m);
    clear(sums);
    wc_vq_for_panels(s, work, assign, &a);
    return WC_OK;
}

/* ---- conjugate gradients ---------------------------------------------------------------------------------------- */

/* q = y of `value', t = H y. */
static void times_h(wc_vq_work *w, const float *y)
{
    const wc_hessian *h = w->s->p->h;
    wc_gemm1(WC_N, WC_N, h->n, w->nr, h->n, 1, h->h, h->n, y, w->nr, 0, w->t, w->nr);
}

static void load_error(wc_vq_work *w)
{
    const wc_vq_solver *s = w->s;
    wc_panel_load(s->p->w, s->out->cols, w->r0, w->nr, s->out->scale_exp, w->e);
    wc_vq_panel_load(w, true);
    wc_vq_expand(w, s->now.value, s->books, w->q);
    for (size_t i = 0; i < s->out->cols * w->nr; i++)
        w->e[i] -= w->q[i];
    times_h(w, w->e);
    double sum = 0;
    for (size_t i = 0; i < s->out->cols * w->nr; i++)
        sum += (double)(w->e[i] * w->t[i]);
    s->loss[w->panel] = sum;
}

static void error_panel(wc_vq_work *w, void *arg)
{
    (void)arg;
    load_error(w);
}

static double sum_losses(const wc_vq_solver *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->panels; i++)
        sum += s->loss[i];
    return sum;
}

double wc_vq_objective(const wc_vq_solver *s, wc_vq_work *work)
{
    wc_vq_for_panels(s, work, error_panel, NULL);
    return sum_losses(s);
}

static void add_all(wc_vq_work *w, wc_vq_sums *sums, bool den)
{
    const wc_vq_solver *s = w->s;
    for (size_t m = 0; m < s->books; m++)
        for (size_t v = 0; v < s->vectors; v++) {
            add_num(w, sums, m, v, w->t + v * s->d * w->nr);
            if (den) add_den(w, sums, m, v);
        }
}

static void gradient_panel(wc_vq_work *w, void *arg)
{
    load_error(w);
    add_all(w, arg, true);
}

struct product {
    wc_vq_sums *sums;
    const float *direction; /* [entries, d] */
};

static void product_panel(wc_vq_work *w, void *arg)
{
    struct product *p = arg;
    wc_vq_panel_load(w, true);
    wc_vq_expand(w, p->direction, w->s->books, w->q);
    times_h(w, w->q);
    add_all(w, p->sums, false);
}

/* The quadratic in all entries at once: gradient num, block diagonal of the matrix den, factored. */
struct descent {
    size_t n, d;
    double *r, *z, *p, *x; /* [n] residual, preconditioned, direction, change of the entries */
    float *direction;      /* p in f32 */
    bool *free_entry;      /* [n / d] has vectors */
};

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void precondition(const wc_vq_sums *sums, struct descent *c)
{
    for (size_t i = 0; i < c->n / c->d; i++) {
        if (c->free_entry[i])
            solve(sums->den + i * c->d * c->d, c->d, c->r + i * c->d, c->z + i * c->d);
        else
            memset(c->z + i * c->d, 0, c->d * sizeof *c->z);
    }
}

/* p->steps of preconditioned conjugate gradients from 0; several codebooks make the matrix singular, which does no
 * harm: the gradient is in its range. */
static void descend(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, struct descent *c)
{
    struct product p = {sums, c->direction};
    memcpy(c->r, sums->num, c->n * sizeof *c->r);
    for (size_t i = 0; i < c->n / c->d; i++)
        c->free_entry[i] = factor(sums->den + i * c->d * c->d, c->d, 1e-9);
    precondition(sums, c);
    double rz = dot(c->r, c->z, c->n), first = rz, last = rz;
    for (int step = 0; step < s->p->steps && rz > 1e-8 * first; step++) {
        for (size_t i = 0; i < c->n; i++) {
            c->p[i] = c->z[i] + rz / last * c->p[i];
            c->direction[i] = (float)c->p[i];
        }
        last = rz;
        memset(sums->num, 0, sums->shares * c->n * sizeof *sums->num);
        wc_vq_for_panels(s, work, product_panel, &p);
        fold(sums->num, sums->shares, c->n);
        double curve = dot(c->p, sums->num, c->n);
        if (!(curve > 0)) break;
        for (size_t i = 0; i < c->n; i++) {
            c->x[i] += rz / curve * c->p[i];
            c->r[i] -= rz / curve * sums->num[i];
        }
        precondition(sums, c);
        rz = dot(c->r, c->z, c->n);
    }
}

wc_status wc_vq_refit(wc_vq_solver *s, wc_vq_work *work, wc_vq_sums *sums, double *objective)
{
    struct descent c = {.n = entries_of(s) * s->d, .d = s->d};
    wc_vq_books before = s->now, trial = {0};
    wc_status status = WC_OK;
    WC_TRY_OUT(wc_vq_books_alloc(s, &trial));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.r, c.n, "a gradient"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.z, c.n, "a gradient"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.p, c.n, "a gradient"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.x, c.n, "a gradient"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.direction, c.n, "a gradient"));
    WC_TRY_OUT(WC_ALLOC(s->ctx, c.free_entry, c.n / c.d, "a gradient"));
    clear(sums);
    wc_vq_for_panels(s, work, gradient_panel, sums);
    gather(sums);
    *objective = sum_losses(s);
    descend(s, work, sums, &c);
    for (size_t i = 0; i < c.n; i++)
        trial.value[i] = before.value[i] + (float)c.x[i];
    for (size_t b = 0; b < entries_of(s) / s->k; b++)
        round_book(s, &trial, b);
    s->now = trial;
    double after = wc_vq_objective(s, work);
    if (after < *objective) {
        *objective = after;
        trial = before;
    } else {
        s->now = before;
    }
out:
    wc_vq_books_free(&trial);
    free(c.r), free(c.z), free(c.p), free(c.x), free(c.direction), free(c.free_entry);
    return status;
}
