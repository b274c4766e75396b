/* run.c - from a prompt to text: what a program does with the rest. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 1 << 20 };

/* All that a run holds; zeroed is nothing. */
typedef struct session {
    gen_file file;
    gen_tokenizer *tokenizer;
    gen_model *model;
    gen_sampler sampler;
    uint32_t *ids; /* of the prompt */
    size_t n;
    float *logits; /* [vocab] */
} session;

static gen_status open_session(const gen_options *o, session *s, gen_error *e)
{
    char *json;
    size_t size;
    GEN_TRY(gen_file_open(o->path, &s->file, e));
    GEN_TRY(gen_file_text(&s->file, "tokenizer.json", &json, &size, e));
    gen_status status = gen_tokenizer_open(json, size, &s->tokenizer, e);
    free(json);
    GEN_TRY(status);
    GEN_TRY(gen_encode(s->tokenizer, o->prompt, o->prompt_size, &s->ids, &s->n, e));
    if (!s->n) return gen_fail(e, GEN_USAGE, "the prompt is empty, and this model has no token to begin with");
    GEN_TRY(gen_model_open(&s->file, s->n + o->n, o->threads, &s->model, e));
    s->model->int8 = o->int8;
    const gen_config *c = &s->model->c;
    if (s->n + o->n > c->positions)
        return gen_fail(e, GEN_USAGE, "%zu tokens of prompt and %zu to generate; the model was made for %zu", s->n,
                        o->n, c->positions);
    s->sampler = (gen_sampler){.temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p, .state = o->seed};
    GEN_TRY(gen_sampler_open(c->vocab, &s->sampler, e));
    return gen_alloc(&s->logits, c->vocab, sizeof *s->logits, "logits", e);
}

static void close_session(session *s)
{
    free(s->logits);
    free(s->ids);
    gen_sampler_close(&s->sampler);
    gen_model_free(s->model);
    gen_tokenizer_free(s->tokenizer);
    gen_file_close(&s->file);
}

static bool ends(const gen_config *c, uint32_t id)
{
    for (size_t i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id) return true;
    return false;
}

/* The loop that everything else is for. Nothing in it allocates. */
static gen_status generate(const gen_options *o, session *s, gen_result *r, gen_error *e)
{
    while (r->tokens < o->n) {
        uint32_t id = gen_sample(&s->sampler, s->logits);
        if (!o->ignore_end && ends(&s->model->c, id)) break;
        size_t size;
        const char *text = gen_token_text(s->tokenizer, id, &size);
        r->tokens++;
        if (!o->sink(o->arg, text, size) || r->tokens == o->n) break;
        GEN_TRY(gen_forward(s->model, &id, 1, s->logits, e));
    }
    return GEN_OK;
}

static gen_status run(const gen_options *o, session *s, gen_result *r, gen_error *e)
{
    double start = gen_now();
    GEN_TRY(open_session(o, s, e));
    double opened = gen_now();
    if (o->prepare) GEN_TRY(gen_model_prepare(s->model, &r->prepared_bytes, e));
    double prepared = gen_now();
    if (o->echo) (void)o->sink(o->arg, o->prompt, o->prompt_size); /* one that wants no more says so again */
    GEN_TRY(gen_forward(s->model, s->ids, s->n, s->logits, e));
    double prompted = gen_now();
    memset(s->model->seconds, 0, sizeof s->model->seconds);
    GEN_TRY(generate(o, s, r, e));
    r->prompt_tokens = s->n;
    r->open_seconds = opened - start, r->prompt_seconds = prompted - prepared, r->seconds = gen_now() - prompted;
    r->prepare_seconds = prepared - opened;
    for (size_t i = 0; i < GEN_PHASES; i++)
        r->share[i] = r->seconds > 0 ? s->model->seconds[i] / r->seconds : 0;
    r->share[GEN_TIME_REST] = 1 - r->share[GEN_TIME_PRODUCTS] - r->share[GEN_TIME_ATTENTION]; /* sampling, too */
    return GEN_OK;
}

gen_status gen_run(const gen_options *o, gen_result *out, gen_error *e)
{
    session s = {.ids = NULL};
    gen_result r = {0};
    if (!(o->temperature >= 0) || !(o->top_p > 0 && o->top_p <= 1))
        return gen_fail(e, GEN_USAGE, "a temperature of %g and top-p of %g; at least 0, and above 0 up to 1",
                        (double)o->temperature, (double)o->top_p);
    if (o->n > MOST_TOKENS) return gen_fail(e, GEN_USAGE, "%zu tokens; at most %d can be asked for", o->n, MOST_TOKENS);
    gen_status status = run(o, &s, &r, e);
    close_session(&s);
    if (status == GEN_OK) *out = r;
    return status;
}
