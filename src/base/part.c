#include "base/part.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
#define X(name, bits, id) [id] = {#name, bits},
    WC_DTYPE_LIST(X)
#undef X
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

const char *wc_dtype_name(wc_dtype t)
{
    return (unsigned)t < N_DTYPES && dtypes[t].name ? dtypes[t].name : "?";
}

unsigned wc_dtype_bits(wc_dtype t)
{
    return (unsigned)t < N_DTYPES ? dtypes[t].bits : 0;
}

wc_dtype wc_dtype_from_name(const char *name)
{
    for (unsigned i = 1; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name)) return (wc_dtype)i;
    return WC_DTYPE_NONE;
}

bool wc_dtype_is_float(wc_dtype t)
{
    return t == WC_F32 || t == WC_F16 || t == WC_BF16;
}

void wc_part_free(wc_part *p)
{
    if (!p) return;
    if (p->kind == WC_PART_GRID) {
        free(p->grid.code);
        free(p->grid.scale);
        free(p->grid.scale_code);
        free(p->grid.zero);
    }
    memset(p, 0, sizeof *p);
}

wc_status wc_grid_alloc(wc_ctx *ctx, wc_grid *g)
{
    size_t groups = wc_grid_groups(g);
    wc_status status = WC_OK;
    g->code = NULL, g->scale = NULL, g->scale_code = NULL, g->zero = NULL;
    WC_TRY_OUT(WC_ALLOC(ctx, g->code, g->rows * g->cols, "grid codes"));
    WC_TRY_OUT(WC_ALLOC(ctx, g->scale, g->scale_bits ? g->rows : g->rows * groups, "grid scales"));
    if (g->scale_bits) WC_TRY_OUT(WC_ALLOC(ctx, g->scale_code, g->rows * groups, "grid scale codes"));
    if (g->zero_kind == WC_ZERO_INT) WC_TRY_OUT(WC_ALLOC(ctx, g->zero, g->rows * groups, "grid zeros"));
    return WC_OK;
out:
    free(g->code), free(g->scale), free(g->scale_code), free(g->zero);
    g->code = NULL, g->scale = NULL, g->scale_code = NULL, g->zero = NULL;
    return status;
}
