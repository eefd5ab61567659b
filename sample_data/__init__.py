"""The sample project: a small rendered rig with known truth, written by generate.py. `multipose demo` copies it."""
