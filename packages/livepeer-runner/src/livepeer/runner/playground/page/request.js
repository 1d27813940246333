// A call that is answered once, or by events: its form beside its result.

import { CodePanel, withNames } from "./code.js";
import { fill, h, icon } from "./dom.js";
import { fileNames } from "./files.js";
import { makeForm } from "./form.js";
import { Growing, shownError, shownMedia, shownValue } from "./result.js";
import { blank } from "./schema.js";
import { EventParser } from "./sse.js";

export class RequestView {
  #running = null;

  /** @param {object} pipeline as the news have it */
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.code = new CodePanel(() => `api/lines/${this.pipeline.key}`);
    this.place = h("div", {});
    /** The fields that somebody has filled in. */
    this.touched = new Set();
    this.run = h("button", { type: "submit", class: "primary" }, "Run");
    this.stop = h("button", { type: "button", hidden: true, onclick: () => this.#running?.abort() }, icon("stop"), "Stop");
    this.form = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); this.#call(); } }, this.place, h("p", { class: "error", role: "alert", hidden: true, id: "form-error" }), h("div", { class: "actions" }, this.run, this.stop, h("button", { type: "button", class: "quiet", onclick: () => this.#reset() }, "Reset")));
    this.formError = this.form.querySelector("#form-error");
    this.progress = h("progress", { max: 1, hidden: true, "aria-label": "Progress" });
    this.says = h("span", { class: "quiet", role: "status" }, "");
    this.result = h("div", { class: "result" }, h("p", { class: "quiet" }, "The result appears here."));
    this.element = h(
      "main",
      { class: "request" },
      h("section", { class: "card", "aria-label": "Input" }, h("div", { class: "card-head" }, h("h2", {}, "Input")), this.form),
      h("section", { class: "card", "aria-label": "Result" }, h("div", { class: "card-head" }, h("h2", {}, "Result"), this.says), this.progress, this.result),
      this.code.element,
    );
    this.#make();
  }

  /** Another version of it serves: what was written stays where its field still is. */
  renew(pipeline) {
    const written = this.fields.value();
    const same = JSON.stringify(pipeline.document.input) === JSON.stringify(this.pipeline.document.input);
    this.pipeline = pipeline;
    if (same) return this.#changed();
    this.#make();
    const touched = Object.entries(written ?? {}).filter(([name]) => this.touched.has(name));
    this.fields.set(Object.fromEntries(touched));
    this.#changed();
  }

  dispose() {
    this.#running?.abort();
  }

  #make() {
    const { input, example } = this.pipeline.document;
    this.fields = makeForm(input ?? {}, { changed: (name) => { this.touched.add(name); this.#changed(); } });
    // The example first: what it has is meant to be tried.
    this.fields.set(example ?? blank(input, input));
    fill(this.place, this.fields.element);
    this.#changed();
  }

  #reset() {
    this.touched.clear();
    this.#make();
    this.#failed([]);
  }

  #changed() {
    this.code.show({ input: withNames(this.fields.value() ?? {}, fileNames) });
  }

  #failed(fields, message = "") {
    this.fields.fail([], "");
    const homeless = fields.filter(({ name, message: told }) => !this.fields.fail(String(name).split("."), told));
    const text = [message, ...homeless.map((each) => `${each.name}: ${each.message}`)].filter(Boolean).join("\n");
    this.formError.textContent = text;
    this.formError.hidden = text === "";
    this.form.querySelector("[aria-invalid=true]")?.focus();
  }

  async #call() {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    this.#failed([]);
    this.run.disabled = true;
    this.stop.hidden = false;
    this.says.textContent = "Running…";
    const began = performance.now();
    try {
      const answer = await fetch(`api/call/${this.pipeline.key}`, { method: "POST", body: JSON.stringify(this.fields.value() ?? {}), headers: { "Content-Type": "application/json" }, signal: running.signal });
      await this.#answered(answer, running.signal);
      this.says.textContent = `${((performance.now() - began) / 1000).toFixed(2)} s`;
    } catch (error) {
      this.says.textContent = running.signal.aborted ? "Stopped" : "Failed";
      if (!running.signal.aborted) shownError(this.result, { message: `The playground cannot be reached: ${error.message}` });
    } finally {
      this.#running = null;
      this.run.disabled = false;
      this.stop.hidden = this.progress.hidden = true;
    }
  }

  async #answered(answer, signal) {
    const type = (answer.headers.get("Content-Type") ?? "").split(";")[0].trim();
    const { output } = this.pipeline.document;
    if (!answer.ok) return this.#refused(await errorOf(answer));
    if (type === "text/event-stream") return this.#events(answer.body, output ?? {}, signal);
    if (type === "application/json") {
      return fill(this.result, shownValue(await answer.json(), output ?? {}, output ?? {}));
    }
    if (type.startsWith("text/")) return fill(this.result, h("p", { class: "text" }, await answer.text()));
    const blob = await answer.blob();
    fill(this.result, shownMedia(URL.createObjectURL(blob), type));
  }

  #refused(error) {
    const fields = error.fields ?? [];
    if (fields.length) {
      this.#failed(fields);
      fill(this.result, h("p", { class: "quiet" }, "The input was refused: see the fields."));
    } else shownError(this.result, error);
    this.says.textContent = "";
  }

  async #events(body, output, signal) {
    const growing = new Growing(output, output);
    fill(this.result, growing.element);
    const parser = new EventParser();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let done = false; !done; ) {
      const piece = await reader.read();
      for (const event of piece.done ? [] : parser.feed(piece.value)) {
        if (event.data === "[DONE]") done = true;
        else if (event.name === "progress") this.#progressed(JSON.parse(event.data));
        else if (event.name === "error") {
          const { error } = JSON.parse(event.data);
          growing.element.append(h("div", {}));
          shownError(growing.element.lastChild, error);
        } else if (event.data) growing.push(parsed(event.data));
        if (done) break;
      }
      done ||= piece.done;
    }
    // An orchestrator goes on with blank lines until its time is over.
    if (!signal.aborted) await reader.cancel().catch(() => {});
  }

  #progressed({ progress, message }) {
    this.progress.hidden = false;
    this.progress.value = progress;
    this.says.textContent = message || `${Math.round(progress * 100)} %`;
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

async function errorOf(answer) {
  const text = await answer.text();
  try {
    const { error } = JSON.parse(text);
    if (error?.message) return error;
  } catch {
    // Not ours: what it says is all there is.
  }
  return { message: text.trim() || `It was answered ${answer.status}.`, type: String(answer.status) };
}
