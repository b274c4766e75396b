/* hash.h - XXH3-64, with its streaming state on the stack. */
#ifndef WC_BASE_HASH_H
#define WC_BASE_HASH_H

#define XXH_STATIC_LINKING_ONLY /* makes XXH3_state_t a complete type; we only put it on the stack */
#include <xxhash.h>

#endif
