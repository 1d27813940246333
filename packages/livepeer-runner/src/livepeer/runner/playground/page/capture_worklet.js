// On the sound thread: 20 ms of sound at a time to the page, as 16-bit PCM.

const CHUNK = 960;

class Capture extends AudioWorkletProcessor {
  #channels;
  #chunk;
  #at = 0;

  constructor({ processorOptions }) {
    super();
    this.#channels = processorOptions.channels;
    this.#chunk = new Int16Array(CHUNK * this.#channels);
  }

  process([input]) {
    const length = input[0]?.length ?? 128;
    for (let i = 0; i < length; i += 1) {
      for (let channel = 0; channel < this.#channels; channel += 1) {
        const sample = input[Math.min(channel, input.length - 1)]?.[i] ?? 0;
        this.#chunk[this.#at * this.#channels + channel] = Math.max(-1, Math.min(1, sample)) * 32767;
      }
      this.#at += 1;
      if (this.#at === CHUNK) {
        this.port.postMessage(this.#chunk.buffer, [this.#chunk.buffer]);
        this.#chunk = new Int16Array(CHUNK * this.#channels);
        this.#at = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
