/* What several matrices share while they are planned: the threshold of magnitude over a model against sorting all
 * weights, and ranks by budget against trying all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gptq_util.h"
#include "methods/factors.h"
#include "methods/prune.h"
#include "recipe.h"
#include "solve/floors.h"

enum { MOST_SETS = 6 };

/* ---- thresholds ------------------------------------------------------------------------------------------------- */

typedef struct entry {
    float score;
    size_t set, index;
} entry;

static int ascending(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    if (x->set != y->set) return x->set < y->set ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* The definition: all scores in order, each goes unless its set is at its floor. */
static void by_sorting(const float *const *score, const size_t *size, const uint64_t *most, size_t n, uint64_t want,
                       uint64_t *go)
{
    size_t all = 0, at = 0;
    for (size_t l = 0; l < n; l++)
        all += size[l], go[l] = 0;
    entry *e = malloc((all + 1) * sizeof *e);
    assert_non_null(e);
    for (size_t l = 0; l < n; l++)
        for (size_t i = 0; i < size[l]; i++)
            e[at++] = (entry){score[l][i], l, i};
    qsort(e, all, sizeof *e, ascending);
    for (size_t i = 0; i < all && want; i++)
        if (go[e[i].set] < most[e[i].set]) go[e[i].set]++, want--;
    free(e);
}

static void select_counts(const float *const *score, const size_t *size, const uint64_t *most, size_t n, uint64_t want,
                          uint64_t *go)
{
    wc_ctx ctx;
    wc_floors f;
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_floors_begin(&ctx, n, most, want, &f), WC_OK);
    for (int pass = 0; pass < WC_FLOORS_PASSES; pass++) {
        for (size_t l = n; l-- > 0;) { /* any order, in pieces */
            wc_floors_show(&f, l, score[l], size[l] / 3);
            wc_floors_show(&f, l, score[l] + size[l] / 3, size[l] - size[l] / 3);
        }
        wc_floors_next(&f);
    }
    wc_floors_take(&f, go);
    wc_floors_free(&f);
}

/* Few or many different values, zeros, subnormals, the largest f32; nothing and everything goes. */
static void the_threshold_is_that_of_sorting(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        size_t n = 1 + (size_t)(rand() % MOST_SETS), size[MOST_SETS];
        uint64_t most[MOST_SETS], may = 0, ours[MOST_SETS], theirs[MOST_SETS];
        float *score[MOST_SETS];
        for (size_t l = 0; l < n; l++) {
            size[l] = (size_t)(rand() % 60);
            score[l] = malloc((size[l] + 1) * sizeof(float));
            assert_non_null(score[l]);
            for (size_t i = 0; i < size[l]; i++) {
                float v = round % 3 ? (float)(rand() % 5) : fabsf(util_normal());
                score[l][i] = round % 5 == 4 ? ldexpf(v, rand() % 270 - 145) : v;
            }
            most[l] = round % 2 && size[l] ? (uint64_t)rand() % (size[l] + 1) : size[l];
            may += most[l];
        }
        uint64_t wants[] = {0, may, may ? (uint64_t)rand() % may : 0};
        for (size_t w = 0; w < 3; w++) {
            select_counts((const float *const *)score, size, most, n, wants[w], ours);
            by_sorting((const float *const *)score, size, most, n, wants[w], theirs);
            for (size_t l = 0; l < n; l++)
                if (ours[l] != theirs[l])
                    fail_msg("round %d, set %zu of %zu: %llu, not %llu", round, l, n, (unsigned long long)ours[l],
                             (unsigned long long)theirs[l]);
        }
        for (size_t l = 0; l < n; l++)
            free(score[l]);
    }
}

/* ---- members ---------------------------------------------------------------------------------------------------- */

static wc_status rows(wc_ctx *ctx, const wc_member *m, size_t r0, size_t nr, float *dst)
{
    (void)ctx;
    memcpy(dst, (const float *)m->source + r0 * m->at.cols, nr * m->at.cols * sizeof *dst);
    return WC_OK;
}

/* The options of a step, as a recipe's text gives them; free() them. */
static void *options_of(const char *text)
{
    wc_ctx ctx;
    wc_recipe r;
    wc_ctx_init(&ctx, 1);
    if (wc_recipe_parse(&ctx, text, &r) != WC_OK) fail_msg("%s: %s", text, ctx.error);
    return r.step[0].opt; /* the only one */
}

/* n matrices of these shapes with that recipe. */
static void make_members(const char *recipe, const size_t shape[][2], size_t n, float *const *w, wc_member *member)
{
    for (size_t l = 0; l < n; l++)
        member[l] = (wc_member){.tensor = "t",
                                .at = {.rows = shape[l][0], .cols = shape[l][1], .kept = shape[l][0] * shape[l][1]},
                                .first = true,
                                .opt = options_of(recipe),
                                .rows = rows,
                                .source = w[l]};
}

static void free_members(wc_member *member, size_t n)
{
    for (size_t l = 0; l < n; l++)
        free(member[l].opt);
}

static wc_status allot(const char *method, wc_member *member, size_t n, int threads, char error[1024])
{
    wc_ctx ctx;
    wc_ctx_init(&ctx, threads);
    wc_status status = wc_method_find(method)->allot(&ctx, member, n);
    if (error) snprintf(error, 1024, "%s", ctx.error);
    return status;
}

/* ---- magnitude over a model ------------------------------------------------------------------------------------- */

static void a_model_shares_one_threshold(void **state)
{
    static const size_t shape[][2] = {{300, 40}, {7, 9}, {64, 128}, {1, 1}, {33, 5}};
    static const struct {
        const char *recipe;
        double frac, floor;
        bool scaled;
    } table[] = {{"magnitude(50%,compare=model)", 0.5, 0.0005, true},
                 {"magnitude(0.7,compare=model,scale=none)", 0.7, 0.0005, false},
                 {"magnitude(0.7,compare=model,floor=0.02)", 0.7, 0.02, true},
                 {"magnitude(0,compare=model)", 0, 0.0005, true},
                 {"magnitude(1,compare=model,floor=0)", 1, 0, true}};
    enum { N = 5 };
    float *w[N];
    size_t size[N], all = 0;
    (void)state;
    for (size_t l = 0; l < N; l++) {
        size[l] = shape[l][0] * shape[l][1];
        all += size[l];
        w[l] = util_normals(size[l]);
        for (size_t i = 0; i < size[l]; i++)
            w[l][i] *= powf(4, (float)l - 2);
    }
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        uint64_t most[N], go[N], floor = (uint64_t)(table[t].floor * (double)all), sum = 0;
        float *score[N];
        wc_member member[N];
        for (size_t l = 0; l < N; l++) {
            double square = 0;
            for (size_t i = 0; i < size[l]; i++)
                square += (double)w[l][i] * (double)w[l][i];
            float unit = table[t].scaled ? (float)(1 / sqrt(square / (double)size[l])) : 1;
            score[l] = malloc(size[l] * sizeof(float));
            for (size_t i = 0; i < size[l]; i++)
                score[l][i] = fabsf(w[l][i]) * unit;
            most[l] = size[l] > floor ? size[l] - floor : 0;
        }
        by_sorting((const float *const *)score, size, most, N, (uint64_t)round(table[t].frac * (double)all), go);
        for (int threads = 1; threads <= 3; threads += 2) {
            make_members(table[t].recipe, shape, N, w, member);
            assert_int_equal(allot("magnitude", member, N, threads, NULL), WC_OK);
            sum = 0;
            for (size_t l = 0; l < N; l++) {
                wc_place at = member[l].at;
                wc_method_find("magnitude")->narrow(&at, member[l].opt);
                assert_int_equal(at.kept, size[l] - go[l]); /* the count, through the rounding of the fraction */
                assert_true(at.kept >= wc_min(size[l], floor));
                sum += at.kept;
            }
            assert_int_equal(sum, wc_mask_survivors(table[t].frac, all));
            free_members(member, N);
        }
        for (size_t l = 0; l < N; l++)
            free(score[l]);
    }
    for (size_t l = 0; l < N; l++)
        free(w[l]);
}

static void what_cannot_be_shared_is_refused(void **state)
{
    static const size_t shape[][2] = {{30, 4}, {7, 9}};
    float *w[] = {util_normals(120), util_normals(63)};
    char error[1024];
    wc_member member[2];
    (void)state;
    make_members("magnitude(0.9,compare=model,floor=0.2)", shape, 2, w, member);
    assert_int_equal(allot("magnitude", member, 2, 1, error), WC_OPTION);
    assert_non_null(strstr(error, "0.9 of 183 weights cannot be pruned when each of 2 matrices keeps 36"));
    free_members(member, 2);
    make_members("magnitude(0.9,compare=model)", shape, 2, w, member);
    member[0].first = false;
    assert_int_equal(allot("magnitude", member, 2, 1, error), WC_OPTION);
    assert_non_null(strstr(error, "first step"));
    free_members(member, 2);
    make_members("magnitude(2:4,compare=model)", shape, 1, w, member);
    assert_non_null(strstr(wc_method_find("magnitude")->applies(&member->at, member->opt), "not n of every m"));
    free_members(member, 1);
    free(w[0]), free(w[1]);
}

/* ---- ranks by budget -------------------------------------------------------------------------------------------- */

/* Relative error of matrix w at every rank up to min(rows, cols). */
static void tails(const float *w, size_t m, size_t n, double *tail)
{
    wc_ctx ctx;
    wc_projector p;
    wc_metric metric = {0};
    size_t k = wc_min(m, n);
    wc_ctx_init(&ctx, 1);
    assert_int_equal(wc_projector_make(&ctx, "t", w, m, n, &metric, k, &p), WC_OK);
    tail[k] = 0;
    for (size_t j = k; j-- > 0;)
        tail[j] = tail[j + 1] + p.lambda[j] / p.total;
    wc_projector_free(&p);
}

enum { RANKS = 16 };

/* The rank of two factors in f16 that take the budget's part of a matrix, at most full. */
static double floor_of_uniform(double budget, size_t m, size_t n)
{
    double r = floor(budget * (double)(m * n) / (double)(m + n));
    return fmin(r, (double)wc_min(m, n));
}

/* The least sum of errors over all ranks from floor to most that fit; sizes are f16 numbers of two factors. */
static double best_of_all(const size_t shape[][2], double tail[][RANKS + 1], const size_t *floor, size_t n,
                          double budget)
{
    size_t r[MOST_SETS];
    double best = INFINITY;
    memcpy(r, floor, n * sizeof *r);
    for (;;) {
        double used = 0, loss = 0;
        for (size_t i = 0; i < n; i++) {
            used += (double)(r[i] * (shape[i][0] + shape[i][1]));
            loss += tail[i][r[i]];
        }
        if (used <= budget && loss < best) best = loss;
        size_t i = 0;
        while (i < n && r[i] == shape[i][0] * shape[i][1] / (shape[i][0] + shape[i][1]))
            r[i] = floor[i], i++;
        if (i == n) return best;
        r[i]++;
    }
}

/* Where all ranks cost the same the sum of errors is the least there is; where not, it is no more than the least for a
 * budget smaller by one rank. Floors and ceilings hold, and the same comes out of any number of threads. */
static void ranks_are_the_best_within_the_budget(void **state)
{
    static const struct {
        size_t shape[3][2];
        const char *recipe;
        double budget, least;
        bool equal;
    } table[] = {
        {{{24, 16}, {24, 16}, {16, 24}}, "svd(budget=0.5,least=0)", 0.5, 0, true},
        {{{24, 16}, {24, 16}, {16, 24}}, "svdllm(budget=0.6)", 0.6, 0.5, true},
        {{{24, 16}, {40, 12}, {16, 64}}, "svd(budget=0.5)", 0.5, 0.5, false},
        {{{24, 16}, {40, 12}, {16, 64}}, "svd(budget=0.7,floor=3,least=0)", 0.7, 0, false},
        {{{24, 16}, {40, 12}, {16, 64}}, "svd(budget=1)", 1, 0.5, false},
    };
    (void)state;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        float *w[3];
        double tail[3][RANKS + 1], numbers = 0, used = 0, loss = 0, dearest = 0;
        size_t floor[3];
        wc_member member[3];
        for (size_t i = 0; i < 3; i++) {
            size_t m = table[t].shape[i][0], n = table[t].shape[i][1];
            w[i] = util_normals(m * n);
            for (size_t k = 0; k < m * n; k++) /* spectra of different steepness */
                w[i][k] *= powf(0.5f + 0.15f * (float)i, (float)(k / n));
            tails(w[i], m, n, tail[i]);
            numbers += (double)(m * n), dearest = fmax(dearest, (double)(m + n));
            floor[i] = (size_t)(table[t].least * floor_of_uniform(table[t].budget, m, n));
            if (strstr(table[t].recipe, "floor=3")) floor[i] = 3;
            if (!floor[i]) floor[i] = 1;
        }
        make_members(table[t].recipe, table[t].shape, 3, w, member);
        assert_int_equal(
            allot(strncmp(table[t].recipe, "svdllm", 6) ? "svd" : "svdllm", member, 3, 1 + (int)t % 3, NULL), WC_OK);
        for (size_t i = 0; i < 3; i++) {
            const wc_factor_options *o = member[i].opt;
            size_t m = table[t].shape[i][0], n = table[t].shape[i][1], r = (size_t)o->thin.rank;
            assert_true(r >= floor[i] && r * (m + n) <= m * n && o->thin.budget == 0);
            used += (double)(r * (m + n)), loss += tail[i][r];
        }
        double room = table[t].budget * numbers, best = best_of_all(table[t].shape, tail, floor, 3, room);
        double less = best_of_all(table[t].shape, tail, floor, 3, room - dearest);
        print_message("%-32s sum of errors %.4f, the least %.4f, %.0f of %.0f numbers\n", table[t].recipe, loss, best,
                      used, room);
        assert_true(used <= room && loss >= best - 1e-9);
        assert_true(loss <= (table[t].equal ? best : less) + 1e-9);
        free_members(member, 3);
        for (size_t i = 0; i < 3; i++)
            free(w[i]);
    }
}

static void spectra_are_those_of_the_projector(void **state)
{
    static const size_t shape[][2] = {{12, 5}, {5, 12}, {9, 9}, {1, 4}, {4, 1}};
    (void)state;
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        size_t m = shape[s][0], n = shape[s][1], k = wc_min(m, n);
        wc_ctx ctx;
        wc_projector p;
        double lambda[16];
        float *w = util_normals(m * n), *h = util_moments(n, 50, 1, 0.01f);
        wc_metric metric = {.h = h, .damping = 1e-3};
        wc_ctx_init(&ctx, 1);
        assert_int_equal(wc_projector_make(&ctx, "t", w, m, n, &metric, k, &p), WC_OK);
        assert_int_equal(wc_spectrum(&ctx, "t", w, m, n, &metric, lambda), WC_OK);
        for (size_t j = 0; j < k; j++)
            assert_true(fabs(lambda[j] - p.lambda[j]) <= 1e-12 * p.total);
        wc_projector_free(&p);
        free(w), free(h);
    }
}

static void bad_budgets_are_refused(void **state)
{
    static const size_t shape[][2] = {{24, 16}, {16, 64}};
    static const struct {
        const char *recipe, *reason;
    } table[] = {{"svd(budget=0.5,rank=4)", "a rank and a budget contradict"},
                 {"svd(budget=0.1,floor=9)", "take 1879 bytes more than the budget"},
                 {"svd(budget=0.01)", "bytes more than the budget"}};
    float *w[] = {util_normals(24 * 16), util_normals(16 * 64)};
    wc_member member[2];
    char error[1024];
    (void)state;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        make_members(table[t].recipe, shape, 2, w, member);
        assert_int_equal(allot("svd", member, 2, 1, error), WC_OPTION);
        if (!strstr(error, table[t].reason)) fail_msg("%s: %s", table[t].recipe, error);
        free_members(member, 2);
    }
    make_members("svd(budget=0.5)", shape, 2, w, member);
    member[0].first = false;
    assert_int_equal(allot("svd", member, 2, 1, error), WC_OPTION);
    assert_non_null(strstr(error, "first step"));
    free_members(member, 2);
    free(w[0]), free(w[1]);
}

/* ---- outliers above a threshold --------------------------------------------------------------------------------- */

static const float diagonal[] = {1, 0, 0, 0, 9, 0, 0, 0, 100};

static wc_status diagonal_stats(wc_ctx *ctx, const wc_member *m, wc_stats *out)
{
    (void)ctx;
    float *h = malloc(sizeof diagonal);
    memcpy(h, diagonal, sizeof diagonal);
    *out = (wc_stats){.n = m->at.cols, .tokens = 1, .h = h};
    return WC_OK;
}

/* How many w^2 weight_j are more than threshold^2 times their mean. */
static size_t count_above(const float *w, size_t size, size_t cols, const double *weight, double threshold)
{
    double sum = 0;
    size_t above = 0;
    for (size_t i = 0; i < size; i++)
        sum += (double)w[i] * (double)w[i] * (weight ? weight[i % cols] : 1);
    for (size_t i = 0; i < size; i++)
        above +=
            (double)w[i] * (double)w[i] * (weight ? weight[i % cols] : 1) > threshold * threshold * sum / (double)size;
    return above;
}

/* Each matrix gets the part of its weights that counting finds. */
static void a_threshold_counts_what_is_above(void **state)
{
    static const size_t shape[][2] = {{300, 40}, {700, 3}, {1, 1}, {4, 3}};
    static const struct {
        const char *recipe;
        double threshold;
        bool sensitive;
    } table[] = {{"outliers(threshold=2,criterion=magnitude)", 2, false},
                 {"outliers(threshold=2.5,criterion=sensitivity,frac=3%)", 2.5, true},
                 {"outliers(threshold=1000,criterion=magnitude)", 1000, false}};
    static const double damp = 0.01 * 110 / 3;
    const double weight[] = {1 + damp, 9 + damp, 100 + damp};
    enum { N = 4 };
    (void)state;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++)
        for (size_t l = 0; l < N; l++) {
            size_t size = shape[l][0] * shape[l][1];
            if (table[t].sensitive && shape[l][1] != 3) continue;
            float *w = l == 3 ? calloc(size, sizeof *w) : util_normals(size);
            wc_member member;
            char error[1024];
            make_members(table[t].recipe, &shape[l], 1, &w, &member);
            if (table[t].sensitive) member.stats = diagonal_stats;
            if (allot("outliers", &member, 1, 1, error) != WC_OK) fail_msg("%s: %s", table[t].recipe, error);
            wc_part plan = {0};
            wc_method_find("outliers")->plan(&member.at, member.opt, &plan);
            size_t above = count_above(w, size, shape[l][1], table[t].sensitive ? weight : NULL, table[t].threshold);
            if (plan.sparse.nnz != above)
                fail_msg("%s: matrix %zu: %llu, counted %zu", table[t].recipe, l, (unsigned long long)plan.sparse.nnz,
                         above);
            free_members(&member, 1);
            free(w);
        }
}

static void bad_thresholds_are_refused(void **state)
{
    static const size_t shape[][2] = {{20, 40}};
    static const struct {
        const char *recipe;
        bool late;
        const char *sentence;
    } bad[] = {{"outliers(threshold=3)", false, "needs criterion=magnitude or sensitivity"},
               {"outliers(threshold=3,criterion=gain)", false, "needs criterion=magnitude or sensitivity"},
               {"outliers(threshold=3,criterion=sensitivity)", false, "needs statistics while the run is planned"},
               {"outliers(threshold=3,criterion=magnitude)", true, "is for the first step"},
               {"outliers(threshold=0.1,criterion=magnitude)", false, "are above threshold=0.1, at most 10 % may be"}};
    float *w = util_normals(800);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wc_member member;
        char error[1024];
        make_members(bad[i].recipe, shape, 1, &w, &member);
        member.first = !bad[i].late;
        assert_int_equal(allot("outliers", &member, 1, 1, error), WC_OPTION);
        if (!strstr(error, bad[i].sentence)) fail_msg("`%s' lacks `%s'", error, bad[i].sentence);
        free_members(&member, 1);
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_threshold_is_that_of_sorting),   cmocka_unit_test(a_model_shares_one_threshold),
        cmocka_unit_test(what_cannot_be_shared_is_refused),   cmocka_unit_test(ranks_are_the_best_within_the_budget),
        cmocka_unit_test(spectra_are_those_of_the_projector), cmocka_unit_test(bad_budgets_are_refused),
        cmocka_unit_test(a_threshold_counts_what_is_above),   cmocka_unit_test(bad_thresholds_are_refused),
    };
    return cmocka_run_group_tests_name("floors", tests, NULL, NULL);
}
