// One live stream: its socket, what goes in, what comes out, and how it does.

import { Downlink } from "./downlink.js";
import { Guards, Rate, Spread } from "./figures.js";
import { SoundOut } from "./sound.js";
import { AUDIO, mark, unpack } from "./units.js";

const MOST_MARKS = 600;
const UPDATE_MS = 50;

/** @typedef {{type: string, message: string, fields?: {name: string, message: string}[]}} CallError */

export class LiveStream {
  #socket = null;
  #marks = new Map();
  #changes = {};
  #timer = 0;
  #updates = 0;
  #sent = new Map();

  /**
   * @param {string} key of the pipeline
   * @param {HTMLCanvasElement} canvas
   * @param {object} on what is told: state(name, reason), event(record), data(record), refused(CallError), applied(params), note(text)
   */
  constructor(key, canvas, on) {
    this.key = key;
    this.on = on;
    this.state = "stopped";
    this.guards = new Guards();
    this.rate = new Rate();
    this.latency = new Spread();
    this.lastShown = 0;
    this.frames = 0;
    this.onkey = () => {};
    this.soundOut = new SoundOut(this.guards, on.note);
    this.downlink = new Downlink(canvas, this.guards, (time) => this.#shown(time), on.note, () => this.#held(), () => this.onkey());
  }

  /** @param {{params: object, width: number, height: number, channels: number}} start */
  start(start) {
    const url = new URL(`live/${this.key}`, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#set("starting");
    socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "start", ...start })));
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket !== socket) return;
      if (typeof data === "string") this.#told(JSON.parse(data));
      else this.#came(unpack(data));
    });
    socket.addEventListener("close", () => {
      if (this.#socket === socket) this.#over("The connection to the playground is lost.");
    });
  }

  stop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.downlink.close();
    if (this.state !== "stopped") this.#set("stopped");
  }

  dispose() {
    this.stop();
    clearTimeout(this.#timer);
    this.soundOut.close();
  }

  // --- in -----------------------------------------------------------------------------------------

  /** Bytes that the connection has not taken yet. */
  get waiting() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Whether the result comes faster than it can be shown. */
  get behind() {
    return this.downlink.behind;
  }

  picture(message, time) {
    if (this.state !== "live") return;
    this.#marks.set(mark(time), time / 1000);
    if (this.#marks.size > MOST_MARKS) this.#marks.delete(this.#marks.keys().next().value);
    this.#socket.send(message);
  }

  sound(message) {
    if (this.state === "live") this.#socket.send(message);
  }

  failed(message) {
    this.on.note(message);
  }

  /** Change parameters; those of the next moment go along. @param {object} changes */
  update(changes) {
    Object.assign(this.#changes, changes);
    if (this.state !== "live" || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.state !== "live" || !Object.keys(this.#changes).length) return;
      this.#updates += 1;
      this.#sent.set(this.#updates, performance.now());
      this.#socket.send(JSON.stringify({ type: "params", id: this.#updates, params: this.#changes }));
      this.#changes = {};
    }, UPDATE_MS);
  }

  /** @param {object} message for `on_control` */
  control(message) {
    if (this.state === "live") this.#socket.send(JSON.stringify({ type: "control", message }));
  }

  // --- out ----------------------------------------------------------------------------------------

  #came(unit) {
    if (unit.kind === AUDIO) this.soundOut.decode(unit);
    else this.downlink.decode(unit);
  }

  #shown(time) {
    const now = performance.now();
    this.rate.add(now);
    this.frames += 1;
    this.lastShown = now;
    const key = mark(time);
    const began = this.#marks.get(key);
    if (began !== undefined) {
      this.latency.add(now - began);
      this.#marks.delete(key);
    }
  }

  /** The server encodes the result anew, so that no decoder has a reason to keep any of it. */
  #held() {
    if (this.state === "live") this.#socket.send(JSON.stringify({ type: "held" }));
  }

  #told(message) {
    switch (message.type) {
      case "started":
        this.#set("live");
        this.onkey();
        break;
      case "refused":
        this.#over(message.error.message, message.error);
        break;
      case "ended":
        this.#over(message.reason);
        break;
      case "track":
        if (message.kind === "audio") this.soundOut.track(message);
        else if (message.codec !== "h264") this.on.note(`The result is ${message.codec}, which a page cannot play: give the pipeline output = VideoOutput() for H.264.`);
        this.on.track(message);
        break;
      case "event":
        this.on.event(message.record);
        break;
      case "data":
        this.on.data(message.record);
        break;
      case "params":
        this.#sent.delete(message.id);
        if (message.error) this.on.refused(message.error);
        else this.on.applied(message.params);
        break;
      case "key":
        this.guards.count("times that a keyframe was asked for again");
        this.onkey();
        break;
    }
  }

  #over(reason, error = null) {
    this.#socket?.close();
    this.#socket = null;
    this.downlink.close();
    this.#set(error ? "refused" : "ended", reason);
    if (error) this.on.refused(error);
  }

  #set(state, reason = "") {
    this.state = state;
    if (state !== "live") this.#marks.clear();
    this.on.state(state, reason);
  }
}
