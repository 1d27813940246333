// What is seen and heard, into a file.

const TYPES = ["video/mp4;codecs=avc1.42E01F,opus", "video/mp4", "video/webm;codecs=vp8,opus", "video/webm"];

export class Recorder {
  #recorder = null;
  #parts = [];

  static get works() {
    return "MediaRecorder" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  /** @param {HTMLCanvasElement} canvas @param {MediaStream|null} sound */
  constructor(canvas, sound) {
    this.canvas = canvas;
    this.sound = sound;
  }

  start() {
    const stream = this.canvas.captureStream(30);
    for (const track of this.sound?.getAudioTracks() ?? []) stream.addTrack(track);
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 6_000_000 });
    this.#recorder.addEventListener("dataavailable", ({ data }) => this.#parts.push(data));
    this.#recorder.start(1000);
  }

  /** The recording as a file. */
  stop() {
    const recorder = this.#recorder;
    return new Promise((done) => {
      recorder.addEventListener("stop", () => {
        const type = recorder.mimeType.split(";")[0];
        done(new File(this.#parts, `recording.${type === "video/mp4" ? "mp4" : "webm"}`, { type }));
      });
      recorder.stop();
      for (const track of recorder.stream.getVideoTracks()) track.stop();
    });
  }
}
