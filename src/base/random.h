/* random.h - bits that look random and are the same everywhere: for signs and rotations, which are stored or folded, so
 * their quality matters more than their secrecy. Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
#ifndef WC_BASE_RANDOM_H
#define WC_BASE_RANDOM_H

#include <stdint.h>

/* The next 64 bits; *state is any seed at first. */
static inline uint64_t wc_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
