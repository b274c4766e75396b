/* BiLLM-class binary planes: two for the columns that matter most, one, or a split one, for the others. See README.md.
 */
#include <math.h>
#include <stdlib.h>

#include "methods/job.h"
#include "solve/planes.h"

enum { MAX_LEVELS = 6 };

struct options {
    int group, levels;
    bool split;
    double salient;
    int salient_levels;
    wc_feedback_options feedback;
    int block, passes;
};

#define FIELD(name) offsetof(struct options, name)

static const wc_opt opts[] = {
    {"group", WC_OPT_INT, FIELD(group), 128, 0, 65536, NULL, "columns per scale; 0: the whole row"},
    {"levels", WC_OPT_INT, FIELD(levels), 1, 1, MAX_LEVELS, NULL, "planes for columns that are not salient"},
    {"split", WC_OPT_BOOL, FIELD(split), 1, 0, 1, NULL,
     "the first of them has two scales and a plane that chooses between them: another bit per weight"},
    {"salient", WC_OPT_REAL, FIELD(salient), 0.05, 0, 0.5, NULL, "part of the columns that is salient"},
    {"salient_levels", WC_OPT_INT, FIELD(salient_levels), 2, 1, MAX_LEVELS, NULL, "planes for salient columns"},
    {"damp", WC_OPT_REAL, FIELD(feedback.damp), 0.01, 0, 10, NULL, "added to the diagonal of H, relative to its mean"},
    {"order", WC_OPT_WORD, FIELD(feedback.order), WC_ORDER_ACT, 0, 1, "natural|act",
     "columns as they come, or those with the largest inputs first"},
    {"block", WC_OPT_INT, FIELD(block), 256, 32, 1024, NULL, "columns per matrix product"},
    {"passes", WC_OPT_INT, FIELD(passes), 4, 0, 64, NULL, "of feedback, each followed by a refit of all scales"},
    {"drift", WC_OPT_REAL, FIELD(feedback.drift), 0.75, 0, 1, NULL, "part of the drift of the inputs to correct for"},
    {"residual", WC_OPT_REAL, FIELD(feedback.residual), 0.5, 0, 1, NULL,
     "part of the drift of the residual stream to correct for, in layers that write to it"},
    {0},
};

static void plan(const wc_place *at, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    size_t group = o->group && (size_t)o->group < at->cols ? (size_t)o->group : at->cols;
    size_t subset = wc_min((size_t)rint(o->salient * (double)at->cols), at->cols - 1);
    *out = (wc_part){.kind = WC_PART_SIGNS};
    wc_signs *s = &out->signs;
    *s = (wc_signs){.rows = at->rows, .cols = at->cols, .form = WC_SIGNS_SCALES, .group = group, .subset = subset};
    for (int l = 0; l < o->levels; l++)
        s->which[s->levels++] =
            (uint8_t)((subset ? WC_SIGNS_REST : WC_SIGNS_ALL) | (l || !o->split ? 0 : WC_SIGNS_SPLIT));
    for (int l = 0; subset && l < o->salient_levels; l++)
        s->which[s->levels++] = WC_SIGNS_SUBSET;
}

struct ranked {
    double score;
    size_t column;
};

static int larger_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

/* column [cols] = 1 for the `subset' columns with the largest sum over rows of w_ij^2 R_jj^2: with T the Cholesky
 * factor of H^-1, T_jj = 1 / R_jj, that is BiLLM's saliency w^2 / T_jj^2, what it costs to lose the weight when all
 * later columns can still make up for it. Without h: of w_ij^2 weight_j. */
static wc_status choose_salient(const wc_job *job, const wc_hessian *h, const float *weight, const wc_signs *s,
                                uint8_t *column)
{
    struct ranked *list;
    WC_TRY(WC_ALLOC(job->ctx, list, s->cols, "the salience of columns"));
    for (size_t j = 0; j < s->cols; j++)
        list[j] = (struct ranked){0, j};
    for (size_t i = 0; i < s->rows; i++)
        for (size_t j = 0; j < s->cols; j++)
            list[j].score += (double)job->w[i * s->cols + j] * (double)job->w[i * s->cols + j];
    for (size_t k = 0; k < s->cols; k++) {
        size_t j = h && h->order ? h->order[k] : k;
        list[j].score *= h ? (double)h->pivot[k] * (double)h->pivot[k] : (double)weight[j];
    }
    qsort(list, s->cols, sizeof *list, larger_first);
    for (size_t k = 0; k < s->subset; k++)
        column[list[k].column] = 1;
    free(list);
    return WC_OK;
}

static wc_status run(wc_job *job, const void *opt, wc_part *out)
{
    const struct options *o = opt;
    wc_status status = WC_OK;
    wc_hessian h = {0};
    bool use = false;
    float *weight = NULL;
    uint8_t *column = NULL;
    wc_part made;
    plan(&job->at, opt, &made);
    WC_TRY_OUT(wc_job_feedback(job, &o->feedback, &h, &use));
    WC_TRY_OUT(WC_ALLOC(job->ctx, weight, job->at.cols, "column weights"));
    WC_TRY_OUT(WC_ALLOC(job->ctx, column, job->at.cols, "a subset of columns"));
    wc_hessian_weights(use ? job->stats->h : NULL, job->at.cols, weight);
    WC_TRY_OUT(choose_salient(job, use ? &h : NULL, weight, &made.signs, column));
    wc_planes_problem problem = {.tensor = job->tensor,
                                 .w = job->w,
                                 .weight = weight,
                                 .subset = column,
                                 .h = use ? &h : NULL,
                                 .block = (size_t)o->block,
                                 .passes = o->passes};
    WC_TRY_OUT(wc_planes_solve(job->ctx, &problem, &made.signs, NULL));
    *out = made;
out:
    wc_hessian_free(&h);
    free(weight), free(column);
    return status;
}

/* Factor n^3/3; a pass: feedback m n^2, D 2 m n^2, H b 2 m n^2 for every scale of a weight; fitting sorts m n
 * magnitudes; drift 4 m n^2. */
static double flops(const wc_place *at, const void *opt, bool drift)
{
    const struct options *o = opt;
    double m = (double)at->rows, n = (double)at->cols;
    double scales = (1 - o->salient) * (o->levels + o->split) + o->salient * o->salient_levels;
    return n * n * n / 3 + m * n * n * (o->passes ? o->passes * (3 + 2 * scales) : 1) + 50 * m * n +
           (drift ? 4 * m * n * n : 0);
}

/* H, its factor, and its rows in another order; the planes; all panels at once. */
static uint64_t scratch(const wc_place *at, const void *opt)
{
    const struct options *o = opt;
    uint64_t m = at->rows, n = at->cols, planes = (uint64_t)(o->levels + 1 + o->salient_levels);
    return 12 * n * n + 24 * m * n + planes * m * wc_ceil_div(n, 8);
}

const wc_method wc_method_binary = {
    .name = "binary",
    .summary = "planes of signs with scales: two for salient columns, a split one for the others, with error feedback",
    .needs = WC_NEEDS_HESSIAN,
    .opt_size = sizeof(struct options),
    .opts = opts,
    .plan = plan,
    .run = run,
    .flops = flops,
    .scratch = scratch,
};
