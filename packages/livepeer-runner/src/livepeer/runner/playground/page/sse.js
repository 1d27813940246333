// Server-sent events out of an answer that is read as it comes.

const LONGEST = 64 * 1024 * 1024;

export class EventParser {
  #rest = "";
  #data = [];
  #name = "";

  /** The events that a piece of text completes: `{name, data}`. @param {string} text */
  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n/);
    this.#rest = lines.pop();
    if (this.#rest.length > LONGEST) throw new Error("an event is too long");
    const events = [];
    for (const line of lines) {
      if (line === "") {
        // The lines of one payload were folded between its parts: no line feed is of it.
        if (this.#data.length) events.push({ name: this.#name, data: this.#data.join("") });
        this.#data = [];
        this.#name = "";
      } else if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line.startsWith("event:")) this.#name = line.slice(6).trim();
    }
    return events;
  }
}
