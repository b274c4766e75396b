/* obs_mask.h - SparseGPT's choice of a mask (Frantar, Alistarh, arXiv 2301.00774), on the core of GPTQ.
 *
 * Columns are decided from left to right. Where the mask is chosen, the weights w already carry the errors of all
 * columns before, and removing w_j costs w_j^2 R_jj^2, H = R R^T: R_jj^2 = 1 / [H_F^{-1}]_jj with F the columns from j
 * on, which will make up for it (the paper's w^2 / U_jj^2, U^T U = H^{-1}). Then the columns are swept, the pruned
 * errors fed back, and the next ones are chosen.
 *
 *   unstructured   the places of all rows and `tile_cols' consecutive places compete
 *   n of m         in every row the m places of a run compete, on weights up to date to the run
 *   blocks         a place of b columns B costs |w_B R_BB|^2 = w_B [(H_F^{-1})_BB]^{-1} w_B^T: what the loss grows by
 *                  when all of B is removed, as w_j^2 R_jj^2 for one column */
#ifndef WC_SOLVE_OBS_MASK_H
#define WC_SOLVE_OBS_MASK_H

#include "solve/hessian.h"
#include "solve/select.h"

/* mask [rows, cols] of w [rows, cols] by the rule, whose tile_rows is not used: all rows compete. h: width 1, natural
 * order. Deterministic for any number of threads. Cost: m n^2 flops, nearly all in gemm. */
wc_status wc_obs_mask(wc_ctx *ctx, const wc_hessian *h, const wc_mask_rule *rule, const float *w, uint8_t *mask);

/* Bytes that it takes at most; span: columns of a comparison group, 0: all. */
uint64_t wc_obs_mask_scratch(size_t rows, size_t cols, size_t span);

#endif
