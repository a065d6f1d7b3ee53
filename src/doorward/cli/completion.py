"""`doorward completion`: a script that lets a shell complete commands and options."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a completion script for a shell.

    Parameters
    ----------
    shell
        Which shell. For bash: `doorward completion bash > ~/.local/share/bash-completion/completions/doorward`; for zsh:
        into a file `_doorward` in a directory of fpath; for fish: `~/.config/fish/completions/doorward.fish`.
    """
    from doorward.cli.main import app  # which names this module

    print(app.generate_completion(shell=shell))
    return 0
