/* A budget for all matrices of a recipe: the knapsack against trying everything, and what every method makes of its
 * share against the errors that its parts really have. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "formats/format.h"
#include "linalg/linalg.h"
#include "lowrank_util.h"
#include "methods/allot.h"
#include "methods/factors.h"
#include "parts_util.h"

/* ---- the knapsack ----------------------------------------------------------------------------------------------- */

enum { LISTS = 4, CHOICES = 6 };

/* The least loss of all combinations that cost no more than room over those of the least choices. */
static double best_of_all(const wc_choices *list, size_t n, double room)
{
    size_t at[LISTS] = {0};
    double best = INFINITY;
    for (;;) {
        double cost = 0, loss = 0;
        for (size_t i = 0; i < n; i++) {
            cost += list[i].at[at[i]].cost - list[i].at[0].cost;
            loss += list[i].at[at[i]].loss;
        }
        if (cost <= room && loss < best) best = loss;
        size_t i = 0;
        while (i < n && ++at[i] == list[i].n)
            at[i++] = 0;
        if (i == n) return best;
    }
}

/* Lists of one choice and of many, losses that fall and that do not, equal costs, no room and too much. */
static void the_knapsack_is_as_good_as_trying_all(void **unused)
{
    (void)unused;
    wc_ctx ctx;
    size_t exact = 0, rounds = 300;
    wc_ctx_init(&ctx, 1);
    srand(5);
    for (size_t round = 0; round < rounds; round++) {
        wc_choice at[LISTS][CHOICES];
        wc_choices list[LISTS];
        size_t n = 1 + (size_t)(rand() % LISTS);
        double all = 0, dearest = 0, used = 0, loss = 0;
        for (size_t i = 0; i < n; i++) {
            list[i] = (wc_choices){.at = at[i], .n = 1 + (size_t)(rand() % CHOICES)};
            for (size_t k = 0; k < list[i].n; k++) {
                double more = round % 3 ? 1 + rand() % 4 : rand() % 2;
                at[i][k] = (wc_choice){.cost = k ? at[i][k - 1].cost + more : 1 + rand() % 3,
                                       .loss = round % 2 ? ldexp(1 + util_uniform(), -(int)k) : util_uniform(),
                                       .id = k};
            }
            double reach = at[i][list[i].n - 1].cost - at[i][0].cost;
            all += reach, dearest = fmax(dearest, reach);
        }
        double room = floor(all * util_uniform() * 1.2);
        double best = best_of_all(list, n, room), less = best_of_all(list, n, fmax(0, room - dearest));
        assert_int_equal(wc_knapsack(&ctx, list, n, room), WC_OK);
        for (size_t i = 0; i < n; i++) {
            assert_true(list[i].taken < list[i].n);
            used += at[i][list[i].taken].cost - at[i][0].cost;
            loss += at[i][list[i].taken].loss;
        }
        assert_true(used <= room && loss >= best - 1e-12 && loss <= less + 1e-12);
        exact += loss <= best + 1e-12;
    }
    print_message("%zu of %zu exact\n", exact, rounds); /* usually nine in ten; a wrong hull gives half of them */
    assert_true(exact > rounds * 8 / 10);
}

/* What is off the hull is taken for the room that the last step left; not without room, and not where it is no better.
 */
static void the_rest_goes_to_what_fits(void **unused)
{
    wc_choice first[] = {{0, 1, 0}, {4, 0.7, 1}, {5, 0.8, 2}, {10, 0, 3}};
    static const struct {
        double room;
        size_t taken;
    } table[] = {{3.9, 0}, {4, 1}, {9.9, 1}, {10, 3}};
    (void)unused;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        wc_ctx ctx;
        wc_choices list = {.at = first, .n = 4};
        wc_ctx_init(&ctx, 1);
        assert_int_equal(wc_knapsack(&ctx, &list, 1, table[t].room), WC_OK);
        assert_int_equal(list.taken, table[t].taken);
    }
}

/* ---- methods ---------------------------------------------------------------------------------------------------- */

static wc_status rows_of(wc_ctx *ctx, const wc_member *m, size_t r0, size_t nr, float *dst)
{
    const struct layer *l = m->source;
    (void)ctx;
    memcpy(dst, l->w + r0 * l->n, nr * l->n * sizeof *dst);
    return WC_OK;
}

static float *copy_of(const float *x, size_t n)
{
    float *y = malloc(n * sizeof *y);
    assert_non_null(y);
    return memcpy(y, x, n * sizeof *y);
}

static wc_status stats_of(wc_ctx *ctx, const wc_member *m, wc_stats *out)
{
    const struct layer *l = m->source;
    (void)ctx;
    *out = (wc_stats){.n = l->n, .tokens = 1000, .h = copy_of(l->h, l->n * l->n)};
    out->abs_mean = copy_of(l->abs_mean, l->n);
    return WC_OK;
}

enum { MEMBERS = 3 };

/* Layers whose spectra fall at different rates: shares that are even are far from the best. */
static void make_layers(struct layer *l)
{
    static const size_t shape[MEMBERS][2] = {{48, 36}, {36, 48}, {40, 40}};
    for (size_t i = 0; i < MEMBERS; i++) {
        l[i] = make_layer(shape[i][0], shape[i][1]);
        for (size_t k = 0; k < l[i].m * l[i].n; k++)
            l[i].w[k] *= powf(0.75f + 0.12f * (float)i, (float)(k / l[i].n));
    }
}

/* The relative error and the bits of the method with these options, by running it. */
static double left_by(const char *name, const void *opt, const struct layer *l, bool inputs, double *bits)
{
    wc_ctx ctx;
    wc_part part = {0};
    uint64_t bytes;
    const wc_method *m = wc_method_find(name);
    float *w = copy_of(l->w, l->m * l->n), *got = malloc(l->m * l->n * sizeof *got), *one = calloc(l->n * l->n, 4);
    for (size_t j = 0; j < l->n; j++)
        one[j * l->n + j] = 1;
    wc_stats stats = l->stats;
    if (!inputs) stats.h = one; /* what is chosen without knowing the inputs is to be good for the weights */
    wc_ctx_init(&ctx, 2);
    wc_job job = {.ctx = &ctx, .tensor = "t", .at = {.rows = l->m, .cols = l->n}, .w = w, .stats = &stats};
    assert_null(m->applies(&job.at, opt));
    if (m->run(&job, opt, &part) != WC_OK) fail_msg("%s: %s", name, ctx.error);
    assert_int_equal(wc_part_bytes(&ctx, &part, &bytes), WC_OK);
    *bits += 8 * (double)bytes;
    for (size_t i = 0; i < l->m * l->n; i++)
        got[i] = part_value(&part, i / l->n, i % l->n);
    for (size_t i = 0; i < l->m * l->n; i++)
        got[i] = l->w[i] - got[i];
    double error =
        wc_quadratic_form(&ctx, got, l->m, stats.h, l->n) / wc_quadratic_form(&ctx, l->w, l->m, stats.h, l->n);
    wc_part_free(&part);
    free(w), free(got), free(one);
    return error;
}

static void *options_of(const char *recipe)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(recipe, "("), recipe);
    char list[128];
    snprintf(list, sizeof list, "%.*s", (int)strcspn(recipe, ")") - (int)strlen(name) - 1, recipe + strlen(name) + 1);
    return util_options(wc_method_find(name), list);
}

/* The sum of relative errors with a budget is below that of even shares of it, within the same bits. Padding of parts
 * to whole bytes and of coefficients is what the bits may differ by. */
static void every_method_gains_by_its_budget(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *more;
        bool inputs;
    } table[] = {{"svd", "", false},
                 {"svdllm", "", true},
                 {"svdllm", "", false},
                 {"asvd", "", false},
                 {"fwsvd", "", true},
                 {"saes", "", true},
                 {"mpo", "", false},
                 {"curing", "", true},
                 {"curing", ",link=0,importance=0", false},
                 {"rocket", "", true},
                 {"rocket", "", false},
                 {"rocket", ",unwhiten=0,restore=0", true},
                 {"svdllm", ",storage=1", true}};
    struct layer l[MEMBERS];
    make_layers(l);
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        char recipe[2][96];
        double sum[2] = {0}, bits[2] = {0}, weights = 0;
        wc_member member[MEMBERS];
        wc_ctx ctx;
        const wc_method *m = wc_method_find(table[t].name);
        wc_ctx_init(&ctx, 2);
        snprintf(recipe[0], sizeof recipe[0], "%s(ratio=0.5%s)", table[t].name, table[t].more);
        snprintf(recipe[1], sizeof recipe[1], "%s(budget=0.5%s)", table[t].name, table[t].more);
        for (size_t i = 0; i < MEMBERS; i++) {
            member[i] = (wc_member){.tensor = "t",
                                    .at = {.rows = l[i].m, .cols = l[i].n, .kept = l[i].m * l[i].n},
                                    .first = true,
                                    .opt = options_of(recipe[1]),
                                    .rows = rows_of,
                                    .stats = table[t].inputs ? stats_of : NULL,
                                    .source = &l[i]};
            weights += 16 * (double)(l[i].m * l[i].n);
        }
        if (m->allot(&ctx, member, MEMBERS) != WC_OK) fail_msg("%s: %s", recipe[1], ctx.error);
        for (size_t i = 0; i < MEMBERS; i++) {
            void *even = options_of(recipe[0]);
            sum[0] += left_by(table[t].name, even, &l[i], table[t].inputs, &bits[0]);
            sum[1] += left_by(table[t].name, member[i].opt, &l[i], table[t].inputs, &bits[1]);
            free(even), free(member[i].opt);
        }
        print_message("%-48s errors %.4f, even shares %.4f; %.3f of the weights, %.3f\n", recipe[1], sum[1], sum[0],
                      bits[1] / weights, bits[0] / weights);
        assert_true(bits[1] <= 0.505 * weights && sum[1] < sum[0]);
    }
    for (size_t i = 0; i < MEMBERS; i++)
        free_layer(&l[i]);
}

/* asvd with statistics is svd of the weights with their columns scaled, so it shares out the same ranks. */
static void metrics_are_those_of_the_method(void **unused)
{
    (void)unused;
    struct layer l[MEMBERS], scaled[MEMBERS];
    wc_member a[MEMBERS], b[MEMBERS];
    wc_ctx ctx;
    wc_ctx_init(&ctx, 1);
    make_layers(l);
    for (size_t i = 0; i < MEMBERS; i++) {
        scaled[i] = l[i];
        scaled[i].w = copy_of(l[i].w, l[i].m * l[i].n);
        for (size_t k = 0; k < l[i].m * l[i].n; k++)
            scaled[i].w[k] *= l[i].abs_mean[k % l[i].n];
        a[i] = (wc_member){.tensor = "t",
                           .at = {.rows = l[i].m, .cols = l[i].n, .kept = l[i].m * l[i].n},
                           .first = true,
                           .opt = options_of("asvd(budget=0.4,alpha=1)"),
                           .rows = rows_of,
                           .stats = stats_of,
                           .source = &l[i]};
        b[i] = a[i];
        b[i].opt = options_of("svd(budget=0.4)"), b[i].stats = NULL, b[i].source = &scaled[i];
    }
    assert_int_equal(wc_method_find("asvd")->allot(&ctx, a, MEMBERS), WC_OK);
    assert_int_equal(wc_method_find("svd")->allot(&ctx, b, MEMBERS), WC_OK);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_int_equal(((wc_rank_options *)a[i].opt)->rank, ((wc_rank_options *)b[i].opt)->rank);
        free(a[i].opt), free(b[i].opt), free(scaled[i].w), free_layer(&l[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_knapsack_is_as_good_as_trying_all),
        cmocka_unit_test(the_rest_goes_to_what_fits),
        cmocka_unit_test(every_method_gains_by_its_budget),
        cmocka_unit_test(metrics_are_those_of_the_method),
    };
    return cmocka_run_group_tests_name("allot", tests, NULL, NULL);
}
