// A form made from a JSON Schema: a widget for each type, values as JSON, errors at their field.

import { h } from "./dom.js";
import { FileField } from "./files.js";
import { alternatives, blank, isFile, resolved, titleOf } from "./schema.js";
import { BooleanField, ChoiceField, JsonField, NumberField, TextField, labelled } from "./widgets.js";

/** Choices that fit beside each other. */
const FEW = 4;
const DEEPEST = 8;

/**
 * The form for a schema. Every field has `element`, `value()`, `set(value)` and
 * `fail(path, message)`, which tells whether the error is at home there.
 * @param {object} schema
 * @param {{changed: (name: string|null, value: unknown) => void}} on
 */
export function makeForm(schema, on) {
  const root = schema;
  const found = resolved(schema, root);
  if (found.properties) return new ObjectField(found, root, { on: on.changed, depth: 0 });
  return new JsonField(found, { name: "Any of them", on: () => on.changed(null) });
}

/** @param {object} context `root`, `name`, `title`, `required`, `on`, `depth` */
function makeField(schema, root, context) {
  const found = resolved(schema, root);
  const { options, nullable } = alternatives(found, root);
  const next = { ...context, help: found.description ?? context.help };
  if (context.depth > DEEPEST) return new JsonField(found, next);
  if (nullable && options.length) return new OptionalField(found, options, root, next);
  if (options.length > 1) return new UnionField(found, options, root, next);
  const only = options.length === 1 ? { ...options[0], default: found.default ?? options[0].default } : found;
  if (only.const !== undefined) return new ConstField(only, next);
  if (only.enum) return new ChoiceField(only, { ...next, few: only.enum.length <= FEW });
  if (only.type === "boolean") return new BooleanField(only, next);
  if (only.type === "integer" || only.type === "number") return new NumberField(only, next);
  if (only.type === "string") return isFile(only) ? new FileField(only, next) : new TextField(only, next);
  if (only.type === "array" && only.items && !Array.isArray(only.items)) return new ListField(only, root, next);
  if (only.type === "object" && only.properties) return new GroupField(only, root, next);
  if (only.type === "object" && typeof only.additionalProperties === "object") return new MapField(only, root, next);
  return new JsonField(only, next);
}

class ObjectField {
  constructor(schema, root, { on, depth }) {
    this.fields = new Map();
    this.element = h("div", { class: "fields" });
    this.required = new Set(schema.required ?? []);
    for (const [name, each] of Object.entries(schema.properties)) {
      const field = makeField(each, root, {
        name,
        title: titleOf(name, resolved(each, root)),
        required: this.required.has(name),
        depth: depth + 1,
        on: () => on(name, field.value()),
      });
      this.fields.set(name, field);
      this.element.append(field.element);
    }
  }

  value() {
    const made = {};
    for (const [name, field] of this.fields) {
      const value = field.value();
      if (value !== undefined) made[name] = value;
    }
    return made;
  }

  set(value) {
    for (const [name, field] of this.fields) if (value && value[name] !== undefined) field.set(value[name]);
  }

  fail(path, message) {
    if (!path.length) {
      // Anew: nothing is wrong any more.
      for (const field of this.fields.values()) field.fail([], message);
      return false;
    }
    return this.fields.get(path[0])?.fail(path.slice(1), message) ?? false;
  }
}

/** A model within a model. */
class GroupField {
  constructor(schema, root, context) {
    this.inner = new ObjectField(schema, root, { on: () => context.on(), depth: context.depth });
    this.inner.set(schema.default);
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, context.title),
      context.help && h("p", { class: "help" }, context.help),
      this.inner.element,
      this.error,
    );
  }

  value() {
    return this.inner.value();
  }

  set(value) {
    this.inner.set(value);
  }

  fail(path, message) {
    if (path.length && this.inner.fail(path, message)) return true;
    if (!path.length && message === "") this.inner.fail([], "");
    this.error.textContent = message;
    this.error.hidden = message === "";
    return true;
  }
}

class ConstField {
  constructor(schema, context) {
    this.constant = schema.const;
    // It says which of several models this is, which the choice above it does already.
    this.element = h("span", { hidden: true, "data-constant": context.name });
  }

  value() {
    return this.constant;
  }

  set() {}

  fail() {
    return false;
  }
}

/** A field that may be null: a switch, and the field behind it. */
class OptionalField {
  constructor(schema, options, root, context) {
    const one = options.length === 1 ? options[0] : { ...schema, anyOf: options };
    const inner = { ...one, description: undefined };
    if (schema.default !== undefined && schema.default !== null) inner.default = schema.default;
    else delete inner.default;
    this.context = context;
    this.make = () => makeField(inner, root, { ...context, help: undefined, depth: context.depth + 1, nested: true });
    this.field = null;
    this.box = h("input", { type: "checkbox", role: "switch", class: "switch", onchange: () => this.#turn(this.box.checked) });
    this.place = h("div", { class: "optional" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.element = h(
      "div",
      { class: "field", "data-field": context.name },
      h("label", { class: "switched" }, h("span", {}, context.title, h("span", { class: "quiet" }, " optional")), this.box),
      context.help && h("p", { class: "help" }, context.help),
      this.place,
      this.error,
    );
    if (schema.default !== undefined && schema.default !== null) this.set(schema.default);
  }

  #turn(on) {
    this.box.checked = on;
    this.field = on ? (this.field ?? this.make()) : null;
    this.place.replaceChildren(...(this.field ? [this.field.element] : []));
    this.context.on();
  }

  value() {
    return this.field ? this.field.value() : null;
  }

  set(value) {
    if ((value !== null) !== (this.field !== null)) {
      this.field = value === null ? null : this.make();
      this.box.checked = value !== null;
      this.place.replaceChildren(...(this.field ? [this.field.element] : []));
    }
    this.field?.set(value);
  }

  fail(path, message) {
    if (this.field) return this.field.fail(path, message);
    this.error.textContent = message;
    this.error.hidden = message === "";
    return true;
  }
}

/** One of several models or types. */
class UnionField {
  constructor(schema, options, root, context) {
    this.options = options;
    this.root = root;
    this.context = context;
    const titles = options.map((option, i) => option.title ?? option.type ?? `Choice ${i + 1}`);
    this.select = h("select", { onchange: () => this.#choose(Number(this.select.value), true) }, ...titles.map((title, i) => h("option", { value: i }, title)));
    this.place = h("div", {});
    this.element = h("div", { class: "field union", "data-field": context.name });
    labelled(this.element, this.select, context);
    this.element.append(this.place);
    this.#choose(0, false);
    if (schema.default !== undefined) this.set(schema.default);
  }

  #choose(i, told) {
    this.select.value = String(i);
    const option = { ...this.options[i], description: undefined };
    this.field = makeField(option, this.root, { ...this.context, help: undefined, title: option.title ?? this.context.title, depth: this.context.depth + 1, nested: true });
    this.place.replaceChildren(this.field.element);
    if (told) this.context.on();
  }

  value() {
    return this.field.value();
  }

  set(value) {
    const i = this.options.findIndex((option) => fits(value, option, this.root));
    if (i >= 0) {
      this.#choose(i, false);
      this.field.set(value);
    }
  }

  fail(path, message) {
    // pydantic names the alternative in the path of an error; a form has only the chosen one.
    if (path.length && (this.field.fail(path, message) || (path.length > 1 && this.field.fail(path.slice(1), message)))) return true;
    return this.field.fail([], message) || false;
  }
}

function fits(value, option, root) {
  if (option.const !== undefined) return value === option.const;
  if (option.properties) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return false;
    const constants = Object.entries(option.properties).filter(([, each]) => resolved(each, root).const !== undefined);
    if (constants.length) return constants.every(([name, each]) => value[name] === resolved(each, root).const);
    return (option.required ?? []).every((name) => name in value) && Object.keys(value).every((name) => name in option.properties);
  }
  const type = Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
  return option.type === type || (type === "number" && option.type === "integer" && Number.isInteger(value));
}

class ListField {
  constructor(schema, root, context) {
    this.schema = schema;
    this.root = root;
    this.context = context;
    this.items = [];
    this.rows = h("ol", { class: "rows" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.add = h("button", { type: "button", class: "small", onclick: () => this.#append(blank(schema.items, root), true) }, `Add to ${context.title.toLowerCase()}`);
    this.element = h(
      "fieldset",
      { "data-field": context.name },
      h("legend", {}, context.title, context.required ? "" : ""),
      context.help && h("p", { class: "help" }, context.help),
      this.rows,
      this.add,
      this.error,
    );
    this.set(schema.default ?? Array.from({ length: schema.minItems ?? 0 }, () => blank(schema.items, root)));
  }

  #append(value, told) {
    const item = resolved(this.schema.items, this.root);
    const number = this.items.length + 1;
    const field = makeField(item, this.root, { ...this.context, help: undefined, name: `${this.context.name}.${number - 1}`, title: `${this.context.title} ${number}`, required: true, depth: this.context.depth + 1, nested: true, on: () => this.context.on() });
    if (value !== null && value !== undefined) field.set(value);
    const row = h("li", {}, field.element, h("button", { type: "button", class: "small icon-only", "aria-label": `Remove ${this.context.title} ${number}`, onclick: () => this.#remove(field, row) }, "×"));
    this.items.push(field);
    this.rows.append(row);
    this.#bound();
    if (told) {
      field.element.querySelector("input, textarea, select, button")?.focus();
      this.context.on();
    }
  }

  #remove(field, row) {
    this.items.splice(this.items.indexOf(field), 1);
    row.remove();
    this.#bound();
    this.add.focus();
    this.context.on();
  }

  #bound() {
    this.add.disabled = this.items.length >= (this.schema.maxItems ?? Infinity);
  }

  value() {
    return this.items.map((field) => field.value()).filter((value) => value !== undefined);
  }

  set(value) {
    this.items = [];
    this.rows.replaceChildren();
    for (const each of Array.isArray(value) ? value : []) this.#append(each, false);
  }

  fail(path, message) {
    if (path.length && this.items[Number(path[0])]?.fail(path.slice(1), message)) return true;
    if (!path.length && message === "") for (const field of this.items) field.fail([], "");
    this.error.textContent = message;
    this.error.hidden = message === "";
    return true;
  }
}

/** Names with values, any of them. */
class MapField {
  constructor(schema, root, context) {
    this.schema = schema;
    this.root = root;
    this.context = context;
    this.items = [];
    this.rows = h("ol", { class: "rows" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.element = h(
      "fieldset",
      { "data-field": context.name },
      h("legend", {}, context.title),
      context.help && h("p", { class: "help" }, context.help),
      this.rows,
      h("button", { type: "button", class: "small", onclick: () => this.#append("", blank(schema.additionalProperties, root), true) }, `Add to ${context.title.toLowerCase()}`),
      this.error,
    );
    this.set(schema.default ?? {});
  }

  #append(name, value, told) {
    const key = h("input", { type: "text", value: name, "aria-label": `Name in ${this.context.title}`, oninput: () => this.context.on() });
    const field = makeField(this.schema.additionalProperties, this.root, { ...this.context, help: undefined, title: "Value", required: true, depth: this.context.depth + 1, nested: true, on: () => this.context.on() });
    if (value !== null && value !== undefined) field.set(value);
    const item = { key, field };
    const row = h("li", { class: "pair" }, key, field.element, h("button", { type: "button", class: "small icon-only", "aria-label": `Remove from ${this.context.title}`, onclick: () => { this.items.splice(this.items.indexOf(item), 1); row.remove(); this.context.on(); } }, "×"));
    this.items.push(item);
    this.rows.append(row);
    if (told) key.focus();
  }

  value() {
    return Object.fromEntries(this.items.filter(({ key }) => key.value !== "").map(({ key, field }) => [key.value, field.value()]));
  }

  set(value) {
    this.items = [];
    this.rows.replaceChildren();
    for (const [name, each] of Object.entries(value ?? {})) this.#append(name, each, false);
  }

  fail(path, message) {
    const item = this.items.find(({ key }) => key.value === path[0]);
    if (item?.field.fail(path.slice(1), message)) return true;
    this.error.textContent = message;
    this.error.hidden = message === "";
    return true;
  }
}
