// A file as input: chosen, dropped, pasted, or recorded; its content goes as a data: URI.

import { freshId, h } from "./dom.js";

/** A little below what a container takes by default (128 MiB), base64 and all. */
const MOST_BYTES = 90 * 1024 * 1024;
const WORDS = { "image/*": "picture", "audio/*": "sound", "video/*": "video" };

/** The names of the files that are chosen now, by their content: what a line of code calls them. */
export const fileNames = new Map();

export class FileField {
  #value = null;
  #url = null;

  constructor(schema, context) {
    const accepts = schema.contentMediaType && schema.contentMediaType !== "*/*" ? schema.contentMediaType : "";
    this.word = WORDS[accepts] ?? "file";
    this.bare = schema.format === "base64";
    this.accepts = accepts;
    this.on = context.on;
    const id = freshId();
    const error = h("p", { class: "error", role: "alert", hidden: true, id: freshId("e") });
    this.input = h("input", { type: "file", id, accept: accepts || undefined, class: "covered", "aria-describedby": error.id, onchange: () => this.input.files[0] && this.take(this.input.files[0]) });
    this.preview = h("div", { class: "preview" });
    this.says = h("span", {});
    this.#say(`Drop or paste a ${this.word} here, or `);
    this.remove = h("button", { type: "button", class: "small", hidden: true, onclick: () => { this.set(null); this.on(); this.input.focus(); } }, "Remove");
    this.zone = h("label", { class: "drop", for: id }, this.input, this.says);
    this.element = h(
      "div",
      { class: "field", "data-field": context.name },
      h("div", { class: "label-row" }, h("label", { for: id }, context.title, context.required && !context.nested && h("span", { class: "quiet" }, " required")), this.remove),
      context.help && h("p", { class: "help" }, context.help),
      this.zone,
      this.preview,
      error,
    );
    this.show = (message) => {
      error.textContent = message;
      error.hidden = message === "";
      if (message) this.input.setAttribute("aria-invalid", "true");
      else this.input.removeAttribute("aria-invalid");
    };
    for (const kind of ["dragover", "dragleave", "drop"]) this.zone.addEventListener(kind, (event) => this.#dragged(event));
    this.element.addEventListener("paste", (event) => this.#pasted(event));
  }

  #say(text) {
    this.says.replaceChildren(text, h("span", { class: "link" }, "choose one"));
  }

  #dragged(event) {
    event.preventDefault();
    this.zone.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop" && event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
  }

  #pasted(event) {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    this.take(file);
  }

  /** @param {File} file */
  async take(file) {
    if (file.size > MOST_BYTES) return this.show(`${file.name} has ${(file.size / 1048576).toFixed(0)} MB: a request takes up to ${MOST_BYTES / 1048576}. Give the URL of larger files by the Python line.`);
    this.show("");
    const content = await new Promise((done, fail) => {
      const reader = new FileReader();
      reader.addEventListener("load", () => done(reader.result));
      reader.addEventListener("error", () => fail(reader.error));
      reader.readAsDataURL(file);
    }).catch((error) => this.show(`${file.name} cannot be read: ${error.message}`));
    if (!content) return;
    fileNames.delete(this.#value);
    this.#value = this.bare ? content.slice(content.indexOf(",") + 1) : content;
    fileNames.set(this.#value, file.name);
    this.#preview(file.type, URL.createObjectURL(file), file.name);
    this.on();
  }

  #preview(type, url, name) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = url;
    this.remove.hidden = url === null;
    this.says.hidden = url !== null;
    this.zone.classList.toggle("full", url !== null);
    const shown = url === null ? null : type.startsWith("image/") ? h("img", { src: url, alt: name }) : type.startsWith("video/") ? h("video", { src: url, controls: true, "aria-label": name }) : type.startsWith("audio/") ? h("audio", { src: url, controls: true, "aria-label": name }) : h("p", {}, name);
    this.preview.replaceChildren(...(shown ? [shown] : []));
  }

  value() {
    return this.#value ?? undefined;
  }

  set(value) {
    fileNames.delete(this.#value);
    this.#value = value || null;
    this.input.value = "";
    this.#preview("", null, "");
    // An example is as small as a file can be: nothing to be looked at.
    this.#say(this.#value ? `An example is set: drop or paste a ${this.word} in its place, or ` : `Drop or paste a ${this.word} here, or `);
  }

  fail(path, message) {
    this.show(message);
    return true;
  }
}
