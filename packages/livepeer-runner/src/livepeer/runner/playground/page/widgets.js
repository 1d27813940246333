// Fields of one value each.

import { freshId, h } from "./dom.js";

/** More letters than this, or no bound at all, want more than one line. */
const ONE_LINE = 120;
const STEPS = 200;

/** Puts a label, its help and a place for its error around a control, tied together by ids. */
export function labelled(element, control, { title, required, help, nested, name }, beside = null) {
  control.id ||= freshId();
  const error = h("p", { class: "error", role: "alert", hidden: true, id: freshId("e") });
  const describedBy = [error.id];
  const helping = help && h("p", { class: "help", id: freshId("h") }, help);
  if (helping) describedBy.push(helping.id);
  control.setAttribute("aria-describedby", describedBy.join(" "));
  const label = h("label", { for: control.id, class: nested ? "nested" : undefined }, title, required && !nested && h("span", { class: "quiet" }, " required"));
  element.append(h("div", { class: "label-row" }, label, beside), helping || "", control, error);
  element.classList.add("field");
  element.dataset.field ??= name;
  return (message) => {
    error.textContent = message;
    error.hidden = message === "";
    if (message === "") control.removeAttribute("aria-invalid");
    else control.setAttribute("aria-invalid", "true");
  };
}

class Field {
  /** @type {(message: string) => void} */
  show = () => {};

  fail(path, message) {
    this.show(message);
    return true;
  }
}

export class TextField extends Field {
  constructor(schema, context) {
    super();
    this.required = context.required;
    const most = schema.maxLength;
    const type = { password: "password", email: "email", uri: "url", date: "date", time: "time", "date-time": "datetime-local", color: "color" }[schema.format];
    const shared = { maxlength: most, required: context.required, spellcheck: "false", oninput: () => context.on() };
    const lines = !type && (most === undefined || most > ONE_LINE) && !context.nested && !schema.pattern && !schema.format;
    this.control = lines ? h("textarea", { ...shared, rows: 3 }) : h("input", { ...shared, type: type ?? "text", autocomplete: "off" });
    this.element = h("div", { "data-field": context.name });
    this.local = type === "datetime-local";
    this.show = labelled(this.element, this.control, context);
    this.set(schema.default ?? schema.examples?.[0] ?? "");
  }

  value() {
    const text = this.control.value;
    if (this.local && text) return new Date(text).toISOString();
    return text === "" && this.control.type !== "text" && this.control.type !== "textarea" && this.control.type !== "password" ? undefined : text;
  }

  set(value) {
    this.control.value = this.local && value ? new Date(value).toISOString().slice(0, 16) : (value ?? "");
  }
}

/** A slider where the range is known, and always a box for the exact number. */
export class NumberField extends Field {
  constructor(schema, context) {
    super();
    this.integer = schema.type === "integer";
    const least = schema.minimum ?? (schema.exclusiveMinimum !== undefined && this.integer ? schema.exclusiveMinimum + 1 : schema.exclusiveMinimum);
    const most = schema.maximum ?? (schema.exclusiveMaximum !== undefined && this.integer ? schema.exclusiveMaximum - 1 : schema.exclusiveMaximum);
    const bounded = least !== undefined && most !== undefined && most > least;
    const step = schema.multipleOf ?? (this.integer ? 1 : bounded ? Number(((most - least) / STEPS).toPrecision(2)) : "any");
    this.on = context.on;
    this.box = h("input", { type: "number", class: bounded ? "number beside" : "number", step: this.integer ? 1 : "any", min: least, max: most, inputmode: this.integer ? "numeric" : "decimal", oninput: () => this.#typed() });
    this.element = h("div", { "data-field": context.name });
    if (bounded) {
      this.slider = h("input", { type: "range", min: least, max: most, step, oninput: () => this.#slid() });
      this.box.setAttribute("aria-label", `${context.title}, exactly`);
      this.show = labelled(this.element, this.slider, context, this.box);
    } else this.show = labelled(this.element, this.box, context);
    this.set(schema.default ?? schema.examples?.[0] ?? (context.required && bounded ? least : ""));
  }

  #slid() {
    this.box.value = this.slider.value;
    this.#mark();
    this.on();
  }

  #typed() {
    if (this.slider && this.box.value !== "") this.slider.value = this.box.value;
    this.#mark();
    this.on();
  }

  /** How far the slider is, for its colour. */
  #mark() {
    if (!this.slider) return;
    const { min, max, value } = this.slider;
    this.slider.style.setProperty("--at", `${(100 * (value - min)) / (max - min)}%`);
  }

  value() {
    return this.box.value === "" ? undefined : Number(this.box.value);
  }

  set(value) {
    this.box.value = value ?? "";
    if (this.slider && value !== undefined && value !== "") this.slider.value = value;
    this.#mark();
  }
}

export class BooleanField extends Field {
  constructor(schema, context) {
    super();
    const id = freshId();
    this.control = h("input", { type: "checkbox", role: "switch", class: "switch", id, onchange: () => context.on() });
    const error = h("p", { class: "error", role: "alert", hidden: true });
    this.element = h("div", { class: "field", "data-field": context.name }, h("label", { class: "switched", for: id }, h("span", {}, context.title), this.control), context.help && h("p", { class: "help" }, context.help), error);
    this.show = (message) => {
      error.textContent = message;
      error.hidden = message === "";
    };
    this.set(schema.default ?? false);
  }

  value() {
    return this.control.checked;
  }

  set(value) {
    this.control.checked = value === true;
  }
}

/** Of a few choices all are seen, of many one. */
export class ChoiceField extends Field {
  constructor(schema, context) {
    super();
    this.choices = schema.enum;
    this.element = h("div", { "data-field": context.name });
    if (context.few && !context.nested) this.#radios(context);
    else {
      this.control = h("select", { onchange: () => context.on() }, ...this.choices.map((choice, i) => h("option", { value: i }, String(choice))));
      this.show = labelled(this.element, this.control, context);
    }
    this.set(schema.default ?? this.choices[0]);
  }

  #radios(context) {
    const name = freshId("r");
    const title = h("span", { id: freshId("l"), class: "label" }, context.title, context.required && h("span", { class: "quiet" }, " required"));
    const error = h("p", { class: "error", role: "alert", hidden: true });
    this.radios = this.choices.map((choice, i) => h("input", { type: "radio", name, value: i, onchange: () => context.on() }));
    const group = h("div", { class: "choices", role: "radiogroup", "aria-labelledby": title.id }, ...this.choices.map((choice, i) => h("label", {}, this.radios[i], h("span", {}, String(choice)))));
    this.element.classList.add("field");
    this.element.append(title, context.help ? h("p", { class: "help" }, context.help) : "", group, error);
    this.show = (message) => {
      error.textContent = message;
      error.hidden = message === "";
    };
  }

  value() {
    const i = this.radios ? this.radios.findIndex((radio) => radio.checked) : Number(this.control.value);
    return this.choices[i];
  }

  set(value) {
    const i = Math.max(0, this.choices.indexOf(value));
    if (this.radios) this.radios[i].checked = true;
    else this.control.value = String(i);
  }
}

/** What no other widget is for: JSON as it is. */
export class JsonField extends Field {
  constructor(schema, context) {
    super();
    this.control = h("textarea", { rows: 4, class: "code", spellcheck: "false", oninput: () => { this.#check(); context.on(); } });
    this.element = h("div", { "data-field": context.name });
    this.show = labelled(this.element, this.control, { title: "JSON", ...context, title: `${context.title ?? context.name} (JSON)` });
    this.set(schema.default ?? (schema.type === "array" ? [] : {}));
  }

  #check() {
    try {
      JSON.parse(this.control.value);
      this.show("");
    } catch (error) {
      this.show(`This is no JSON: ${error.message}`);
    }
  }

  value() {
    try {
      return JSON.parse(this.control.value);
    } catch {
      return undefined;
    }
  }

  set(value) {
    this.control.value = JSON.stringify(value, null, 2);
  }
}
