"""PostgreSQL's texts: what they would do, and which labelled columns their results may depend on.

parse            the server's own grammar over a text, bounded.
catalogue        what is known of the target's relations, functions and operators.
functions        which built-ins only answer.   settings   what may be set in a session.
classification   the nouns.   classify   text and facts in, Classification out.
scope, names, walker, expressions, queries, statements, definitions
                 the one walk that gives effect and lineage at once, from the ground up.
normal           where the literals and comments of a text are.
"""
