/* XXH3-64 in portable C. The specification has five cases by length; each is one function below, in its order and with
 * its names. Lengths up to 240 mix the whole input with the secret in one pass; longer inputs run eight 64-bit
 * accumulators over stripes of 64 bytes, which the compiler turns into SIMD. */
#include "decode/xxh3.h"

#include "decode/bytes.h"

#define P32_1 0x9E3779B1u
#define P32_2 0x85EBCA77u
#define P32_3 0xC2B2AE3Du
#define P64_1 0x9E3779B185EBCA87u
#define P64_2 0xC2B2AE3D27D4EB4Fu
#define P64_3 0x165667B19E3779F9u
#define P64_4 0x85EBCA77C2B2AE63u
#define P64_5 0x27D4EB2F165667C5u
#define MX1   0x165667919E3779F9u
#define MX2   0x9FB21C651E98DF25u

enum { SECRET = 192, STRIPE = 64, BLOCK_STRIPES = (SECRET - STRIPE) / 8, BLOCK = BLOCK_STRIPES * STRIPE };

/* clang-format off */
static const uint8_t secret[SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};
/* clang-format on */

static uint64_t rotl(uint64_t x, unsigned r)
{
    return x << r | x >> (64 - r);
}

static uint64_t byteswap(uint64_t x)
{
    x = (x & 0x00ff00ff00ff00ffu) << 8 | (x >> 8 & 0x00ff00ff00ff00ffu);
    x = (x & 0x0000ffff0000ffffu) << 16 | (x >> 16 & 0x0000ffff0000ffffu);
    return x << 32 | x >> 32;
}

/* Low half xor high half of the 128-bit product, by 32-bit halves: C99 has no wider type. */
static uint64_t mul_fold(uint64_t a, uint64_t b)
{
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t ll = al * bl, hl = ah * bl, lh = al * bh, hh = ah * bh;
    uint64_t cross = (ll >> 32) + (uint32_t)hl + lh;
    uint64_t high = (hl >> 32) + (cross >> 32) + hh, low = cross << 32 | (uint32_t)ll;
    return low ^ high;
}

static uint64_t avalanche(uint64_t h)
{
    h = (h ^ h >> 37) * MX1;
    return h ^ h >> 32;
}

/* The finalizer of the older XXH64, which XXH3 keeps for the shortest inputs. */
static uint64_t avalanche_xxh64(uint64_t h)
{
    h = (h ^ h >> 33) * P64_2;
    h = (h ^ h >> 29) * P64_3;
    return h ^ h >> 32;
}

static uint64_t hash_1_to_3(const uint8_t *in, size_t n)
{
    uint32_t word = (uint32_t)in[0] << 16 | (uint32_t)in[n >> 1] << 24 | in[n - 1] | (uint32_t)n << 8;
    return avalanche_xxh64(word ^ (uint64_t)(wcd_u32(secret) ^ wcd_u32(secret + 4)));
}

static uint64_t hash_4_to_8(const uint8_t *in, size_t n)
{
    uint64_t word = wcd_u32(in + n - 4) + ((uint64_t)wcd_u32(in) << 32);
    uint64_t h = word ^ wcd_u64(secret + 8) ^ wcd_u64(secret + 16);
    h = (h ^ rotl(h, 49) ^ rotl(h, 24)) * MX2;
    h = (h ^ ((h >> 35) + n)) * MX2;
    return h ^ h >> 28;
}

static uint64_t hash_9_to_16(const uint8_t *in, size_t n)
{
    uint64_t low = wcd_u64(in) ^ wcd_u64(secret + 24) ^ wcd_u64(secret + 32);
    uint64_t high = wcd_u64(in + n - 8) ^ wcd_u64(secret + 40) ^ wcd_u64(secret + 48);
    return avalanche(n + byteswap(low) + high + mul_fold(low, high));
}

static uint64_t mix16(const uint8_t *in, const uint8_t *key)
{
    return mul_fold(wcd_u64(in) ^ wcd_u64(key), wcd_u64(in + 8) ^ wcd_u64(key + 8));
}

/* 16 bytes from each end, moving inwards. */
static uint64_t hash_17_to_128(const uint8_t *in, size_t n)
{
    uint64_t h = n * P64_1;
    for (size_t i = 0; i <= (n - 1) / 32; i++)
        h += mix16(in + 16 * i, secret + 32 * i) + mix16(in + n - 16 * (i + 1), secret + 32 * i + 16);
    return avalanche(h);
}

static uint64_t hash_129_to_240(const uint8_t *in, size_t n)
{
    uint64_t h = n * P64_1;
    for (size_t i = 0; i < 8; i++)
        h += mix16(in + 16 * i, secret + 16 * i);
    h = avalanche(h);
    for (size_t i = 8; i < n / 16; i++)
        h += mix16(in + 16 * i, secret + 16 * (i - 8) + 3);
    return avalanche(h + mix16(in + n - 16, secret + 136 - 17));
}

static void accumulate(uint64_t acc[8], const uint8_t *stripe, const uint8_t *key)
{
    uint64_t data[8];
    for (int i = 0; i < 8; i++)
        data[i] = wcd_u64(stripe + 8 * i);
    for (int i = 0; i < 8; i++) {
        uint64_t k = data[i] ^ wcd_u64(key + 8 * i);
        acc[i] += data[i ^ 1] + (uint64_t)(uint32_t)k * (k >> 32);
    }
}

static uint64_t hash_long(const uint8_t *in, size_t n)
{
    uint64_t acc[8] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    size_t blocks = (n - 1) / BLOCK;
    for (size_t b = 0; b < blocks; b++, in += BLOCK) {
        for (size_t s = 0; s < BLOCK_STRIPES; s++)
            accumulate(acc, in + s * STRIPE, secret + 8 * s);
        for (int i = 0; i < 8; i++)
            acc[i] = (acc[i] ^ acc[i] >> 47 ^ wcd_u64(secret + SECRET - STRIPE + 8 * i)) * P32_1;
    }
    size_t rest = n - blocks * BLOCK; /* 1..BLOCK */
    for (size_t s = 0; s < (rest - 1) / STRIPE; s++)
        accumulate(acc, in + s * STRIPE, secret + 8 * s);
    accumulate(acc, in + rest - STRIPE, secret + SECRET - STRIPE - 7);
    uint64_t h = n * P64_1;
    for (int i = 0; i < 4; i++)
        h += mul_fold(acc[2 * i] ^ wcd_u64(secret + 11 + 16 * i), acc[2 * i + 1] ^ wcd_u64(secret + 19 + 16 * i));
    return avalanche(h);
}

uint64_t wcd_xxh3(const void *data, size_t size)
{
    const uint8_t *in = data;
    if (size > 240) return hash_long(in, size);
    if (size > 128) return hash_129_to_240(in, size);
    if (size > 16) return hash_17_to_128(in, size);
    if (size > 8) return hash_9_to_16(in, size);
    if (size > 3) return hash_4_to_8(in, size);
    if (size > 0) return hash_1_to_3(in, size);
    return avalanche_xxh64(wcd_u64(secret + 56) ^ wcd_u64(secret + 64));
}
