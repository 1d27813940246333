// The same call as code, beside the call.

import { fill, h, icon } from "./dom.js";

const LATER_MS = 200;

export class CodePanel {
  #titles = [];
  #lines = {};
  #chosen = null;
  #timer = 0;
  #turn = 0;

  /** @param {() => string} address of what writes the lines */
  constructor(address) {
    this.address = address;
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "The same call as code" });
    this.text = h("pre", { class: "code", tabindex: 0, role: "tabpanel", id: "code-panel", "aria-label": "Code" });
    this.copy = h("button", { type: "button", class: "small", onclick: () => this.#copied() }, icon("copy"), h("span", {}, "Copy"));
    this.element = h("section", { class: "card code-card", hidden: true }, h("div", { class: "card-head" }, h("h2", {}, "The same call as code"), this.tabs, this.copy), this.text);
  }

  /** @param {object} content `{input}` or `{params}` with files by their names */
  show(content) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(content), LATER_MS);
  }

  async #ask(content) {
    const turn = ++this.#turn;
    const answer = await fetch(this.address(), { method: "POST", body: JSON.stringify(content) }).catch(() => null);
    if (turn !== this.#turn || !answer?.ok) return;
    this.#lines = await answer.json();
    const titles = Object.keys(this.#lines);
    this.element.hidden = !titles.length;
    if (titles.join() !== this.#titles.join()) this.#draw(titles);
    this.text.textContent = this.#lines[this.#chosen] ?? "";
  }

  #draw(titles) {
    this.#titles = titles;
    this.#chosen = titles.includes(this.#chosen) ? this.#chosen : titles[0];
    fill(this.tabs, ...titles.map((title) => h("button", { type: "button", role: "tab", "aria-selected": String(title === this.#chosen), "aria-controls": "code-panel", tabindex: title === this.#chosen ? 0 : -1, onclick: () => this.#choose(title), onkeydown: (event) => this.#keyed(event, title) }, title)));
  }

  #keyed(event, title) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = this.#titles[(this.#titles.indexOf(title) + step + this.#titles.length) % this.#titles.length];
    this.#choose(next);
    this.tabs.querySelector("[aria-selected=true]").focus();
  }

  #choose(title) {
    this.#chosen = title;
    this.#draw(this.#titles);
    this.text.textContent = this.#lines[title];
  }

  async #copied() {
    const label = this.copy.querySelector("span");
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      label.textContent = "Copied";
    } catch {
      // Without permission, what is selected can be copied by hand.
      getSelection().selectAllChildren(this.text);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 1500);
  }
}

/** A value whose files stand by their names. @param {unknown} value @param {Map<string, string>} names by content */
export function withNames(value, names) {
  if (typeof value === "string") {
    if (names.has(value)) return { $file: names.get(value) };
    return value.startsWith("data:") && value.length > 4096 ? { $file: "example" } : value;
  }
  if (Array.isArray(value)) return value.map((each) => withNames(each, names));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withNames(each, names)]));
  return value;
}
