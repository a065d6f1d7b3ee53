"""Typst documents as PDF/A-2b. `typst` is imported when the first one is made: nothing else of Doorward waits for it."""

from __future__ import annotations


def pdf(source: str, at: int) -> bytes:
    """The document, of which the same source and time (Unix ms) give the same bytes. No file is read, and only typst's own
    fonts are used. Raises ValueError for what is no typst."""
    import typst

    try:
        return typst.compile(
            source.encode(), format="pdf", pdf_standards=["a-2b"], ignore_system_fonts=True, timestamp=at // 1000
        )
    except (RuntimeError, typst.TypstError) as error:
        raise ValueError(f"a summary cannot be set: {str(error)[:500]}") from None
