"use strict";
// The numbers of a trace, put together again from the bytes that retention_page.py made of them.

async function readTrace(about, packed) {
  const steps = about.seen.length, count = about.tokens.length, layers = about.layers.length;

  async function inflated(text) {
    const bytes = Uint8Array.from(atob(text), (it) => it.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const data = await inflated(packed);
  let offset = 0;
  function take(length) {
    offset += length;
    return data.subarray(offset - length, offset);
  }
  function words(length) { // low bytes, then high bytes
    const low = take(length), high = take(length), whole = new Uint16Array(length);
    for (let i = 0; i < length; i++) whole[i] = low[i] | (high[i] << 8);
    return whole;
  }
  function summed(differences) { // from step to step, modulo 2 ** 16
    for (let i = count; i < differences.length; i++) differences[i] += differences[i - count];
    return differences;
  }
  const strengths = [], recalls = [], heard = [];
  for (let layer = 0; layer < layers; layer++) {
    if (about.fades) {
      strengths.push(summed(words(steps * count)));
      recalls.push(summed(words(steps * count)));
    }
    heard.push(take(steps * count));
  }
  const forgotten = words(layers * count);

  function decoder(scale) { // as traces/codes.py
    if (!scale) return () => 0;
    const [low, high, levels] = scale, width = Math.log(high / low) || 1;
    return (code) => (code ? low * Math.exp((width * (code - 1)) / (levels - 1)) : 0);
  }
  const strengthOf = decoder(about.strengthScale), attentionOf = decoder(about.receivedScale);

  function fading(x) { // R at age x, in units of S
    const ages = about.curve.age, left = about.curve.retention;
    let low = 0, high = ages.length - 1;
    if (x >= ages[high]) return left[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (ages[middle] <= x) low = middle; else high = middle;
    }
    return left[low] + ((left[high] - left[low]) * (x - ages[low])) / (ages[high] - ages[low]);
  }

  const isGone = (layer, token, step) => {
    const at = forgotten[layer * count + token];
    return at > 0 && at <= about.seen[step];
  };
  const age = (layer, token, step) => {
    const at = forgotten[layer * count + token];
    const seen = at && at <= about.seen[step] && !about.stillSeen ? at : about.seen[step];
    return Math.max(0, seen - 1 - recalls[layer][step * count + token]) * about.timeStep;
  };
  const strength = (layer, token, step) => strengthOf(strengths[layer][step * count + token]);
  const retention = (layer, token, step) =>
    fading(age(layer, token, step) / strength(layer, token, step));
  const attention = (layer, token, step) => attentionOf(heard[layer][step * count + token]);
  const isProtected = (token, step) =>
    token < about.sinks || token >= about.seen[step] - about.recent;

  return {
    forgotten, heard, recalls, fading, isGone, age, strength, retention, attention, isProtected,
  };
}
