/* How fast every level is here: one thread, matrices of ROWS x COLS, the best of several runs by the CPU's time, which
 * other work on the machine hardly touches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/levels/cases.h"
#include "tests/samples.h"

enum { ROWS = 1024, COLS = 8192, AT_ONCE = 16, READ_BYTES = 1 << 28 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct work {
    sample s;
    wcd_view v[WCD_VIEWS];
    wcd_int8 x8;
    float *x, *y, *rows;
} work;

typedef void task(const work *w);

/* Seconds of the fastest run, of three or of as many as fit a fifth of a second. */
static double fastest(task *run, const work *w)
{
    double best = 1e30, begin = now();
    for (int i = 0; i < 3 || now() - begin < 0.2; i++) {
        double t = now();
        run(w);
        t = now() - t;
        best = t < best ? t : best;
    }
    return best;
}

/* ---- what is timed ---------------------------------------------------------------------------------------------- */

static volatile uint64_t result;

/* 64 bytes a turn, in sums that do not wait for each other: memory is what is slow. */
static void read_all(const work *w)
{
    const uint64_t *p = (const uint64_t *)(const void *)w->rows;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < READ_BYTES / 8; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += p[i + (size_t)k];
    result = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void rows(const work *w)
{
    for (uint64_t r = 0; r < ROWS; r += AT_ONCE)
        wcd_view_set_rows(w->v, r, AT_ONCE, w->rows, COLS);
}

static void product(const work *w)
{
    wcd_view_product(w->v, 0, ROWS, w->x, w->y, 0);
}

static void product8(const work *w)
{
    w->v->d->products8(w->v, 0, ROWS, &w->x8, w->y, ROWS, 0);
}

/* ---- the kinds -------------------------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    unsigned kind, a, b; /* a: bits, type or form */
} kinds[] = {{"grid, 2 bits, g128", GRID, 2, 128},
             {"grid, 3 bits, g128", GRID, 3, 128},
             {"grid, 4 bits, g128", GRID, 4, 128},
             {"grid, 8 bits, g128", GRID, 8, 128},
             {"lut, 3 bits, one table per row", LUT, 3, 0},
             {"lut, 4 bits, one table per row", LUT, 4, 0},
             {"sparse, 1 %, f16", SPARSE, F16, 0},
             {"float, f16", FLOAT, F16, 0},
             {"float, bf16", FLOAT, BF16, 0},
             {"float, bf16 in planes", FLOAT, BF16, 1},
             {"coded, 3 bits", TRELLIS, 8, 0},
             {"signs, 2 levels", SIGNS, 2, 0},
             {"vq, 2 books of 256 x 4", VQ, 2, 0},
             {"ggml, Q4_K", GGML, 12, 0},
             {"lowrank 64, f16", LOWRANK, 64, 0}};

static void specify(sample *s, const struct kind *k)
{
    switch (k->kind) {
    case GRID: sample_grid(s, k->a, 0, 1, k->b, 0); break;
    case LUT: sample_lut(s, k->a, 1, 0, COLS); break;
    case SPARSE: sample_sparse(s, k->a, 0, 0, 0, (uint64_t)ROWS * COLS / 100); break;
    case FLOAT:
        if (k->b)
            sample_coded_floats(s, k->a, "02", (uint64_t)ROWS * COLS * 3 / 8);
        else
            sample_floats(s, k->a);
        break;
    case TRELLIS: sample_trellis(s, k->a, 1, 0, AT_ONCE, (uint64_t)ROWS * COLS * 3 / 8); break;
    case SIGNS: sample_signs(s, 0, k->a, 4, 0, ""); break;
    case VQ: sample_vq(s, 4, k->a, 8, 16, 0, 0, COLS); break;
    case GGML: sample_part(s, GGML)->params[0] = (uint8_t)k->a; break;
    default: sample_lowrank(s, k->a, 0, 0, 0), sample_floats(s, F16), sample_floats(s, F16);
    }
}

static int open_kind(work *w, const struct kind *k)
{
    wcd_part_info p, child;
    w->s = sample_sized(ROWS, COLS, 1, 0);
    specify(&w->s, k);
    if (!sample_build(&w->s, 1, F32) || wcd_part(&w->s.t, 0, &p) != WCD_OK) return 0;
    if (wcd_view_open(p.kind, p.version, p.params, p.blob, p.blob_size, p.rows, p.cols, w->v) != WCD_OK) return 0;
    for (unsigned c = 0; c < p.n_children; c++)
        if (wcd_part_child(&w->s.t, &p, c, &child) != WCD_OK ||
            wcd_view_child(w->v, c, child.kind, child.version, child.params, child.blob, child.blob_size) != WCD_OK)
            return 0;
    return 1;
}

static uint64_t stored_bytes(const work *w)
{
    uint64_t bytes = w->v->size;
    for (unsigned c = 0; c < w->v->n_children; c++)
        bytes += w->v[1 + c].size;
    return bytes;
}

static void time_kind(const work *w, const char *name, double read)
{
    static const struct {
        const char *name;
        task *run;
    } tasks[] = {{"rows", rows}, {"product", product}, {"product, 8 bits", product8}};
    const double bytes = (double)stored_bytes(w);
    for (unsigned t = 0; t < 2u + (w->v->d->products8 != NULL); t++) {
        double c = 0;
        for (int level = WCD_C; level <= (int)wcd_cpu_best(); level++) {
            if (level == WCD_FOURS && t < 2) continue; /* the level before */
            wcd_cpu_use((wcd_level)level);
            double seconds = fastest(tasks[t].run, w), rate = bytes / seconds * 1e-9;
            if (level == WCD_C) c = seconds;
            printf("%-32s %-16s %-8s %8.3f GB/s %6.1f %% %6.1f x\n", name, tasks[t].name,
                   wcd_level_name((wcd_level)level), rate, 100 * rate / read, c / seconds);
            fflush(stdout);
        }
    }
}

int levels_time(const char *only)
{
    static work w;
    int done = 0;
    void *memory = malloc(wcd_int8_bytes(COLS));
    w.rows = malloc(READ_BYTES), w.x = malloc(COLS * sizeof(float)), w.y = malloc(ROWS * sizeof(float));
    if (!memory || !w.rows || !w.x || !w.y) return 0;
    memset(w.rows, 1, READ_BYTES);
    for (int i = 0; i < COLS; i++)
        w.x[i] = (float)((int)(sample_random() % 2001) - 1000) * 1e-3f;
    wcd_int8_make(COLS, w.x, memory);
    w.x8 = (wcd_int8){{w.x, COLS, 1}, memory};
    const double read = READ_BYTES / fastest(read_all, &w) * 1e-9;
    printf("%u x %u, one thread; stored bytes per second, their share of reading %u MiB at %.2f GB/s, times C\n", ROWS,
           COLS, READ_BYTES >> 20, read);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (only && !strstr(kinds[i].name, only)) continue;
        done = open_kind(&w, &kinds[i]);
        if (!done) break;
        time_kind(&w, kinds[i].name, read);
        free(w.s.image);
    }
    free(memory), free(w.rows), free(w.x), free(w.y);
    return done;
}
