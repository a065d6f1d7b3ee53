"""Definitions: CREATE, ALTER, DROP, GRANT and the like.

Contract: each names what it defines with access DEFINE, or CONTROL where it changes who may do what, loads code, or reaches
beyond the database's own objects; what else it mentions is read; a body of a function is not judged, because defining it
does not run it. Expressions within (defaults, index expressions, USING) are, because many of them run at once.

What has no name of its own here (types, indexes and whatever the catalogue facts leave out) is asked of its schema, or where
that cannot be told, of the target.
"""

from __future__ import annotations

from typing import Any

from doorward.model import Effect, dotted
from doorward.sql.classification import NOTHING
from doorward.sql.queries import strings
from doorward.sql.scope import Col, Rows, Scope
from doorward.sql.statements import Body, Statements
from doorward.sql.walker import ANYTHING

_DEFINE, _CONTROL, _WRITE, _READ = Effect.DEFINE, Effect.CONTROL, Effect.WRITE, Effect.READ

# Statement -> (tag, field that holds the relation it creates).
_CREATES = {
    "CreateStmt": ("CREATE TABLE", "relation"), "CreateSeqStmt": ("CREATE SEQUENCE", "sequence"),
    "ViewStmt": ("CREATE VIEW", "view"), "CompositeTypeStmt": ("CREATE TYPE", "typevar"),
}
# Statement -> (tag, field that holds the relation it changes, access).
_ALTERS = {
    "IndexStmt": ("CREATE INDEX", "relation", _DEFINE), "CreateTrigStmt": ("CREATE TRIGGER", "relation", _DEFINE),
    "RuleStmt": ("CREATE RULE", "relation", _DEFINE), "AlterTableStmt": ("ALTER TABLE", "relation", _DEFINE),
    "AlterSeqStmt": ("ALTER SEQUENCE", "sequence", _DEFINE), "CreatePolicyStmt": ("CREATE POLICY", "table", _CONTROL),
    "AlterPolicyStmt": ("ALTER POLICY", "table", _CONTROL),
    "RefreshMatViewStmt": ("REFRESH MATERIALIZED VIEW", "relation", _WRITE),
    "ClusterStmt": ("CLUSTER", "relation", _DEFINE), "ReindexStmt": ("REINDEX", "relation", _DEFINE),
    "AlterObjectSchemaStmt": ("ALTER", "relation", _DEFINE), "AlterOwnerStmt": ("ALTER", "relation", _CONTROL),
    "AlterObjectDependsStmt": ("ALTER", "relation", _DEFINE), "RenameStmt": ("ALTER", "relation", _DEFINE),
}
# Statement -> (tag, field that holds the name of what it defines in a schema).
_IN_SCHEMA = {
    "CreateEnumStmt": ("CREATE TYPE", "typeName"), "AlterEnumStmt": ("ALTER TYPE", "typeName"),
    "CreateRangeStmt": ("CREATE TYPE", "typeName"), "CreateDomainStmt": ("CREATE DOMAIN", "domainname"),
    "AlterDomainStmt": ("ALTER DOMAIN", "typeName"), "AlterTypeStmt": ("ALTER TYPE", "typeName"),
    "CreateStatsStmt": ("CREATE STATISTICS", "defnames"), "AlterStatsStmt": ("ALTER STATISTICS", "defnames"),
    "AlterCollationStmt": ("ALTER COLLATION", "collname"), "AlterTSDictionaryStmt": ("ALTER TEXT SEARCH", "dictname"),
    "AlterTSConfigurationStmt": ("ALTER TEXT SEARCH", "cfgname"),
}
# Reach beyond the objects of one schema: users, servers, files, code in C, the whole database.
_OF_TARGET = {
    "AlterDatabaseSetStmt": "ALTER DATABASE", "AlterDatabaseStmt": "ALTER DATABASE",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE", "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER", "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION", "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "AlterForeignServerStmt": "ALTER SERVER", "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "AlterOperatorStmt": "ALTER OPERATOR", "AlterPublicationStmt": "ALTER PUBLICATION", "AlterRoleSetStmt": "ALTER ROLE",
    "AlterRoleStmt": "ALTER ROLE", "AlterSubscriptionStmt": "ALTER SUBSCRIPTION", "AlterSystemStmt": "ALTER SYSTEM",
    "AlterTableMoveAllStmt": "ALTER TABLE", "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterUserMappingStmt": "ALTER USER MAPPING", "CheckPointStmt": "CHECKPOINT", "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateCastStmt": "CREATE CAST", "CreateConversionStmt": "CREATE CONVERSION", "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateExtensionStmt": "CREATE EXTENSION", "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER", "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY", "CreatePLangStmt": "CREATE LANGUAGE",
    "CreatePublicationStmt": "CREATE PUBLICATION", "CreateRoleStmt": "CREATE ROLE",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION", "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "CreateTransformStmt": "CREATE TRANSFORM", "CreateUserMappingStmt": "CREATE USER MAPPING",
    "CreatedbStmt": "CREATE DATABASE", "DropOwnedStmt": "DROP OWNED", "DropRoleStmt": "DROP ROLE",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION", "DropTableSpaceStmt": "DROP TABLESPACE",
    "DropUserMappingStmt": "DROP USER MAPPING", "DropdbStmt": "DROP DATABASE", "GrantRoleStmt": "GRANT ROLE",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA", "LoadStmt": "LOAD", "ReassignOwnedStmt": "REASSIGN OWNED",
    "SecLabelStmt": "SECURITY LABEL",
}
_RELATIONS = frozenset({"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE"})
_ON_RELATION = frozenset({"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT"})
_FUNCTIONS = frozenset({"OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"})
_SCHEMA_LEVEL = frozenset({
    "OBJECT_TYPE", "OBJECT_DOMAIN", "OBJECT_COLLATION", "OBJECT_STATISTIC_EXT", "OBJECT_TSCONFIGURATION",
    "OBJECT_TSDICTIONARY", "OBJECT_TSPARSER", "OBJECT_TSTEMPLATE", "OBJECT_OPERATOR",
})
_GUARDING = ("AT_ChangeOwner", "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity",
             "AT_NoForceRowSecurity")
_TRIGGERS = ("AT_EnableTrig", "AT_DisableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_EnableRule",
             "AT_DisableRule", "AT_EnableAlwaysRule", "AT_EnableReplicaRule")
# Put something to every row: a constraint, a cast, a partition's bounds.
_ASKING = frozenset({
    "AT_AddConstraint", "AT_AddIndex", "AT_AddIndexConstraint", "AT_AlterColumnType", "AT_AlterConstraint",
    "AT_AttachPartition", "AT_SetExpression", "AT_SetNotNull", "AT_ValidateConstraint",
})
_SAFE_LANGUAGES = frozenset({"sql", "plpgsql"})


class Definitions(Statements):
    """Adds definitions to the walk."""

    def definition(self, tag: str, body: Body) -> None:
        if tag in _CREATES:
            self.draft.tag, field = _CREATES[tag]
            self.create(body.get(field, {}))
            if tag == "ViewStmt":
                self.stored = self.stored | self.query(body.get("query", {}), None, {}).labels
            else:
                self.mentions({key: value for key, value in body.items() if key != field})
        elif tag in _ALTERS:
            self.alters(tag, body)
        elif tag in _IN_SCHEMA:
            self.draft.tag, field = _IN_SCHEMA[tag]
            self.in_schema(strings(body.get(field, ())), _DEFINE)
            if tag in ("CreateDomainStmt", "AlterDomainStmt"):  # its checks run wherever it is used
                self.in_catalogue(strings(body.get(field, ())))
            if tag == "AlterDomainStmt":  # a new check is put to every row that has the type
                self.inferred = self.inferred | self.top
            self.mentions({key: value for key, value in body.items() if key != field})
        elif tag in _OF_TARGET:
            self.draft.tag = _OF_TARGET[tag]
            self.touch("Target", "", _CONTROL)
            if tag in ("AlterRoleSetStmt", "AlterDatabaseSetStmt", "AlterSystemStmt"):
                self.assign(body.get("setstmt", {}))
            if tag != "CheckPointStmt":
                self.defines.add(ANYTHING)
        else:
            handler = _HANDLERS.get(tag)
            if handler is None:
                self.draft.tag = tag.removesuffix("Stmt").upper()
                self.unknown(f"a statement of kind {tag} cannot be judged")
            else:
                handler(self, body)

    # -- names

    def creation_schema(self) -> str:
        """Where a new object without a schema goes."""
        if self.unsure_path:
            self.unknown("search_path may have changed earlier in the same text, so where this goes cannot be told: "
                         "send this statement on its own, or name the schema")
        for schema in self.facts.search_path:
            if schema != "pg_catalog" and not schema.startswith("pg_temp"):
                return schema
        self.unknown("search_path names no schema to create in")
        return ""

    def create(self, var: Body) -> None:
        name, schema = var.get("relname", ""), var.get("schemaname", "")
        if var.get("relpersistence") == "t" or schema == "pg_temp":
            self.touch("Table", dotted("pg_temp", name), _WRITE)  # nobody else sees it, and it goes when the session goes
            self.defines.add(("pg_temp", name))
            return
        schema = schema or self.creation_schema()
        self.touch("Table", dotted(schema, name), _DEFINE)
        self.defines.add((schema, name))

    def created(self, var: Body) -> list[tuple[str, str]]:
        if var.get("relpersistence") == "t" or var.get("schemaname") == "pg_temp":
            return []
        return [(var.get("schemaname") or self.creation_schema(), var.get("relname", ""))]

    def existing(
        self, var: Body, access: Effect, *, optional: bool = False, kind: str = "OBJECT_TABLE"
    ) -> frozenset[str]:
        """A relation that is changed or dropped, and its labels. One that the catalogue facts leave out (an index) is asked of
        the target."""
        schema, name = var.get("schemaname", ""), var.get("relname", "")
        labels = NOTHING
        if schema == "pg_temp" or (not schema and name in self.temporary):
            self.touch("Table", dotted("pg_temp", name), _WRITE)
            labels = self.top
            self.labels = self.labels | labels
            self.defines.add(("pg_temp", name))
            if schema:
                return labels
        found = self.resolve(schema, name)
        for where, relation in found:
            labels = labels | self.found(where, name, relation, access).labels
            self.labels = self.labels | labels  # its errors may quote rows
            self.defines.add((where, name))
        if found or name in self.temporary:
            return labels
        if kind in _RELATIONS and not optional:
            self.miss(f"{schema}.{name}" if schema else name, "relation")
        self.labels = self.labels | self.top  # an index, say: nobody knows of what
        self.touch("Schema" if schema else "Target", dotted(schema), access)
        return self.top

    def in_schema(self, path: list[str], access: Effect) -> None:
        self.touch("Schema", dotted(path[-2] if len(path) > 1 else self.creation_schema()), access)

    def in_catalogue(self, path: list[str]) -> None:
        """What is no relation, and worth another look at the catalogue all the same."""
        self.defines.add((path[-2] if len(path) > 1 else self.creation_schema(), (path or [""])[-1]))

    def routine(self, path: list[str], access: Effect) -> None:
        if len(path) > 1:
            schemas = {path[-2]}
        else:
            owners = self.catalogue.functions.get(path[-1], frozenset()) if path else frozenset()
            schemas = {schema for schema in self.facts.search_path if schema in owners} or {self.creation_schema()}
        for schema in schemas:
            self.touch("Function", dotted(schema, path[-1]), access)
            self.defines.add((schema, f"{path[-1]}()"))

    def mentions(self, node: Any) -> None:
        """Everything else a definition names: relations are read, functions and operators judged, sub-queries walked."""
        scope = Scope()
        waiting = [node]
        while waiting:
            node = waiting.pop()
            self.spend()
            if type(node) is list:
                waiting.extend(node)
            elif type(node) is dict:
                for key, value in node.items():
                    if key == "SelectStmt":
                        self.stored = self.stored | self.query({key: value}, None, {}).labels
                    elif key == "FuncCall":
                        self.call(value, scope, waiting)
                    elif key == "A_Expr":
                        self.operator(value.get("name", ()))
                        waiting.append(value)
                    elif type(value) is dict and "relname" in value:
                        # As `name` it is a partition that is attached or detached.
                        self.relation(value, None, _DEFINE if key == "name" else _READ)
                    elif key == "A_Indirection":
                        for name in strings(value.get("indirection", ())):
                            self.function([name], notation=True)
                        waiting.append(value)
                    else:
                        waiting.append(value)

    # -- kinds with something to them

    def alters(self, tag: str, body: Body) -> None:
        self.draft.tag, field, access = _ALTERS[tag]
        kind = body.get("objtype") or body.get("relationType" if tag == "RenameStmt" and body.get("renameType") in (
            "OBJECT_COLUMN", "OBJECT_ATTRIBUTE") else "renameType") or body.get("objectType") or "OBJECT_TABLE"
        if tag in ("AlterTableStmt", "RenameStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt") and kind.startswith("OBJECT_"):
            self.draft.tag = "ALTER " + kind.removeprefix("OBJECT_").replace("MATVIEW", "MATERIALIZED VIEW").replace("_", " ")
        for command in body.get("cmds", ()):
            subtype = command.get("AlterTableCmd", {}).get("subtype", "")
            if subtype in _GUARDING or subtype.startswith(_TRIGGERS):
                access = _CONTROL
        if field in body:
            labels = self.existing(body[field], access, optional=body.get("missing_ok", False), kind=kind)
            if _asks_rows(tag, body):
                self.inferred = self.inferred | labels
            self.rewritten(body[field], body.get("cmds", ()))
            self.moves(tag, kind, body[field], body)
            if tag in ("CreateTrigStmt", "RuleStmt"):  # it gets the rows, and nobody sees what becomes of them
                self.escape(labels, "what a trigger or rule does with it")
            schema = body[field].get("schemaname", "")
            if "newname" in body and kind in _RELATIONS:
                for where in {schema} if schema else set(self.facts.search_path) - {"pg_catalog"}:
                    self.defines.add((where, body["newname"]))
            if "newschema" in body:
                self.touch("Schema", dotted(body["newschema"]), _DEFINE)
                self.defines.add((body["newschema"], body[field].get("relname", "")))
        else:
            self.objects(kind, [body.get("object", {})], access)
            if kind == "OBJECT_SCHEMA" and "newname" in body:
                self.moved(f"{body.get('subname', '')}.", f"{body['newname']}.")
            if kind == "OBJECT_SCHEMA" or tag == "ReindexStmt":
                self.touch("Schema" if body.get("subname") else "Target", dotted(body.get("subname", "")), access)
                self.defines.add(ANYTHING)
            if tag == "RefreshMatViewStmt":
                self.unknown("REFRESH without a name cannot be judged")
        if tag == "CreateTrigStmt":
            self.routine_named(body.get("funcname", ()))
        if tag == "RuleStmt":
            for action in body.get("actions", ()):
                for inner, inner_body in action.items():
                    if inner != "NotifyStmt":
                        self.mentions(inner_body)  # runs later, as whoever uses the table
            self.escape(self.stored, "what a rule writes")
        self.mentions({key: value for key, value in body.items() if key not in (field, "object", "actions", "funcname")})

    def moves(self, tag: str, kind: str, var: Body, body: Body) -> None:
        """Labels that are known by name alone, of what this transaction has made or changed, go where its rows go."""
        name = var.get("relname", "")
        for command in body.get("cmds", ()) if tag == "AlterTableStmt" else ():
            command = command.get("AlterTableCmd", {})
            if command.get("subtype") == "AT_DetachPartition":
                self.parts(var, command.get("def", {}).get("PartitionCmd", {}).get("name", {}))
            elif command.get("subtype") == "AT_DropInherit":
                self.parts(command.get("def", {}).get("RangeVar", {}), var)
        for where, relation in self.resolve(var.get("schemaname", ""), name):
            if relation is not None:
                continue  # and so known by its number
            if "newschema" in body:
                self.moved(f"{where}.{name}.", f"{body['newschema']}.{name}.")
            elif "newname" in body and kind in _RELATIONS and body.get("renameType") != "OBJECT_COLUMN":
                self.moved(f"{where}.{name}.", f"{where}.{body['newname']}.")
            elif "newname" in body:
                self.moved(f"{where}.{name}.{body.get('subname', '')}", f"{where}.{name}.{body['newname']}")

    def parts(self, whole: Body, part: Body) -> None:
        """A partition or child goes its own way, with what may have been written through what it was a part of."""
        for schema, child in self.resolve(part.get("schemaname", ""), part.get("relname", "")):
            name = part.get("relname", "")
            for where, parent in self.resolve(whole.get("schemaname", ""), whole.get("relname", "")):
                if parent is None:
                    parent = self.catalogue.find(where, whole.get("relname", ""))  # as it was before this transaction
                    self.moved(f"{where}.{whole.get('relname', '')}.", f"{schema}.{name}.")
                elif child is not None:
                    continue  # the catalogue has both, and that one is of the other
                for col in () if parent is None else self.shape(parent)[0]:
                    self.copies.update((schema, name, col.name, label) for label in col.labels)

    def moved(self, before: str, after: str) -> None:
        """What is called `before`, or begins so, is called `after` from now on."""
        for copied in (self.facts.copied, self.landed):
            for column, labels in copied.items():
                if column == before or (before.endswith(".") and column.startswith(before)):
                    path = (after + column[len(before):]).split(".", 2)
                    if len(path) == 3:
                        self.copies.update((path[0], path[1], path[2], label) for label in labels)

    def rewritten(self, var: Body, commands: Any) -> None:
        """Columns that ALTER TABLE fills out of others."""
        for command in commands:
            body = command.get("AlterTableCmd", {})
            column = body.get("def", {}).get("ColumnDef", {})
            name = body.get("name") or column.get("colname", "")
            made = [column["raw_default"]] if "raw_default" in column and body.get("subtype") == "AT_AlterColumnType" else []
            for constraint in column.get("constraints", ()):
                if constraint.get("Constraint", {}).get("contype") == "CONSTR_GENERATED":
                    made.append(constraint["Constraint"].get("raw_expr", {}))
            if body.get("subtype") == "AT_SetExpression":
                made.append(body.get("def", {}))
            if made or body.get("subtype") == "AT_DropExpression":
                item = self.relation(var, None, _READ)
                labels = self.expression(made, Scope(items=[item])) if made else item.column(name)[0]
                self.stored = self.stored | labels
                for where, _relation in self.resolve(var.get("schemaname", ""), var.get("relname", "")):
                    self.copies.update((where, var.get("relname", ""), name, label) for label in labels)

    def routine_named(self, name: Any) -> None:
        """A function that will be called later, by others."""
        path = strings(name)
        if path and path[:-1] != ["pg_catalog"]:
            self.touch("Function", dotted(*path[-2:]), Effect.EXECUTE)

    def objects(self, kind: str, objects: Any, access: Effect, *, optional: bool = False) -> None:
        """The objects of DROP, COMMENT, GRANT, ALTER .. OWNER by their kind."""
        for node in objects:
            path = _path(node)
            if kind in _RELATIONS:
                self.existing(_var(path), access, optional=optional, kind=kind)
            elif kind in _ON_RELATION or kind == "OBJECT_POLICY":
                self.existing(_var(path[:-1]), _CONTROL if kind == "OBJECT_POLICY" else access, optional=optional)
            elif kind in _FUNCTIONS:
                self.routine(path, access)
            elif kind == "OBJECT_SCHEMA":
                self.touch("Schema", dotted(path[-1] if path else ""), access)
            elif kind in _SCHEMA_LEVEL:
                self.in_schema(path, access)
            elif kind == "OBJECT_INDEX":
                self.touch("Schema" if len(path) > 1 else "Target", dotted(path[-2] if len(path) > 1 else ""), access)
            else:
                self.touch("Target", "", _CONTROL)
                self.defines.add(ANYTHING)

    def drop(self, body: Body) -> None:
        kind = body.get("removeType", "")
        self.draft.tag = "DROP " + kind.removeprefix("OBJECT_").replace("MATVIEW", "MATERIALIZED VIEW").replace("_", " ")
        self.objects(kind, body.get("objects", ()), _DEFINE, optional=body.get("missing_ok", False))
        if body.get("behavior") == "DROP_CASCADE" or kind == "OBJECT_SCHEMA":
            self.defines.add(ANYTHING)

    def comment(self, body: Body) -> None:
        self.draft.tag = "COMMENT"
        self.objects(body.get("objtype", ""), [body.get("object", {})], _DEFINE)

    def grant(self, body: Body) -> None:
        self.draft.tag = "GRANT" if body.get("is_grant") else "REVOKE"
        kind = body.get("objtype", "")
        if body.get("targtype") != "ACL_TARGET_OBJECT":
            for node in body.get("objects", ()):
                self.touch("Schema", dotted((_path(node) or [""])[-1]), _CONTROL)
        else:
            self.objects(kind, body.get("objects", ()), _CONTROL)

    def create_schema(self, body: Body) -> None:
        self.draft.tag = "CREATE SCHEMA"
        name = body.get("schemaname") or body.get("authrole", {}).get("rolename", "")
        self.touch("Schema" if name else "Target", dotted(name), _DEFINE)
        if body.get("schemaElts"):
            self.unknown("CREATE SCHEMA with its contents in one statement cannot be judged: create them one by one")

    def create_function(self, body: Body) -> None:
        self.draft.tag = "CREATE PROCEDURE" if body.get("is_procedure") else "CREATE FUNCTION"
        access = _DEFINE
        for option in body.get("options", ()):
            element = option.get("DefElem", {})
            name, argument = element.get("defname"), element.get("arg", {})
            if name == "language" and argument.get("String", {}).get("sval", "").lower() not in _SAFE_LANGUAGES:
                access = _CONTROL  # C, or a language that Doorward does not know to be confined
            elif name == "set":
                self.function_setting(argument)
        path = strings(body.get("funcname", ()))
        schema = path[-2] if len(path) > 1 else self.creation_schema()
        self.touch("Function", dotted(schema, path[-1]), access)
        self.defines.add((schema, f"{path[-1]}()"))

    def alter_function(self, body: Body) -> None:
        self.draft.tag = "ALTER FUNCTION"
        self.routine(_path({"ObjectWithArgs": body.get("func", {})}), _DEFINE)
        for action in body.get("actions", ()):
            if action.get("DefElem", {}).get("defname") == "set":
                self.function_setting(action["DefElem"].get("arg", {}))

    def function_setting(self, argument: Body) -> None:
        """SET within a function: it will hold while the function runs, so the law is the same."""
        self.assign(argument.get("VariableSetStmt", {}))
        self.settings.clear()  # nothing changes in this session

    def define(self, body: Body) -> None:
        kind = body.get("kind", "")
        self.draft.tag = "CREATE " + kind.removeprefix("OBJECT_").replace("_", " ")
        path = strings(body.get("defnames", ()))
        schema = path[-2] if len(path) > 1 else self.creation_schema()
        if kind == "OBJECT_AGGREGATE":
            self.touch("Function", dotted(schema, path[-1]), _DEFINE)
            self.defines.add((schema, f"{path[-1]}()"))
        elif kind in ("OBJECT_OPERATOR", "OBJECT_TYPE"):
            self.touch("Schema", dotted(schema), _CONTROL)  # can change what other statements mean
            self.defines.add(ANYTHING)
        else:
            self.touch("Schema", dotted(schema), _DEFINE)

    def create_foreign_table(self, body: Body) -> None:
        self.draft.tag = "CREATE FOREIGN TABLE"
        self.create(body.get("base", {}).get("relation", {}))
        self.touch("Target", "", _CONTROL)

    def create_table_as(self, body: Body) -> None:
        view = body.get("objtype") == "OBJECT_MATVIEW"
        self.draft.tag = "CREATE MATERIALIZED VIEW" if view else "CREATE TABLE AS"
        into = body.get("into", {})
        for tag, inner in body.get("query", {}).items():
            told = self.judge(tag, inner)
            self.adopt(told)
            for statement in told.statements:
                self.draft.executes = self.draft.executes or statement.executes
                outputs = statement.outputs
                if outputs is None:
                    self.fill(into, Rows(None, statement.labels))
                else:
                    cols = tuple(Col(output.name, output.sources) for output in outputs)
                    self.fill(into, Rows(cols, frozenset().union(*(col.labels for col in cols))))
        self.create(into.get("rel", {}))


_HANDLERS = {
    "DropStmt": Definitions.drop, "CommentStmt": Definitions.comment, "GrantStmt": Definitions.grant,
    "CreateSchemaStmt": Definitions.create_schema, "CreateFunctionStmt": Definitions.create_function,
    "AlterFunctionStmt": Definitions.alter_function, "DefineStmt": Definitions.define,
    "CreateForeignTableStmt": Definitions.create_foreign_table, "CreateTableAsStmt": Definitions.create_table_as,
}


def _asks_rows(tag: str, body: Body) -> bool:
    """Whether a definition succeeds or fails by what is in the rows that are there."""
    if tag == "IndexStmt":
        return "whereClause" in body or body.get("unique", False) or any(
            "expr" in element.get("IndexElem", {}) for element in body.get("indexParams", ())
        )
    return any(command.get("AlterTableCmd", {}).get("subtype") in _ASKING for command in body.get("cmds", ()))


def _path(node: Body) -> list[str]:
    """The name of an object, in parts."""
    for tag, body in node.items():
        if tag == "List":
            return strings(body.get("items", ())) or [part for item in body.get("items", ()) for part in _path(item)]
        if tag == "String":
            return [body.get("sval", "")]
        if tag == "ObjectWithArgs":
            return strings(body.get("objname", ()))
        if tag == "TypeName":
            return strings(body.get("names", ()))
        if tag == "RangeVar":
            return [part for part in (body.get("schemaname", ""), body.get("relname", "")) if part]
    return []


def _var(path: list[str]) -> Body:
    return {"relname": path[-1] if path else "", "schemaname": path[-2] if len(path) > 1 else ""}
