import numpy as np
from pocketsphinx import Decoder, Endpointer

from livepeer.runner import AudioFrame

RATE = 16_000


class Listener:
    """Turns the sound of one stream into words, while they are spoken."""

    def __init__(self) -> None:
        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")
        self.endpointer = Endpointer(sample_rate=RATE)
        self.waiting = b""
        self.speaking = False

    def hear(self, frame: AudioFrame) -> str | None:
        """The words of the current sentence so far, None where nothing new was heard."""
        sound = frame.resample(rate=RATE, layout="mono").samples[0]
        self.waiting += (sound.clip(-1, 1) * 32767).astype(np.int16).tobytes()
        size = self.endpointer.frame_bytes
        words = None
        while len(self.waiting) >= size:
            piece, self.waiting = self.waiting[:size], self.waiting[size:]
            words = self._listen(self.endpointer.process(piece)) or words
        return words

    def _listen(self, speech: bytes | None) -> str | None:
        if speech is None:
            return None
        if not self.speaking:
            self.decoder.start_utt()
            self.speaking = True
        self.decoder.process_raw(speech)
        if not self.endpointer.in_speech:
            self.decoder.end_utt()
            self.speaking = False
        found = self.decoder.hyp()
        return found.hypstr if found else None
