import numpy as np

from livepeer.runner import AudioFrame, LivePipeline, serve

RATE = 16_000


class LiveTranscribe(LivePipeline):
    """Write down the English that is spoken in a live stream; sentences go out as data."""

    passthrough = False  # words are the whole output

    def on_stream_start(self, params: dict) -> None:
        from pocketsphinx import Decoder, Endpointer

        # Both keep state, so each stream makes its own.
        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")
        self.endpointer = Endpointer(sample_rate=RATE)
        self.waiting = b""
        self.speaking = False

    def process_audio(self, frame: AudioFrame) -> None:
        sound = frame.resample(rate=RATE, layout="mono").samples[0]
        self.waiting += (sound.clip(-1, 1) * 32767).astype(np.int16).tobytes()
        size = self.endpointer.frame_bytes
        while len(self.waiting) >= size:
            piece, self.waiting = self.waiting[:size], self.waiting[size:]
            self.hear(self.endpointer.process(piece))

    def on_stream_stop(self) -> None:
        self.hear(self.endpointer.end_stream(self.waiting))

    def hear(self, speech: bytes | None) -> None:
        """Decode the next piece of speech; None is silence. At its end the sentence goes out."""
        if speech is not None:
            if not self.speaking:
                self.decoder.start_utt()
                self.speaking = True
            self.decoder.process_raw(speech)
        if self.speaking and not self.endpointer.in_speech:
            self.decoder.end_utt()
            self.speaking = False
            if found := self.decoder.hyp():
                start, end = self.endpointer.speech_start, self.endpointer.speech_end
                self.emit_data(
                    {"text": found.hypstr, "start": round(start, 2), "end": round(end, 2)}
                )


if __name__ == "__main__":
    serve(LiveTranscribe)
