/* quantized.h - checkpoints whose linear layers other tools have quantized, seen as the float models that they stand
 * for: GPTQ (v1 and v2), AWQ (gemm), compressed-tensors (pack-, int-, float- and naive-quantized).
 *
 * A layer P, W [N, K], is a few tensors of the checkpoint, whose packing base/packing.h describes:
 *
 *     gptq                P.qweight P.qzeros P.scales [G, N] (P.g_idx [K])                       2, 3, 4, 8 bits
 *     awq                 P.qweight P.qzeros P.scales [G, N]                                     4 bits
 *     pack-quantized      P.weight_packed P.weight_scale [N, G] P.weight_shape (P.weight_zero_point) (P.weight_g_idx)
 *     int-, float-quantized  P.weight I8 or F8_E4M3, P.weight_scale [1], [N, 1], [N, G] or blocks (P.weight_zero_point)
 *
 *     W[n][k] = (q[n][k] - z[n][g]) s[n][g],   g = g_idx[k], else k / group
 *
 * Here they become one tensor P.weight of type F32, whose rows are made when they are read. With scales of 16 bits the
 * product is exact in f32; runtimes round it to their 16 bits. Whatever the shapes, the config or g_idx contradict is
 * refused at open; afterwards no read leaves the mapping, whatever the bits are. */
#ifndef WC_IO_QUANTIZED_H
#define WC_IO_QUANTIZED_H

#include "io/json.h"
#include "io/safetensors.h"

typedef struct wc_quant_linear wc_quant_linear; /* one layer; wc_st_tensor.packed */
typedef struct wc_quant wc_quant;               /* all of them */

/* config: the object that config.json calls quantization_config; label: its file, for messages. list [*n]: the tensors
 * of the checkpoint, sorted by name; those of quantized layers leave it, and P.weight comes in, sorted. shard: their
 * files, which must outlive *out. *out NULL, and the list untouched: a method that is not one of these.
 * WC_BADFILE: contradictions. WC_UNSUPPORTED: a variant that has no reader here. */
wc_status wc_quant_open(wc_ctx *ctx, const json_t *config, const char *label, const wc_safetensors *shard,
                        const wc_st_tensor **list, size_t *n, wc_quant **out);
void wc_quant_close(wc_quant **q); /* *q may be NULL */

/* "gptq", "awq" or "compressed-tensors". */
const char *wc_quant_method(const wc_quant *q);
size_t wc_quant_count(const wc_quant *q);
/* "GPTQ 4b g128", "F8_E4M3". Lives as long as the wc_quant. */
const char *wc_quant_text(const wc_quant_linear *q);

/* dst [nr, K] = rows r0 .. r0 + nr, which must be inside. Callable from several threads; large requests are split among
 * ctx->threads. WC_NOMEM. */
wc_status wc_quant_rows(wc_ctx *ctx, const wc_quant_linear *q, uint64_t r0, uint64_t nr, float *dst);

/* The tensors of the checkpoint that hold the layer; how many. */
enum { WC_QUANT_PARTS = 5 };
size_t wc_quant_stored(const wc_quant_linear *q, const wc_st_tensor *part[WC_QUANT_PARTS]);

#endif
