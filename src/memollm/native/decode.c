/* One decoded token over the slots of a slab: store its pair, attend, rehearse.

   Sums are taken in single precision, also of pairs in bfloat16. Offsets and strides count
   numbers, not bytes. */

#include <pthread.h>

#include "lanes.h"

#define MOST 8  /* query heads that are taken together */
#define TILE 64 /* slots whose values stay in the first cache while several sums pass over them */

typedef struct {
    const void *data;
    int64_t row, head; /* strides; a slab's slots lie `dim` apart */
} Heads;

typedef struct { /* what native/decode.py fills in, field by field */
    Heads queries, new_keys, new_values, keys, values;
    void *out;              /* (rows, heads, value_dim), contiguous */
    float *weights;         /* (rows, capacity): mean over heads; NULL: nobody asks */
    float *scratch;         /* (rows, kv_heads, group + 1, stride) */
    float *strength;        /* (rows, capacity), and below; NULL: nothing is rehearsed */
    int32_t *recalled, *position;
    const int32_t *seen;    /* (rows,): the position of the new token */
    const float *key_scale, *value_scale, *bias; /* (rows, capacity) or NULL */
    const uint8_t *hidden;
    int64_t rows, kv_heads, group, dim, value_dim, slots, capacity, stride, threads;
    float scaling, reinforcement, recall_threshold;
    int32_t half, recalls;  /* whether numbers are bfloat16; whether anything counts as a recall */
} Step;

/* Logits of `together` slots from `slot` on, for every query of the group. */
ALWAYS void score_slots(const float *queries, const void *keys, int64_t slot, int64_t dim,
                        float *scores, int64_t stride, const int group, const int together,
                        const int half)
{
    lanes sums[4][MOST];
    UNROLL for (int j = 0; j < together; j++)
        UNROLL for (int g = 0; g < group; g++) sums[j][g] = (lanes){0};
    for (int64_t c = 0; c < dim; c += WIDE) {
        lanes key[4];
        UNROLL for (int j = 0; j < together; j++) key[j] = load(keys, (slot + j) * dim + c, half);
        UNROLL for (int g = 0; g < group; g++) {
            lanes query = *(const loose *)(queries + g * dim + c);
            UNROLL for (int j = 0; j < together; j++) sums[j][g] += query * key[j];
        }
    }
    UNROLL for (int g = 0; g < group; g++)
        UNROLL for (int j = 0; j < together; j++) scores[g * stride + slot + j] = sum(sums[j][g]);
}

ALWAYS void score(const float *queries, const void *keys, int64_t slots, int64_t dim,
                  float *scores, int64_t stride, const int group, const int half)
{
    const int together = group > 5 ? 2 : 4;
    int64_t slot = 0;
    for (; slot + together <= slots; slot += together)
        score_slots(queries, keys, slot, dim, scores, stride, group, together, half);
    for (; slot < slots; slot++)
        score_slots(queries, keys, slot, dim, scores, stride, group, 1, half);
}

/* Add to `out` (group, dim) the values of slots first to last, weighted. */
ALWAYS void mix_part(const float *weights, int64_t stride, const void *values, int64_t first,
                     int64_t last, int64_t dim, int64_t c, float *out, const int group,
                     const int parts, const int half)
{
    lanes sums[MOST][4];
    UNROLL for (int g = 0; g < group; g++)
        UNROLL for (int p = 0; p < parts; p++)
            sums[g][p] = *(const loose *)(out + g * dim + c + p * WIDE);
    for (int64_t slot = first; slot < last; slot++) {
        lanes value[4];
        UNROLL for (int p = 0; p < parts; p++)
            value[p] = load(values, slot * dim + c + p * WIDE, half);
        UNROLL for (int g = 0; g < group; g++) {
            float weight = weights[g * stride + slot];
            UNROLL for (int p = 0; p < parts; p++) sums[g][p] += weight * value[p];
        }
    }
    UNROLL for (int g = 0; g < group; g++)
        UNROLL for (int p = 0; p < parts; p++)
            *(loose *)(out + g * dim + c + p * WIDE) = sums[g][p];
}

ALWAYS void mix(const float *weights, int64_t stride, const void *values, int64_t slots,
                int64_t dim, float *out, const int group, const int half)
{
    for (int64_t first = 0; first < slots; first += TILE) {
        int64_t last = first + TILE < slots ? first + TILE : slots, c = 0;
        for (; c + 4 * WIDE <= dim; c += 4 * WIDE)
            mix_part(weights, stride, values, first, last, dim, c, out, group, 4, half);
        for (; c < dim; c += WIDE)
            mix_part(weights, stride, values, first, last, dim, c, out, group, 1, half);
    }
}

static void adjust(const Step *step, int64_t row, float *scores)
{
    const int64_t at = row * step->capacity;
    if (step->key_scale)
        for (int64_t i = 0; i < step->slots; i++) scores[i] *= step->key_scale[at + i];
    if (step->bias)
        for (int64_t i = 0; i < step->slots; i++) scores[i] += step->bias[at + i];
    if (step->hidden)
        for (int64_t i = 0; i < step->slots; i++)
            scores[i] = step->hidden[at + i] ? -__builtin_inff() : scores[i];
}

ALWAYS void attend_group(const Step *step, int64_t row, const float *queries, const void *keys,
                         const void *values, float *scores, float *received, float *out,
                         const int group, const int half)
{
    const int64_t slots = step->slots, stride = step->stride;
    const int64_t padded = (slots + WIDE - 1) / WIDE * WIDE;
    float factor[MOST];
    score(queries, keys, slots, step->dim, scores, stride, group, half);
    for (int g = 0; g < group; g++) {
        adjust(step, row, scores + g * stride);
        factor[g] = 1.0f / soften(scores + g * stride, slots);
    }
    if (received)
        for (int g = 0; g < group; g++) {
            const float share = factor[g] / (float)(step->kv_heads * step->group);
            for (int64_t i = 0; i < padded; i += WIDE)
                *(loose *)(received + i) += *(const loose *)(scores + g * stride + i) * share;
        }
    if (step->value_scale)
        for (int g = 0; g < group; g++)
            for (int64_t i = 0; i < slots; i++)
                scores[g * stride + i] *= step->value_scale[row * step->capacity + i];
    memset(out, 0, sizeof(float) * group * step->value_dim);
    mix(scores, stride, values, slots, step->value_dim, out, group, half);
    for (int g = 0; g < group; g++)
        for (int64_t c = 0; c < step->value_dim; c++) out[g * step->value_dim + c] *= factor[g];
}

#define CASE(n)                                                                              \
    case n:                                                                                  \
        if (step->half)                                                                      \
            attend_group(step, row, queries, keys, values, scores, received, out, n, 1);     \
        else                                                                                 \
            attend_group(step, row, queries, keys, values, scores, received, out, n, 0);     \
        break;

static __attribute__((noinline)) void attend_some(
    const Step *step, int64_t row, const float *queries, const void *keys, const void *values,
    float *scores, float *received, float *out, int64_t group)
{
    switch (group) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
}

ALWAYS const void *at(Heads heads, int64_t row, int64_t head, int half)
{
    return (const char *)heads.data + (row * heads.row + head * heads.head) * (half ? 2 : 4);
}

static void attend_head(const Step *step, int64_t task)
{
    const int64_t row = task / step->kv_heads, head = task % step->kv_heads, half = step->half;
    const int64_t dim = step->dim, wide_dim = step->value_dim, bytes = half ? 2 : 4;
    char *keys = (char *)at(step->keys, row, head, half);
    char *values = (char *)at(step->values, row, head, half);
    if (step->new_keys.data) {
        const int64_t last = step->slots - 1;
        memcpy(keys + last * dim * bytes, at(step->new_keys, row, head, half), dim * bytes);
        memcpy(values + last * wide_dim * bytes, at(step->new_values, row, head, half),
               wide_dim * bytes);
    }
    float *scores = step->scratch + task * (step->group + 1) * step->stride, *received = 0;
    if (step->weights) {
        received = scores + step->group * step->stride;
        memset(received, 0, sizeof(float) * ((step->slots + WIDE - 1) / WIDE * WIDE));
    }
    float queries[MOST * dim] __attribute__((aligned(64)));
    float out[MOST * wide_dim] __attribute__((aligned(64)));
    for (int64_t first = 0; first < step->group; first += MOST) {
        const int64_t group = step->group - first < MOST ? step->group - first : MOST;
        for (int64_t g = 0; g < group; g++) {
            const void *from = at(step->queries, row, head * step->group + first + g, half);
            for (int64_t c = 0; c < dim; c++)
                queries[g * dim + c] = step->scaling
                    * (half ? wide(((const uint16_t *)from)[c]) : ((const float *)from)[c]);
        }
        attend_some(step, row, queries, keys, values, scores + first * step->stride, received,
                    out, group);
        const int64_t to = (task * step->group + first) * wide_dim;
        if (half)
            for (int64_t c = 0; c < group * wide_dim; c++)
                ((uint16_t *)step->out)[to + c] = narrow(out[c]);
        else
            memcpy((float *)step->out + to, out, sizeof(float) * group * wide_dim);
    }
}

typedef struct { const Step *step; int64_t first; } Share;

static void *attend_share(void *given)
{
    const Share *share = given;
    const Step *step = share->step;
    for (int64_t task = share->first; task < step->rows * step->kv_heads; task += step->threads)
        attend_head(step, task);
    return 0;
}

/* What the heads of a row attended to, together: kept, and rehearsed but for the token's own. */
static void observe(const Step *step, int64_t row)
{
    const int64_t slots = step->slots, capacity = step->capacity;
    float *weights = step->weights + row * capacity;
    memset(weights, 0, sizeof(float) * slots);
    for (int64_t head = 0; head < step->kv_heads; head++) {
        const float *received = step->scratch
            + ((row * step->kv_heads + head) * (step->group + 1) + step->group) * step->stride;
        for (int64_t i = 0; i < slots; i++) weights[i] += received[i];
    }
    if (!step->strength) return;
    float *strength = step->strength + row * capacity;
    int32_t *recalled = step->recalled + row * capacity;
    const int32_t now = step->seen[row];
    for (int64_t i = 0; i < slots - 1; i++) strength[i] += step->reinforcement * weights[i];
    if (step->recalls)
        for (int64_t i = 0; i < slots - 1; i++)
            recalled[i] = weights[i] >= step->recall_threshold ? now : recalled[i];
}

void memollm_decode(const Step *step)
{
    for (int64_t row = 0; row < step->rows; row++) {
        const int64_t last = row * step->capacity + step->slots - 1;
        if (step->position) step->position[last] = step->seen[row];
        if (step->recalled) step->recalled[last] = step->seen[row];
    }
    const int64_t helpers = step->threads - 1;
    pthread_t threads[helpers > 0 ? helpers : 1];
    Share shares[helpers + 1];
    int started[helpers + 1];
    for (int64_t i = 0; i <= helpers; i++) shares[i] = (Share){step, i};
    for (int64_t i = 0; i < helpers; i++)
        started[i] = !pthread_create(&threads[i], 0, attend_share, &shares[i + 1]);
    attend_share(&shares[0]);
    for (int64_t i = 0; i < helpers; i++)
        if (started[i]) pthread_join(threads[i], 0); else attend_share(&shares[i + 1]);
    if (step->weights)
        for (int64_t row = 0; row < step->rows; row++) observe(step, row);
}
