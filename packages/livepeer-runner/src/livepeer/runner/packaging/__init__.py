"""From a class to a published image: `livepeer.yaml`, build, push, inspect."""
