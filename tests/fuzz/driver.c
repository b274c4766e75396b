/* driver.c - a deterministic mutation fuzzer for machines without libFuzzer.
 *
 * A target, fuzz_*.c, defines what fuzz.h declares and is linked with this file. The seeds that exist are run as they
 * are, then mutated for $WC_FUZZ_SECONDS (default 2) with a fixed random sequence, $WC_FUZZ_SEED if given, so that a
 * fault is found again by the same command. The input under test is in exactly sized memory: a sanitizer sees the first
 * byte read beyond it. With arguments the program runs those files and stops: fuzz_NAME crash-file. A fault leaves the
 * input in $WC_FUZZ_CRASH, if that is set. */
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

typedef struct input {
    uint8_t *data;
    size_t size;
} input;

static uint64_t state = 0x9e3779b97f4a7c15u;
static const uint8_t *current; /* what the crash handler saves */
static size_t current_size;

/* xorshift64* (Vigna 2016). */
static uint64_t draw(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static size_t below(size_t n)
{
    return n ? (size_t)(draw() >> 16) % n : 0;
}

static void *must(void *p)
{
    if (p) return p;
    fputs("fuzz driver: out of memory\n", stderr);
    exit(2);
}

static int read_input(const char *path, input *out)
{
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    out->data = must(malloc(wc_fuzz_max + 1));
    out->size = fread(out->data, 1, wc_fuzz_max, f);
    fclose(f);
    return 1;
}

static void flip_bit(input *x)
{
    if (x->size) x->data[below(x->size)] ^= (uint8_t)(1u << below(8));
}

static void set_byte(input *x)
{
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', '{', '}', '[', ']', ',', '0', '9', '-', ' '};
    if (x->size) x->data[below(x->size)] = below(2) ? (uint8_t)draw() : special[below(sizeof special)];
}

static void truncate_input(input *x)
{
    x->size = below(2) ? below(x->size + 1) : x->size - below(x->size < 16 ? x->size + 1 : 16);
}

static void erase_block(input *x)
{
    if (!x->size) return;
    size_t at = below(x->size), n = below(below(2) ? x->size - at + 1 : (x->size - at < 8 ? x->size - at + 1 : 8));
    memmove(x->data + at, x->data + at + n, x->size - at - n);
    x->size -= n;
}

/* Inserts n bytes of src, as far as there is room. */
static void insert_block(input *x, size_t at, const uint8_t *src, size_t n)
{
    if (n > wc_fuzz_max - x->size) n = wc_fuzz_max - x->size;
    uint8_t *copy = must(malloc(n + 1)); /* src may lie in x */
    memcpy(copy, src, n);
    memmove(x->data + at + n, x->data + at, x->size - at);
    memcpy(x->data + at, copy, n);
    x->size += n;
    free(copy);
}

static void copy_block(input *x)
{
    if (!x->size) return;
    size_t from = below(x->size), n = 1 + below(x->size - from), to = below(x->size + 1);
    if (n > 256 && below(4)) n = 1 + below(256);
    if (below(2))
        insert_block(x, to, x->data + from, n);
    else
        memmove(x->data + to, x->data + from, n > x->size - to ? x->size - to : n);
}

static void set_integer(input *x)
{
    static const uint64_t special[] = {0,          1,          2,          0x7f,           0x80,
                                       0xff,       0x100,      0x7fff,     0x8000,         0xffff,
                                       0x10000,    0x7fffffff, 0x80000000, 0xffffffff,     1ull << 32,
                                       1ull << 62, 1ull << 63, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 63};
    uint64_t v = special[below(sizeof special / sizeof *special)];
    size_t n = (size_t)1 << below(4);
    if (x->size < n) return;
    size_t at = below(x->size - n + 1);
    if (below(2)) at -= at % n;
    if (below(3) == 0) { /* a small step from what is there */
        memcpy(&v, x->data + at, n);
        v += below(9) - (uint64_t)4;
    }
    memcpy(x->data + at, &v, n);
}

static void change_number(input *x)
{
    static const char *const special[] = {"0",
                                          "-1",
                                          "1",
                                          "255",
                                          "256",
                                          "65536",
                                          "2147483647",
                                          "2147483648",
                                          "4294967295",
                                          "4294967296",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "1e308",
                                          "1e999",
                                          "0.5",
                                          "-0",
                                          "16777215",
                                          "16777216",
                                          "99999999999999999999"};
    if (!x->size) return;
    size_t at = below(x->size), end;
    while (at < x->size && (x->data[at] < '0' || x->data[at] > '9'))
        at++;
    for (end = at; end < x->size && x->data[end] >= '0' && x->data[end] <= '9';)
        end++;
    if (end == at) return;
    const char *s = special[below(sizeof special / sizeof *special)];
    memmove(x->data + at, x->data + end, x->size - end);
    x->size -= end - at;
    insert_block(x, at, (const uint8_t *)s, strlen(s));
}

static void splice(input *x, const input *other)
{
    if (!other->size) return;
    size_t from = below(other->size), n = 1 + below(other->size - from), at = below(x->size + 1);
    if (below(2)) x->size = at; /* the head of one, the tail of the other */
    insert_block(x, at, other->data + from, n);
}

static void mutate(input *x, const input *other)
{
    static void (*const simple[])(input *) = {flip_bit,   set_byte,    truncate_input, erase_block,
                                              copy_block, set_integer, change_number};
    size_t kinds = sizeof simple / sizeof *simple;
    for (size_t n = 1 + below(below(4) ? 4 : 32); n; n--) {
        size_t kind = below(kinds + 1);
        if (kind == kinds)
            splice(x, other);
        else
            simple[kind](x);
    }
}

static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = must(malloc(size ? size : 1));
    memcpy(exact, data, size);
    current = exact;
    current_size = size;
    LLVMFuzzerTestOneInput(exact, size);
    current = NULL;
    free(exact);
}

static void save_crash(int sig)
{
    const char *path = getenv("WC_FUZZ_CRASH");
    FILE *f = path && current ? fopen(path, "wb") : NULL;
    if (f) {
        fwrite(current, 1, current_size, f);
        fclose(f);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static size_t load_seeds(input **out)
{
    size_t n = 0, count = 0;
    while (wc_fuzz_seeds[count])
        count++;
    *out = must(calloc(count + 1, sizeof **out));
    for (size_t i = 0; i < count; i++)
        n += (size_t)read_input(wc_fuzz_seeds[i], &(*out)[n]);
    if (!n) (*out)[n++].data = must(calloc(1, wc_fuzz_max + 1)); /* an empty input is always a seed */
    return n;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    const char *limit = getenv("WC_FUZZ_SECONDS"), *seed = getenv("WC_FUZZ_SEED"), *slash = strrchr(argv[0], '/');
    double end = now() + (limit ? atof(limit) : 2);
    unsigned long long inputs = 0;
    static const int faults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    input *seeds, x = {must(malloc(wc_fuzz_max + 1)), 0};
    if (seed) state ^= strtoull(seed, NULL, 0) * 0x9e3779b97f4a7c15u;
    if (!state) state = 1;
    for (size_t i = 0; i < sizeof faults / sizeof *faults && getenv("WC_FUZZ_CRASH"); i++)
        signal(faults[i], save_crash);
    for (int i = 1; i < argc; i++) {
        input file;
        if (!read_input(argv[i], &file)) return 2;
        run(file.data, file.size);
        free(file.data);
    }
    if (argc > 1) return 0;
    size_t n = load_seeds(&seeds);
    for (size_t i = 0; i < n; i++, inputs++)
        run(seeds[i].data, seeds[i].size);
    for (; now() < end; inputs++) {
        const input *from = &seeds[below(n)];
        memcpy(x.data, from->data, from->size);
        x.size = from->size;
        mutate(&x, &seeds[below(n)]);
        run(x.data, x.size);
    }
    printf("%s: %llu inputs, no fault\n", slash ? slash + 1 : argv[0], inputs);
    for (size_t i = 0; i < n; i++)
        free(seeds[i].data);
    free(seeds);
    free(x.data);
    return 0;
}
