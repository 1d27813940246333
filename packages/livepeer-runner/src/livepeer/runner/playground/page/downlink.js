// Units of the result to pictures on a canvas, as soon as each is there.

import { lookAt } from "./units.js";

/**
 * Every picture is decoded, since the next ones are made of it: where the decoder is behind, those that
 * it gives are not drawn as long as newer ones follow, and the input is asked for fewer (`behind`).
 * More than so many waiting pictures is no burst: only then is everything up to a keyframe left out.
 */
const MOST_QUEUED = 150;
/** The decoder is behind where more than this many pictures wait, for longer than this. */
const SOME_QUEUED = 3;
const PATIENCE_MS = 150;
/** The longest that a page shows nothing new, however many pictures follow. */
const MOST_UNDRAWN_MS = 100;
/** Pictures that a decoder may keep to itself. Hardware ones keep more (w3c/webcodecs #732). */
const MOST_HELD = 2;
const SEEN = 30;

export class Downlink {
  #decoder = null;
  #codec = null;
  #waits = true;
  #submitted = 0;
  /** What the decoder gave, drawn or not. */
  #given = 0;
  #heldFor = 0;
  #restarts = 0;
  #behindSince = null;
  #drawn = 0;
  #paint;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./figures.js").Guards} guards
   * @param {(time: number) => void} shown called with the time (microseconds) of each picture
   * @param {(message: string) => void} failed
   * @param {() => void} held called where the decoder keeps pictures back
   * @param {() => void} wantsKey called where nothing can be decoded before the next keyframe
   */
  constructor(canvas, guards, shown, failed, held, wantsKey) {
    this.canvas = canvas;
    this.guards = guards;
    this.onshown = shown;
    this.onfailed = failed;
    this.onheld = held;
    this.onwantskey = wantsKey;
    // Not `desynchronized`: a recording and a screenshot have to see the same.
    this.#paint = canvas.getContext("2d", { alpha: false });
    this.held = 0;
  }

  /** @param {{key: boolean, time: number, data: Uint8Array}} unit */
  decode({ key, time, data }) {
    const found = lookAt(data);
    if (key !== found.key && !(key && found.codec === null)) this.guards.count("keyframes that were not flagged as they are");
    // The picture itself decides: a decoder refuses to start at one that only claims to be a key.
    const isKey = found.key;
    if (isKey && found.codec && found.codec !== this.#codec) this.#open(found.codec);
    if (!this.#decoder) return;
    if (!isKey && !this.#waits && this.#queued > MOST_QUEUED) {
      this.#waits = true;
      this.onwantskey();
    }
    if (this.#waits && !isKey) {
      this.guards.count("pictures left out: waiting for a keyframe");
      return;
    }
    this.#waits = false;
    this.#submitted += 1;
    this.#decoder.decode(new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp: time, data }));
    this.#watch();
  }

  /** Whether more pictures come than this browser decodes. */
  get behind() {
    return this.#behindSince !== null && performance.now() - this.#behindSince > PATIENCE_MS;
  }

  #watch() {
    if (this.#queued <= SOME_QUEUED) this.#behindSince = null;
    else this.#behindSince ??= performance.now();
  }

  get #queued() {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.#codec = null;
    this.#waits = true;
    this.#behindSince = null;
  }

  #open(codec) {
    this.close();
    this.#codec = codec;
    this.#submitted = this.#given = this.#heldFor = 0;
    this.#decoder = new VideoDecoder({
      output: (frame) => this.#show(frame),
      error: (error) => this.#broke(error),
    });
    try {
      // No `description`: Annex B. Software, since hardware keeps pictures back for seconds.
      this.#decoder.configure({ codec, optimizeForLatency: true, hardwareAcceleration: "prefer-software" });
    } catch (error) {
      this.#broke(error);
    }
  }

  #show(frame) {
    this.#watch();
    this.#count();
    const now = performance.now();
    if (this.#queued > 0 && now - this.#drawn < MOST_UNDRAWN_MS) {
      frame.close();
      this.guards.count("pictures not drawn: a newer one was there");
      return;
    }
    this.#drawn = now;
    const { displayWidth: width, displayHeight: height, timestamp } = frame;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.#paint.drawImage(frame, 0, 0, width, height);
    frame.close();
    this.onshown(timestamp);
  }

  #count() {
    this.#given += 1;
    this.held = this.#submitted - this.#given - this.#queued;
    this.#heldFor = this.held > MOST_HELD ? this.#heldFor + 1 : 0;
    if (this.#heldFor >= SEEN) {
      this.guards.count("times that this browser's decoder kept pictures back");
      this.#heldFor = 0;
      this.onheld();
    }
  }

  #broke(error) {
    this.close();
    this.onwantskey();
    this.#restarts += 1;
    this.guards.count("times that the decoder was started again");
    if (this.#restarts > 5) this.onfailed(`This browser cannot decode the result: ${error.message}`);
  }
}
