/* The softmax of a block of queries, in place, and what its heads attended to, on average. */

#include <pthread.h>

#include "lanes.h"

typedef struct { /* one thread's part */
    float *logits, *mean;
    int64_t rows, heads, queries, pairs, causal, first, step;
} Part;

static void soften_query(const Part *part, int64_t block)
{
    const int64_t queries = part->queries, pairs = part->pairs;
    const int64_t row = block / queries, query = block % queries;
    const int64_t seen = part->causal ? pairs - queries + 1 + query : pairs;
    const int64_t whole = seen / WIDE * WIDE, rest = seen - whole;
    const float share = 1.0f / (float)part->heads;
    float *received = part->mean + block * pairs;
    memset(received, 0, sizeof(float) * pairs);
    for (int64_t head = 0; head < part->heads; head++) {
        float *it = part->logits + ((row * part->heads + head) * queries + query) * pairs;
        float last[WIDE] __attribute__((aligned(64)));
        for (int64_t i = 0; i < WIDE; i++) last[i] = i < rest ? it[whole + i] : -__builtin_inff();
        lanes most = *(const lanes *)last, total = {0};
        for (int64_t i = 0; i < whole; i += WIDE) most = larger(*(const loose *)(it + i), most);
        float highest = most[0];
        for (int i = 1; i < WIDE; i++) highest = most[i] > highest ? most[i] : highest;
        for (int64_t i = 0; i < whole; i += WIDE) {
            const lanes now = exponential(*(const loose *)(it + i) - highest);
            *(loose *)(it + i) = now;
            total += now;
        }
        *(lanes *)last = exponential(*(const lanes *)last - highest);
        const float factor = 1.0f / sum(total + *(const lanes *)last);
        for (int64_t i = 0; i < whole; i += WIDE) {
            const lanes now = *(const loose *)(it + i) * factor;
            *(loose *)(it + i) = now;
            *(loose *)(received + i) += now * share;
        }
        for (int64_t i = whole; i < seen; i++) {
            it[i] = last[i - whole] * factor;
            received[i] += it[i] * share;
        }
        memset(it + seen, 0, sizeof(float) * (pairs - seen));
    }
}

static void *soften_part(void *given)
{
    const Part *part = given;
    for (int64_t block = part->first; block < part->rows * part->queries; block += part->step)
        soften_query(part, block);
    return 0;
}

/* Logits (rows, heads, queries, pairs) become weights; `mean` (rows, queries, pairs) over heads.
   With `causal` the last pairs are the queries' own, and none sees those of later ones. */
void memollm_soften(float *logits, float *mean, int64_t rows, int64_t heads, int64_t queries,
                    int64_t pairs, int64_t causal, int64_t threads)
{
    pthread_t helpers[threads];
    Part parts[threads];
    int started[threads];
    for (int64_t i = 0; i < threads; i++)
        parts[i] = (Part){logits, mean, rows, heads, queries, pairs, causal, i, threads};
    for (int64_t i = 1; i < threads; i++)
        started[i] = !pthread_create(&helpers[i], 0, soften_part, &parts[i]);
    soften_part(&parts[0]);
    for (int64_t i = 1; i < threads; i++)
        if (started[i]) pthread_join(helpers[i], 0); else soften_part(&parts[i]);
}
