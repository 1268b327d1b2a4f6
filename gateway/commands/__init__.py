"""The commands of `meterd`: each module has `add_arguments(parser)` and `run(args) -> exit code`."""
