"""`python -m kseq` is the `kseq` command."""

import sys

from kseq.cli import main

sys.exit(main())
