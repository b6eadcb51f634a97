"""`python -m medp2p` is the command medp2p."""

from medp2p.cli.main import main

if __name__ == "__main__":
    main()
