// Units of the result to pictures on a canvas, as soon as each is there.

import { lookAt } from "./units.js";

/**
 * Pictures that may wait for the decoder. More, and it starts again at a keyframe, which costs up to a
 * second of pictures: so not where a network brought several at once, which are decoded in a moment,
 * but where more wait for longer than this, or many at once.
 */
const MOST_QUEUED = 3;
const PATIENCE_MS = 150;
const FAR_TOO_MANY = 15;
/** Pictures that a decoder may keep to itself. Hardware ones keep more (w3c/webcodecs #732). */
const MOST_HELD = 2;
const SEEN = 30;

export class Downlink {
  #decoder = null;
  #codec = null;
  #waits = true;
  #submitted = 0;
  #shown = 0;
  #heldFor = 0;
  #restarts = 0;
  #behindSince = null;
  #paint;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./figures.js").Guards} guards
   * @param {(time: number) => void} shown called with the time (microseconds) of each picture
   * @param {(message: string) => void} failed
   */
  constructor(canvas, guards, shown, failed) {
    this.canvas = canvas;
    this.guards = guards;
    this.onshown = shown;
    this.onfailed = failed;
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
    if (this.#isBehind() && !isKey) this.#waits = true;
    if (this.#waits && !isKey) {
      this.guards.count("pictures left out: waiting for a keyframe");
      return;
    }
    this.#waits = false;
    this.#submitted += 1;
    this.#decoder.decode(new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp: time, data }));
  }

  #isBehind() {
    const queued = this.#decoder.decodeQueueSize;
    if (queued <= MOST_QUEUED) this.#behindSince = null;
    else this.#behindSince ??= performance.now();
    return queued > FAR_TOO_MANY || (this.#behindSince !== null && performance.now() - this.#behindSince > PATIENCE_MS);
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.#codec = null;
    this.#waits = true;
  }

  #open(codec) {
    this.close();
    this.#codec = codec;
    this.#submitted = this.#shown = this.#heldFor = 0;
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
    const { displayWidth: width, displayHeight: height } = frame;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.#paint.drawImage(frame, 0, 0, width, height);
    const { timestamp } = frame;
    frame.close();
    this.#shown += 1;
    this.held = this.#submitted - this.#shown - (this.#decoder?.decodeQueueSize ?? 0);
    this.#heldFor = this.held > MOST_HELD ? this.#heldFor + 1 : 0;
    if (this.#heldFor >= SEEN) {
      this.guards.count("times that this browser's decoder kept pictures back");
      this.#heldFor = 0;
      this.onheld?.();
    }
    this.onshown(timestamp);
  }

  #broke(error) {
    this.close();
    this.#restarts += 1;
    this.guards.count("times that the decoder was started again");
    if (this.#restarts > 5) this.onfailed(`This browser cannot decode the result: ${error.message}`);
  }
}
