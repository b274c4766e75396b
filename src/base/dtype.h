/* dtype.h - the element types of a tensor: one list for the toolkit (base/part.h) and the decode library. */
#ifndef WC_BASE_DTYPE_H
#define WC_BASE_DTYPE_H

/* Element types as stored in safetensors and in `float' parts. name, bits, wcz id (never renumber). */
#define WC_DTYPE_LIST(X)  \
    X(F32, 32, 1)         \
    X(F16, 16, 2)         \
    X(BF16, 16, 3)        \
    X(F64, 64, 4)         \
    X(I64, 64, 5)         \
    X(I32, 32, 6)         \
    X(I16, 16, 7)         \
    X(I8, 8, 8)           \
    X(U64, 64, 9)         \
    X(U32, 32, 10)        \
    X(U16, 16, 11)        \
    X(U8, 8, 12)          \
    X(BOOL, 8, 13)        \
    X(F8_E4M3, 8, 14)     \
    X(F8_E5M2, 8, 15)     \
    X(F8_E8M0, 8, 16)     \
    X(F8_E4M3FNUZ, 8, 17) \
    X(F8_E5M2FNUZ, 8, 18) \
    X(F6_E2M3, 6, 19)     \
    X(F6_E3M2, 6, 20)     \
    X(F4, 4, 21)          \
    X(C64, 64, 22)

#endif
