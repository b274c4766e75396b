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
