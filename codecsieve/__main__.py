"""`python -m codecsieve`: the same as the command `codecsieve`."""

from codecsieve.cli import main

if __name__ == "__main__":
    main(prog_name="codecsieve")
