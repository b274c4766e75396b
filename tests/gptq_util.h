/* gptq_util.h - random layers and method options for the tests of the solvers. */
#ifndef GPTQ_UTIL_H
#define GPTQ_UTIL_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "methods/method.h"

static uint64_t util_state = 88172645463325252u;
static inline double util_uniform(void)
{
    util_state ^= util_state << 13, util_state ^= util_state >> 7, util_state ^= util_state << 17;
    return (double)(util_state >> 11) / 9007199254740992.0;
}
static inline float util_normal(void)
{
    double u = util_uniform() + 1e-300, v = util_uniform();
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}
static inline float *util_normals(size_t count)
{
    float *a = malloc((count + 1) * sizeof *a);
    for (size_t i = 0; i < count; i++)
        a[i] = util_normal();
    return a;
}

/* H = A A^T / k + ridge I of inputs x_j = s_j (common factor + noise): correlated, diagonal spread over decades. */
static inline float *util_moments(size_t n, size_t tokens, double spread, double ridge)
{
    float *x = util_normals(tokens * n), *h = malloc(n * n * sizeof *h);
    double *s = malloc(n * sizeof *s);
    for (size_t j = 0; j < n; j++)
        s[j] = pow(10, spread * (util_uniform() - 0.5));
    for (size_t t = 0; t < tokens; t++) {
        float *row = x + t * n, last = util_normal();
        for (size_t j = 0; j < n; j++) {
            last = 0.8f * last + 0.6f * row[j];
            row[j] = (float)(s[j] * (double)last);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t t = 0; t < tokens; t++)
                sum += (double)x[t * n + i] * (double)x[t * n + j];
            h[i * n + j] = h[j * n + i] = (float)(sum / (double)tokens + (i == j ? ridge : 0));
        }
    free(x), free(s);
    return h;
}

/* The option struct of a method with defaults, then "name=value,..." applied; free() it. Words are given as numbers. */
static inline void *util_options(const wc_method *m, const char *text)
{
    char *opt = calloc(1, m->opt_size), *copy = strdup(text), *save = NULL;
    for (const wc_opt *o = m->opts; o->name; o++) {
        double v = o->def;
        memcpy(copy, text, strlen(text) + 1);
        for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save))
            if (!strncmp(p, o->name, strlen(o->name)) && p[strlen(o->name)] == '=') v = atof(strchr(p, '=') + 1);
        if (o->type == WC_OPT_REAL)
            *(double *)(void *)(opt + o->offset) = v;
        else if (o->type == WC_OPT_BOOL)
            *(bool *)(opt + o->offset) = v != 0;
        else
            *(int *)(void *)(opt + o->offset) = (int)v;
    }
    free(copy);
    return opt;
}

static inline float util_on_line(const uint16_t *line, uint8_t code)
{
    float product = wc_f16_f32(line[1]) * (float)code;
    return wc_f16_f32(line[0]) + product;
}

/* W^ [rows, cols] of a grid, in the arithmetic of docs: s = f16 * 2^e (* code) or on a line, w^ = s (q - z). */
static inline float *util_dequantize(const wc_grid *g)
{
    float *w = malloc(g->rows * g->cols * sizeof *w);
    size_t groups = wc_grid_groups(g);
    for (size_t i = 0; i < g->rows; i++)
        for (size_t j = 0; j < g->cols; j++) {
            size_t at = i * groups + j / g->group;
            size_t line = g->tile ? 2 * (i / g->tile * groups + j / g->group) : 0;
            float s = g->tile         ? util_on_line(g->scale + line, g->scale_code[at])
                      : g->scale_bits ? wc_f16_f32(g->scale[i]) * (float)g->scale_code[at]
                                      : wc_f16_f32(g->scale[at]);
            float z = g->zero_kind == WC_ZERO_INT    ? (float)g->zero[at]
                      : g->zero_kind == WC_ZERO_F16  ? wc_f16_f32(g->zero_f16[at])
                      : g->zero_kind == WC_ZERO_LINE ? util_on_line(g->zero_f16 + line, g->zero[at])
                                                     : g->zero_fixed;
            w[i * g->cols + j] = ldexpf(s, g->scale_exp) * ((float)g->code[i * g->cols + j] - z);
            if (g->holes && !g->mask[i * g->cols + j]) w[i * g->cols + j] = 0;
        }
    return w;
}

/* tr(D H D^T), D = W - W^, by plain loops in double; h NULL: identity. */
static inline double util_error(const float *w, const float *wq, size_t rows, size_t cols, const float *h)
{
    double total = 0, *d = malloc(cols * sizeof *d);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            d[j] = (double)w[i * cols + j] - (double)wq[i * cols + j];
        for (size_t j = 0; j < cols; j++) {
            double y = 0;
            if (!h)
                y = d[j];
            else
                for (size_t k = 0; k < cols; k++)
                    y += d[k] * (double)h[j * cols + k];
            total += y * d[j];
        }
    }
    free(d);
    return total;
}

#endif
