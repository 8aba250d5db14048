"""The command line's commands, a file each; `codecsieve.cli` gathers them."""
