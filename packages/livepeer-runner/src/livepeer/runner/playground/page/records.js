// Records and events as they come, the newest first, and no more than can be read.

import { fill, h } from "./dom.js";

const MOST = 200;
const SHOWN = 50;

/** A record as JSON; of a status the figures that are looked at, since it has dozens. */
function worded(record) {
  const { type, state, inference_status: work, ...rest } = record;
  if (type !== "status" || !work) return JSON.stringify(record);
  const { latency_ms: latency = {}, last_error: error } = work;
  const parts = [state, `${work.frames ?? 0} pictures`, `${work.fps ?? 0} fps`];
  if (latency.p50 !== undefined) parts.push(`${latency.p50} ms in the pipeline (p95 ${latency.p95})`);
  parts.push(`${work.dropped ?? 0} dropped`, `${work.errors ?? 0} errors`);
  if (error) parts.push(error);
  if (rest.warning ?? work.warning) parts.push(rest.warning ?? work.warning);
  return `status: ${parts.join(", ")}`;
}

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
      if (element.open) fill(list, ...this.#lists[kind].slice(0, SHOWN).map(({ at, record }) => h("li", {}, h("time", {}, at), h("code", {}, worded(record)))));
    }
  }
}
