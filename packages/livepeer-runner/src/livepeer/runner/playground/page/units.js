// The binary messages of a live stream; `units.py` is the other end and has the table.

export const VIDEO = 0;
export const AUDIO = 1;
const HEAD = 10;
const KEY = 1;
const WRAP = 2 ** 33;

/** @param {number} kind @param {boolean} key @param {number} time microseconds @param {number} size */
export function newUnit(kind, key, time, size) {
  const message = new Uint8Array(HEAD + size);
  const view = new DataView(message.buffer);
  view.setUint8(0, kind);
  view.setUint8(1, key ? KEY : 0);
  view.setBigInt64(2, BigInt(Math.round(time)));
  return { message, body: message.subarray(HEAD) };
}

/** @param {ArrayBuffer} message */
export function unpack(message) {
  const view = new DataView(message);
  return {
    kind: view.getUint8(0),
    key: (view.getUint8(1) & KEY) !== 0,
    time: Number(view.getBigInt64(2)),
    data: new Uint8Array(message, HEAD),
  };
}

/**
 * What a time (microseconds) is on the clock of MPEG-TS, which every picture carries through the
 * pipeline to the tick: by it a result is known to be of the picture that went in.
 */
export function mark(time) {
  return ((Math.round((time * 9) / 100) % WRAP) + WRAP) % WRAP;
}

/** The units (NAL) of an Annex B picture: where each begins, and its type. */
export function* nals(data) {
  for (let i = 0; i + 3 < data.length; i += 1) {
    if (data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1) {
      yield { at: i + 3, type: data[i + 3] & 0x1f };
      i += 3;
    }
  }
}

/**
 * What of H.264 a decoder has to know before its first picture: `avc1.PPCCLL` out of the picture's
 * own parameter set, and whether it is one that a decoder can start at, whatever its flag says.
 */
export function lookAt(data) {
  let codec = null;
  let key = false;
  for (const { at, type } of nals(data)) {
    if (type === 7 && at + 3 < data.length) {
      const hex = (byte) => byte.toString(16).padStart(2, "0");
      codec = `avc1.${hex(data[at + 1])}${hex(data[at + 2])}${hex(data[at + 3])}`;
    }
    if (type === 5) key = true;
    if (type === 5 || type === 1) break; // the picture itself: its sets came before it
  }
  return { codec, key };
}
