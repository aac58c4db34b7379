"""``python -m procurement``."""

from procurement.cli import main

if __name__ == "__main__":
    main()
