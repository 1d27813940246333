"""From a class to an image: the manifest and how it is loaded."""
