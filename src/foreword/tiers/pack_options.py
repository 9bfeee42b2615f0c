"""How much the packs of a folder may take, and when one is finished."""

from dataclasses import dataclass

from foreword.errors import ConfigError

MIB = 2**20


@dataclass(frozen=True)
class PackOptions:
    """Limits of local packs. ConfigError for what is out of range."""

    max_bytes: int = 10 * 1024 * MIB
    """What all packs of the folder may take, of all who write to it; those that were used least recently go first."""
    min_free_bytes: int = 512 * MIB
    """What the disk keeps free for others; below that packs go, and nothing is written."""
    daily_bytes: int | None = None
    """What may be written in a day (UTC), by all who write to the folder; None: as much as comes."""
    pack_bytes: int = 32 * MIB
    """A pack that has become as large is finished; or an eighth of ``max_bytes``, if that is less."""
    finish_seconds: float = 10.0
    """A pack that was begun as long ago is finished when something is written next."""

    def __post_init__(self) -> None:
        for name, least in (("max_bytes", 1), ("pack_bytes", 1), ("min_free_bytes", 0), ("finish_seconds", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} of a store must be {least} or more, got {getattr(self, name)}.")
        if self.daily_bytes is not None and self.daily_bytes < 0:
            raise ConfigError(f"daily_bytes of a store must be 0 or more, or None for no limit; got {self.daily_bytes}.")

    @property
    def full_pack(self) -> int:
        """Bytes at which a pack is finished."""
        return min(self.pack_bytes, max(self.max_bytes // 8, 1))
