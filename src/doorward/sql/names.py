"""What the server calls an output column that has no alias (its FigureColname, src/backend/parser/parse_target.c).

Contract: `column_name` gives that name, or "" where it cannot be told, which lineage reads as "any name".
"""

from __future__ import annotations

from typing import Any

_FIXED = {
    "A_ArrayExpr": "array", "RowExpr": "row", "CoalesceExpr": "coalesce", "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action", "XmlSerialize": "xmlserialize", "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar", "JsonSerializeExpr": "json_serialize", "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array", "JsonArrayQueryConstructor": "json_array", "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
}
_XML = {"IS_XMLCONCAT": "xmlconcat", "IS_XMLELEMENT": "xmlelement", "IS_XMLFOREST": "xmlforest", "IS_XMLPARSE": "xmlparse",
        "IS_XMLPI": "xmlpi", "IS_XMLROOT": "xmlroot"}
_JSON = {"JSON_EXISTS_OP": "json_exists", "JSON_QUERY_OP": "json_query", "JSON_VALUE_OP": "json_value"}
_PLAIN = "?column?"


def column_name(node: dict[str, Any]) -> str:
    """The name of an output column whose expression is `node`."""
    return _figure(node, 0)[0] or _PLAIN


def _figure(node: dict[str, Any], depth: int) -> tuple[str, int]:
    """A name and how firm it is: 2 sure, 1 only if nothing better is found outside, 0 none."""
    if depth > 40:
        return _PLAIN, 0
    for tag, body in node.items():
        if tag == "ColumnRef":
            return _last(body.get("fields", ()), 2)
        if tag == "A_Indirection":
            name = _last(body.get("indirection", ()), 2)
            return name if name[1] else _figure(body.get("arg", {}), depth + 1)
        if tag == "FuncCall":
            return _last(body.get("funcname", ()), 2)
        if tag == "A_Expr":
            return ("nullif", 2) if body.get("kind") == "AEXPR_NULLIF" else ("", 0)
        if tag == "TypeCast":
            name = _figure(body.get("arg", {}), depth + 1)
            return name if name[1] > 1 else _last(body.get("typeName", {}).get("names", ()), 1)
        if tag == "CollateClause":
            return _figure(body.get("arg", {}), depth + 1)
        if tag == "CaseExpr":
            name = _figure(body.get("defresult", {}), depth + 1)
            return name if name[1] > 1 else ("case", 1)
        if tag == "SubLink":
            kind = body.get("subLinkType")
            if kind == "EXISTS_SUBLINK":
                return "exists", 2
            if kind == "ARRAY_SUBLINK":
                return "array", 2
            if kind == "EXPR_SUBLINK":
                return _first_target(body.get("subselect", {}).get("SelectStmt", {}), depth + 1)
            return "", 0
        if tag == "MinMaxExpr":
            return ("greatest" if body.get("op") == "IS_GREATEST" else "least"), 2
        if tag == "SQLValueFunction":
            return str(body.get("op", "")).removeprefix("SVFOP_").removesuffix("_N").lower(), 2
        if tag == "XmlExpr":
            return _XML.get(body.get("op"), ""), 2
        if tag == "JsonFuncExpr":
            return _JSON.get(body.get("op"), ""), 2
        if tag in _FIXED:
            return _FIXED[tag], 2
    return "", 0


def _first_target(select: dict[str, Any], depth: int) -> tuple[str, int]:
    """A scalar sub-query is named after its only column; in a set operation, after that of the leftmost query."""
    for _ in range(1000):
        if "larg" not in select:
            break
        select = select["larg"]
    for target in select.get("targetList", ()):
        body = target.get("ResTarget", {})
        if body.get("name"):
            return str(body["name"]), 2
        return _figure(body.get("val", {}), depth)
    return "column1" if select.get("valuesLists") else "", 2


def _last(names: Any, strength: int) -> tuple[str, int]:
    for name in reversed(names):
        if "String" in name:
            return str(name["String"].get("sval", "")), strength
    return "", 0
