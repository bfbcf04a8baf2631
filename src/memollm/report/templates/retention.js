"use strict";
// Walks through a trace. Texts of others enter the page as text nodes alone.

(async () => {
  const byId = (id) => document.getElementById(id);
  const about = JSON.parse(byId("about").textContent);
  const steps = about.seen.length, count = about.tokens.length, layers = about.layers.length;
  const ALL = -1; // the choice of all layers

  let trace;
  try {
    trace = await readTrace(about, byId("data").textContent);
  } catch (error) {
    byId("problem").textContent =
      `This browser cannot unpack the trace (${error.message}); one of 2023 or later can.`;
    byId("problem").hidden = false;
    return;
  }
  const { forgotten, heard, fading, isGone, age, strength, retention, attention } = trace;
  const { recalls, isProtected } = trace;

  // --- colours -----------------------------------------------------------------------------

  const RAMP = about.colours.length;
  const UNREAD = -1, GONE = -2;
  const rgb = about.colours.map((it) => [1, 3, 5].map((i) => parseInt(it.slice(i, i + 2), 16)));
  const onDark = rgb.map(([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b < 125);
  const place = (share) => Math.min(RAMP - 1, Math.max(0, Math.floor(share * RAMP)));
  const levels = about.receivedScale[2];

  function level(layer, token, step, colour) {
    if (token >= about.seen[step]) return UNREAD;
    if (isGone(layer, token, step) && !(about.stillSeen && colour !== "kept")) return GONE;
    if (colour === "kept") return Math.floor(0.8 * RAMP);
    if (colour === "retention") return place(retention(layer, token, step));
    const code = heard[layer][step * count + token];
    return code ? place((code - 1) / (levels - 1)) : 0;
  }

  // --- the page ----------------------------------------------------------------------------

  const text = byId("text"), slider = byId("step"), heat = byId("heat");
  let step = steps - 1, layer = 0, colour = about.fades ? "retention" : "kept";
  let token = about.evidence.length ? about.evidence[0][0] : Math.min(about.sinks, count - 1);
  let hovered = null, timer = null;

  const spans = about.tokens.map((it, i) => {
    const span = document.createElement("span");
    span.textContent = it;
    span.dataset.i = i;
    return span;
  });
  const needed = new Set();
  for (const [first, past] of about.evidence) for (let i = first; i < past; i++) needed.add(i);
  text.append(...spans);
  slider.max = steps - 1;
  byId("number").max = count - 1;
  const option = (value, words) => new Option(words, value);
  about.layers.forEach((it, i) => byId("layer").append(option(i, `layer ${it}`)));
  if (layers > 1) byId("layer").append(option(ALL, "all, stacked"));
  if (about.fades) byId("colour").append(option("retention", "by retention"));
  byId("colour").append(option("kept", "what is kept"));
  byId("colour").append(option("attention", "by attention received"));
  byId("ramp").style.background = `linear-gradient(90deg, ${about.colours.join(",")})`;
  for (const it of about.layers) {
    const name = document.createElement("span");
    name.textContent = it;
    byId("names").append(name);
  }
  byId("after").hidden = about.promptTokens >= count;
  if (needed.size) {
    byId("needed").hidden = false;
    about.evidence.forEach(([first, past], i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = about.evidence.length > 1 ? `Needed ${i + 1}` : "To what the answer needs";
      button.addEventListener("click", () => choose(first, true));
      byId("evidence").append(button);
      const mark = document.createElement("i");
      mark.className = "span";
      mark.style.left = `${(100 * first) / count}%`;
      mark.style.width = `${(100 * (past - first)) / count}%`;
      byId("field").append(mark);
    });
  }

  const number = (value, digits = 3) =>
    value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : String(+value.toPrecision(digits));
  const grouped = (value) => value.toLocaleString("en");

  function classes(i, shown) {
    const names = [];
    if (shown === UNREAD) names.push("unread");
    if (shown === GONE) names.push("gone");
    if (about.stillSeen && layer !== ALL && isGone(layer, i, step)) names.push("gone");
    if (needed.has(i)) names.push("needed");
    if (i >= about.promptTokens) names.push("after");
    if (i === token) names.push("picked");
    return names.join(" ");
  }

  function paintText() {
    text.classList.toggle("stacked", layer === ALL);
    for (let i = 0; i < count; i++) {
      const style = spans[i].style;
      if (layer === ALL) {
        const all = about.layers.map((_, it) => level(it, i, step, colour));
        const shown = all.every((it) => it === UNREAD) ? UNREAD : all.every((it) => it === GONE) ? GONE : 0;
        const strip = all.map((it, n) => {
          const ink = it < 0 ? "transparent" : about.colours[it];
          return `${ink} ${(100 * n) / layers}% ${(100 * (n + 1)) / layers}%`;
        });
        spans[i].className = classes(i, shown);
        style.color = "";
        style.background = shown === UNREAD ? "" :
          `linear-gradient(${strip.join(",")}) 0 100% / 100% ${Math.min(14, 4 * layers)}px no-repeat`;
        style.paddingBottom = `${Math.min(14, 4 * layers) + 1}px`;
      } else {
        const shown = level(layer, i, step, colour);
        spans[i].className = classes(i, shown);
        style.background = shown < 0 ? "" : about.colours[shown];
        style.color = shown < 0 ? "" : onDark[shown] ? "#ffffff" : "#101418";
        style.paddingBottom = "";
      }
    }
  }

  function paintMap() {
    heat.width = count;
    heat.height = layers;
    const height = Math.max(8, Math.min(26, 260 / layers));
    heat.style.height = `${layers * height}px`;
    byId("names").style.gridAutoRows = `${height}px`;
    const context = heat.getContext("2d"), image = context.createImageData(count, layers);
    for (let l = 0; l < layers; l++) {
      for (let i = 0; i < count; i++) {
        const shown = level(l, i, step, colour);
        if (shown >= 0) image.data.set([...rgb[shown], 255], 4 * (l * count + i));
        else if (shown === GONE) image.data.set([128, 128, 128, 60], 4 * (l * count + i));
      }
    }
    context.putImageData(image, 0, 0);
    byId("now").style.left = `${(100 * about.seen[step]) / count}%`;
    byId("chosen").style.left = `${(100 * (token + 0.5)) / count}%`;
    const kept = about.layers.map((it, l) => {
      let left = 0;
      for (let i = 0; i < about.seen[step]; i++) left += !isGone(l, i, step);
      return `layer ${it} ${left}`;
    });
    heat.setAttribute("aria-label", `Kept of ${about.seen[step]} tokens: ${kept.join(", ")}`);
  }

  function cell(row, words) {
    const it = document.createElement("td");
    it.textContent = words;
    row.append(it);
  }

  function tell(i) {
    byId("position").textContent = grouped(i);
    const word = about.tokens[i].replace("↵\n", "↵");
    byId("word").textContent = word.length > 80
      ? `${word.slice(0, 80)}… (${grouped(word.length)} characters)` : word;
    const rows = about.layers.map((it, l) => {
      const row = document.createElement("tr"), read = i < about.seen[step];
      const at = forgotten[l * count + i], gone = isGone(l, i, step);
      if (l === (layer === ALL ? 0 : layer)) row.className = "main";
      cell(row, it);
      if (about.fades) {
        cell(row, read ? number(retention(l, i, step)) : "–");
        cell(row, read ? number(strength(l, i, step)) : "–");
        cell(row, read ? number(age(l, i, step)) : "–");
      }
      cell(row, read ? number(attention(l, i, step), 2) : "–");
      const safe = read && isProtected(i, step) ? "protected" : "kept";
      cell(row, !read ? "not read yet" : gone ? grouped(at) : safe);
      return row;
    });
    byId("state").replaceChildren(...rows);
    draw(i);
  }

  // --- the curve of one token --------------------------------------------------------------

  function draw(i) {
    const main = layer === ALL ? 0 : layer, svg = byId("curve");
    const left = 40, right = 470, top = 12, bottom = 205;
    const dt = about.timeStep, born = i, life = about.lifetimes[main];
    const reading = [...about.seen.keys()].filter((s) => about.seen[s] > i);
    // Where each token begins with a strength of its own: that after the step that read it.
    const first = about.fades ? about.initialStrength ?? strength(main, i, reading[0]) : null;
    const predicted = about.fades && life !== null ? born + 1 + (first * life) / dt : null;
    const end = Math.max(count, born + 2);
    const x = (tokens) => left + ((right - left) * (tokens - born)) / (end - born);
    const marks = [];
    function add(name, attributes, words) {
      const it = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const key in attributes) it.setAttribute(key, attributes[key]);
      if (words !== undefined) it.textContent = words;
      marks.push(it);
    }
    const until = (l, s) => !(isGone(l, i, s) && s > 0 && isGone(l, i, s - 1) && !about.stillSeen);
    let highest = 1;
    if (!about.fades) {
      highest = 0;
      for (let l = 0; l < layers; l++) for (const s of reading) highest = Math.max(highest, attention(l, i, s));
      highest = highest || 1;
    }
    const y = (value) => bottom - (bottom - top) * Math.min(1, value / highest);
    const value = about.fades ? retention : attention;
    add("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` });
    for (const share of [0, 0.5, 1]) {
      add("text", { x: left - 5, y: y(share * highest) + 4, "text-anchor": "end" }, number(share * highest, 2));
    }
    for (const at of [born, Math.round((born + end) / 2), end]) {
      add("text", { x: x(at), y: bottom + 16, "text-anchor": at === end ? "end" : "middle" }, grouped(at));
    }
    add("text", { x: right, y: bottom + 30, "text-anchor": "end" }, "tokens read");
    const line = (l) => {
      const points = reading.filter((s) => until(l, s)).map((s) => {
        const at = isGone(l, i, s) && !about.stillSeen ? forgotten[l * count + i] : about.seen[s];
        return [x(at), y(value(l, i, s))];
      });
      return about.fades ? [[x(born + 1), y(fading(0))], ...points] : points;
    };
    const path = (points) => points.map(([a, b], n) => `${n ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
    for (let l = 0; l < layers; l++) if (l !== main) add("path", { class: "other", d: path(line(l)) });
    if (about.fades) {
      const curve = [];
      for (let n = 0; n <= 60; n++) {
        const at = born + 1 + ((end - born - 1) * n) / 60;
        curve.push([x(at), y(fading(((at - born - 1) * dt) / first))]);
      }
      add("path", { class: "would", d: path(curve) });
      if (about.thresholds[main]) {
        add("line", { class: "limit", x1: left, x2: right, y1: y(about.thresholds[main]), y2: y(about.thresholds[main]) });
      }
      if (predicted !== null && predicted <= end) {
        add("line", { class: "would", x1: x(predicted), x2: x(predicted), y1: top + 14, y2: bottom });
        const late = x(predicted) > 300;
        add("text", { class: "would-text", x: x(predicted) + (late ? -5 : 5), y: top + 24,
          "text-anchor": late ? "end" : "start" }, `predicted ${grouped(Math.ceil(predicted))}`);
      }
    }
    const own = line(main);
    add("path", { class: "was", d: path(own) });
    if (own.length <= 60) for (const [cx, cy] of own) add("circle", { class: "dot", cx, cy, r: 2.5 });
    if (about.seen[step] > born) {
      add("line", { class: "here", x1: x(about.seen[step]), x2: x(about.seen[step]), y1: top, y2: bottom });
    }
    const at = forgotten[main * count + i];
    if (at) {
      const [cx, cy] = own.length ? own[own.length - 1] : [x(at), bottom];
      const sx = about.stillSeen ? x(at) : cx, sy = about.stillSeen ? bottom : cy;
      add("path", { class: "cross", d: `M${sx - 5} ${sy - 5}l10 10m0 -10l-10 10` });
    }
    svg.replaceChildren(...marks);
    const words = [`Layer ${about.layers[main]}:`];
    if (!about.fades) words.push("attention received in each step (solid).");
    else {
      words.push("retention after each step (solid), and what it would be if nothing rehearsed the token (dashed).");
      if (life === null) words.push("No threshold stands still here, so no lifetime is predicted.");
      else {
        const formula = about.exponential ? " −S ln(threshold) / time_step" : "";
        words.push(`Predicted lifetime${formula}, as it was read:`);
        words.push(`${grouped(Math.floor((first * life) / dt))} tokens, until ${grouped(Math.ceil(predicted))}.`);
        if (i < about.seen[step] && !isGone(main, i, step)) {
          const due = recalls[main][step * count + i] + 1 + (strength(main, i, step) * life) / dt;
          words.push(`As it stands now: until ${grouped(Math.ceil(due))}.`);
        }
      }
    }
    words.push(at ? `Forgotten when ${grouped(at)} tokens had been read.` : "Never forgotten here.");
    byId("caption").textContent = words.join(" ");
    svg.setAttribute("aria-label", words.join(" "));
  }

  // --- moving about ------------------------------------------------------------------------

  function show() {
    slider.value = step;
    const seen = about.seen[step];
    const what = seen > about.promptTokens ? "after the prompt" : "in the prompt";
    byId("told").textContent =
      `step ${grouped(step + 1)} of ${grouped(steps)} · ${grouped(seen)} of ${grouped(count)} tokens read · ${what}`;
    slider.setAttribute("aria-valuetext", byId("told").textContent);
    const [least, most] = about.receivedScale;
    const ends = {
      retention: ["retention 0", "1"], kept: ["", ""],
      attention: [`attention ≤ ${number(least, 1)}`, `${number(most, 2)} (log)`],
    }[colour];
    byId("low").textContent = ends[0];
    byId("high").textContent = ends[1];
    byId("ramp").hidden = colour === "kept";
    paintText();
    paintMap();
    tell(hovered ?? token);
  }
  function go(to) {
    step = Math.min(steps - 1, Math.max(0, to));
    show();
  }
  function choose(to, scroll) {
    if (!Number.isInteger(to)) return;
    const old = token;
    token = Math.min(count - 1, Math.max(0, to));
    hovered = null;
    for (const it of [old, token]) {
      spans[it].classList.toggle("picked", it === token);
      spans[it].tabIndex = it === token ? 0 : -1;
    }
    byId("number").value = token;
    byId("chosen").style.left = `${(100 * (token + 0.5)) / count}%`;
    if (scroll) {
      const box = text.getBoundingClientRect(), it = spans[token].getBoundingClientRect();
      if (text.scrollHeight > text.clientHeight) text.scrollTop += it.top - box.top - box.height / 3;
    }
    tell(token);
  }
  function play(on) {
    clearInterval(timer);
    timer = null;
    if (on) {
      if (step === steps - 1) go(0);
      timer = setInterval(() => {
        go(step + 1);
        if (step === steps - 1) play(false);
      }, Math.max(60, Math.min(400, 12000 / steps)));
    }
    byId("play").textContent = on ? "❚❚ Pause" : "▶ Play";
    byId("play").setAttribute("aria-pressed", String(on));
  }

  slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
  byId("play").addEventListener("click", () => play(timer === null));
  byId("back").addEventListener("click", () => { play(false); go(step - 1); });
  byId("forth").addEventListener("click", () => { play(false); go(step + 1); });
  byId("layer").addEventListener("change", (it) => { layer = Number(it.target.value); show(); });
  byId("colour").addEventListener("change", (it) => { colour = it.target.value; show(); });
  byId("number").addEventListener("change", (it) => choose(it.target.valueAsNumber, true));
  const under = (event) => (event.target.dataset?.i === undefined ? null : Number(event.target.dataset.i));
  text.addEventListener("pointerover", (event) => {
    const i = under(event);
    if (i !== null) { hovered = i; tell(i); }
  });
  text.addEventListener("pointerleave", () => { hovered = null; tell(token); });
  text.addEventListener("click", (event) => {
    const i = under(event);
    if (i !== null) { choose(i, false); spans[i].focus({ preventScroll: true }); }
  });
  const across = (event) => {
    const box = heat.getBoundingClientRect();
    return Math.min(count - 1, Math.max(0, Math.floor((count * (event.clientX - box.left)) / box.width)));
  };
  heat.addEventListener("pointermove", (event) => { hovered = across(event); tell(hovered); });
  heat.addEventListener("pointerleave", () => { hovered = null; tell(token); });
  heat.addEventListener("click", (event) => choose(across(event), true));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = event.target, field = at.matches("input, select, textarea, summary");
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move && at.parentElement === text) {
      choose(token + move, true);
      spans[token].focus({ preventScroll: true });
    } else if (move && !field) {
      play(false);
      go(step + move);
    } else if (event.key === " " && !field && !at.matches("button")) {
      play(timer === null);
    } else return;
    event.preventDefault();
  });

  byId("viewer").hidden = false;
  show();
  choose(token, true);
  document.documentElement.dataset.ready = "yes";
})();
