"""What a measuring command is pointed at: a pipeline's class or a URL, and how it comes to run.

`livepeer doctor` and `livepeer bench` share this: both judge a container from outside, so a class
is served by a process of its own, as an image would be.
"""

from __future__ import annotations
