/* forward.c - the transformer: tokens in, logits out. Letters: t tokens of a batch, H hidden, D entries of a head.
 *
 *     x = embedding of the token
 *     every layer:   u = norm(x);  q, k, v = W u;  q, k turned by their position;  k, v into the cache
 *                    x += W_o attention(q, cache)
 *                    u = norm(x);  x += W_down (silu(W_gate u) * (W_up u))
 *     logits = W_head norm(x)
 *
 * A generated token is one column, a prompt comes in batches of GEN_BATCH: wcd_matmul_pool decodes every weight once
 * for all of them, on the threads of OpenMP. Threads share rows, and no sum goes over threads: the result is the same
 * for any number of them. */
#include "generate.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include <wcdecode_openmp.h>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void)
{
    return 0;
}
#endif

double gen_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Eight sums side by side, added up in a fixed order: compilers turn this into vector code without being allowed to
 * reorder sums. */
static float dot(const float *a, const float *b, size_t n)
{
    float s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t l = 0; l < 8; l++)
            s[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i < n; i++, l++)
        s[l] += a[i] * b[i];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* ---- products with weights ------------------------------------------------------------------------------------------
 */

/* Waking threads costs some microseconds: as much as 2^16 multiplications. */
static int workers(const gen_model *m, size_t work)
{
    return work < (size_t)1 << 16 ? 1 : m->threads;
}

/* y [t, rows] = x [t, cols] W' in the library, which decodes every weight once. Shapes and kinds were checked when the
 * model was opened: the calls cannot fail. */
static void product(gen_model *m, const gen_linear *w, const float *x, size_t t, float *y)
{
    const size_t rows = w->w.rows, cols = w->w.cols;
    double start = gen_now();
    wcd_pool pool = wcd_openmp_pool();
    pool.threads = (unsigned)workers(m, rows * cols * t);
    for (size_t j = 0; w->w.n_transforms && j < t; j++)
        wcd_transform(&w->w, x + j * cols, m->z + j * cols);
    if (w->w.n_transforms) x = m->z;
    for (size_t j = 0; m->int8 && j < t; j++)
        wcd_int8_inputs(&w->w, x + j * cols, (char *)m->memory + j * wcd_int8_size(&w->w));
    if (m->int8)
        wcd_matmul_int8_pool(&w->w, &pool, x, cols, t, m->memory, y, rows);
    else if (m->prepared)
        wcd_prepared_matmul_pool(&w->ready, &pool, x, cols, t, y, rows);
    else
        wcd_matmul_pool(&w->w, &pool, x, cols, t, y, rows);
    for (size_t j = 0; w->bias && j < t; j++)
        for (size_t i = 0; i < rows; i++)
            y[j * rows + i] += w->bias[i];
    m->seconds[GEN_TIME_PRODUCTS] += gen_now() - start;
}

/* ---- the rest -------------------------------------------------------------------------------------------------------
 */

/* y = x / sqrt(mean(x^2) + eps) * w for t vectors of n entries; y may be x. */
static void rmsnorm(const float *x, const float *w, size_t t, size_t n, float eps, float *y)
{
    for (size_t j = 0; j < t; j++, x += n, y += n) {
        float r = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * r * w[i];
    }
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* turn [rotated / 2, 2]: cosine and sine of the angles at a position. The angle is rounded to f32 as the training code
 * does. */
static void turn_at(const gen_config *c, size_t position, float *turn)
{
    for (size_t i = 0; i < c->rotated / 2; i++) {
        double angle = (double)((float)position * c->frequency[i]);
        turn[2 * i] = (float)cos(angle) * c->rotary_scale;
        turn[2 * i + 1] = (float)sin(angle) * c->rotary_scale;
    }
}

/* Turns the pairs (i, i + rotated/2) of every head. */
static void rotate(const gen_config *c, const float *turn, float *x, size_t heads)
{
    const size_t half = c->rotated / 2;
    for (size_t h = 0; h < heads; h++, x += c->head)
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half], cosine = turn[2 * i], sine = turn[2 * i + 1];
            x[i] = a * cosine - b * sine;
            x[i + half] = b * cosine + a * sine;
        }
}

/* One head of one query at `position': out [D] = sum of softmax(q k / sqrt(D)) v over the keys it sees. k, v [context,
 * D]; score [context] is working memory. */
static void attend(const gen_config *c, const float *q, const float *k, const float *v, size_t position, size_t first,
                   float *score, float *out)
{
    const size_t d = c->head;
    float most = -INFINITY, sum = 0, scale = 1 / sqrtf((float)d);
    for (size_t p = first; p <= position; p++) {
        score[p] = dot(q, k + p * d, d) * scale;
        if (score[p] > most) most = score[p];
    }
    memset(out, 0, d * sizeof *out);
    for (size_t p = first; p <= position; p++) {
        float e = expf(score[p] - most);
        sum += e;
        for (size_t i = 0; i < d; i++)
            out[i] += e * v[p * d + i];
    }
    for (size_t i = 0; i < d; i++)
        out[i] /= sum;
}

/* m->q [t, A D] becomes the heads' outputs, from what m->k and m->v bring and the cache. */
static void attention(gen_model *m, const gen_layer *layer, size_t l, size_t t)
{
    const gen_config *c = &m->c;
    const size_t d = c->head, kv = c->kv_heads, ctx = m->context;
    double start = gen_now();
    for (size_t j = 0; j < t; j++) {
        float *q = m->q + j * c->heads * d, *k = m->k + j * kv * d, *v = m->v + j * kv * d;
        size_t at = m->n + j;
        rotate(c, m->turn + j * c->rotated, q, c->heads);
        rotate(c, m->turn + j * c->rotated, k, kv);
        for (size_t h = 0; h < kv; h++) {
            memcpy(layer->k + (h * ctx + at) * d, k + h * d, d * sizeof *k);
            memcpy(layer->v + (h * ctx + at) * d, v + h * d, d * sizeof *v);
        }
    }
#pragma omp parallel for schedule(static) num_threads(workers(m, t * c->heads * d * (m->n + t)))
    for (size_t task = 0; task < t * c->heads; task++) {
        size_t j = task / c->heads, head = task % c->heads, at = m->n + j, from = head / (c->heads / kv) * ctx * d;
        size_t first = c->sliding[l] && at + 1 > c->window ? at + 1 - c->window : 0;
        float *score = m->score + (size_t)omp_get_thread_num() * m->room, out[GEN_MAX_HEAD];
        float *q = m->q + task * d;
        attend(c, q, layer->k + from, layer->v + from, at, first, score, out);
        memcpy(q, out, d * sizeof *q);
    }
    m->seconds[GEN_TIME_ATTENTION] += gen_now() - start;
}

static void run_layer(gen_model *m, size_t l, size_t t)
{
    const gen_config *c = &m->c;
    const gen_layer *layer = &m->layer[l];
    const gen_linear *w = layer->linear;
    const float *const *norm = layer->norm;
    rmsnorm(m->x, norm[GEN_NORM_IN], t, c->hidden, c->eps, m->u);
    product(m, &w[GEN_Q], m->u, t, m->q);
    product(m, &w[GEN_K], m->u, t, m->k);
    product(m, &w[GEN_V], m->u, t, m->v);
    if (norm[GEN_NORM_Q]) {
        rmsnorm(m->q, norm[GEN_NORM_Q], t * c->heads, c->head, c->eps, m->q);
        rmsnorm(m->k, norm[GEN_NORM_K], t * c->kv_heads, c->head, c->eps, m->k);
    }
    attention(m, layer, l, t);
    if (norm[GEN_NORM_ATTENTION]) rmsnorm(m->q, norm[GEN_NORM_ATTENTION], t, c->heads * c->head, c->eps, m->q);
    product(m, &w[GEN_O], m->q, t, m->up);
    add(m->x, m->up, t * c->hidden);
    rmsnorm(m->x, norm[GEN_NORM_MLP], t, c->hidden, c->eps, m->u);
    product(m, &w[GEN_GATE], m->u, t, m->gate);
    product(m, &w[GEN_UP], m->u, t, m->up);
    for (size_t i = 0; i < t * c->inner; i++)
        m->gate[i] = m->gate[i] / (1 + expf(-m->gate[i])) * m->up[i];
    if (norm[GEN_NORM_INNER]) rmsnorm(m->gate, norm[GEN_NORM_INNER], t, c->inner, c->eps, m->gate);
    product(m, &w[GEN_DOWN], m->gate, t, m->up);
    add(m->x, m->up, t * c->hidden);
}

/* ---- tokens to logits -----------------------------------------------------------------------------------------------
 */

gen_status gen_forward(gen_model *m, const uint32_t *ids, size_t n, float *logits, gen_error *e)
{
    const gen_config *c = &m->c;
    double start = gen_now(), *s = m->seconds, before = s[GEN_TIME_PRODUCTS] + s[GEN_TIME_ATTENTION];
    if (!n || n > m->context - m->n)
        return gen_fail(e, GEN_USAGE, "%zu tokens after %zu; the context was made for %zu", n, m->n, m->context);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= c->vocab)
            return gen_fail(e, GEN_USAGE, "token id %lu; the model has %zu", (unsigned long)ids[i], c->vocab);
    size_t t = 0;
    for (size_t i = 0; i < n; i += t, m->n += t) {
        t = min(GEN_BATCH, n - i);
        for (size_t j = 0; j < t; j++) {
            wcd_rows(&m->embed, ids[i + j], 1, m->x + j * c->hidden, c->hidden);
            turn_at(c, m->n + j, m->turn + j * c->rotated);
        }
        for (size_t l = 0; l < c->layers; l++)
            run_layer(m, l, t);
    }
    rmsnorm(m->x + (t - 1) * c->hidden, m->norm, 1, c->hidden, c->eps, m->u);
    product(m, &m->head, m->u, 1, logits);
    s[GEN_TIME_REST] += gen_now() - start - (s[GEN_TIME_PRODUCTS] + s[GEN_TIME_ATTENTION] - before);
    for (size_t i = 0; i < c->vocab; i++)
        if (!isfinite(logits[i]))
            return gen_fail(e, GEN_NUMERIC, "%s: the logits after %zu tokens have a NaN or an infinity: damaged?",
                            m->file->name, m->n);
    return GEN_OK;
}
