"""The output contract on disk: tables, labels, overlay, HTML report."""
