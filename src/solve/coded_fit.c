#include "solve/coded_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SYMBOLS = WC_CODED_SYMBOLS, RANGE = WC_CODED_RANGE };

void wc_coded_count_normal(double deviation, wc_coded_count *out)
{
    const double total = 1e6, unit = 1 / (deviation * sqrt(2));
    memset(out, 0, sizeof *out);
    for (int q = 0; q < 2; q++)
        for (int k = -RANGE; k < RANGE; k++) {
            int j = 2 * k + q;
            double tail = abs(j) - 1; /* from the far side: differences of erfc keep small numbers */
            double p = tail > 0 ? erfc(tail * unit) - erfc((tail + 2) * unit) : 2 * erf(unit);
            if (tail == 0) p = erf(2 * unit);
            out->n[q][k + RANGE] = (float)(0.5 * total * p);
        }
}

/* Counts by symbol at some shift; beyond the symbols: the escape. */
static void group(const wc_coded_count *count, unsigned q, unsigned shift, double by[SYMBOLS])
{
    memset(by, 0, SYMBOLS * sizeof *by);
    for (int k = -RANGE; k < RANGE; k++) {
        int symbol = (k >> shift) + SYMBOLS / 2;
        bool edge = k == -RANGE || k == RANGE - 1;
        by[symbol < 1 || symbol >= SYMBOLS || edge ? 0 : symbol] += count->n[q][k + RANGE];
    }
}

static double length(const wc_coded_class *c, unsigned q, const double by[SYMBOLS])
{
    uint16_t freq[SYMBOLS];
    double bits = 0, escapes = by[0], coded = 0;
    wc_coded_frequencies(c, q, freq);
    for (int s = 1; s < SYMBOLS; s++) {
        if (by[s] == 0) continue;
        if (freq[s])
            bits -= by[s] * log2(freq[s]), coded += by[s];
        else
            escapes += by[s];
    }
    return bits + (WC_CODED_SCALE + c->shift) * coded + escapes * (WC_CODED_SCALE + WC_CODED_RAW - log2(freq[0]));
}

static int clip(double v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : (int)lround(v);
}

/* The parabola of a normal law with this variance of symbols: -log2 p(m) = m^2 L / 2 around a symbol, m (m + 1) L / 2
 * around the middle between two, L = log2(e) / variance. */
static wc_coded_law normal_law(double variance, bool around_half)
{
    double l = 1.4427 / fmax(variance, 0.02);
    return (wc_coded_law){
        .first = (int8_t)clip(16 * l * (around_half ? 1 : 0.5), -128, 127),
        .second = (int8_t)clip(16 * l * (around_half ? 2 : 1.5), -128, 127),
        .bend = (uint8_t)clip(sqrt(2048 * l), 0, 255),
    };
}

/* One number of a law moved by `by' as long as the length falls. */
static bool move(wc_coded_class *c, unsigned q, int number, int by, const double count[SYMBOLS], double *best)
{
    bool moved = false;
    for (;;) {
        wc_coded_law before = c->law[q], *l = &c->law[q];
        int v = (number == 0 ? l->first : number == 1 ? l->second : l->bend) + by;
        if (number == 2 ? v < 0 || v > 255 : v < -128 || v > 127) return moved;
        if (number == 0) l->first = (int8_t)v;
        if (number == 1) l->second = (int8_t)v;
        if (number == 2) l->bend = (uint8_t)v;
        double bits = length(c, q, count);
        if (!(bits < *best)) {
            *l = before;
            return moved;
        }
        *best = bits, moved = true;
    }
}

static double fit_law(const wc_coded_count *count, unsigned q, wc_coded_class *c)
{
    double by[SYMBOLS], sum = 0, square = 0;
    group(count, q, c->shift, by);
    bool half = q || c->shift;
    for (int s = 1; s < SYMBOLS; s++) {
        double x = s - SYMBOLS / 2 + (half ? 0.5 : 0);
        sum += by[s], square += by[s] * x * x;
    }
    c->law[q] = normal_law(sum > 0 ? square / sum : 0, half);
    if (sum + by[0] == 0) return 0;
    double best = length(c, q, by);
    for (int step = 16; step; step /= 2)
        for (int number = 0; number < 3; number++)
            if (!move(c, q, number, step, by, &best)) move(c, q, number, -step, by, &best);
    return best;
}

static double deviation(const wc_coded_count *count)
{
    double sum = 0, square = 0;
    for (int q = 0; q < 2; q++)
        for (int k = -RANGE; k < RANGE; k++) {
            double n = count->n[q][k + RANGE];
            sum += n, square += n * k * k;
        }
    return sum > 0 ? sqrt(square / sum) : 0;
}

double wc_coded_fit(const wc_coded_count *count, wc_coded_class *c)
{
    double best = INFINITY, wide = deviation(count);
    int shift = wide > 5 ? ilogb(wide / 5) : 0; /* symbols then spread by 5 to 10 of +-31 */
    for (int s = shift ? shift - 1 : 0; s <= shift + 1 && s <= WC_CODED_SHIFT; s++) {
        wc_coded_class trial = *c;
        if (s && wide < 4) break;
        trial.shift = (uint8_t)s;
        double bits = fit_law(count, 0, &trial) + fit_law(count, 1, &trial);
        if (bits < best) *c = trial, best = bits;
    }
    return best;
}

void wc_coded_rates(const wc_coded *p, wck_trellis_rates *out)
{
    for (unsigned c = 0; c < WC_CODED_CLASSES; c++) {
        const wc_coded_class *law = &p->law[c < p->classes ? c : p->classes - 1];
        out->shift[c] = law->shift;
        for (unsigned q = 0; q < 2; q++) {
            uint16_t freq[SYMBOLS];
            float *bits = out->bits + (2 * c + q) * SYMBOLS;
            wc_coded_frequencies(law, q, freq);
            bits[0] = (float)(WC_CODED_SCALE + WC_CODED_RAW - log2(freq[0]));
            for (int s = 1; s < SYMBOLS; s++)
                bits[s] = freq[s] ? (float)(WC_CODED_SCALE + law->shift - log2(freq[s])) : bits[0];
        }
    }
}
