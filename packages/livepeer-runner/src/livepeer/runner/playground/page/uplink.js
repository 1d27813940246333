// Pictures of a `<video>` to H.264, once for all streams that are fed with them.

import { VIDEO, newUnit } from "./units.js";
import { Rate } from "./figures.js";

const KEY_SECONDS = 1;
/** More than this waits in a socket: the network, or the server, is behind. */
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

  /** @param {HTMLVideoElement} video */
  follow(video) {
    this.#video = video;
    this.#measure();
    this.#next(video);
  }

  leave() {
    const video = this.#video;
    this.#video = null;
    if (video && "cancelVideoFrameCallback" in video) video.cancelVideoFrameCallback(this.#callback);
    clearTimeout(this.#timer);
    this.#close();
  }

  /** @param {{unit: (message: Uint8Array) => void, waiting: number, guards: import("./figures.js").Guards, marks: Map<number, number>}} sink */
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
    const before = this.#size;
    this.#measure();
    if (!this.#encoder || this.#encoder.state === "closed" || before.width !== this.#size.width || before.height !== this.#size.height) {
      this.#open();
    }
    if (this.#encoder.encodeQueueSize >= MOST_QUEUED) {
      for (const { sink } of this.#sinks) sink.guards.count("pictures not sent: the encoder is behind");
      return;
    }
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
    const { width, height } = this.#size;
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
