"""Every test runs with the package's type and shape annotations executed."""

from jaxtyping import install_import_hook

install_import_hook("btrnn", "beartype.beartype")
