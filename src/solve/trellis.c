#include "solve/trellis.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static unsigned parity(unsigned x)
{
    return (unsigned)__builtin_parity(x);
}

/* A s */
static unsigned shifted(const wc_trellis *t, unsigned s)
{
    return s >> 1 ^ (s & 1 ? t->a : 0);
}

/* l A^power s */
static unsigned functional(const wc_trellis *t, unsigned l, unsigned power, unsigned s)
{
    while (power--)
        s = shifted(t, s);
    return parity(l & s);
}

static bool is_coordinate(const wc_trellis *t, unsigned l)
{
    for (unsigned i = 0; i < t->memory; i++)
        if (functional(t, l, i, t->b) != (i == t->memory - 1)) return false;
    return true;
}

bool wc_trellis_make(unsigned memory, wc_trellis *out)
{
    if (memory > WC_CODED_MEMORY || memory == 1) return false;
    wc_trellis t = {.memory = memory, .states = (size_t)1 << memory};
    t.a = wc_coded_machine[memory][0], t.b = wc_coded_machine[memory][1];
    unsigned l = 0;
    while (memory && !is_coordinate(&t, l))
        l++; /* ends: the codes are controllable */
    for (unsigned s = 0; memory && s < t.states; s++) {
        unsigned number = 0;
        for (unsigned i = 0; i < memory; i++)
            number |= functional(&t, l, i, s) << (memory - 1 - i);
        t.z[number] = -(int32_t)(s & 1);
        t.f[number] = -(int32_t)functional(&t, l, memory, s);
    }
    for (size_t at = 0; at < 2 * t.states; at++)
        t.residue[at] = (uint8_t)((t.z[at / 2] & 1) + 2 * ((at & 1) ^ (unsigned)(t.f[at / 2] & 1)));
    *out = t;
    return true;
}

wc_status wc_trellis_work_make(wc_ctx *ctx, const wc_trellis *t, size_t n, wc_trellis_work *out)
{
    wc_trellis_work w = {.n = n};
    wc_status status = WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, w.cost, 4 * n, "the trellis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.point, 4 * n, "the trellis"));
    WC_TRY_OUT(WC_ALLOC(ctx, w.from, n * t->states, "the trellis"));
    *out = w;
    return WC_OK;
out:
    wc_trellis_work_free(&w);
    return status;
}

void wc_trellis_work_free(wc_trellis_work *w)
{
    if (!w) return;
    free(w->cost), free(w->point), free(w->from);
    memset(w, 0, sizeof *w);
}

static float scalar_path(size_t n, const wc_trellis_work *w, int16_t *j)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        bool second = w->cost[2 * n + i] < w->cost[i];
        j[i] = (int16_t)w->point[second ? 2 * n + i : i];
        sum += w->cost[second ? 2 * n + i : i];
    }
    return sum;
}

float wc_trellis_run(const wc_trellis *t, const wck_trellis *kernel, const wck_trellis_rates *rates, float lambda,
                     size_t n, const float *u, const uint8_t *class_of, wc_trellis_work *work, int16_t *j)
{
    kernel->candidates(n, u, class_of, rates, lambda, work->cost, work->point);
    if (!t->memory) return scalar_path(n, work, j);
    float total[WCK_TRELLIS_STATES];
    total[0] = 0;
    for (size_t s = 1; s < t->states; s++)
        total[s] = FLT_MAX / 4;
    kernel->advance(n, t->states, t->z, t->f, work->cost, total, work->from);
    size_t best = 0;
    for (size_t s = 1; s < t->states; s++)
        if (total[s] < total[best]) best = s;
    for (size_t i = n, s = best; i--;) {
        size_t way = s | (size_t)work->from[i * t->states + s] << t->memory; /* 2 s + i of the state before */
        j[i] = (int16_t)work->point[t->residue[way] * n + i];
        s = way >> 1;
    }
    return total[best];
}

/* ---- the reference ---------------------------------------------------------------------------------------------- */

static float bits_of(const wck_trellis_rates *rates, int class_of, int j)
{
    int q = j & 1, symbol = ((j - q) / 2 >> rates->shift[class_of]) + WCK_TRELLIS_SYMBOLS / 2;
    if (symbol < 0 || symbol >= WCK_TRELLIS_SYMBOLS) symbol = 0;
    return rates->bits[(2 * class_of + q) * WCK_TRELLIS_SYMBOLS + symbol];
}

/* The cheaper of the points with residue r beside u. */
static int nearest(const wck_trellis_rates *rates, float lambda, float u, int class_of, int r, float *cost)
{
    int below = r + 4 * (int)fmaxf(fminf(floorf((u - (float)r) / 4), WCK_TRELLIS_LIMIT - 1), -WCK_TRELLIS_LIMIT);
    int best = below;
    for (int j = below; j <= below + 4; j += 4) {
        float d = u - (float)j, c = d * d + lambda * bits_of(rates, class_of, j);
        if (j == below || c < *cost) *cost = c, best = j;
    }
    return best;
}

float wc_trellis_reference(const wc_trellis *t, const wck_trellis_rates *rates, float lambda, size_t n, const float *u,
                           const uint8_t *class_of, wc_trellis_work *work, int16_t *j)
{
    float total[2][WCK_TRELLIS_STATES], *now = total[0], *then = total[1];
    for (size_t s = 0; s < t->states; s++)
        now[s] = s ? FLT_MAX / 4 : 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t s = 0; s < t->states; s++)
            then[s] = FLT_MAX;
        for (unsigned s = 0; s < t->states; s++)
            for (int z1 = 0; z1 < 2; z1++) {
                float cost;
                int point = nearest(rates, lambda, u[i], class_of[i], (int)(t->memory ? s & 1 : 0) + 2 * z1, &cost);
                unsigned next = wc_coded_next(t->memory, s, point);
                if (now[s] + cost >= then[next]) continue;
                then[next] = now[s] + cost;
                work->from[i * t->states + next] = (uint8_t)s;
                if (!t->memory) work->point[i] = z1;
            }
        float *swap = now;
        now = then, then = swap;
    }
    unsigned best = 0;
    for (unsigned s = 1; s < t->states; s++)
        if (now[s] < now[best]) best = s;
    for (size_t i = n, s = best; i--;) {
        unsigned before = work->from[i * t->states + s];
        float cost;
        int z1 = t->memory ? (s ^ shifted(t, before)) == t->b : work->point[i];
        j[i] = (int16_t)nearest(rates, lambda, u[i], class_of[i], (int)(t->memory ? before & 1 : 0) + 2 * z1, &cost);
        s = before;
    }
    return now[best];
}
