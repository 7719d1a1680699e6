package feed

import (
	"hash/maphash"
	"sync"
)

// seen gathers in which sessions a person was active, between two polls. It
// costs a request one short lock on one of many parts.
type seen struct {
	now   func() Instant
	parts [64]struct {
		mu sync.Mutex
		at map[string]Instant
		_  [40]byte // parts do not share cache lines
	}
}

var seenSeed = maphash.MakeSeed()

// maxPart bounds what is kept while the authority is out of reach.
const maxPart = 4096

func (s *seen) note(session string) {
	part := &s.parts[maphash.String(seenSeed, session)%uint64(len(s.parts))]
	now := s.now()
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.at == nil {
		part.at = map[string]Instant{}
	}
	if _, ok := part.at[session]; ok || len(part.at) < maxPart {
		part.at[session] = now
	}
}

// take returns up to MaxSeen sessions with how long ago that was, in
// milliseconds. The rest waits for the next poll.
func (s *seen) take() map[string]int64 {
	now := s.now()
	var out map[string]int64
	for i := range s.parts {
		part := &s.parts[i]
		part.mu.Lock()
		for session, at := range part.at {
			if len(out) >= MaxSeen {
				break
			}
			if out == nil {
				out = map[string]int64{}
			}
			out[session] = max(0, now.since(at)/1e6)
			delete(part.at, session)
		}
		part.mu.Unlock()
	}
	return out
}

// giveBack returns what a poll that was not answered has carried.
func (s *seen) giveBack(sessions map[string]int64, sent Instant) {
	for session, ms := range sessions {
		at := Instant{Mono: sent.Mono - ms*1e6, Wall: sent.Wall - ms*1e6}
		part := &s.parts[maphash.String(seenSeed, session)%uint64(len(s.parts))]
		part.mu.Lock()
		if part.at == nil {
			part.at = map[string]Instant{}
		}
		if _, newer := part.at[session]; !newer && len(part.at) < maxPart {
			part.at[session] = at
		}
		part.mu.Unlock()
	}
}

// Seen notes that a person was active in a session, if the authority wants to
// know.
func (f *Follower) Seen(session string) {
	if f.report.Load() {
		f.seen.note(session)
	}
}
