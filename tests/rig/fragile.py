"""The gateway with a transform that fails: `python -m tests.rig.fragile serve ...`.

The real program in all but this: a labelled value that says CRASH makes its transform raise an error that quotes the value,
one that says SLOW makes it take longer than a test allows.
"""

from __future__ import annotations

import time

from doorward.__main__ import main
from doorward.masking.transforms import Transforms

_apply = Transforms.apply


def fragile(self: Transforms, label: str, text: str) -> str | None:
    if "CRASH" in text:
        raise KeyError(text)
    if "SLOW" in text:
        time.sleep(1.1)
    return _apply(self, label, text)


if __name__ == "__main__":
    Transforms.apply = fragile  # type: ignore[method-assign]
    main()
