"""Cores, processes, threads and Dask clusters."""
