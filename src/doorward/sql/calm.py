"""What an expression may do with a confidential value without giving it away by failing, or by how long it takes.

Contract: `node` is true only for what gives a result for every value, does not choose by a value what else is evaluated, and
runs no code but PostgreSQL's own. Its result is masked; whether there is one says nothing. Everything else (casts that may
fail, arithmetic, CASE, regular expressions, functions that are not named here) is inference. New entries need a reason why
they cannot raise an error; the list is short because an expression over a labelled column is masked whole anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TAGS: Final = frozenset({
    "ColumnRef", "A_Const", "ParamRef", "SetToDefault", "SQLValueFunction", "MergeSupportFunc", "String", "Integer", "Float",
    "Boolean", "BitString", "A_Star", "TypeName", "CurrentOfExpr", "CaseTestExpr", "List", "NullTest", "BooleanTest",
    "MinMaxExpr", "RowExpr", "A_ArrayExpr", "A_Indices", "A_Indirection", "CollateClause", "NamedArgExpr", "GroupingFunc",
    "GroupingSet", "MultiAssignRef", "ResTarget", "SubLink", "IndexElem", "PartitionElem", "SortBy", "WindowDef",
})  # fmt: skip
_TEXT: Final = frozenset({"text", "varchar", "bpchar", "name", "char"})
_KINDS: Final = frozenset({
    "AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT", "AEXPR_NULLIF", "AEXPR_IN",
    "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM",
})  # fmt: skip
_PATTERNS: Final = frozenset({"AEXPR_LIKE", "AEXPR_ILIKE"})
_OPERATORS: Final = frozenset({"=", "<>", "<", ">", "<=", ">=", "||", "->", "->>", "#>", "#>>", "@>", "<@", "?",
                               "BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS: Final = _words(
    """
    array_agg any_value array_to_json ascii avg bit_length bool_and bool_or btrim char_length character_length concat
    concat_ws count every first_value hashtext initcap json_agg jsonb_agg json_build_array jsonb_build_array lag
    last_value lead left length lower ltrim max md5 min mode octet_length percentile_cont percentile_disc
    position quote_ident quote_literal quote_nullable replace reverse right row_to_json rtrim sha224 sha256 sha384
    sha512 starts_with string_agg strpos sum to_json to_jsonb translate upper
    """
)
# Fail by what comes behind their first argument: a negative length, a field of number 0, a format.
_FIRST: Final = _words("date_part date_trunc encode extract nth_value overlay split_part substr substring to_char")


def node(tag: str, body: Mapping[str, Any], shadowed: Mapping[str, Any]) -> bool:
    """Whether a node is calm, whatever its children are: they are looked at by themselves. `shadowed` are the names of
    functions that have a namesake outside pg_catalog."""
    if tag == "A_Expr":
        return _operator(body)
    if tag == "FuncCall":
        return _call(body, shadowed)
    if tag == "TypeCast":
        return "A_Const" in body.get("arg", {}) or _is_text(body)
    if tag == "CoalesceExpr":  # what stands behind the first is evaluated only if that is NULL
        return all(_simple(argument) for argument in body.get("args", ())[1:])
    return tag in _TAGS


def _operator(body: Mapping[str, Any]) -> bool:
    kind = body.get("kind")
    if kind in _PATTERNS:
        return not body.get("rexpr", {}).keys() - {"A_Const", "ParamRef"}
    names = [name.get("String", {}).get("sval") for name in body.get("name", ())]
    return kind in _KINDS and names[-1:] != [] and names[-1] in _OPERATORS and names[:-1] in ([], ["pg_catalog"])


def _call(body: Mapping[str, Any], shadowed: Mapping[str, Any]) -> bool:
    path = [name.get("String", {}).get("sval", "") for name in body.get("funcname", ())]
    if not path or path[:-1] not in ([], ["pg_catalog"]) or (len(path) == 1 and path[0] in shadowed):
        return False
    if path[-1] == "current_setting":  # whether there is such a setting is no value's doing
        return not any(value.keys() - {"A_Const", "ParamRef"} for value in body.get("args", ()))
    if path[-1] in _FIRST:
        values = body.get("args", ())
        place = 1 if path[-1] in ("date_part", "date_trunc", "extract") else 0  # these have the field first
        return all(n == place or not value.keys() - {"A_Const", "ParamRef"} for n, value in enumerate(values))
    return path[-1] in _FUNCTIONS


def _is_text(body: Mapping[str, Any]) -> bool:
    to = body.get("typeName", {})
    names = [name.get("String", {}).get("sval") for name in to.get("names", ())]
    return bool(names) and names[-1] in _TEXT and names[:-1] in ([], ["pg_catalog"]) and "arrayBounds" not in to


def _simple(argument: Mapping[str, Any]) -> bool:
    """Evaluated in no time, and without fail; a constant's cast is evaluated in planning, whatever the rows hold."""
    if "TypeCast" in argument:
        return not argument["TypeCast"].get("arg", {}).keys() - {"A_Const"}
    return not argument.keys() - {"ColumnRef", "A_Const", "ParamRef", "SQLValueFunction"}
