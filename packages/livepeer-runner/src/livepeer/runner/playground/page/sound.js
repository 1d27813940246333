// Sound into a stream and out of it, on one clock.

import { AUDIO, newUnit } from "./units.js";

export const RATE = 48_000;
export const CHANNELS = 2;
const CHUNK_US = 20_000;
/** Above this the two clocks have drifted apart, and the sound is set anew. */
const DRIFT_US = 80_000;
/** What is played waits so long, so that a late piece still comes in time (seconds): more after each
 * gap, as far as lips still fit. */
const AHEAD = 0.06;
const AHEAD_STEP = 0.02;
const AHEAD_MOST = 0.2;
const SLACK = 0.25;

let shared = null;

/** The page's one sound context, which a browser lets run after a click. */
export async function soundContext() {
  if (!shared) {
    shared = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await shared.audioWorklet.addModule("capture_worklet.js");
  }
  if (shared.state === "suspended") await Promise.race([shared.resume(), new Promise((done) => setTimeout(done, 200))]);
  return shared;
}

/** An input's sound as PCM, to every stream that is fed with it. */
export class SoundIn {
  #node = null;
  #feed = null;
  #sinks = new Set();
  #time = null;

  /** @param {import("./source.js").Source} source */
  async follow(source) {
    const context = await soundContext();
    const feed = source.sound(context);
    if (!feed) return;
    this.#feed = feed;
    this.#node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, processorOptions: { channels: CHANNELS } });
    this.#node.port.onmessage = ({ data }) => this.#send(new Uint8Array(data));
    feed.connect(this.#node);
  }

  leave() {
    this.#node?.port.close();
    this.#node?.disconnect();
    if (this.#feed && this.#node) this.#feed.disconnect();
    this.#node = this.#feed = this.#time = null;
  }

  feed(sink) {
    this.#sinks.add(sink);
  }

  starve(sink) {
    this.#sinks.delete(sink);
  }

  #send(samples) {
    const now = performance.now() * 1000 - CHUNK_US;
    if (this.#time === null || Math.abs(now - this.#time) > DRIFT_US) this.#time = Math.max(0, now);
    const { message, body } = newUnit(AUDIO, true, this.#time, samples.length);
    body.set(samples);
    this.#time += CHUNK_US;
    for (const sink of this.#sinks) sink.sound(message);
  }
}

/** A stream's sound: decoded, and played a moment after it came. */
export class SoundOut {
  #decoder = null;
  #gain = null;
  #meter = null;
  #context = null;
  #next = 0;
  #ahead = AHEAD;
  #levels = new Float32Array(1024);
  #ready;

  /** @param {import("./figures.js").Guards} guards @param {(message: string) => void} failed */
  constructor(guards, failed) {
    this.guards = guards;
    this.onfailed = failed;
    this.on = true;
    this.destination = null;
    this.#ready = this.#open();
  }

  async #open() {
    this.#context = await soundContext();
    this.#gain = new GainNode(this.#context, { gain: this.on ? 1 : 0 });
    this.#meter = new AnalyserNode(this.#context, { fftSize: 2048 });
    this.#levels = new Float32Array(this.#meter.fftSize);
    this.destination = new MediaStreamAudioDestinationNode(this.#context);
    this.#meter.connect(this.#gain).connect(this.#context.destination);
    this.#meter.connect(this.destination);
  }

  /** Whether the browser lets sound be heard yet. */
  get isRunning() {
    return this.#context?.state === "running";
  }

  /** @param {boolean} on */
  async turn(on) {
    this.on = on;
    await this.#ready;
    await soundContext();
    this.#gain.gain.value = on ? 1 : 0;
  }

  /** @param {{codec: string, rate: number, channels: number}} track */
  async track({ codec, rate, channels }) {
    await this.#ready;
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    const name = { opus: "opus", aac: "mp4a.40.2", mp3: "mp3" }[codec];
    if (!name) return this.onfailed(`The sound is ${codec}, which a page cannot play; the pictures go on.`);
    this.#decoder = new AudioDecoder({
      output: (data) => this.#play(data),
      error: (error) => {
        this.#decoder = null;
        this.onfailed(`This browser cannot decode the sound: ${error.message}`);
      },
    });
    this.#decoder.configure({ codec: name, sampleRate: codec === "opus" ? RATE : rate, numberOfChannels: channels });
  }

  decode({ time, data }) {
    if (this.#decoder?.state !== "configured") return;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: time, data }));
  }

  /** The loudness of this moment, 0 to 1. */
  level() {
    if (!this.#meter) return 0;
    this.#meter.getFloatTimeDomainData(this.#levels);
    return Math.min(1, Math.sqrt(this.#levels.reduce((sum, each) => sum + each * each, 0) / this.#levels.length));
  }

  /** The loudest frequency of this moment in Hz, 0 where it is silent. */
  pitch() {
    if (!this.#meter || this.level() < 0.001) return 0;
    const bins = new Float32Array(this.#meter.frequencyBinCount);
    this.#meter.getFloatFrequencyData(bins);
    return (bins.indexOf(Math.max(...bins)) * RATE) / this.#meter.fftSize;
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.#gain?.disconnect();
    this.#meter?.disconnect();
  }

  #play(data) {
    const context = this.#context;
    if (context.state !== "running") return data.close();
    const buffer = new AudioBuffer({ length: data.numberOfFrames, numberOfChannels: data.numberOfChannels, sampleRate: data.sampleRate });
    for (let channel = 0; channel < data.numberOfChannels; channel += 1) {
      data.copyTo(buffer.getChannelData(channel), { planeIndex: channel, format: "f32-planar" });
    }
    data.close();
    const now = context.currentTime;
    if (this.#next < now) {
      if (this.#next) {
        this.guards.count("gaps in the sound: it came late");
        this.#ahead = Math.min(AHEAD_MOST, this.#ahead + AHEAD_STEP);
      }
      this.#next = now + this.#ahead;
    } else if (this.#next > now + this.#ahead + SLACK) {
      this.guards.count("pieces of sound left out: they would be late");
      return;
    }
    const node = new AudioBufferSourceNode(context, { buffer });
    node.connect(this.#meter);
    node.start(this.#next);
    this.#next += buffer.duration;
  }
}
