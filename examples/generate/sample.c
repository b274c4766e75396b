/* sample.c - logits to the next token: temperature, the k likeliest, the likeliest that make up p. */
#include "generate.h"

#include <math.h>
#include <stdlib.h>

struct gen_choice {
    float p;
    uint32_t id;
};

gen_status gen_sampler_open(size_t vocab, gen_sampler *s, gen_error *e)
{
    s->vocab = vocab;
    return gen_alloc(&s->choice, vocab, sizeof *s->choice, "sampling", e);
}

void gen_sampler_close(gen_sampler *s)
{
    free(s->choice);
    s->choice = NULL;
}

static uint32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

/* splitmix64 (Steele, Lea, Flood 2014); uniform in [0, 1). */
static double draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* ---- a heap, likeliest first; of equals the smaller id, so that the result is one and the same everywhere -----------
 */

static bool before(const struct gen_choice *a, const struct gen_choice *b)
{
    return a->p > b->p || (a->p == b->p && a->id < b->id);
}

static void sift(struct gen_choice *heap, size_t n, size_t i)
{
    struct gen_choice c = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
        if (before(&c, &heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Takes choices out until k are out or their sum reaches `enough', and puts them, likeliest first, at the end
 * backwards: the i-th is choice[vocab - 1 - i]. Usually a few of very many, for which a heap needs no sort, and no
 * memory. */
static size_t take_likeliest(gen_sampler *s, size_t k, double enough, double *sum)
{
    struct gen_choice *heap = s->choice;
    size_t n = s->vocab, out = 0;
    for (size_t i = n / 2; i-- > 0;)
        sift(heap, n, i);
    for (*sum = 0; n && out < k && *sum < enough; out++) {
        struct gen_choice top = heap[0];
        heap[0] = heap[--n];
        heap[n] = top;
        sift(heap, n, 0);
        *sum += (double)top.p;
    }
    return out;
}

/* Temperature first, then the k likeliest, then of those the fewest that make up top_p of their sum: the order that
 * Hugging Face has. */
uint32_t gen_sample(gen_sampler *s, const float *logits)
{
    const size_t n = s->vocab, best = likeliest(logits, n), k = s->top_k && s->top_k < n ? s->top_k : n;
    double sum = 0, kept = 0;
    if (s->temperature <= 0) return (uint32_t)best;
    for (size_t i = 0; i < n; i++) {
        s->choice[i].p = expf((logits[i] - logits[best]) / s->temperature);
        s->choice[i].id = (uint32_t)i;
        sum += (double)s->choice[i].p;
    }
    size_t out = 1;
    if (k == n && s->top_p >= 1) { /* all of them, in any order */
        double at = draw(&s->state) * sum;
        for (out = 0; out + 1 < n && (at -= (double)s->choice[out].p) >= 0;)
            out++;
        return s->choice[out].id;
    }
    out = take_likeliest(s, k, k < n ? INFINITY : sum * (double)s->top_p, &kept);
    if (k < n)
        for (sum = kept, out = 0, kept = 0; out < k && kept < sum * (double)s->top_p; out++)
            kept += (double)s->choice[n - 1 - out].p;
    double at = draw(&s->state) * kept;
    size_t i = 0;
    while (i + 1 < out && (at -= (double)s->choice[n - 1 - i].p) >= 0)
        i++;
    return s->choice[n - 1 - i].id;
}
