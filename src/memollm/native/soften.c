/* The softmax of a block of queries, in place, and what its heads attended to, on average. */

#include <pthread.h>
#include <stdlib.h>

#include "lanes.h"

typedef struct { /* one thread's part */
    void *logits;
    float *mean, *room; /* room: for two rows of numbers and a vector more */
    int64_t rows, heads, queries, pairs, causal, half, first, step;
} Part;

/* Weights of one query's logits: `whole` of them in `it`, and one vector more in `last`, filled up
   with minus infinity. What they are received by is padded to whole vectors. */
static void soften_row(float *it, float *last, int64_t whole, float *received, float share)
{
    lanes most = *(const loose *)last, total = {0};
    for (int64_t i = 0; i < whole; i += WIDE) most = larger(*(const loose *)(it + i), most);
    const float highest = highest_of(most);
    for (int64_t i = 0; i < whole; i += WIDE) {
        const lanes now = exponential(*(const loose *)(it + i) - highest);
        *(loose *)(it + i) = now;
        total += now;
    }
    *(loose *)last = exponential(*(const loose *)last - highest);
    const float factor = 1.0f / sum(total + *(const loose *)last);
    for (int64_t i = 0; i < whole; i += WIDE) {
        const lanes now = *(const loose *)(it + i) * factor;
        *(loose *)(it + i) = now;
        if (received) *(loose *)(received + i) += now * share;
    }
    *(loose *)last *= factor;
    if (received) *(loose *)(received + whole) += *(const loose *)last * share;
}

static void soften_query(const Part *part, int64_t block)
{
    const int64_t queries = part->queries, pairs = part->pairs;
    const int64_t row = block / queries, query = block % queries;
    const int64_t seen = part->causal ? pairs - queries + 1 + query : pairs;
    const int64_t whole = seen / WIDE * WIDE, room = pairs + WIDE;
    const float share = 1.0f / (float)part->heads;
    float *received = part->mean ? part->room + room : 0;
    if (received) memset(received, 0, sizeof(float) * room);
    for (int64_t head = 0; head < part->heads; head++) {
        const int64_t at = ((row * part->heads + head) * queries + query) * pairs;
        float last[WIDE];
        for (int i = 0; i < WIDE; i++) last[i] = -__builtin_inff();
        if (part->half) {
            uint16_t *it = (uint16_t *)part->logits + at;
            for (int64_t i = 0; i < whole; i += WIDE) *(loose *)(part->room + i) = load(it, i, 1);
            for (int64_t i = whole; i < seen; i++) last[i - whole] = wide(it[i]);
            soften_row(part->room, last, whole, received, share);
            for (int64_t i = 0; i < whole; i += WIDE)
                store_half(it + i, *(const loose *)(part->room + i));
            for (int64_t i = whole; i < seen; i++) it[i] = narrow(last[i - whole]);
            memset(it + seen, 0, sizeof(uint16_t) * (pairs - seen));
        } else {
            float *it = (float *)part->logits + at;
            memcpy(last, it + whole, sizeof(float) * (seen - whole));
            soften_row(it, last, whole, received, share);
            memcpy(it + whole, last, sizeof(float) * (seen - whole));
            memset(it + seen, 0, sizeof(float) * (pairs - seen));
        }
    }
    if (received) memcpy(part->mean + block * pairs, received, sizeof(float) * pairs);
}

static void *soften_part(void *given)
{
    const Part *part = given;
    for (int64_t block = part->first; block < part->rows * part->queries; block += part->step)
        soften_query(part, block);
    return 0;
}

/* Logits (rows, heads, queries, pairs) become weights; `mean` (rows, queries, pairs) over heads, or
   NULL. With `causal` the last pairs are the queries' own, and none sees those of later ones.
   Returns 0, or 1 where there is no memory for it and nothing was done. */
int memollm_soften(void *logits, float *mean, int64_t rows, int64_t heads, int64_t queries,
                   int64_t pairs, int64_t causal, int64_t half, int64_t threads)
{
    const int64_t stride = 2 * (pairs + WIDE);
    float *room = malloc(sizeof(float) * stride * threads);
    if (!room) return 1;
    pthread_t helpers[threads];
    Part parts[threads];
    int started[threads];
    for (int64_t i = 0; i < threads; i++)
        parts[i] = (Part){logits, mean, room + stride * i, rows, heads, queries, pairs, causal,
                          half, i, threads};
    for (int64_t i = 1; i < threads; i++)
        started[i] = !pthread_create(&helpers[i], 0, soften_part, &parts[i]);
    soften_part(&parts[0]);
    for (int64_t i = 1; i < threads; i++)
        if (started[i]) pthread_join(helpers[i], 0); else soften_part(&parts[i]);
    free(room);
    return 0;
}
