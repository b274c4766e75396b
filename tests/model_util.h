/* model_util.h - for tests: a checkpoint run from token ids to logits. Failures end the test with the sentence. */
#ifndef WC_TESTS_MODEL_UTIL_H
#define WC_TESTS_MODEL_UTIL_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "io/checkpoint.h"
#include "model/block.h"

/* Formatted text in one of a few static buffers, which come round again after eight calls. */
__attribute__((format(printf, 1, 2))) static inline const char *text(const char *fmt, ...)
{
    static char buffer[8][4096];
    static size_t turn;
    char *dst = buffer[turn++ % 8];
    va_list ap;
    va_start(ap, fmt);
    assert_in_range(vsnprintf(dst, sizeof buffer[0], fmt, ap), 0, sizeof buffer[0] - 1);
    va_end(ap);
    return dst;
}

/* A fresh folder with the small random models of tests/oracle/make_models.py, one of each family, and its end: for
 * group set-ups, so they return 0 or not. */
static char models_dir[] = "/tmp/wc_models_XXXXXX";

static inline int models_make(void **state)
{
    (void)state;
    if (!mkdtemp(models_dir)) return 1;
    return system(text("/usr/bin/python3 -B tests/oracle/make_models.py %s", models_dir));
}

static inline int models_remove(void **state)
{
    (void)state;
    return system(text("rm -rf %s", models_dir));
}

typedef struct model {
    wc_ctx ctx;
    wc_checkpoint checkpoint;
    wc_weight_source source;
    wc_config config;
} model;

static void must(const wc_ctx *ctx, wc_status status)
{
    if (status != WC_OK) fail_msg("%s: %s", wc_status_name(status), ctx->error);
}

static inline model *model_open(const char *path, int threads)
{
    model *m = calloc(1, sizeof *m);
    wc_buf text = {0};
    wc_ctx_init(&m->ctx, threads);
    must(&m->ctx, wc_checkpoint_open(&m->ctx, path, &m->checkpoint));
    m->source = wc_checkpoint_source(&m->checkpoint);
    must(&m->ctx, wc_read_file(&m->ctx, m->checkpoint.config_path, 1 << 20, &text));
    must(&m->ctx, wc_config_parse(&m->ctx, (const char *)text.data, text.size, m->checkpoint.config_path, &m->config));
    wc_buf_free(&text);
    return m;
}

static inline void model_close(model *m)
{
    wc_checkpoint_close(&m->checkpoint);
    free(m);
}

static void block_forward(wc_ctx *ctx, const wc_block *b, size_t n_seq, size_t seqlen, float *x)
{
    size_t t = n_seq * seqlen;
    float *in[WC_N_STAGES];
    for (wc_stage s = 0; s < WC_N_STAGES; s++)
        in[s] = malloc(t * wc_stage_width(b->config, s) * sizeof(float));
    must(ctx, wc_block_begin(ctx, b, t, x, in[0]));
    for (wc_stage s = 0; s < WC_N_STAGES; s++)
        must(ctx, wc_block_step(ctx, b, s, n_seq, seqlen, x, in[s], s + 1 < WC_N_STAGES ? in[s + 1] : NULL));
    for (wc_stage s = 0; s < WC_N_STAGES; s++)
        free(in[s]);
}

/* logits [n_seq * seqlen, V], to be freed. */
static float *model_logits(model *m, const uint32_t *ids, size_t n_seq, size_t seqlen)
{
    wc_ctx *ctx = &m->ctx;
    const wc_config *c = &m->config;
    size_t t = n_seq * seqlen;
    float *x = malloc(t * c->hidden * sizeof *x), *logits = malloc(t * c->vocab * sizeof *logits);
    must(ctx, wc_model_check(ctx, c, &m->source));
    must(ctx, wc_model_embed(ctx, c, &m->source, ids, t, x));
    for (size_t l = 0; l < c->layers; l++) {
        wc_block b;
        must(ctx, wc_block_open(ctx, c, &m->source, l, &b));
        block_forward(ctx, &b, n_seq, seqlen, x);
        wc_block_close(&b);
    }
    wc_head head;
    must(ctx, wc_head_open(ctx, c, &m->source, &head));
    must(ctx, wc_head_logits(ctx, &head, x, t, logits));
    wc_head_close(&head);
    free(x);
    return logits;
}

#endif
