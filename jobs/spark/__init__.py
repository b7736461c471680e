"""Batch queries on Spark: the extra `spark`. Nothing here is imported unless `refresh.engine` says so."""
