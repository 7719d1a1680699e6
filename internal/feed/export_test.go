package feed

import "github.com/curfewhq/curfew"

// SegmentEntries is how many entries are compressed at once.
const SegmentEntries = segmentEntries

// Window returns the first position whose line is kept as it is.
func Window(h *Hub) curfew.Seq {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail.first
}
