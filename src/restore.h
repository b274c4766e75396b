/* restore.h - the checkpoint back out of a .wcz that holds all of it without loss. */
#ifndef WC_RESTORE_H
#define WC_RESTORE_H

#include "report.h"

/* The metadata entry that holds the header of a safetensors file (its first 8 bytes and the JSON, as they were): this
 * and the file's name. wcompress lossless writes one for each file. */
#define WC_HEADER_PREFIX "safetensors/"

/* Whether a file of that name can be restored. Names come from a .wcz, which may be anybody's: one plain word, so that
 * nothing outside the folder is touched. */
bool wc_restore_name(const char *name);

/* Writes every safetensors file of the model at wcz_path into the folder `dir' (made if absent), equal to the byte, and
 * the text files that the .wcz carries. Each file appears when it is complete. force: existing files are replaced;
 * otherwise one is WC_OPTION, before anything is written. WC_UNSUPPORTED: the .wcz was not made by `lossless', or a
 * tensor was compressed with loss. WC_BADFILE, WC_VERIFY: damaged. Holds a few MiB in memory. */
wc_status wc_restore(wc_ctx *ctx, const char *wcz_path, const char *dir, bool force, wc_report *report);

#endif
