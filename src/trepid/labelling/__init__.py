"""Labels of a run: computed through an executor, checked, and on disk before anything relies on them."""
