"""A Django project in one file, over the tables of the benign corpus: what it says on standard output, it says of the database.

    python django_shop.py migrate|look      with libpq's variables for the connection (PGHOST, PGPORT, PGDATABASE ...)

`migrate` makes Django's own tables; `look` is everything else: introspection, inspectdb, and the ORM in the forms that people
write, in a transaction that is rolled back.
"""

# mypy: disable-error-code="misc"
# Django has no types, so its classes are Any.

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from django.apps import AppConfig
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Prefetch, Q, Subquery, Sum, Value, Window
from django.db.models.functions import Coalesce, Concat, ExtractYear, Lower, Rank, TruncMonth


class Shop(AppConfig):
    """This file, as an application."""

    label, path = "shop", os.path.dirname(__file__)


settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            "NAME": os.environ["PGDATABASE"],
            "OPTIONS": {"server_side_binding": os.environ.get("BINDING") == "server"},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        Shop(__name__, sys.modules[__name__]),
    ],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()


class Customer(models.Model):
    """The labelled table."""

    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    email = models.TextField()
    ssn = models.TextField(null=True)
    country = models.CharField(max_length=2)
    tier = models.TextField()
    score = models.DecimalField(max_digits=6, decimal_places=2)
    profile = models.JSONField()
    signup = models.DateTimeField()
    key = models.UUIDField()
    active = models.BooleanField()

    class Meta:
        app_label, managed, db_table = "shop", False, "customers"


class Order(models.Model):
    """What nearly nothing is labelled in."""

    customer = models.ForeignKey(Customer, models.CASCADE, db_column="customer", related_name="orders")
    placed = models.DateTimeField()
    state = models.TextField()
    total = models.DecimalField(max_digits=12, decimal_places=2)
    coupon = models.TextField(null=True)
    number = models.TextField()

    class Meta:
        app_label, managed, db_table = "shop", False, "orders"


class Category(models.Model):
    """Nothing of it is labelled."""

    id = models.IntegerField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label, managed, db_table = "shop", False, "categories"


def say(what: str, value: Any) -> None:
    """One line."""
    print(json.dumps([what, value], default=str))


def introspect() -> None:
    """What inspectdb, checks and migrations ask."""
    with connection.cursor() as cursor:
        told = connection.introspection
        for table in sorted(info.name for info in told.get_table_list(cursor)):
            say("columns", [table, told.get_table_description(cursor, table)])
            say("relations", [table, told.get_relations(cursor, table)])
            say("constraints", [table, sorted(told.get_constraints(cursor, table).items())])
            say("sequences", [table, told.get_sequences(cursor, table)])
    call_command("inspectdb", "--include-views", "--include-partitions")
    call_command("showmigrations", "--plan")
    call_command("check", "--database", "default")
    say("version", connection.pg_version // 10000)


def query() -> None:
    """The ORM. Lines whose name ends with * hold labelled values."""
    orders, customers = Order.objects.order_by("id"), Customer.objects.order_by("id")
    say("count", orders.count())
    say("values", list(orders.values("id", "number", "state", "total", "placed", "coupon")))
    say("objects*", [vars(c) | {"_state": 0} for c in customers])
    say("only", [[c.id, c.name, c.tier, c.profile, c.key] for c in customers.only("id", "name", "tier", "profile", "key")])
    say("defer", [[c.id, c.name, c.score] for c in customers.defer("email", "ssn")])
    say("joined", [[o.number, o.customer.name, o.customer.country] for o in orders.select_related("customer")])
    prefetched = customers.prefetch_related(Prefetch("orders", orders))
    say("prefetched", [[c.name, [o.number for o in c.orders.all()]] for c in prefetched])
    say("aggregate", orders.aggregate(Sum("total"), Avg("total"), Max("placed"), Count("customer", distinct=True)))
    say("grouped", list(Order.objects.values("state").annotate(n=Count("id"), s=Sum("total")).order_by("state")))
    say("months", list(Order.objects.annotate(m=TruncMonth("placed")).values("m").annotate(n=Count("id")).order_by("m")))
    # of a model that it does not manage Django groups by every column that is not left out
    say("having", list(customers.values("id", "name").annotate(n=Count("orders")).filter(n__gt=2)))
    chosen = customers.filter(Q(country="DE") | Q(name__endswith="7"), active=True).exclude(score__lt=5)
    say("filtered", list(chosen.values_list("id", flat=True)))
    newest = Order.objects.filter(customer=OuterRef("pk")).order_by("-placed")
    say("subquery", list(customers.annotate(last=Subquery(newest.values("number")[:1])).values_list("id", "last")))
    say("exists", list(customers.filter(Exists(newest.filter(state="returned"))).values_list("id", flat=True)))
    text = models.TextField()
    called = Concat("name", Value(" / "), "country", output_field=text)
    say("expression", list(customers.values_list("id", Lower("name"), called)))
    say("coalesce", list(orders.values_list("id", Coalesce("coupon", "number"))))
    say("window", list(orders.annotate(r=Window(Rank(), order_by=F("total").desc())).values_list("id", "r")))
    say("json", list(customers.filter(profile__lang="de").values_list("id", "profile__theme__dark")))
    say("year", list(orders.annotate(y=ExtractYear("placed")).values_list("y", flat=True).distinct()))
    both = Customer.objects.values_list("id", "name").union(Order.objects.values_list("id", "number"))
    say("union", list(both.order_by("id", "name")))
    say("slice", list(orders.values_list("number", flat=True)[5:15]))
    say("in_bulk", sorted((key, c.name) for key, c in Customer.objects.in_bulk([1, 2, 3]).items()))
    say("iterator", [o.number for o in orders.iterator(chunk_size=7)])
    say("first, last, exists", [orders.first().number, orders.last().number, orders.filter(id=3).exists()])
    say("raw", [c.name for c in Customer.objects.raw("select id, name from customers where id < %s order by id", [5])])
    say("dates", list(Order.objects.dates("placed", "month")))
    say("mail*", list(customers.values_list("id", "name", "email")))
    with transaction.atomic():
        say("locked", [o.number for o in orders.select_for_update().filter(id__lt=4)])
        given: dict[str, Any] = {"customer_id": 1, "placed": "2024-01-01T00:00Z", "state": "open"}
        say("created", Order.objects.create(id=9001, total=1, number="ORD-2024-009001", **given).number)
        more = [Category(id=90 + n, name=f"N{n}") for n in range(3)]
        say("bulk", [c.name for c in Category.objects.bulk_create(more)])
        say("changed", orders.filter(id__gt=9000).update(state="paid", total=F("total") + 1))
        say("seen", list(orders.filter(id__gt=9000).values_list("number", "state", "total")))
        found, made = Order.objects.get_or_create(id=9001, defaults=given)
        say("got", [found.number, made])
        one = orders.get(id=5)
        one.coupon = "X"
        one.save(update_fields=["coupon"])
        one.refresh_from_db()
        say("saved", [one.coupon, one.number])
        with transaction.atomic():
            say("deleted", Order.objects.filter(id__gt=9000).delete()[0])
        say("left", orders.filter(id__gt=9000).count())
        transaction.set_rollback(True)


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        call_command("migrate", verbosity=1)
    else:
        introspect()
        query()
