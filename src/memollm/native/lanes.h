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

/* exp(it - the highest of all), in place; the sum is returned. Room for whole vectors is needed. */
ALWAYS float soften(float *logits, int64_t count)
{
    const int64_t padded = (count + WIDE - 1) / WIDE * WIDE;
    for (int64_t i = count; i < padded; i++) logits[i] = -__builtin_inff();
    lanes most = *(const loose *)logits, total = {0};
    for (int64_t i = WIDE; i < padded; i += WIDE) most = larger(*(const loose *)(logits + i), most);
    float highest = most[0];
    for (int i = 1; i < WIDE; i++) highest = most[i] > highest ? most[i] : highest;
    for (int64_t i = 0; i < padded; i += WIDE) {
        lanes it = exponential(*(const loose *)(logits + i) - highest);
        *(loose *)(logits + i) = it;
        total += it;
    }
    return sum(total);
}

#endif
