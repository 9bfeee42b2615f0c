"""python -m foreword.cli.reference docs/reference: write the reference pages into a folder."""

import sys

from foreword.cli.reference.writing import write_pages

write_pages(sys.argv[1:])
