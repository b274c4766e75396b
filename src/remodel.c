#include "remodel.h"

#include <stdlib.h>
#include <string.h>

enum { NO_SHARD = UINT32_MAX };

bool wc_remodel_made(const wc_st_tensor *t)
{
    return t->shard == NO_SHARD;
}

static const wc_st_tensor *entry_of(const wc_remodel *m, const char *name)
{
    for (size_t i = 0; i < m->checkpoint.n; i++)
        if (!strcmp(m->checkpoint.tensor[i]->name, name)) return m->checkpoint.tensor[i];
    return NULL;
}

/* The entry of a tensor that a pass makes, in the type in which it is kept. like: what it was; NULL: it is new. */
static wc_status make_entry(wc_ctx *ctx, wc_remodel *m, const wc_remodel_step *s, const char *name,
                            const wc_st_tensor *like, const wc_st_tensor **out)
{
    wc_st_tensor *t = &m->made[m->n_made];
    wc_weight w;
    if (like) {
        *t = *like;
    } else {
        WC_TRY(s->source.find(ctx, s->source.self, name, &w));
        *t =
            (wc_st_tensor){.name = (char *)name, .n_dims = 2, .dims = {w.rows, w.cols}, .rows = w.rows, .cols = w.cols};
    }
    t->dtype = s->kept;
    t->shard = NO_SHARD;
    t->offset = 0;
    t->ggml = t->interleaved = 0;
    t->packed = NULL;
    m->n_made++;
    *out = t;
    return wc_st_size(t->dtype, t->dims, t->n_dims, &t->size) ? WC_OK : wc_fail(ctx, WC_BUG, "%s: no size", name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const wc_st_tensor *const *)a)->name, (*(const wc_st_tensor *const *)b)->name);
}

/* Replaces the entries of what the pass changes, and inserts what it adds. */
static wc_status relist(wc_ctx *ctx, wc_remodel *m, const wc_remodel_step *s)
{
    for (size_t i = 0; i < m->checkpoint.n; i++) {
        const wc_st_tensor *t = m->list[i];
        if (!s->changes(s, t->name)) continue;
        bool is_new =
            s->adds && !strcmp(s->adds, t->name); /* what lies there under this name is not part of the model */
        WC_TRY(make_entry(ctx, m, s, t->name, is_new ? NULL : t, &m->list[i]));
    }
    if (!s->adds || entry_of(m, s->adds)) return WC_OK;
    WC_TRY(make_entry(ctx, m, s, s->adds, NULL, &m->list[m->checkpoint.n]));
    m->checkpoint.n++;
    qsort(m->list, m->checkpoint.n, sizeof *m->list, by_name);
    return WC_OK;
}

static wc_status open_pass(wc_ctx *ctx, wc_remodel *m, const wc_recipe_step *asked)
{
    const wc_remodel_pass *pass = wc_remodel_find(asked->method->name);
    const char *reason = pass->applies ? pass->applies(&m->config, asked->opt) : NULL;
    if (reason) return wc_fail(ctx, WC_OPTION, "%s does not apply to %s: %s", pass->face.name, m->source.label, reason);
    wc_remodel_step *s;
    WC_TRY(pass->open(ctx, &m->config, &m->source, asked->opt, &s));
    m->step[m->n_steps++] = s;
    WC_TRY(relist(ctx, m, s));
    m->config = s->config;
    m->source = s->source;
    m->held += s->held;
    for (size_t i = 0; i < WC_N_LINEARS; i++)
        if (s->before[i]) m->before[i] = s->before[i];
    return WC_OK;
}

wc_status wc_remodel_open(wc_ctx *ctx, const wc_checkpoint *cp, const wc_config *config, const wc_weight_source *source,
                          const wc_recipe *passes, wc_remodel *out)
{
    wc_remodel *m = out;
    wc_status status = WC_OK;
    *m = (wc_remodel){.checkpoint = *cp, .source = *source};
    if (config) m->config = *config;
    if (!passes->n) return WC_OK;
    WC_TRY_OUT(WC_ALLOC(ctx, m->list, cp->n + passes->n, "the list of tensors"));
    WC_TRY_OUT(WC_ALLOC(ctx, m->made, (cp->n + passes->n) * passes->n, "the list of tensors"));
    memcpy(m->list, cp->tensor, cp->n * sizeof *m->list);
    m->checkpoint.tensor = m->list;
    for (size_t i = 0; i < passes->n; i++)
        WC_TRY_OUT(open_pass(ctx, m, &passes->step[i]));
    return WC_OK;
out:
    wc_remodel_close(m);
    return status;
}

void wc_remodel_close(wc_remodel *m)
{
    if (!m) return;
    while (m->n_steps)
        m->step[m->n_steps - 1]->close(m->step[m->n_steps - 1]), m->n_steps--;
    free(m->list);
    free(m->made);
    memset(m, 0, sizeof *m);
}
