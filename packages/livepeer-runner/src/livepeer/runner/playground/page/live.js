// Live: one input, and beside it a card for each stream that it is sent to.

import { CodePanel } from "./code.js";
import { fill, h, icon } from "./dom.js";
import { SoundIn, CHANNELS } from "./sound.js";
import { openCamera, openFile, openPattern, openScreen } from "./source.js";
import { StreamCard } from "./stream_card.js";
import { noDevices, noStreams } from "./support.js";
import { Uplink } from "./uplink.js";

export class LiveView {
  #source = null;
  #uplink = new Uplink();
  #soundIn = new SoundIn();
  #cards = [];
  #opening = 0;

  /** @param {object} pipeline as the news have it */
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.code = new CodePanel(() => `api/lines/${this.pipeline.key}`);
    this.cards = h("div", { class: "streams" });
    this.more = h("button", { type: "button", class: "wide", onclick: () => this.#add(true) }, icon("plus"), "Another stream");
    const trouble = noStreams();
    this.element = h(
      "main",
      { class: "live" },
      h("div", { class: "side" }, pipeline.document.generates ? this.#noInput() : this.#input(), this.code.element),
      h("div", { class: "beside" }, trouble ? h("section", { class: "card" }, h("p", { class: "notice" }, trouble)) : this.cards, trouble ? null : this.more),
    );
    this.works = trouble === null;
    if (this.works) this.#begin();
    else this.code.show({ params: {} });
  }

  get #generates() {
    return this.pipeline.document.generates === true;
  }

  async #begin() {
    this.#add(false);
    // The page plays at once; whoever would rather be asked chooses another input. What costs
    // something waits for somebody who wants it.
    if (this.pipeline.price) this.#cards[0].wait(`Press Start: it costs ${this.pipeline.price}.`);
    if (!this.#generates) await this.#use("pattern", openPattern, !this.pipeline.price);
    else if (!this.pipeline.price) this.#cards[0].start();
  }

  /** Another version of it serves: streams of the former are over, and go on with the new one. */
  renew(pipeline) {
    this.pipeline = pipeline;
    for (const card of this.#cards) card.renew(pipeline);
    this.#count();
  }

  dispose() {
    for (const card of this.#cards.splice(0)) card.dispose();
    this.#drop();
  }

  // --- the input ----------------------------------------------------------------------------------

  #noInput() {
    return h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Input")), h("p", { class: "quiet" }, "This pipeline makes its own pictures and sound: there is nothing to be sent."));
  }

  #input() {
    const refused = noDevices();
    this.view = h("div", { class: "screen" });
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.file = h("input", { type: "file", accept: "video/*,audio/*", class: "covered", id: "input-file", onchange: () => this.#chosen(this.file.files[0]) });
    this.microphone = h("input", { type: "checkbox", role: "switch", class: "switch", id: "with-microphone" });
    this.size = h("select", { id: "input-size", "aria-label": "Size", onchange: () => this.#resize() }, ...[360, 540, 720, 1080].map((lines) => h("option", { value: lines, selected: lines === 720 }, `${lines}p`)));
    this.buttons = {
      pattern: this.#button("pattern", "Test picture", () => this.#use("pattern", openPattern)),
      camera: this.#button("camera", "Camera", () => this.#use("camera", () => openCamera({ camera: true, microphone: this.microphone.checked })), refused),
      screen: this.#button("screen", "Screen", () => this.#use("screen", openScreen), refused),
      microphone: this.#button("microphone", "Microphone", () => this.#use("microphone", () => openCamera({ camera: false, microphone: true })), refused),
    };
    const card = h(
      "section",
      { class: "card input-card", "aria-label": "Input" },
      h("div", { class: "card-head" }, h("h2", {}, "Input"), h("label", { class: "inline" }, h("span", { class: "quiet" }, "Size"), this.size)),
      this.view,
      h("div", { class: "sources", role: "group", "aria-label": "Where the input comes from" }, ...Object.values(this.buttons), h("label", { class: "button", for: "input-file", id: "source-file" }, this.file, icon("file"), "File")),
      h("label", { class: "switched", for: "with-microphone", hidden: refused !== null }, h("span", {}, "Microphone with the camera"), this.microphone),
      refused && h("p", { class: "notice" }, refused),
      this.notice,
    );
    for (const kind of ["dragover", "dragleave", "drop"]) {
      card.addEventListener(kind, (event) => {
        event.preventDefault();
        card.classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.#chosen(event.dataTransfer.files[0]);
      });
    }
    return card;
  }

  #button(name, title, action, refused = null) {
    return h("button", { type: "button", id: `source-${name}`, "aria-pressed": "false", disabled: refused !== null, title: refused ?? undefined, onclick: action }, icon(name), title);
  }

  #chosen(file) {
    this.file.value = "";
    if (file) this.#use("file", () => openFile(file));
  }

  /** @param {boolean} starts also what does not play yet */
  async #use(name, open, starts = true) {
    const turn = ++this.#opening;
    this.#say("");
    let source;
    try {
      source = await open();
    } catch (error) {
      const reason = { NotAllowedError: "The browser was not allowed to use it.", NotFoundError: "There is none at this machine.", NotReadableError: "Another program uses it." }[error.name];
      if (turn === this.#opening) this.#say(reason ?? error.message);
      return;
    }
    if (turn !== this.#opening) return source.stop();
    this.#drop();
    this.#source = source;
    source.onended = () => this.#source === source && this.#use("pattern", openPattern, !this.pipeline.price);
    for (const [each, button] of Object.entries(this.buttons)) button.setAttribute("aria-pressed", String(each === name));
    fill(this.view, source.hasPictures ? source.video : h("p", { class: "placeholder" }, icon("microphone"), "Sound only"));
    if (!source.hasPictures) source.video.play().catch(() => {});
    if (source.hasPictures) this.#uplink.follow(source.video);
    if (this.#sendsSound) await this.#soundIn.follow(source);
    // What a stream is fed with is told when it starts: another input is another stream.
    for (const card of this.#cards) if (starts || card.runs) card.start();
    if (source.hears) for (const card of this.#cards) card.mute();
  }

  get #sendsSound() {
    return this.#source?.hasSound === true && this.pipeline.document.audio !== "dropped";
  }

  #resize() {
    this.#uplink.most = Number(this.size.value);
    this.#uplink.resize();
  }

  #say(text) {
    this.notice.textContent = text;
    this.notice.hidden = text === "";
  }

  #drop() {
    this.#uplink.leave();
    this.#soundIn.leave();
    this.#source?.stop();
    this.#source = null;
  }

  // --- the streams --------------------------------------------------------------------------------

  #add(starts) {
    const card = new StreamCard(this.pipeline, {
      number: this.#cards.length + 1,
      sent: () => this.#sent(),
      feeds: (stream) => this.#feed(stream),
      starves: (stream) => {
        this.#uplink.starve(stream);
        this.#soundIn.starve(stream);
      },
      wantsKey: () => this.#uplink.wantKey(),
      rate: () => (this.#generates ? null : this.#uplink.rate.value()),
      params: (params) => card === this.#cards[0] && this.code.show({ params }),
      removed: () => this.#remove(card),
    });
    this.#cards.push(card);
    this.cards.append(card.element);
    this.code.show({ params: this.#cards[0].params });
    this.#count();
    if (starts) card.start();
  }

  #remove(card) {
    card.dispose();
    card.element.remove();
    this.#cards.splice(this.#cards.indexOf(card), 1);
    this.#count();
  }

  #count() {
    const { capacity } = this.pipeline;
    this.more.hidden = capacity < 2;
    this.more.disabled = this.#cards.length >= capacity;
    this.more.lastChild.textContent = this.more.disabled ? `All ${capacity} streams at once are here` : "Another stream";
    this.#cards.forEach((card, i) => card.isAlone(this.#cards.length === 1, i + 1));
  }

  #sent() {
    if (this.#generates) return { width: 0, height: 0, channels: 0 };
    if (!this.#source) return null;
    const { width, height } = this.#source.hasPictures ? this.#uplink.size : { width: 0, height: 0 };
    return { width, height, channels: this.#sendsSound ? CHANNELS : 0 };
  }

  #feed(stream) {
    if (this.#generates) return;
    if (this.#source?.hasPictures) this.#uplink.feed(stream);
    if (this.#sendsSound) this.#soundIn.feed(stream);
  }
}
