"""`python -m gauntlet VERB …` is the command `gauntlet VERB …`."""

from harness.cli import main

if __name__ == "__main__":
    main()
