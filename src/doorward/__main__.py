"""`python -m doorward` and the `doorward` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exits with its code."""
    from doorward.cli.main import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
