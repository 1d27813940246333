// What this browser can do here, in one sentence each where it cannot.

/** Why there is no camera, microphone or screen; null where there may be. */
export function noDevices() {
  if (!window.isSecureContext) {
    return `A browser gives its camera only to pages that come by https or from this machine. This one comes from ${location.host} by http: use a file, or open it through a tunnel (ssh -L).`;
  }
  if (!navigator.mediaDevices?.getUserMedia) return "This browser gives pages no camera: use a file.";
  return null;
}

/** Why live streams cannot be played here; null where they can. */
export function noStreams() {
  const missing = ["VideoEncoder", "VideoDecoder", "AudioDecoder"].filter((name) => !(name in window));
  if (!missing.length) return null;
  if (!window.isSecureContext) {
    return `Live streams need WebCodecs, which browsers give only to pages that come by https or from this machine; this one comes from ${location.host} by http. Open it through a tunnel (ssh -L), or send a file with the command below.`;
  }
  return `Live streams need WebCodecs, and this browser has no ${missing.join(", no ")}: use Chrome, Edge, Safari 26 or Firefox 130 or later, or send a file with the command below.`;
}

/** Whether the browser can follow a video picture by picture. */
export const followsPictures = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
