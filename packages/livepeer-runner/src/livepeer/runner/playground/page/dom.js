// Elements without a framework.

/**
 * Makes an element: `h("button", { class: "quiet", onclick: go }, "Go")`.
 * A property whose value is a function is a listener, one that is undefined, null or false is left
 * out, and texts are texts: nothing is ever parsed as HTML.
 * @param {string} name
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key in PROPERTIES) element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What is set as a property, since its attribute is only where it begins. */
const PROPERTIES = { value: 0, checked: 0, srcObject: 0, muted: 0, loop: 0, autoplay: 0, playsInline: 0, textContent: 0, disabled: 0, hidden: 0, open: 0, selected: 0 };

let ids = 0;

/** An id that no other element has, to tie a label or an error to its field. */
export function freshId(prefix = "f") {
  ids += 1;
  return `${prefix}${ids}`;
}

/** A symbol of the page's own set; it says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const ICONS = {
  camera: "M4 8h3l2-2.5h6L17 8h3v11H4zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
  screen: "M3 5h18v12H3zM9 20h6M12 17v3",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  pattern: "M4 4h16v16H4zM4 12h16M12 4v16",
  microphone: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM6 11a6 6 0 0 0 12 0M12 17v4",
  play: "M8 5v14l11-7z",
  stop: "M7 7h10v10H7z",
  record: "M12 6a6 6 0 1 0 0 12 6 6 0 0 0 0-12z",
  sound: "M4 9h4l5-4v14l-5-4H4zM16 9a4 4 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11",
  silent: "M4 9h4l5-4v14l-5-4H4zM17 9l5 6M22 9l-5 6",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M8 8h12v12H8zM4 16V4h12",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

/** Replaces what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A number as people read it: three digits that matter. */
export function short(number, unit = "") {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const digits = Math.abs(number) >= 100 ? 0 : 1;
  return `${number.toFixed(digits)}${unit && ` ${unit}`}`;
}
