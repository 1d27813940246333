from collections.abc import Iterator

from pydantic import BaseModel, Field

from livepeer.runner import AudioFrame, LivePipeline, serve


class PitchParams(BaseModel):
    semitones: float = Field(0, ge=-12, le=12, description="12 is an octave up, -12 one down.")


class AudioPitch(LivePipeline):
    """Raise or lower the voices in a live stream; its picture passes through untouched."""

    params: PitchParams

    def on_stream_start(self, params: PitchParams) -> None:
        self.shift: PitchShift | None = None

    def on_params_update(self, params: PitchParams) -> None:
        self.shift = None  # made anew for the next frame

    def process_audio(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        if self.shift is None:
            self.shift = PitchShift(frame, self.params.semitones)
        yield from self.shift(frame)


class PitchShift:
    """FFmpeg plays the sound faster at a higher pitch, then stretches it to its old length."""

    def __init__(self, frame: AudioFrame, semitones: float) -> None:
        from av.filter import Graph

        factor = 2 ** (semitones / 12)
        self.graph = Graph()
        self.graph.link_nodes(
            self.graph.add_abuffer(
                sample_rate=frame.rate, format=frame.format, layout=frame.layout
            ),
            self.graph.add("asetrate", str(round(frame.rate * factor))),
            self.graph.add("aresample", str(frame.rate)),
            self.graph.add("atempo", f"{1 / factor:.6f}"),
            self.graph.add("aformat", f"sample_fmts={frame.format}"),  # atempo interleaves
            self.graph.add("abuffersink"),
        ).configure()
        self.next_time = frame.time

    def __call__(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        from av import AudioFrame as Sound
        from av import BlockingIOError as NotYet

        sound = Sound.from_ndarray(frame.samples, format=frame.format, layout=frame.layout)
        sound.sample_rate = frame.rate
        self.graph.push(sound)
        while True:
            try:
                shifted = self.graph.pull()
            except NotYet:
                return
            out = AudioFrame.from_ndarray(
                shifted.to_ndarray(), rate=frame.rate, layout=frame.layout, time=self.next_time
            )
            self.next_time += out.duration
            yield out


if __name__ == "__main__":
    serve(AudioPitch)
