"""Writes src/doorward/sql/functions.txt: every function of pg_catalog, as the given servers know it.

    python scripts/sql_functions.py "host=127.0.0.1 port=5432 user=postgres" ... > src/doorward/sql/functions.txt

One line a name: name, the worst volatility of any overload on any server (v, s, i), and the columns it has in FROM:
"-" for one column named after the function or its alias, "?" where that cannot be told from the name alone, else the
names of its OUT arguments. Which of them may run unasked is decided in src/doorward/sql/functions.py, not here.
Needs psql.
"""

from __future__ import annotations

import subprocess
import sys

QUERY = """
SELECT p.proname, p.provolatile,
       CASE WHEN p.proargmodes IS NOT NULL AND p.proargmodes && '{o,t,b}'::"char"[]
            THEN (SELECT string_agg(coalesce(nullif(n, ''), '?'), ',' ORDER BY i)
                    FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS a(n, m, i) WHERE m IN ('o', 't', 'b'))
            WHEN p.prorettype IN ('record'::regtype, 'anyelement'::regtype, 'anycompatible'::regtype)
              OR (SELECT t.typtype = 'c' FROM pg_type t WHERE t.oid = p.prorettype) THEN '?'
            ELSE '-' END
  FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
"""


def main(servers: list[str]) -> None:
    worst: dict[str, str] = {}
    columns: dict[str, set[str]] = {}
    for server in servers:
        rows = subprocess.run(
            ["psql", "-X", "-A", "-t", "-F", "\t", "-c", QUERY, server], check=True, capture_output=True, text=True
        ).stdout
        for row in rows.splitlines():
            name, volatility, out = row.split("\t")
            worst[name] = max(worst.get(name, "i"), volatility)  # "i" < "s" < "v"
            columns.setdefault(name, set()).add(out)
    for name in sorted(worst):
        shapes = columns[name]
        sys.stdout.write(f"{name}\t{worst[name]}\t{shapes.pop() if len(shapes) == 1 else '?'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
