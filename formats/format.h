/* format.h - the encoder half of a format: numbers to bytes. The decoder half is wcd_decoder in src/decode/decoder.h;
 * the two never include each other and meet only in docs/FORMAT.md. */
#ifndef WC_FORMAT_H
#define WC_FORMAT_H

#include "base/part.h"

enum { WC_PARAMS_SIZE = 32 }; /* bytes of kind-specific parameters in a part record of the file's index */

typedef struct wc_encoder {
    uint16_t id, version;
    const char *name;
    /* Exact size of the blob that encode() writes, from geometry alone (arrays may be NULL). WC_BUG on bad geometry. */
    wc_status (*size)(wc_ctx *ctx, const wc_part *part, uint64_t *out);
    /* Writes exactly size() bytes to dst and the parameters that go into the index. Checks every code against its
     * range. */
    wc_status (*encode)(wc_ctx *ctx, const wc_part *part, uint8_t *dst, uint8_t params[WC_PARAMS_SIZE]);
} wc_encoder;

/* Never NULL for a valid wc_part_kind. */
const wc_encoder *wc_encoder_for(wc_part_kind kind);
const wc_encoder *wc_encoder_by_id(uint16_t id);

/* *bytes of the blobs of a part and the parts it is made of, without padding; geometry is enough. */
wc_status wc_part_bytes(wc_ctx *ctx, const wc_part *part, uint64_t *bytes);

#endif
