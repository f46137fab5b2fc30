"""The modules of ipyparallel.client that scripts import from."""

from . import asyncresult as asyncresult
from . import client as client
from . import remotefunction as remotefunction
from . import view as view
