// Where pictures come from: a test picture, a camera, the screen or a file. All of them play in one
// `<video>`, so that everything behind it is one path.

import { h } from "./dom.js";
import { makePattern } from "./pattern.js";

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const VOICE = { echoCancellation: true, noiseSuppression: false };

/** An input that plays. `stop` gives its devices back. */
export class Source {
  #context = null;
  #feed = null;
  #stopping = [];

  /** @param {string} kind @param {string} title */
  constructor(kind, title) {
    this.kind = kind;
    this.title = title;
    this.video = h("video", { muted: true, playsInline: true, autoplay: true, class: "picture", "aria-label": `Input: ${title}` });
    this.hasPictures = true;
    this.hasSound = false;
    /** Whether its sound comes from a microphone, which hears the result if that is played. */
    this.hears = false;
    this.onended = () => {};
  }

  /** @param {() => void} action done at the end */
  whenStopped(action) {
    this.#stopping.push(action);
  }

  /**
   * Its sound as a node of `context`, or null. Asked for once: a media element has one node only.
   * @param {AudioContext} context
   */
  sound(context) {
    if (!this.hasSound) return null;
    if (this.#feed === null || this.#context !== context) {
      this.#context = context;
      this.#feed = this.video.srcObject
        ? context.createMediaStreamSource(new MediaStream(this.video.srcObject.getAudioTracks()))
        : context.createMediaElementSource(this.video);
      // A file is heard only by the pipeline; where it plays muted, so would its node be.
      if (!this.video.srcObject) this.video.muted = false;
    }
    return this.#feed;
  }

  stop() {
    this.video.pause();
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.#feed?.disconnect();
    for (const action of this.#stopping.splice(0)) action();
    this.video.srcObject = null;
    this.video.removeAttribute("src");
  }
}

async function playing(source) {
  await source.video.play();
  if (!source.video.videoWidth && source.hasPictures) {
    await new Promise((done) => source.video.addEventListener("resize", done, { once: true }));
  }
  return source;
}

function ofStream(source, stream) {
  source.video.srcObject = stream;
  source.hasSound = stream.getAudioTracks().length > 0;
  source.hasPictures = stream.getVideoTracks().length > 0;
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", () => source.onended());
    source.whenStopped(() => track.stop());
  }
  return playing(source);
}

/** A moving picture with a clock in it: the page plays before anybody has been asked for a camera. */
export function openPattern() {
  const source = new Source("pattern", "Test picture");
  const canvas = h("canvas", { width: 1280, height: 720 });
  const paint = makePattern(canvas);
  // Each picture is taken when it is painted, not at a beat of its own, which would miss some.
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  let number = 0;
  const draw = () => {
    paint(number++);
    track.requestFrame();
  };
  draw();
  // Not requestAnimationFrame: 30 pictures a second whatever the screen shows.
  const timer = setInterval(draw, 1000 / 30);
  source.whenStopped(() => clearInterval(timer));
  return ofStream(source, stream);
}

/** @param {{microphone: boolean, camera: boolean}} wanted */
export async function openCamera({ microphone, camera }) {
  const source = new Source("camera", camera ? "Camera" : "Microphone");
  const stream = await navigator.mediaDevices.getUserMedia({
    video: camera ? CAMERA : false,
    audio: microphone ? VOICE : false,
  });
  source.hears = microphone;
  return ofStream(source, stream);
}

export async function openScreen() {
  const source = new Source("screen", "Screen");
  return ofStream(source, await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 30 }, audio: true }));
}

/** @param {File} file */
export async function openFile(file) {
  const source = new Source("file", file.name);
  const url = URL.createObjectURL(file);
  source.whenStopped(() => URL.revokeObjectURL(url));
  source.video.loop = true;
  source.video.src = url;
  await new Promise((done, fail) => {
    source.video.addEventListener("loadeddata", done, { once: true });
    source.video.addEventListener("error", () => fail(new Error(`This browser cannot play ${file.name}: mp4 (H.264), webm and mp3 are safe.`)), { once: true });
  });
  source.hasPictures = source.video.videoWidth > 0;
  source.hasSound = await soundIn(source.video);
  return playing(source);
}

/** Whether a file has sound; browsers tell it in different ways, and not all of them. */
async function soundIn(video) {
  if (video.audioTracks) return video.audioTracks.length > 0;
  if ("mozHasAudio" in video) return video.mozHasAudio;
  if (video.captureStream) {
    const stream = video.captureStream();
    const found = stream.getAudioTracks().length > 0;
    for (const track of stream.getTracks()) track.stop();
    return found;
  }
  return true;
}
