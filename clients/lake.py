"""Reads the Delta tables as others do: delta-rs, and DuckDB with a reader of the log of its own."""
import importlib.util
from pathlib import Path

import deltalake
import duckdb

SYSTEM = ("system/serving/endpoint_usage", "system/serving/served_entities", "system/ai_gateway/usage", "system/access/audit")


def duck():
    """DuckDB with its Delta extension, from the package: nothing is downloaded when it is loaded."""
    package = Path(importlib.util.find_spec("duckdb_extension_delta").origin).parent
    extension = next(package.glob("extensions/*/delta.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{extension}'")
    return connection


def rows(tables, name, columns="*", where="true"):
    """What DuckDB reads, as tuples."""
    return duck().sql(f"SELECT {columns} FROM delta_scan('{Path(tables, name)}') WHERE {where}").fetchall()


def agree(tables, name, sums=()):
    """Both readers find the same rows, sums and ids; gives how many rows."""
    table = deltalake.DeltaTable(str(Path(tables, name)))
    batch = duckdb.connect()
    batch.register("t", table.to_pyarrow_table())
    asked = ", ".join(["count(*)", *(f"coalesce(sum({column}), 0)" for column in sums)])
    theirs, ours = batch.sql(f"SELECT {asked} FROM t").fetchall(), rows(tables, name, asked)
    assert theirs == ours, f"{name}: delta-rs reads {theirs}, DuckDB {ours}"
    return ours[0][0]

