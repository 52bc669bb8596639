"""Programs of other packages in environments of their own: interpreters, processes, and the scripts that run there."""
