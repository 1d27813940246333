// A result as what it is: a picture, a player, a table, text, or JSON where nothing else is known.

import { fill, h } from "./dom.js";
import { alternatives, resolved, titleOf } from "./schema.js";

const MOST_ROWS = 500;
const DATA = /^data:([a-z]+\/[a-z0-9.+-]+)[^,]*;base64,/i;

/** @param {unknown} value @param {object} schema @param {object} root */
export function shownValue(value, schema, root, depth = 0) {
  const found = value === null ? {} : chosen(resolved(schema, root), value, root);
  if (value === null || value === undefined) return h("span", { class: "quiet" }, "nothing");
  if (typeof value === "string") return shownText(value, found);
  if (typeof value === "number" || typeof value === "boolean") return h("span", { class: "scalar" }, String(value));
  if (depth > 6) return shownJson(value);
  if (Array.isArray(value)) return shownList(value, found, root, depth);
  const entries = Object.entries(value);
  if (!entries.length) return h("span", { class: "quiet" }, "empty");
  return h(
    "dl",
    { class: "record" },
    ...entries.flatMap(([name, each]) => {
      const of = found.properties?.[name] ?? found.additionalProperties ?? {};
      return [h("dt", {}, titleOf(name, typeof of === "object" ? resolved(of, root) : {})), h("dd", {}, shownValue(each, typeof of === "object" ? of : {}, root, depth + 1))];
    }),
  );
}

function chosen(schema, value, root) {
  const { options } = alternatives(schema, root);
  if (options.length < 2) return options[0] ?? schema;
  const type = Array.isArray(value) ? "array" : typeof value;
  return options.find((option) => option.type === type && (!option.properties || Object.keys(value).every((name) => name in option.properties))) ?? {};
}

function shownText(text, schema) {
  const data = DATA.exec(text);
  if (data) return shownMedia(text, data[1].toLowerCase());
  const kind = schema.contentMediaType;
  if (schema.contentEncoding === "base64" && kind && !text.startsWith("http")) return shownMedia(`data:${kind.includes("*") ? "application/octet-stream" : kind};base64,${text}`, kind);
  if (/^https?:\/\/\S+$/.test(text)) return h("a", { href: text, rel: "noreferrer noopener", target: "_blank" }, text);
  return h("p", { class: "text" }, text);
}

/** A picture, a player or a file to keep, from a data: or blob: URL. */
export function shownMedia(url, type) {
  const keep = h("a", { href: url, download: `result.${(type.split("/")[1] ?? "bin").split(/[+.]/)[0]}`, class: "button small" }, "Download");
  const family = type.split("/")[0];
  if (family === "image") return h("figure", {}, h("img", { src: url, alt: "The result" }), keep);
  if (family === "video") return h("figure", {}, h("video", { src: url, controls: true, "aria-label": "The result" }), keep);
  if (family === "audio") return h("figure", {}, h("audio", { src: url, controls: true, "aria-label": "The result" }), keep);
  return h("p", {}, `${type} `, keep);
}

function shownList(values, schema, root, depth) {
  if (!values.length) return h("span", { class: "quiet" }, "an empty list");
  const items = resolved(schema.items ?? {}, root);
  const plain = values.every((each) => each !== null && typeof each === "object" && !Array.isArray(each));
  const left = values.length > MOST_ROWS && h("p", { class: "quiet" }, `${values.length - MOST_ROWS} more are not shown`);
  const rows = values.slice(0, MOST_ROWS);
  if (plain) return h("div", {}, table(rows, items, root, depth), left);
  if (values.every((each) => typeof each === "number")) return h("div", {}, h("p", { class: "numbers" }, rows.map((each) => (Number.isInteger(each) ? each : Number(each.toPrecision(6)))).join(", ")), left);
  return h("div", {}, h("ol", { class: "results" }, ...rows.map((each) => h("li", {}, shownValue(each, items, root, depth + 1)))), left);
}

function table(rows, schema, root, depth) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "A table" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, titleOf(name, {}))))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...names.map((name) => h("td", {}, name in row ? shownValue(row[name], schema.properties?.[name] ?? {}, root, depth + 1) : ""))))),
    ),
  );
}

export function shownJson(value) {
  return h("pre", { class: "code", tabindex: 0 }, JSON.stringify(value, null, 2));
}

/** Events as they come: text that grows, or one value below the other. */
export class Growing {
  #text = null;
  #rows = [];

  /** @param {object} schema of one value @param {object} root */
  constructor(schema, root) {
    this.schema = schema;
    this.root = root;
    this.element = h("div", { class: "growing", "aria-live": "polite" });
    this.values = [];
  }

  push(value) {
    this.values.push(value);
    if (typeof value === "string" && !DATA.test(value)) {
      this.#text ??= this.element.appendChild(h("p", { class: "text" }));
      this.#text.append(value);
      return;
    }
    const token = value && typeof value === "object" && typeof value.token === "string" ? value.token : null;
    if (token !== null && Object.keys(value).length === 1) {
      this.#text ??= this.element.appendChild(h("p", { class: "text" }));
      this.#text.append(token);
      return;
    }
    const row = h("div", { class: "event" }, shownValue(value, this.schema, this.root));
    this.#rows.push(row);
    this.element.append(row);
    if (this.#rows.length > MOST_ROWS) this.#rows.shift().remove();
  }
}

/** Shows an error: what it says, and what kind it is. */
export function shownError(place, error) {
  return fill(place, h("div", { class: "failure", role: "alert" }, h("p", {}, error.message), error.type && h("p", { class: "quiet" }, error.type)));
}
