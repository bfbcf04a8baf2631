/* Strengths of a few tokens by a layer's gate: exp of an affine map, or of one of SiLU units. */

#include "lanes.h"

ALWAYS float dot(const float *a, const float *b, int64_t count)
{
    const int64_t whole = count / WIDE * WIDE;
    lanes total = {0};
    for (int64_t i = 0; i < whole; i += WIDE)
        total += *(const loose *)(a + i) * *(const loose *)(b + i);
    float it = sum(total);
    for (int64_t i = whole; i < count; i++) it += a[i] * b[i];
    return it;
}

/* x / (1 + exp(-x)), of whose exponentials none can overflow. */
ALWAYS lanes silu(lanes x)
{
    const lanes small = exponential(-larger(x, -x)), one = (lanes){0} + 1.0f;
    const ints positive = x >= 0.0f;
    const lanes upper = (lanes)(((ints)one & positive) | ((ints)small & ~positive));
    return x * upper / (one + small);
}

/* exp(x), which is infinite where single precision ends. */
ALWAYS float power(float x)
{
    const lanes at = (lanes){0} + (x > 0.0f ? -x : x);
    const float small = exponential(at)[0];
    return x > 0.0f ? 1.0f / small : small;
}

/* Inputs (tokens, width) to strengths (tokens, outputs), each `least` or more. `inner` (hidden,
   width) and its bias are those of the hidden layer; hidden = 0: there is none, and `outer`
   (outputs, width) reads the inputs. `room` takes `hidden` numbers, up to whole vectors. */
typedef struct {
    const float *inputs, *inner, *inner_bias, *outer, *outer_bias;
    float *strengths, *room;
    int64_t tokens, width, hidden, outputs;
    float least;
} Gate;

void memollm_gate(const Gate *gate)
{
    const int64_t hidden = gate->hidden, width = gate->width, outputs = gate->outputs;
    const int64_t count = hidden ? hidden : width;
    for (int64_t token = 0; token < gate->tokens; token++) {
        const float *given = gate->inputs + token * width, *read = hidden ? gate->room : given;
        for (int64_t unit = 0; unit < hidden; unit++) {
            const float *row = gate->inner + unit * width;
            gate->room[unit] = dot(given, row, width) + gate->inner_bias[unit];
        }
        for (int64_t unit = 0; unit < hidden; unit += WIDE)
            *(loose *)(gate->room + unit) = silu(*(const loose *)(gate->room + unit));
        for (int64_t it = 0; it < outputs; it++) {
            const float at = dot(read, gate->outer + it * count, count) + gate->outer_bias[it];
            gate->strengths[token * outputs + it] = power(at) + gate->least;
        }
    }
}
