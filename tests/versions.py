"""The version of this checkout, which a service serves, and the next one, to deploy."""

from operate.archive import read_checkout_version

_current = read_checkout_version()
CURRENT, NEXT = str(_current), f"{_current.major}.{_current.minor + 1}.0"
