"""Who does the work: this process, worker processes, a Dask cluster; and progress."""
