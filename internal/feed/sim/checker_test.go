package sim

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
)

const never = time.Duration(math.MaxInt64)

// covers says whether an entry ends a token of the same log: docs/protocol.md,
// told once more.
func covers(e curfew.Revocation, c curfew.Claims) bool {
	switch e.Kind {
	case curfew.KindToken:
		return e.Target == c.ID
	case curfew.KindSession:
		return e.Target == c.Session
	case curfew.KindKey:
		return e.Target == c.KeyID
	case curfew.KindSubject:
		return e.Target == c.Subject && c.Ver < e.Seq
	case curfew.KindClient:
		return e.Target == c.ClientID && c.Ver < e.Seq
	case curfew.KindEverything:
		return c.Ver < e.Seq
	}
	return true
}

// fate is what the history says of a token.
type fate struct {
	recorded time.Duration // when it was first ended, durably; or never
	enforced time.Duration // when that was first answered for; or never
	why      string
}

// fates goes through the log for each token, once.
func (r *record) fates(tokens []*issued) map[*issued]fate {
	type place struct {
		history int
		seq     curfew.Seq
	}
	// An answer for a position is one for all before it. Positions are few, so
	// this is cheap enough.
	last := map[int]curfew.Seq{}
	answered := map[place]time.Duration{}
	for _, e := range r.answers {
		p := place{e.history, e.seq}
		if at, ok := answered[p]; !ok || e.at < at {
			answered[p] = e.at
		}
	}
	sessions := map[string]bool{}
	for _, i := range tokens {
		sessions[i.claims.Session] = true
	}
	byHistory := map[int][]commit{}
	for _, c := range r.commits {
		last[c.history] = max(last[c.history], c.entry.Seq)
		if c.entry.Kind != curfew.KindSession || sessions[c.entry.Target] { // a flood ends nobody's
			byHistory[c.history] = append(byHistory[c.history], c)
		}
	}
	enforcedAt := map[place]time.Duration{}
	for history, head := range last {
		first := never
		for seq := head; seq >= 1; seq-- {
			p := place{history, seq}
			if at, ok := answered[p]; ok {
				first = min(first, at)
			}
			enforcedAt[p] = first
		}
	}
	out := map[*issued]fate{}
	for _, i := range tokens {
		f := fate{recorded: never, enforced: never}
		for _, c := range byHistory[i.history] {
			if !covers(c.entry, i.claims) {
				continue
			}
			if c.at < f.recorded {
				f.recorded, f.why = c.at, fmt.Sprintf("%s is %d of log %d", c.entry.Kind, c.entry.Seq, c.history)
			}
			f.enforced = min(f.enforced, enforcedAt[place{c.history, c.entry.Seq}])
		}
		// A restore ends whatever was issued before it.
		for _, s := range r.restores {
			if s.history <= i.history {
				continue
			}
			if s.at < f.recorded {
				f.recorded, f.why = s.at, fmt.Sprintf("log %d was restored", s.history)
			}
			// It is in force with the last of what it has revoked.
			f.enforced = min(f.enforced, enforcedAt[place{s.history, r.restoredUpTo(s)}])
		}
		out[i] = f
	}
	return out
}

// restoredUpTo returns the last position that a restore has written.
func (r *record) restoredUpTo(s restored) curfew.Seq {
	var seq curfew.Seq
	for _, c := range r.commits {
		if c.history == s.history && c.entry.Reason == curfew.ReasonRestored {
			seq = max(seq, c.entry.Seq)
		}
	}
	return seq
}

// driftMost is more than a lease can be in true time, for one of a second.
const driftMost = 1.02

// failures goes through all that was seen and returns what must not have been.
func (r *record) failures(w *world) []string {
	var out []string
	fail := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	fates := r.fates(w.tokens)
	sure := r.sureTime()

	// How long a verifier can answer without having heard anything new.
	reach := time.Duration(float64(maxLease) * driftMost)

	type slot struct {
		token *issued
		guard int
	}
	refused := map[slot]time.Duration{} // when it was first refused for good
	final := func(c check) bool {
		return c.verdict == revoked
	}
	for _, c := range r.checks {
		s := slot{c.token, c.guard}
		if at, ok := refused[s]; final(c) && (!ok || c.end < at) {
			refused[s] = c.end
		}
	}
	for _, c := range r.checks {
		f := fates[c.token]
		exp := time.Unix(c.token.claims.Exp, 0)
		switch c.verdict {
		case accepted:
			if c.start > f.enforced {
				fail("final: %v, and %s was enforced at %.9f", c, f.why, f.enforced.Seconds())
			}
			if at, ok := refused[slot{c.token, c.guard}]; ok && c.start > at {
				fail("monotone: %v, and was refused as revoked at %.9f", c, at.Seconds())
			}
			if late := sure(c.start - reach); late.After(exp.Add(200 * time.Millisecond)) {
				fail("expired: %v, and authority time was %v after its exp", c, late.Sub(exp))
			}
		case revoked:
			if f.recorded > c.end {
				fail("false logout: %v, and nobody has ended it", c)
			}
		case invalid:
			// A key that came up just now may not have got to a verifier.
			known, ok := r.keys[c.token.claims.KeyID]
			if f.recorded > c.end && ok && c.start > known+reach {
				fail("false logout: %v, and its key is known since %.9f", c, known.Seconds())
			}
		case expired:
			slack := reach
			if c.guard == guards {
				slack = 0
			}
			if r.latest(c.end).Add(slack).Before(exp) {
				fail("false logout: %v, and its exp was %v ahead", c, exp.Sub(r.latest(c.end)))
			}
		}
	}
	for _, e := range r.answers {
		limit := max(e.began+w.iron.real(feed.Wait(e.by.lease)), e.by.boot) + 100*time.Millisecond
		if e.late {
			limit += 2 * time.Second
		}
		if e.at > limit {
			fail("live: %d of log %d was asked for at %.9f and enforced at %.9f, %v too late", e.seq, e.history, e.began.Seconds(), e.at.Seconds(), e.at-limit)
		}
	}
	return out
}

// sureTime returns a function that returns the least authority time that any
// authority has read since a moment: a verifier with a lease from after that
// moment has heard of no less.
func (r *record) sureTime() func(after time.Duration) time.Time {
	least := append([]reading(nil), r.now...)
	sort.SliceStable(least, func(i, j int) bool { return least[i].at < least[j].at })
	for i := len(least) - 2; i >= 0; i-- {
		if least[i+1].time.Before(least[i].time) {
			least[i].time = least[i+1].time
		}
	}
	return func(after time.Duration) time.Time {
		i := sort.Search(len(least), func(i int) bool { return least[i].at >= after })
		if i == len(least) {
			return time.Time{}
		}
		return least[i].time
	}
}
