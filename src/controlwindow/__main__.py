"""`python -m controlwindow`."""

from controlwindow.cli import main

if __name__ == "__main__":
    main()
