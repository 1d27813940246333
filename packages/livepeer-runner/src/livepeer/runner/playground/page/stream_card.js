// One stream as a card: its result, its controls, its figures and its words.

import { fill, h, icon, short } from "./dom.js";
import { Figure } from "./figures.js";
import { makeForm } from "./form.js";
import { Recorder } from "./recorder.js";
import { Records } from "./records.js";
import { LiveStream } from "./stream.js";

const LOOK_MS = 500;
const SAYS = { stopped: "Stopped", starting: "Starting…", live: "Live", ended: "Ended", refused: "Refused" };
/** What a stream whose pipeline was replaced waits before it starts again. */
const AGAIN_MS = 50;

export class StreamCard {
  #recorder = null;
  #dropped = 0;
  #droppedNow = 0;
  #wanted = false;

  /** @param {object} pipeline @param {object} on what of the page it needs: see `LiveView` */
  constructor(pipeline, on) {
    this.pipeline = pipeline;
    this.on = on;
    this.canvas = h("canvas", { class: "picture result-picture", width: 640, height: 360, role: "img", "aria-label": "The result" });
    this.state = h("span", { class: "pill", role: "status" }, SAYS.stopped);
    this.title = h("h2", {}, "Result");
    this.close = h("button", { type: "button", class: "small icon-only", "aria-label": "Remove this stream", onclick: () => on.removed() }, icon("close"));
    this.reason = h("p", { class: "notice", role: "alert", hidden: true });
    this.toggle = h("button", { type: "button", class: "small", onclick: () => (this.runs ? this.stop() : this.start()) }, "Start");
    this.sound = h("button", { type: "button", class: "small icon-only", hidden: true, onclick: () => this.#turnSound() });
    this.meter = h("meter", { min: 0, max: 1, hidden: true, "aria-label": "Loudness of the result" });
    this.record = h("button", { type: "button", class: "small", disabled: !Recorder.works, title: Recorder.works ? undefined : "This browser cannot record", onclick: () => this.#record() }, icon("record"), h("span", {}, "Record"));
    this.kept = h("span", {});
    this.full = h("button", { type: "button", class: "small icon-only", "aria-label": "Full screen", onclick: () => this.canvas.requestFullscreen?.() }, icon("full"));
    this.placeholder = h("p", { class: "placeholder" }, "");
    this.figures = {
      rate: new Figure("Pictures", { unit: "fps", top: 30, help: "Pictures of the result in a second" }),
      latency: new Figure("Latency", { unit: "ms", top: 40, help: "From a picture of the input to the same picture in the result, the middle of the last five seconds" }),
      dropped: new Figure("Left out", { top: 4, help: "Pictures that were left out, by the pipeline or on this page" }),
    };
    this.params_place = h("div", {});
    /** The parameters that somebody has set. */
    this.touched = new Set();
    this.records = new Records();
    this.element = h(
      "section",
      { class: "card stream", "aria-label": "Result" },
      h("div", { class: "card-head" }, this.title, this.state, this.close),
      h("div", { class: "screen" }, this.canvas, this.placeholder),
      h("div", { class: "bar" }, this.toggle, this.sound, this.meter, this.record, this.kept, this.full),
      this.reason,
    );
    this.stream = this.#makeStream();
    this.element.append(h("div", { class: "figures" }, ...Object.values(this.figures).map((figure) => figure.element)), this.stream.guards.element, this.params_place, this.records.element);
    this.#makeParams();
    this.#control();
    this.timer = setInterval(() => this.#look(), LOOK_MS);
    this.#paintSound();
  }

  get params() {
    return this.fields.value() ?? {};
  }

  get runs() {
    return this.stream.state === "live" || this.stream.state === "starting";
  }

  #makeStream() {
    const stream = new LiveStream(this.pipeline.key, this.canvas, {
      state: (name, reason) => this.#changed(name, reason),
      event: (record) => this.#event(record),
      data: (record) => this.records.data(record),
      refused: (error) => this.#refused(error),
      applied: () => this.#failed([]),
      track: (track) => this.#tracked(track),
      note: (text) => this.#say(text),
    });
    stream.onkey = () => this.on.wantsKey();
    return stream;
  }

  start() {
    const sent = this.on.sent();
    if (!sent) return;
    this.#wanted = true;
    this.on.starves(this.stream);
    this.stream.stop();
    this.#say("");
    this.stream.start({ params: this.params, ...sent });
    this.on.feeds(this.stream);
  }

  /** @param {string} text why it does not play yet */
  wait(text) {
    this.placeholder.textContent = text;
  }

  stop() {
    this.#wanted = false;
    this.on.starves(this.stream);
    this.stream.stop();
  }

  mute() {
    this.stream.soundOut.turn(false).then(() => this.#paintSound());
  }

  renew(pipeline) {
    const same = JSON.stringify(pipeline.document.params) === JSON.stringify(this.pipeline.document.params);
    this.pipeline = pipeline;
    if (!same) {
      // What was chosen stays, as far as there is a field for it; what was not begins anew.
      const chosen = Object.fromEntries(Object.entries(this.params).filter(([name]) => this.touched.has(name)));
      this.#makeParams();
      this.fields.set(chosen);
    }
    this.on.params(this.params);
    // The former's stream is drained while the new one serves: it is left for it at once.
    if (this.#wanted) setTimeout(() => this.#wanted && this.start(), AGAIN_MS);
  }

  dispose() {
    clearInterval(this.timer);
    this.#wanted = false;
    this.on.starves(this.stream);
    this.stream.dispose();
  }

  isAlone(alone, number) {
    this.close.hidden = alone;
    this.title.textContent = alone ? "Result" : `Result ${number}`;
    this.element.setAttribute("aria-label", this.title.textContent);
  }

  // --- parameters ---------------------------------------------------------------------------------

  #makeParams() {
    const schema = this.pipeline.document.params ?? {};
    const has = Object.keys(schema.properties ?? {}).length > 0 || schema.additionalProperties === true;
    this.fields = makeForm(schema, {
      changed: (name, value) => {
        this.touched.add(name);
        this.stream.update(name === null ? this.params : { [name]: value });
        this.on.params(this.params);
      },
    });
    const error = h("p", { class: "error", role: "alert", hidden: true });
    this.paramsError = error;
    fill(this.params_place, has && h("section", { class: "params", "aria-label": "Parameters" }, h("h3", {}, "Parameters"), this.fields.element, error));
  }

  #failed(fields, message = "") {
    this.fields.fail([], "");
    const homeless = fields.filter((each) => !this.fields.fail(String(each.name).split("."), each.message));
    const text = [message, ...homeless.map((each) => `${each.name}: ${each.message}`)].filter(Boolean).join("\n");
    this.paramsError.textContent = text;
    this.paramsError.hidden = text === "";
  }

  #refused(error) {
    const fields = error.fields ?? [];
    this.#failed(fields, fields.length || !this.runs ? "" : error.message);
  }

  #control() {
    if (!this.pipeline.document.control) return;
    const text = h("input", { type: "text", class: "code", value: "{}", "aria-label": "A message for on_control, as JSON" });
    const send = () => {
      try {
        const message = JSON.parse(text.value);
        if (message === null || typeof message !== "object" || Array.isArray(message)) throw new Error("it is a JSON object");
        this.stream.control(message);
        this.#say("");
      } catch (error) {
        this.#say(`The message cannot be sent: ${error.message}`);
      }
    };
    this.params_place.after(h("form", { class: "control", onsubmit: (event) => { event.preventDefault(); send(); } }, text, h("button", { class: "small" }, "Send message")));
  }

  // --- what it says -------------------------------------------------------------------------------

  #changed(name, reason) {
    this.state.textContent = SAYS[name];
    this.state.dataset.state = name;
    this.toggle.textContent = this.runs ? "Stop" : "Start";
    this.placeholder.textContent = name === "live" && !this.stream.frames ? "Waiting for the first picture…" : "";
    if (name === "ended" || name === "refused") this.#say(reason);
    if (name !== "live" && this.#recorder) this.#record();
  }

  #event(event) {
    this.records.event(event);
    const status = event.inference_status;
    if (event.type !== "status" || !status) return;
    const now = status.dropped ?? 0;
    this.#dropped += Math.max(0, now - this.#droppedNow);
    this.#droppedNow = now;
  }

  #tracked(track) {
    if (track.kind !== "audio") return;
    this.sound.hidden = this.meter.hidden = false;
    this.#paintSound();
  }

  #say(text) {
    this.reason.textContent = text;
    this.reason.hidden = text === "";
  }

  #look() {
    const { stream, figures } = this;
    const live = stream.state === "live";
    if (stream.frames) this.placeholder.textContent = "";
    figures.rate.push(live ? stream.rate.value() : null, live ? undefined : "–");
    const middle = live ? stream.latency.at(0.5) : null;
    const slow = live ? stream.latency.at(0.95) : null;
    figures.latency.push(middle, middle === null ? "–" : `${short(middle)} ms`);
    figures.latency.element.dataset.p95 = slow ?? "";
    if (slow !== null) figures.latency.element.title = `p50 ${short(middle)} ms, p95 ${short(slow)} ms: from a picture of the input to the same picture in the result`;
    figures.dropped.push(this.#dropped + stream.guards.total, String(this.#dropped + stream.guards.total));
    if (!this.meter.hidden) {
      this.meter.value = stream.soundOut.level();
      this.element.dataset.pitch = Math.round(stream.soundOut.pitch());
      this.#paintSound();
    }
  }

  // --- sound and recording ------------------------------------------------------------------------

  async #turnSound() {
    const { soundOut } = this.stream;
    await soundOut.turn(soundOut.isRunning ? !soundOut.on : true);
    this.#paintSound();
  }

  #paintSound() {
    const { soundOut } = this.stream;
    const heard = soundOut.on && soundOut.isRunning;
    if (this.sound.dataset.heard === String(heard)) return;
    this.sound.dataset.heard = String(heard);
    this.sound.setAttribute("aria-label", heard ? "Turn the sound off" : "Turn the sound on");
    fill(this.sound, icon(heard ? "sound" : "silent"));
  }

  async #record() {
    const label = this.record.querySelector("span");
    if (!this.#recorder) {
      this.#recorder = new Recorder(this.canvas, this.stream.soundOut.destination?.stream ?? null);
      this.#recorder.start();
      this.record.classList.add("recording");
      label.textContent = "Stop recording";
      return;
    }
    const recorder = this.#recorder;
    this.#recorder = null;
    this.record.classList.remove("recording");
    label.textContent = "Record";
    const file = await recorder.stop();
    if (this.keptUrl) URL.revokeObjectURL(this.keptUrl);
    this.keptUrl = URL.createObjectURL(file);
    fill(this.kept, h("a", { class: "button small", href: this.keptUrl, download: file.name }, `Download (${(file.size / 1048576).toFixed(1)} MB)`));
  }
}
