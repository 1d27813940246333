// Pictures of a `<video>` to H.264, once for all streams that are fed with them.

import { VIDEO, newUnit } from "./units.js";
import { Rate } from "./figures.js";

const KEY_SECONDS = 1;
/** Bytes in a socket from which no more pictures are encoded for it: half a second, which it can still send. */
const BEHIND = 250_000;
/** Bytes from which even one stream among others loses what was encoded, up to the next keyframe. */
const MOST_WAITING = 1_000_000;
/** Pictures that the encoder may be behind by. */
const MOST_QUEUED = 2;

/** The baseline of H.264 at a level that the size needs: no picture waits for a later one. */
function codecFor(width, height) {
  const blocks = Math.ceil(width / 16) * Math.ceil(height / 16);
  const level = blocks <= 1620 ? "1e" : blocks <= 3600 ? "1f" : blocks <= 8192 ? "28" : "33";
  return `avc1.4200${level}`;
}

export class Uplink {
  #encoder = null;
  #video = null;
  #callback = 0;
  #sinks = new Set();
  #wantsKey = true;
  #lastKey = -Infinity;
  #size = { width: 0, height: 0 };
  /** The size that the encoder was made for. */
  #encodes = null;
  #scaler = null;
  #timer = null;

  constructor() {
    this.rate = new Rate();
    this.most = 720;
  }

  /** The size that pictures go out with: even, and no higher than `most`. */
  get size() {
    return this.#size;
  }

  /** Begins to take its pictures, each once. @param {HTMLVideoElement} video */
  follow(video) {
    this.#rest();
    this.#video = video;
    this.#measure();
    this.#next(video);
  }

  leave() {
    this.#rest();
    this.#close();
  }

  /** The size is another one: of the next picture on. */
  resize() {
    if (this.#video) this.#measure();
  }

  #rest() {
    const video = this.#video;
    this.#video = null;
    if (video && "cancelVideoFrameCallback" in video) video.cancelVideoFrameCallback(this.#callback);
    clearTimeout(this.#timer);
  }

  /** @param {{picture: (message: Uint8Array, time: number) => void, waiting: number, behind: boolean, guards: import("./figures.js").Guards}} sink */
  feed(sink) {
    this.#sinks.add({ sink, started: false });
    this.#wantsKey = true;
  }

  starve(sink) {
    for (const each of this.#sinks) if (each.sink === sink) this.#sinks.delete(each);
    if (!this.#sinks.size) this.#close();
  }

  /** The next picture becomes one that a decoder can start at. */
  wantKey() {
    this.#wantsKey = true;
  }

  #measure() {
    const { videoWidth, videoHeight } = this.#video;
    const scale = Math.min(1, this.most / Math.min(videoWidth, videoHeight));
    const even = (length) => Math.max(16, 2 * Math.round((length * scale) / 2));
    this.#size = { width: even(videoWidth), height: even(videoHeight) };
  }

  #next(video) {
    if (this.#video !== video) return;
    const taken = (now) => {
      if (this.#video !== video) return;
      this.#take(video, now);
      this.#next(video);
    };
    if ("requestVideoFrameCallback" in video) this.#callback = video.requestVideoFrameCallback(taken);
    else this.#timer = setTimeout(() => taken(performance.now()), 1000 / 30);
  }

  #take(video) {
    const now = performance.now();
    this.rate.add(now);
    if (!this.#sinks.size || !video.videoWidth) return;
    // Pictures are left out here, where none depends on them yet: behind the encoder it would be a
    // second of them.
    const reason = this.#reasonNotTo();
    if (reason) {
      for (const { sink } of this.#sinks) sink.guards.count(`pictures not sent: ${reason}`);
      return;
    }
    this.#measure();
    const { width, height } = this.#size;
    if (this.#encoder?.state !== "configured" || this.#encodes.width !== width || this.#encodes.height !== height) this.#open();
    const time = Math.round(now * 1000);
    const picture = this.#picture(video, time);
    const keyFrame = this.#wantsKey || now - this.#lastKey > KEY_SECONDS * 1000;
    if (keyFrame) {
      this.#wantsKey = false;
      this.#lastKey = now;
    }
    this.#encoder.encode(picture, { keyFrame });
    picture.close();
  }

  #reasonNotTo() {
    if (this.#encoder?.encodeQueueSize >= MOST_QUEUED) return "the encoder is behind";
    // One stream among others that is behind does not slow them down.
    const sinks = [...this.#sinks].map((each) => each.sink);
    if (sinks.every((sink) => sink.waiting > BEHIND)) return "the connection is behind";
    if (sinks.every((sink) => sink.behind)) return "this browser's decoder is behind";
    return null;
  }

  #picture(video, timestamp) {
    const { width, height } = this.#size;
    if (video.videoWidth === width && video.videoHeight === height) return new VideoFrame(video, { timestamp });
    this.#scaler ??= new OffscreenCanvas(width, height);
    if (this.#scaler.width !== width || this.#scaler.height !== height) Object.assign(this.#scaler, { width, height });
    this.#scaler.getContext("2d", { alpha: false }).drawImage(video, 0, 0, width, height);
    return new VideoFrame(this.#scaler, { timestamp });
  }

  #open() {
    this.#close();
    const { width, height } = (this.#encodes = this.#size);
    this.#encoder = new VideoEncoder({
      output: (chunk) => this.#send(chunk),
      error: (error) => {
        for (const { sink } of this.#sinks) sink.failed(`This browser cannot encode the input: ${error.message}`);
      },
    });
    this.#encoder.configure({
      codec: codecFor(width, height),
      width,
      height,
      framerate: 30,
      bitrate: Math.round(4_000_000 * Math.max(0.15, (width * height) / (1280 * 720))),
      latencyMode: "realtime",
      avc: { format: "annexb" },
    });
    this.#wantsKey = true;
  }

  #send(chunk) {
    const key = chunk.type === "key";
    const { message, body } = newUnit(VIDEO, key, chunk.timestamp, chunk.byteLength);
    chunk.copyTo(body);
    for (const each of this.#sinks) {
      if (each.sink.waiting > MOST_WAITING) {
        each.sink.guards.count("pictures not sent: the connection is behind");
        each.started = false;
        this.#wantsKey = true;
      }
      each.started ||= key && each.sink.waiting <= MOST_WAITING;
      if (each.started) each.sink.picture(message, chunk.timestamp);
    }
  }

  #close() {
    if (this.#encoder && this.#encoder.state !== "closed") this.#encoder.close();
    this.#encoder = null;
  }
}
