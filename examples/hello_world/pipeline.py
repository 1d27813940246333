from livepeer.runner import Pipeline, serve


class HelloWorld(Pipeline):
    """Greet somebody by name."""

    def predict(self, name: str = "world") -> str:
        return f"Hello, {name}!"


if __name__ == "__main__":
    serve(HelloWorld)
