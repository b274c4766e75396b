/* layout.cuh - from the parts of a file to what lies on the device. Host code. */
#ifndef WCU_LAYOUT_CUH
#define WCU_LAYOUT_CUH

#include "cuda/part.cuh"

/* The description of all parts of a tensor (its sum, its transforms, then their children), and the bytes they take;
 * when dst is not NULL also the layout itself, at dst [*size]. The first bytes of the layout are the descriptions. */
wcd_cuda_status wcu_lay_out(const wcd_tensor *t, wcu_part all[WCD_CUDA_PARTS], uint32_t *n_all, uint64_t *size,
                            uint8_t *dst);

#endif
