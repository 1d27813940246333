// The page: which pipeline, how it is, and the view for its kind.

import { fill, h } from "./dom.js";
import { LiveView } from "./live.js";
import { RequestView } from "./request.js";

const app = document.getElementById("app");
const STATES = { starting: "Starting…", serving: "Ready", reloading: "Reloading…", failed: "Does not load" };

/** What a pipeline that the address names gets before another one is shown. */
const LATER_MS = 1500;

class Page {
  #pipelines = new Map();
  #chosen = null;
  #view = null;
  #version = 0;
  #kind = "";
  #listed = "";

  constructor() {
    this.select = h("select", { hidden: true, "aria-label": "Pipeline", onchange: () => this.#choose(this.select.value) });
    this.title = h("h1", {}, "Playground");
    this.about = h("p", { class: "about" });
    this.state = h("span", { class: "pill", role: "status", id: "state" }, "Connecting…");
    this.cost = h("p", { class: "cost", id: "cost", hidden: true });
    this.trouble = h("div", {});
    this.place = h("div", { id: "view" });
    fill(app, h("header", {}, h("div", { class: "names" }, this.title, this.select, this.state), this.about, this.cost), this.trouble, this.place);
    this.#listen();
  }

  #listen() {
    const news = new EventSource("api/news");
    news.addEventListener("message", ({ data }) => this.#heard(JSON.parse(data)));
    news.addEventListener("error", () => this.#say("failed", "Not connected", "The command that serves this page does not answer: it may have ended. Start it again, and open the address that it prints then."));
  }

  #heard(pipeline) {
    this.#pipelines.set(pipeline.key, pipeline);
    // The address names it, so that a reload of the page comes back to it.
    const wanted = named();
    if (pipeline.name === wanted || (this.#chosen === null && !wanted)) this.#switch(pipeline.key);
    if (this.#chosen === null) setTimeout(() => this.#chosen === null && this.#choose(pipeline.key), LATER_MS);
    this.#list();
    if (pipeline.key === this.#chosen) this.#show(pipeline);
  }

  #list() {
    this.select.hidden = this.#pipelines.size < 2;
    this.title.hidden = !this.select.hidden;
    const names = [this.#chosen, ...[...this.#pipelines.values()].map(({ name }) => name)].join("\n");
    if (names === this.#listed) return;
    this.#listed = names;
    fill(this.select, ...[...this.#pipelines.values()].map(({ key, name }) => h("option", { value: key, selected: key === this.#chosen }, name)));
  }

  #choose(key) {
    this.#switch(key);
    const pipeline = this.#pipelines.get(key);
    history.replaceState(null, "", `#${encodeURIComponent(pipeline.name)}`);
    this.#show(pipeline);
  }

  #switch(key) {
    if (this.#chosen === key) return;
    this.#chosen = key;
    this.#leave();
    this.#list();
  }

  #show(pipeline) {
    const { document: about, state, reason, trace } = pipeline;
    this.title.textContent = pipeline.name;
    document.title = `${pipeline.name} · playground`;
    this.about.textContent = about.description ?? "";
    this.#say(state, STATES[state], "");
    this.#costs(pipeline);
    fill(
      this.trouble,
      state === "failed" &&
        h("section", { class: "card trouble", role: "alert" }, h("h2", {}, `${pipeline.name} does not load`), h("p", {}, reason, about.type && pipeline.version ? ". What is below is the version before, as far as it still serves; saving a file tries again." : ". Saving a file tries again."), trace && h("pre", { class: "code", tabindex: 0, "aria-label": "Traceback" }, trace)),
    );
    if (!about.type) return fill(this.place, state === "failed" ? null : h("p", { class: "quiet waiting" }, "The pipeline is starting."));
    if (this.#view && this.#kind === about.type && this.#version !== pipeline.version) this.#view.renew(pipeline);
    else if (!this.#view || this.#kind !== about.type) {
      this.#leave();
      this.#view = about.type === "live" ? new LiveView(pipeline) : new RequestView(pipeline);
      fill(this.place, this.#view.element);
    }
    this.#kind = about.type;
    this.#version = pipeline.version;
  }

  #costs({ price, spent }) {
    this.cost.hidden = !price && !spent;
    this.cost.textContent = `${price ? `Costs ${price} · ` : ""}${spent ? `${spent.toPrecision(3)} wei spent` : "nothing spent"} since this page is served`;
  }

  #leave() {
    this.#view?.dispose();
    this.#view = null;
    this.#kind = "";
    fill(this.place);
  }

  #say(state, text, why) {
    this.state.dataset.state = state;
    this.state.textContent = text;
    this.state.title = why;
  }
}

/** The pipeline that the address names. */
function named() {
  return decodeURIComponent(location.hash.slice(1));
}

new Page();
