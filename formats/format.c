#include "formats/format.h"

#define WC_FORMAT(id, version, name) extern const wc_encoder wc_encoder_##name;
#include "formats/formats.def"
#undef WC_FORMAT

static const wc_encoder *const encoders[] = {
#define WC_FORMAT(id, version, name) &wc_encoder_##name,
#include "formats/formats.def"
#undef WC_FORMAT
};

const wc_encoder *wc_encoder_by_id(uint16_t id)
{
    for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++)
        if (encoders[i]->id == id) return encoders[i];
    return NULL;
}

const wc_encoder *wc_encoder_for(wc_part_kind kind)
{
    return wc_encoder_by_id((uint16_t)kind);
}

wc_status wc_part_bytes(wc_ctx *ctx, const wc_part *part, uint64_t *bytes)
{
    const wc_part *child[WC_PART_CHILDREN];
    uint64_t sum;
    WC_TRY(wc_encoder_for(part->kind)->size(ctx, part, &sum));
    size_t n = wc_part_children(part, child);
    for (size_t k = 0; k < n; k++) {
        uint64_t size;
        WC_TRY(wc_encoder_for(child[k]->kind)->size(ctx, child[k], &size));
        sum += size;
    }
    *bytes = sum;
    return WC_OK;
}
