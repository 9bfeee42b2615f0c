"""Values in the midst of fixed text: learned from two texts that begin and end alike, found again in later ones."""

from foreword.audit.case import WORTH_CHARS, Parting
from foreword.audit.request import MOVED, LoggedPiece, LoggedRequest, at_the_end
from foreword.audit.text_diff import parts, shared_head, shared_tail

FRAMES_KEPT = 64
PLACES_KEPT = 100
KEPT_CHARS = 16 * 2**20


class ChangingValues:
    """Values that change: for each place the frames (head, tail) around them, and the places where whole blocks differ."""

    def __init__(self) -> None:
        self._frames: dict[str, list[tuple[str, str]]] = {}
        self._whole: set[str] = set()
        self.chars = 0  # of all frames

    def learn(self, parted: Parting, later_shared: bool) -> bool:
        """Learn from a break; False if nothing fixed stands behind it, so that there is nothing to gain."""
        old, new, place = parted.old_piece.text, parted.new_piece.text, parted.new_piece.place
        head, tail = parts(old, new)
        if tail >= WORTH_CHARS or (later_shared and head + tail > 0):
            self.add(place, new[:head], new[len(new) - tail :])
            return True
        if later_shared:
            self._whole.add(place)
        return later_shared

    def add(self, place: str, head: str, tail: str) -> None:
        """Enter a frame. Two that are much alike become one, so that a frame shrinks to what is really fixed."""
        if place not in self._frames and len(self._frames) >= PLACES_KEPT:
            return
        known = self._frames.setdefault(place, [])
        for i, (other_head, other_tail) in enumerate(known):
            nested = head.startswith(other_head) and tail.endswith(other_tail)
            nested = nested or (other_head.startswith(head) and other_tail.endswith(tail))
            common_head, common_tail = shared_head(head, other_head), shared_tail(tail, other_tail)
            if nested or 2 * len(common_tail) >= max(len(tail), len(other_tail), 2 * WORTH_CHARS):
                known[i] = common_head, common_tail
                self.chars -= len(other_head) + len(other_tail) - len(common_head) - len(common_tail)
                return
        if len(known) < FRAMES_KEPT and self.chars < KEPT_CHARS:
            known.append((head, tail))
            self.chars += len(head) + len(tail)

    def forget(self, place: str) -> None:
        """Unlearn a place."""
        self.chars -= sum(len(head) + len(tail) for head, tail in self._frames.pop(place, ()))
        self._whole.discard(place)

    def value(self, piece: LoggedPiece) -> tuple[int, int] | None:
        """Where in a piece's text the changing value stands (start, end); None if this piece has none."""
        text = piece.text
        for head, tail in self._frames.get(piece.place, ()):
            if len(head) + len(tail) <= len(text) and text.startswith(head) and text.endswith(tail):
                return len(head), len(text) - len(tail)
        return (0, len(text)) if piece.place in self._whole else None

    def moved_out(self, request: LoggedRequest) -> LoggedRequest:
        """The request with its values behind everything else."""
        kept: list[LoggedPiece] = []
        moved: list[LoggedPiece] = []
        for i, piece in enumerate(request.pieces):
            found = None if piece.kind == MOVED else self.value(piece)
            whole = found == (0, len(piece.text))
            if found is None or found[0] == found[1] or (whole and i == len(request.pieces) - 1):
                kept.append(piece)
                continue
            start, end = found
            moved.append(piece._replace(text=piece.text[start:end], mark=None))
            rest = piece.text[:start] + piece.text[end:]
            if rest:
                kept.append(piece._replace(text=rest))
        return request.with_pieces(at_the_end(kept, moved)) if moved and kept else request
