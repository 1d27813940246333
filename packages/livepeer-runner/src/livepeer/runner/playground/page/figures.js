// Figures of a stream: a number, where it has been, and what went wrong as soon as it does.

import { h, short } from "./dom.js";

const SAMPLES = 120;
/** A line of fewer samples than this begins at the left, and grows. */
const MOST_STRETCHED = 24;
const SVG = "http://www.w3.org/2000/svg";

/** One figure with a sparkline of its last minute. */
export class Figure {
  #values = [];
  #number;
  #line;
  #top;

  /** @param {string} title @param {{unit?: string, top?: number, help?: string}} options `top`: what the line reaches at least */
  constructor(title, { unit = "", top = 1, help = "" } = {}) {
    this.unit = unit;
    this.#top = top;
    this.#number = h("span", { class: "figure-number" }, "–");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "spark");
    svg.setAttribute("viewBox", `0 0 ${SAMPLES} 24`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    this.#line = document.createElementNS(SVG, "polyline");
    svg.append(this.#line);
    this.element = h("div", { class: "figure", title: help || undefined }, h("span", { class: "figure-title" }, title), this.#number, svg);
    this.element.dataset.figure = title;
  }

  /** @param {number|null} value @param {string} [text] in place of the number */
  push(value, text) {
    this.#values.push(value);
    if (this.#values.length > SAMPLES) this.#values.shift();
    this.#number.textContent = text ?? short(value, this.unit);
    this.element.dataset.value = value ?? "";
    const top = Math.max(this.#top, ...this.#values.filter((each) => each !== null));
    const wide = SAMPLES / Math.max(MOST_STRETCHED, this.#values.length);
    const points = [];
    this.#values.forEach((each, i) => {
      if (each !== null) points.push(`${(i * wide).toFixed(1)},${(22 - (20 * each) / top).toFixed(1)}`);
    });
    this.#line.setAttribute("points", points.join(" "));
  }
}

/** Counts of what a guard has done; each shows itself when it first does something. */
export class Guards {
  #counts = new Map();

  constructor() {
    this.element = h("ul", { class: "guards", hidden: true, "aria-label": "What was left out" });
  }

  /** @param {string} name what happened, in words @param {number} by */
  count(name, by = 1) {
    if (by <= 0) return;
    let guard = this.#counts.get(name);
    if (!guard) {
      const number = h("b", {}, "0");
      guard = { total: 0, number, item: h("li", {}, number, ` ${name}`) };
      guard.item.dataset.guard = name;
      this.#counts.set(name, guard);
      this.element.append(guard.item);
      this.element.hidden = false;
    }
    guard.total += by;
    guard.number.textContent = String(guard.total);
  }

  get total() {
    return [...this.#counts.values()].reduce((sum, guard) => sum + guard.total, 0);
  }
}

/** Events in a second, over the last seconds. */
export class Rate {
  #times = [];

  add(now = performance.now()) {
    this.#times.push(now);
    if (this.#times.length > 600) this.#times.shift();
  }

  value(now = performance.now()) {
    while (this.#times.length && this.#times[0] < now - 2000) this.#times.shift();
    return this.#times.length / 2;
  }
}

/** The middle and the slow end of the last values. */
export class Spread {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > 150) this.#values.shift();
  }

  at(share) {
    if (!this.#values.length) return null;
    const ordered = [...this.#values].sort((a, b) => a - b);
    return ordered[Math.floor(share * (ordered.length - 1))];
  }
}
