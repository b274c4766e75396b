#include "solve/rd_solve.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/coded_fit.h"
#include "solve/feedback.h"
#include "solve/panel.h"
#include "solve/trellis.h"

enum {
    EXTRA_PASSES = 8,
    LAST_PASS = 48,
    PER_CLASS = 8192, /* weights that repay the 12 bytes of a class */
    SLOTS = WCK_TRELLIS_SLOTS
};
static const double slack = 0.002;        /* bits per weight that may be left over */
static const double narrowest = -2.5;     /* log2 of the spread below which every point is 0 */
static const double finest_class = 0.125; /* octaves */

/* ---- the state of a solution --------------------------------------------------------------------------------------
 */

/* Sums of one tile; reduced in the order of tiles. */
typedef struct tile_sums {
    double *square; /* [cols] u^2, u = t / step */
    double loss;
    wck_trellis_sum slot[SLOTS];
} tile_sums;

typedef struct solver {
    wc_ctx *ctx;
    const wc_rd_problem *p;
    wc_coded *out; /* the current numbers */
    wc_trellis trellis;
    const wck_trellis *kernel;
    wck_trellis_rates rates;
    size_t tiles;
    int scale_exp;
    double c;           /* in units of 2^scale_exp and of p->h->h */
    double *width;      /* [cols] log2 of the spread of u, as last seen */
    double *row;        /* [rows] log2 of a row's spread over the columns' */
    double *row_square; /* [rows] mean of (u / 2^width)^2 in the last pass */
    double lo, gap;     /* classes: floor((width - lo) / gap) */
    float *step;        /* [cols] decoded steps */
    tile_sums *sums;    /* [tiles] */
    wc_coded_count *counts;
    int8_t shrink[WC_CODED_CLASSES][3];    /* as the last pass would have them */
    wc_coded_class used[WC_CODED_CLASSES]; /* what the last pass decided by */
    double loss;
} solver;

static void solver_free(solver *s)
{
    for (size_t t = 0; s->sums && t < s->tiles; t++)
        free(s->sums[t].square);
    free(s->width), free(s->row), free(s->row_square), free(s->step), free(s->sums), free(s->counts);
}

static void part_drop(wc_coded *c)
{
    wc_part part = {.kind = WC_PART_CODED, .coded = *c};
    wc_part_free(&part);
    c->point = NULL, c->col_step = NULL, c->col_class = NULL, c->row_class = NULL;
}

static wc_status solver_make(wc_ctx *ctx, const wc_rd_problem *p, wc_coded *out, solver *s)
{
    float largest;
    *s = (solver){.ctx = ctx,
                  .p = p,
                  .out = out,
                  .kernel = wck_trellis_at(wck_level_used()),
                  .tiles = wc_ceil_div(out->rows, out->tile)};
    if (!wc_trellis_make(out->memory, &s->trellis))
        return wc_fail(ctx, WC_BUG, "%s: a trellis with a memory of %u bits", p->tensor, out->memory);
    WC_TRY(wc_panel_largest(ctx, p->tensor, p->w, out->rows, out->cols, &largest));
    s->scale_exp = largest > 0 ? ilogbf(largest) : 0;
    s->scale_exp = s->scale_exp < -100 ? -100 : s->scale_exp > 100 ? 100 : s->scale_exp;
    WC_TRY(WC_ALLOC(ctx, s->width, out->cols, "spreads of columns"));
    WC_TRY(WC_ALLOC(ctx, s->row, out->rows, "spreads of rows"));
    WC_TRY(WC_ALLOC(ctx, s->row_square, out->rows, "spreads of rows"));
    WC_TRY(WC_ALLOC(ctx, s->step, out->cols, "steps of columns"));
    WC_TRY(WC_ALLOC(ctx, s->counts, WC_CODED_CLASSES, "counts of points"));
    WC_TRY(WC_ALLOC(ctx, s->sums, s->tiles, "sums of tiles"));
    for (size_t t = 0; t < s->tiles; t++)
        WC_TRY(WC_ALLOC(ctx, s->sums[t].square, out->cols, "sums of tiles"));
    return WC_OK;
}

/* ---- steps --------------------------------------------------------------------------------------------------------
 */

/* pivot of each column, natural order. */
static double pivot_of(const wc_hessian *h, size_t position)
{
    return fmax((double)h->pivot[position], 1e-30);
}

/* Steps c / R_jj, each a power of 2^(1/16) below the largest. Which power does not depend on c. */
static void set_steps(solver *s)
{
    const wc_hessian *h = s->p->h;
    double least = INFINITY;
    for (size_t i = 0; i < h->n; i++)
        least = fmin(least, pivot_of(h, i));
    s->out->step = (float)fmin(fmax(s->c / least, 1e-30), 1e30);
    for (size_t i = 0; i < h->n; i++) {
        size_t j = h->order ? h->order[i] : i;
        double code = round(16 * log2(pivot_of(h, i) / least));
        s->out->col_step[j] = (uint8_t)fmin(code, 255);
        s->step[j] = s->out->step * wc_coded_exp2(s->out->col_step[j]);
    }
}

/* square [cols] = sums of squares over `parts' down the columns, each in the order of the rows. */
static void column_squares(const wc_ctx *ctx, const float *w, size_t rows, size_t cols, double parts, double *square)
{
    enum { RUN = 64 };
    memset(square, 0, cols * sizeof *square);
#pragma omp parallel for schedule(static) num_threads(ctx->threads)
    for (size_t j0 = 0; j0 < cols; j0 += RUN)
        for (size_t i = 0; i < rows; i++)
            for (size_t j = j0; j < wc_min(j0 + RUN, cols); j++)
                square[j] += (double)w[i * cols + j] * (double)w[i * cols + j] / parts;
}

double wc_rd_first_step(const wc_ctx *ctx, const wc_hessian *h, const float *w, size_t rows, size_t cols, double bits)
{
    double lo = -200, hi = 200;
    double *square = calloc(cols, sizeof *square);
    if (!square) return 1;
    column_squares(ctx, w, rows, cols, (double)rows, square);
    for (int round = 0; round < 60; round++) { /* entropy of points of one parity: log2(u) + 1.05 where that is large */
        double middle = 0.5 * (lo + hi), rate = 0;
        for (size_t i = 0; i < cols; i++) {
            double u = sqrt(square[h->order ? h->order[i] : i]) * pivot_of(h, i) * exp2(-middle);
            rate += 0.5 * log2(1 + 4.27 * u * u) / (double)cols;
        }
        if (rate > bits)
            lo = middle;
        else
            hi = middle;
    }
    free(square);
    return exp2(lo);
}

/* ---- classes ------------------------------------------------------------------------------------------------------
 */

/* Before anything was quantized: the spreads of the weights themselves. */
static void first_widths(solver *s)
{
    const wc_coded *o = s->out;
    const float *w = s->p->w;
    double unit = ldexp(1, -s->scale_exp);
    column_squares(s->ctx, w, o->rows, o->cols, 1, s->width);
    for (size_t j = 0; j < o->cols; j++) {
        double u = unit / (double)s->step[j];
        s->width[j] = fmax(0.5 * log2(s->width[j] * u * u / (double)o->rows + 1e-30), narrowest);
        s->sums[0].square[j] = u * exp2(-s->width[j]); /* what takes a weight to its column's spread */
    }
#pragma omp parallel for schedule(static) num_threads(s->ctx->threads)
    for (size_t i = 0; i < o->rows; i++) {
        s->row_square[i] = 0;
        for (size_t j = 0; j < o->cols; j++) {
            double u = (double)w[i * o->cols + j] * s->sums[0].square[j];
            s->row_square[i] += u * u / (double)o->cols;
        }
    }
}

/* A row whose spread differs by a factor exp(d) from what its law says costs d^2 nats per weight. */
static bool rows_repay(const solver *s)
{
    const wc_coded *o = s->out;
    double sum = 0, square = 0, n = (double)o->rows, cols = (double)o->cols;
    for (size_t i = 0; i < o->rows; i++) {
        double d = s->row[i] * log(2);
        sum += d, square += d * d;
    }
    double variance = square / n - sum * sum / n / n - 0.5 / cols; /* less what chance makes */
    return 1.44 * variance * cols > 5;
}

/* Lays classes over the spreads there are: from lo on, gap octaves each. */
static void lay_classes(solver *s)
{
    wc_coded *o = s->out;
    double lo = INFINITY, hi = -INFINITY, row_lo = 0, row_hi = 0;
    size_t most = wc_min(WC_CODED_CLASSES, wc_ceil_div(o->rows * o->cols, PER_CLASS));
    for (size_t i = 0; i < o->rows; i++)
        s->row[i] = fmin(fmax(0.5 * log2(s->row_square[i] + 1e-30), -2), 2);
    o->row_classes = most > 1 && rows_repay(s);
    for (size_t i = 0; i < o->rows && o->row_classes; i++)
        row_lo = fmin(row_lo, s->row[i]), row_hi = fmax(row_hi, s->row[i]);
    for (size_t j = 0; j < o->cols; j++)
        lo = fmin(lo, s->width[j]), hi = fmax(hi, s->width[j]);
    lo = fmax(lo + row_lo, narrowest), hi = fmax(hi + row_hi, lo);
    s->lo = lo, s->gap = fmax((hi - lo) / (double)most * 1.0001, finest_class);
    o->classes = 1 + (unsigned)fmin((hi - lo) / s->gap, (double)most - 1);
}

/* Rows and columns by their spreads. */
static void sort_into_classes(solver *s)
{
    wc_coded *o = s->out;
    for (size_t j = 0; j < o->cols; j++)
        o->col_class[j] = (uint8_t)fmin(fmax((s->width[j] - s->lo) / s->gap, 0), WC_CODED_CLASSES - 1);
    for (size_t i = 0; i < o->rows; i++) {
        s->row[i] = fmin(fmax(0.5 * log2(s->row_square[i] + 1e-30), -2), 2);
        o->row_class[i] = (uint8_t)fmin(fmax(WC_CODED_ROW_MIDDLE + round(s->row[i] / s->gap), 0), 15);
    }
}

/* Laws for normal sources in the middle of their classes: the start. */
static void guess_laws(solver *s)
{
    for (unsigned n = 0; n < s->out->classes; n++) {
        double u = exp2(s->lo + ((double)n + 0.5) * s->gap);
        s->out->law[n] = (wc_coded_class){.shift = 0};
        wc_coded_count_normal(sqrt(u * u + 0.25), &s->counts[n]);
        wc_coded_fit(&s->counts[n], &s->out->law[n]);
    }
}

/* Points of a class, as wc_coded_count has them. */
typedef uint64_t histogram[2][2 * WC_CODED_RANGE];

static void count_row(const wc_coded *o, size_t r, histogram *of)
{
    const int16_t *point = o->point + r * o->cols;
    int row = (o->row_classes ? o->row_class[r] : WC_CODED_ROW_MIDDLE) - WC_CODED_ROW_MIDDLE, top = (int)o->classes - 1;
    for (size_t c = 0; c < o->cols; c++) {
        int q = point[c] & 1, k = (point[c] - q) / 2, class_of = o->col_class[c] + row;
        k = k < -WC_CODED_RANGE ? -WC_CODED_RANGE : k >= WC_CODED_RANGE ? WC_CODED_RANGE - 1 : k;
        of[class_of < 0 ? 0 : class_of > top ? top : class_of][q][k + WC_CODED_RANGE]++;
    }
}

static void add_counts(unsigned classes, const histogram *of, wc_coded_count *to)
{
    for (unsigned n = 0; n < classes; n++)
        for (int q = 0; q < 2; q++)
            for (int k = 0; k < 2 * WC_CODED_RANGE; k++)
                to[n].n[q][k] += (double)of[n][q][k];
}

/* The sums of what threads counted are whole numbers: exact in any order. */
static wc_status count_points(solver *s)
{
    const wc_coded *o = s->out;
    wc_status worst = WC_OK;
    memset(s->counts, 0, WC_CODED_CLASSES * sizeof *s->counts);
#pragma omp parallel num_threads(s->ctx->threads)
    {
        histogram *of = calloc(o->classes, sizeof *of);
#pragma omp for schedule(static)
        for (size_t r = 0; r < o->rows; r++)
            if (of) count_row(o, r, of);
#pragma omp critical
        {
            if (of)
                add_counts(o->classes, (const histogram *)of, s->counts);
            else
                worst = WC_NOMEM;
        }
        free(of);
    }
    return worst == WC_OK ? WC_OK : wc_fail(s->ctx, worst, "no memory for counts of points");
}

static wc_status fit_laws(solver *s)
{
    WC_TRY(count_points(s));
#pragma omp parallel for schedule(dynamic) num_threads(s->ctx->threads)
    for (unsigned n = 0; n < s->out->classes; n++)
        wc_coded_fit(&s->counts[n], &s->out->law[n]);
    return WC_OK;
}

/* ---- a pass -------------------------------------------------------------------------------------------------------
 */

typedef struct panel {
    solver *s;
    tile_sums *sums;
    size_t r0, nr;
    float *e, *t, *q, *u;
    double *loss;
    float *inverse_width; /* [cols] 2^-width */
    float shrink[SLOTS];  /* by how much points of a slot are to be smaller, in 1/64 */
    uint8_t *row_class, *class_of;
    int16_t *point; /* [cols, nr] */
    wc_trellis_work work;
} panel;

static void panel_free(panel *p)
{
    free(p->e), free(p->t), free(p->q), free(p->u), free(p->loss), free(p->row_class);
    free(p->class_of), free(p->point), free(p->inverse_width);
    wc_trellis_work_free(&p->work);
}

static wc_status panel_make(solver *s, panel *p)
{
    size_t nr = wc_min(s->out->tile, s->out->rows), cols = s->out->cols;
    *p = (panel){.s = s};
    WC_TRY(WC_ALLOC_RAW(s->ctx, p->e, nr * cols, "a panel"));
    WC_TRY(WC_ALLOC_RAW(s->ctx, p->t, nr * cols, "a panel"));
    WC_TRY(WC_ALLOC_RAW(s->ctx, p->point, nr * cols, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->q, nr, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->u, nr, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->loss, nr, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->row_class, nr, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->class_of, nr, "a panel"));
    WC_TRY(WC_ALLOC(s->ctx, p->inverse_width, cols, "a panel"));
    for (size_t j = 0; j < cols; j++)
        p->inverse_width[j] = (float)exp2(-s->width[j]);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        unsigned class_of = slot / WCK_TRELLIS_SIZES, size = slot % WCK_TRELLIS_SIZES;
        p->shrink[slot] = size ? s->out->law[class_of].shrink[size - 1] : 0;
    }
    return wc_trellis_work_make(s->ctx, &s->trellis, nr, &p->work);
}

/* One column of the tile: wc_rounder.round. */
static void round_column(void *self, size_t pos, size_t count, size_t nr, const float *t, const float *pivot, float *q)
{
    panel *p = self;
    solver *s = p->s;
    size_t j = s->p->h->order ? s->p->h->order[pos] : pos;
    double exact = s->c / ((double)pivot[0] * (double)s->step[j]); /* the step that c asks for, over the one there is */
    (void)count;
    s->kernel->samples(nr, t, 1 / s->step[j], p->row_class, s->out->col_class[j] - WC_CODED_ROW_MIDDLE,
                       (int32_t)s->out->classes - 1, p->u, p->class_of);
    wc_trellis_run(&s->trellis, s->kernel, &s->rates, (float)(s->p->lambda * exact * exact), nr, p->u, p->class_of,
                   &p->work, p->point + j * nr);
    s->kernel->take(nr, p->point + j * nr, p->u, p->class_of, p->shrink, s->step[j] / 64, q, p->sums->slot);
    p->sums->square[j] = s->kernel->squares(nr, p->u, p->inverse_width[j], s->row_square + p->r0);
}

/* The points of a tile, [cols, nr], into rows of the matrix, by squares as in panel.c. */
static void store_points(const panel *p)
{
    enum { SIDE = 32 };
    const wc_coded *o = p->s->out;
    int16_t square[SIDE][SIDE];
    for (size_t j = 0, cols; j < o->cols; j += cols) {
        cols = wc_min(SIDE, o->cols - j);
        for (size_t r = 0, rows; r < p->nr; r += rows) {
            rows = wc_min(SIDE, p->nr - r);
            for (size_t a = 0; a < cols; a++)
                memcpy(square[a], p->point + (j + a) * p->nr + r, rows * sizeof **square);
            for (size_t b = 0; b < rows; b++)
                for (size_t a = 0; a < cols; a++)
                    o->point[(p->r0 + r + b) * o->cols + j + a] = square[a][b];
        }
    }
}

static void run_tile(panel *p, size_t tile)
{
    solver *s = p->s;
    const wc_coded *o = s->out;
    p->sums = &s->sums[tile];
    p->r0 = tile * o->tile, p->nr = wc_min(o->tile, o->rows - p->r0);
    memset(p->sums->slot, 0, sizeof p->sums->slot);
    if (o->row_classes)
        memcpy(p->row_class, o->row_class + p->r0, p->nr);
    else
        memset(p->row_class, WC_CODED_ROW_MIDDLE, p->nr);
    memset(s->row_square + p->r0, 0, p->nr * sizeof *s->row_square);
    wc_panel_load_ordered(s->p->h, s->p->w, p->r0, p->nr, s->scale_exp, p->t, p->e);
    wc_feedback f = {.h = s->p->h,
                     .kernel = wck_grid_at(wck_level_used()),
                     .nr = p->nr,
                     .block = s->p->block,
                     .e = p->e,
                     .t = p->t,
                     .q = p->q,
                     .loss = p->loss};
    wc_rounder rounder = {.self = p, .width = 1, .round = round_column};
    p->sums->loss = wc_feedback_run(&f, &rounder);
    store_points(p);
}

static wc_status run_tiles(solver *s)
{
    wc_status worst = WC_OK;
    wc_coded_rates(s->out, &s->rates);
#pragma omp parallel num_threads((int)wc_min((size_t)s->ctx->threads, s->tiles))
    {
        panel p;
        wc_status status = panel_make(s, &p);
#pragma omp for schedule(dynamic)
        for (size_t t = 0; t < s->tiles; t++)
            if (status == WC_OK) run_tile(&p, t);
        if (status != WC_OK) {
#pragma omp atomic write
            worst = status;
        }
        panel_free(&p);
    }
    return worst;
}

/* What the tiles saw: spreads, means, loss. */
static void gather(solver *s)
{
    const wc_coded *o = s->out;
    s->loss = 0;
    for (size_t t = 0; t < s->tiles; t++)
        s->loss += s->sums[t].loss;
    for (unsigned n = 0; n < o->classes; n++)
        for (int i = 0; i < 3; i++) {
            double count = 1, away = 0; /* one point that is where it should be */
            unsigned slot = n * WCK_TRELLIS_SIZES + (unsigned)i + 1;
            for (size_t t = 0; t < s->tiles; t++)
                count += s->sums[t].slot[slot].count, away += s->sums[t].slot[slot].away;
            s->shrink[n][i] = (int8_t)fmin(fmax(round(64 * away / count), -128), 127);
        }
    for (size_t j = 0; j < o->cols; j++) {
        double square = 0;
        for (size_t t = 0; t < s->tiles; t++)
            square += s->sums[t].square[j];
        s->width[j] = fmax(0.5 * log2(square / (double)o->rows + 1e-30), narrowest);
    }
    for (size_t i = 0; i < o->rows; i++)
        s->row_square[i] /= (double)o->cols;
}

/* Quantizes with the classes, laws and means there are; then the laws that code these points best, and their size.
 * Classes and means stay: feedback has used the values. */
static wc_status pass(solver *s, uint64_t *bytes)
{
    WC_TRY(run_tiles(s));
    gather(s);
    memcpy(s->used, s->out->law, sizeof s->used);
    WC_TRY(fit_laws(s));
    WC_TRY(wc_coded_measure(s->ctx, s->out, NULL, bytes));
    *bytes += wc_coded_lay_out(s->out).stream;
    return WC_OK;
}

/* Classes, means and laws for a pass at another c. relay: classes anew, means from the old ones of the same spread. */
static wc_status adapt(solver *s, double c, bool relay)
{
    wc_coded *o = s->out;
    double old_lo = s->lo, old_gap = s->gap, change = log2(c / s->c);
    unsigned old_classes = o->classes;
    s->c = c;
    set_steps(s);
    for (size_t j = 0; j < o->cols; j++)
        s->width[j] = fmax(s->width[j] - change, narrowest);
    if (relay) lay_classes(s);
    sort_into_classes(s);
    for (unsigned n = 0; n < o->classes; n++) {
        double at = (s->lo + (n + 0.5) * s->gap - old_lo) / old_gap;
        memcpy(o->law[n].shrink, s->shrink[(unsigned)fmin(fmax(at, 0), old_classes - 1)], 3);
    }
    return fit_laws(s);
}

static void start(solver *s, double c)
{
    s->c = c;
    set_steps(s);
    first_widths(s);
    lay_classes(s);
    sort_into_classes(s);
    guess_laws(s);
}

/* ---- the search for c ---------------------------------------------------------------------------------------------
 */

/* *to = *from, whose arrays are copied into those of *to. */
static void keep(const wc_coded *from, wc_coded *to)
{
    wc_coded arrays = *to;
    *to = *from;
    to->point = memcpy(arrays.point, from->point, from->rows * from->cols * sizeof *from->point);
    to->col_step = memcpy(arrays.col_step, from->col_step, from->cols);
    to->col_class = memcpy(arrays.col_class, from->col_class, from->cols);
    to->row_class = memcpy(arrays.row_class, from->row_class, from->rows);
}

/* c for the next pass, from the rates of the last two. d rate / d log2(c) is about -1, less where columns are empty. */
typedef struct search {
    double log_c, rate;   /* of the pass before; rate 0: none */
    double slope, lo, hi; /* log2(c) that gave too much, and too little */
} search;

static double next_step(search *g, double log_c, double rate, double target)
{
    if (g->rate > 0 && fabs(log_c - g->log_c) > 0.004)
        g->slope = fmin(fmax((rate - g->rate) / (log_c - g->log_c), -1.3), -0.2);
    g->log_c = log_c, g->rate = rate;
    double next = log_c + fmin(fmax((target - rate) / g->slope, -1), 1);
    if (rate > target) g->lo = fmax(g->lo, log_c);
    if (rate < target) g->hi = fmin(g->hi, log_c);
    if (g->lo < g->hi && (next <= g->lo || next >= g->hi)) next = 0.5 * (g->lo + g->hi);
    return next;
}

static double bits_per_weight(const solver *s, uint64_t bytes)
{
    return 8 * (double)bytes / ((double)s->out->rows * (double)s->out->cols);
}

static void report(const solver *s, double c, double loss, uint64_t bytes, int passes, wc_rd_point *out)
{
    double unit = ldexp(1, s->scale_exp), h = s->p->h->scale;
    *out = (wc_rd_point){.step = c * unit / sqrt(h),
                         .bits = bits_per_weight(s, bytes),
                         .loss = loss * unit * unit / h,
                         .passes = passes};
}

/* The next pass decides by the same laws: its rate is then a smooth function of c. */
static void only_step(solver *s, double c)
{
    s->c = c;
    set_steps(s);
    memcpy(s->out->law, s->used, sizeof s->used);
}

/* Passes until one fits s->out->bytes well; best holds it. After p->passes laws and classes are settled, and only c
 * moves. */
static wc_status find(solver *s, wc_coded *best, wc_rd_point *result)
{
    const search fresh = {.slope = -0.9, .lo = -INFINITY, .hi = INFINITY};
    search g = fresh;
    uint64_t most = s->out->bytes, best_bytes = 0, bytes = 0;
    double wanted = bits_per_weight(s, most), target = wanted - 0.4 * slack;
    for (int n = 1; n <= LAST_PASS; n++) {
        WC_TRY(pass(s, &bytes));
        double rate = bits_per_weight(s, bytes);
        wc_log(s->ctx, WC_LOG_DEBUG, "%s: pass %d, step %.6g: %.4f bits, loss %.6g", s->p->tensor, n, s->c, rate,
               s->loss);
        if (n >= s->p->passes && bytes <= most && bytes > best_bytes) {
            best_bytes = bytes;
            keep(s->out, best);
            report(s, s->c, s->loss, bytes, n, result);
        }
        bool last = n >= s->p->passes + EXTRA_PASSES;
        if (best_bytes && (last || wanted - bits_per_weight(s, best_bytes) <= slack)) return WC_OK;
        if (n == s->p->passes) g = fresh;
        double log_c = next_step(&g, log2(s->c), rate, target);
        if (last) log_c = log2(s->c) + fmax(rate - wanted, 0) + 0.002 * (n - s->p->passes);
        if (n < s->p->passes)
            WC_TRY(adapt(s, exp2(log_c), n == 1));
        else
            only_step(s, exp2(log_c));
    }
    return wc_fail(s->ctx, WC_BUDGET, "%s: %.4g bits per weight are not enough", s->p->tensor, wanted);
}

uint64_t wc_rd_side_bytes(const wc_coded *o)
{
    wc_coded all = *o;
    all.classes = (unsigned)wc_min(WC_CODED_CLASSES, wc_ceil_div(o->rows * o->cols, PER_CLASS));
    all.row_classes = false;
    wc_coded_layout l = wc_coded_lay_out(&all);
    return l.stream + l.units * 4 * WC_CODED_LANES;
}

wc_status wc_rd_solve(wc_ctx *ctx, const wc_rd_problem *p, wc_coded *out, wc_rd_point *result)
{
    solver s = {.p = NULL};
    wc_status status = WC_OK;
    wc_coded work = *out, best = *out;
    WC_TRY_OUT(solver_make(ctx, p, &work, &s));
    WC_TRY_OUT(wc_coded_alloc(ctx, &work));
    WC_TRY_OUT(wc_coded_alloc(ctx, &best));
    uint64_t fixed = wc_rd_side_bytes(out);
    if (fixed >= out->bytes)
        WC_TRY_OUT(wc_fail(ctx, WC_BUDGET, "%s: %llu bytes, of which a table takes %llu", p->tensor,
                           (unsigned long long)out->bytes, (unsigned long long)fixed));
    double c = wc_rd_first_step(ctx, p->h, p->w, out->rows, out->cols, bits_per_weight(&s, out->bytes - fixed));
    start(&s, fmax(ldexp(c, -s.scale_exp), 1e-9));
    WC_TRY_OUT(find(&s, &best, result));
    best.step = fmaxf(ldexpf(best.step, s.scale_exp), FLT_MIN);
    *out = best;
    memset(&best, 0, sizeof best);
out:
    solver_free(&s);
    part_drop(&work), part_drop(&best);
    return status;
}

wc_status wc_rd_measure(wc_ctx *ctx, const wc_rd_problem *p, const wc_coded *geometry, wc_rd_point *result)
{
    solver s = {.p = NULL};
    wc_status status = WC_OK;
    wc_coded work = *geometry;
    uint64_t bytes = 0;
    WC_TRY_OUT(solver_make(ctx, p, &work, &s));
    WC_TRY_OUT(wc_coded_alloc(ctx, &work));
    start(&s, ldexp(result->step * sqrt(p->h->scale), -s.scale_exp));
    for (int n = 1; n <= p->passes; n++) {
        if (n > 1) WC_TRY_OUT(adapt(&s, s.c, n == 2));
        WC_TRY_OUT(pass(&s, &bytes));
    }
    report(&s, s.c, s.loss, bytes, p->passes, result);
out:
    solver_free(&s);
    part_drop(&work);
    return status;
}

uint64_t wc_rd_scratch(const wc_ctx *ctx, const wc_coded *g)
{
    uint64_t tile = wc_min(g->tile, g->rows), threads = (uint64_t)ctx->threads;
    uint64_t per_thread = tile * (10 * (uint64_t)g->cols + ((uint64_t)1 << g->memory) + 80);
    uint64_t sums = wc_ceil_div(g->rows, g->tile) * ((uint64_t)8 * g->cols + 2048);
    return 2 * (uint64_t)g->rows * g->cols + threads * per_thread + sums +
           WC_CODED_CLASSES * (sizeof(wc_coded_count) + threads * sizeof(histogram)) +
           24 * ((uint64_t)g->rows + g->cols);
}
