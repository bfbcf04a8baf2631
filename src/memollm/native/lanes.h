/* Vectors of 16 numbers, in GCC's extensions, which Clang knows too, and what is done with them. */

#ifndef MEMOLLM_LANES
#define MEMOLLM_LANES

#include <stdint.h>
#include <string.h>

#define WIDE 16 /* lanes of a vector */
#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

typedef float lanes __attribute__((vector_size(4 * WIDE)));
typedef int32_t ints __attribute__((vector_size(4 * WIDE)));
typedef uint32_t words __attribute__((vector_size(4 * WIDE)));
typedef float loose __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * WIDE), aligned(2)));

ALWAYS float wide(uint16_t number)
{
    union { uint32_t bits; float number; } it = {(uint32_t)number << 16};
    return it.number;
}

ALWAYS uint16_t narrow(float number) /* to the nearest, ties to even */
{
    union { float number; uint32_t bits; } it = {number};
    if (number != number) return 0x7fc0;
    return (uint16_t)((it.bits + 0x7fff + ((it.bits >> 16) & 1)) >> 16);
}

ALWAYS lanes load(const void *from, int64_t at, const int half)
{
    if (!half) return *(const loose *)((const float *)from + at);
    words bits = __builtin_convertvector(*(const halves *)((const uint16_t *)from + at), words);
    return (lanes)(bits << 16);
}

ALWAYS void store_half(uint16_t *to, lanes it) /* numbers, as `narrow` has it */
{
    const words bits = (words)it;
    *(halves *)to = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
}

ALWAYS float sum(lanes it)
{
    typedef float v8 __attribute__((vector_size(32)));
    typedef float v4 __attribute__((vector_size(16)));
    v8 a = __builtin_shufflevector(it, it, 0, 1, 2, 3, 4, 5, 6, 7)
         + __builtin_shufflevector(it, it, 8, 9, 10, 11, 12, 13, 14, 15);
    v4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* exp for arguments of at most 0: within 2 units in the last place; 0 below -87. */
ALWAYS lanes exponential(lanes x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to whole numbers */
    ints alive = x >= -87.0f;
    x = (lanes)((ints)x & alive);
    lanes whole = x * 1.44269504f + shift - shift;
    lanes rest = x - whole * 0.693145752f - whole * 1.42860677e-6f;
    lanes y = rest * 1.98412698e-4f + 1.38888889e-3f; /* Taylor's series, |rest| <= ln 2 / 2 */
    y = y * rest + 8.33333333e-3f;
    y = y * rest + 4.16666667e-2f;
    y = y * rest + 1.66666667e-1f;
    y = y * rest + 0.5f;
    y = y * rest + 1.0f;
    y = y * rest + 1.0f;
    ints power = (__builtin_convertvector(whole, ints) + 127) << 23;
    return (lanes)((ints)(y * (lanes)power) & alive);
}

ALWAYS lanes larger(lanes a, lanes b)
{
    const ints more = a > b;
    return (lanes)(((ints)a & more) | ((ints)b & ~more));
}

ALWAYS float highest_of(lanes it)
{
    float highest = it[0];
    for (int i = 1; i < WIDE; i++) highest = it[i] > highest ? it[i] : highest;
    return highest;
}

/* exp(it - the highest of all), in place; the sum is returned. Room for whole vectors is needed. */
ALWAYS float soften(float *logits, int64_t count)
{
    const int64_t padded = (count + WIDE - 1) / WIDE * WIDE;
    for (int64_t i = count; i < padded; i++) logits[i] = -__builtin_inff();
    lanes most = *(const loose *)logits, total = {0};
    for (int64_t i = WIDE; i < padded; i += WIDE) most = larger(*(const loose *)(logits + i), most);
    const float highest = highest_of(most);
    for (int64_t i = 0; i < padded; i += WIDE) {
        lanes it = exponential(*(const loose *)(logits + i) - highest);
        *(loose *)(logits + i) = it;
        total += it;
    }
    return sum(total);
}

#endif
