"""Masking: what a result, a statement or an error may show.

detector     looks for one kind of confidential value by its content (`detectors/`, one file each).
detect       all detectors together: a prefilter over raw chunks, then exact checks on the values that need them.
disguise     a value's plain reading: width variants, look-alike separators and common escapes undone.
transform    what a labelled value becomes: redact, partial, null, token.
statement    SQL text and parameters as they may be stored and shown.
plan         per column of one result shape, what happens to it.

Pure: no I/O, no clock. Nothing here logs, and no error raised here carries a value.
"""
