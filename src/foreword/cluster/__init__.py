"""A fleet on Ray Serve: replicas of an engine behind a router, streams that survive them; the only folder that imports ray.

``app`` is the builder for ``serve run`` and config files; it is imported when first used.
"""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.cluster.application import app
    from foreword.cluster.config import ClusterConfig

_HOMES = {"ClusterConfig": "cluster.config", "app": "cluster.application"}
__all__ = ["ClusterConfig", "app"]

__getattr__ = lazy_exports(__name__, _HOMES)
