// Records and events as they come, the newest first, and no more than can be read.

import { fill, h } from "./dom.js";

const MOST = 200;
const SHOWN = 50;

export class Records {
  #lists = { data: [], event: [] };
  #counts = { data: 0, event: 0 };
  #drawing = false;

  constructor() {
    this.places = { data: this.#place("Data records"), event: this.#place("Events") };
    this.element = h("div", { class: "records" }, this.places.data.element, this.places.event.element);
  }

  data(record) {
    this.#add("data", record);
  }

  event(record) {
    // A status comes every few seconds: the newest one is all that matters.
    if (record.type === "status") this.#lists.event = this.#lists.event.filter((each) => each.record.type !== "status");
    this.#add("event", record);
  }

  #place(title) {
    const count = h("span", { class: "quiet" }, "0");
    const list = h("ol", { class: "log", tabindex: 0, "aria-label": title });
    const element = h("details", { hidden: true, ontoggle: () => this.#draw() }, h("summary", {}, `${title} `, count), list);
    return { element, list, count };
  }

  #add(kind, record) {
    this.#counts[kind] += 1;
    const list = this.#lists[kind];
    list.unshift({ at: new Date().toLocaleTimeString(), record });
    if (list.length > MOST) list.pop();
    const { element } = this.places[kind];
    if (element.hidden) {
      element.hidden = false;
      element.open = kind === "data";
    }
    if (this.#drawing) return;
    this.#drawing = true;
    setTimeout(() => this.#draw(), 100);
  }

  #draw() {
    this.#drawing = false;
    for (const [kind, { element, list, count }] of Object.entries(this.places)) {
      count.textContent = String(this.#counts[kind]);
      if (element.open) fill(list, ...this.#lists[kind].slice(0, SHOWN).map(({ at, record }) => h("li", {}, h("time", {}, at), h("code", {}, JSON.stringify(record)))));
    }
  }
}
