"""The command medp2p, also as `python -m medp2p`: what comes before its verbs."""

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command with the words of this process."""
    gc.disable()  # 150 modules come, and all stay: there is nothing to collect
    try:
        from medp2p.cli.main import cli
    except KeyboardInterrupt:
        sys.exit(130)  # as in the verbs
    gc.freeze()  # no collection looks at them again, nor that at the end
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
