package denylist

import (
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
)

// Levels is what a verified token says about itself, one field for each level
// that a revocation can cut at. All of it comes from inside the signature:
// nothing is ever looked up by the text of a token, which has many spellings. A
// level with an empty name is not looked up.
type Levels struct {
	Issuer  string // of a foreign token; empty for Curfew's own
	Key     string // kid
	Client  string // client_id
	Subject string // sub
	Session string // sid
	Token   string // jti
	// Ver is the head of the log when the token was issued.
	Ver curfew.Seq
}

// A revoked error says which level ended a token.
type revoked string

func (e revoked) Error() string { return fmt.Sprintf("%v: %s", curfew.ErrRevoked, string(e)) }
func (e revoked) Unwrap() error { return curfew.ErrRevoked }

// The verdicts are made once, so that a refusal does not allocate.
var (
	errEverything error = revoked("everything")
	errKey        error = revoked("key")
	errClient     error = revoked("client")
	errSubject    error = revoked("subject")
	errSession    error = revoked("session")
	errToken      error = revoked("token")
)

// Set is a set of revocations. All methods are safe for concurrent use. Check,
// Horizon, Len and Watermark take no lock; the others exclude each other.
//
// Entries are kept as 64-bit keyed fingerprints in tables without pointers, so
// that a million of them cost the garbage collector nothing. Two names share a
// fingerprint with probability 2^-64. With n entries the chance that a given
// name that nobody revoked is refused is n/2^64, about 5e-14 for a million;
// over ten billion sessions and jtis asked about in the lifetime of one process
// that is one in a thousand that a single one of them is refused by mistake. The
// mistake is always a refusal: a collision can merge two entries but never
// remove one. The seed is random per Set, so a mistake lasts until the process
// restarts and does not happen on two verifiers. The hash is fast and not
// cryptographic; somebody who learned the seed could get sessions of their own
// making refused, no more.
type Set struct {
	// Readers load, writers store under mu. A table for each kind: most logs
	// end sessions and hardly anything else, so most look-ups meet an empty or
	// a small table.
	everything atomic.Int64
	tables     [kinds]atomic.Pointer[table]

	horizon   atomic.Pointer[time.Time]
	watermark atomic.Int64
	entries   atomic.Int64

	mu           sync.Mutex
	own, foreign maphash.Seed
}

const (
	kindSession = iota
	kindToken
	kindKey
	kindSubject
	kindClient
	kindIssuer // everything of a foreign issuer
	kinds
)

// New returns an empty set that stands before the first revocation.
func New() *Set {
	s := &Set{own: maphash.MakeSeed(), foreign: maphash.MakeSeed()}
	for kind := range s.tables {
		s.tables[kind].Store(newTable(0, kind >= kindSubject))
	}
	s.horizon.Store(new(time.Time))
	return s
}

// Reserve makes room for n sessions at once, for a snapshot whose length is
// known. Growing to a million step by step leaves five times as much garbage as
// the table is large.
func (s *Set) Reserve(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[kindSession].Load(); slotsFor(n) > len(t.fps) {
		s.tables[kindSession].Store(t.rebuild(slotsFor(n), 0))
	}
}

// foreign is what an entry of a foreign issuer is about. Hashing it as one
// comparable value keeps ("ab", "c") and ("a", "bc") apart without building a
// string.
type foreign struct{ issuer, target string }

func (s *Set) fingerprint(issuer, target string) uint64 {
	var fp uint64
	if issuer == "" {
		fp = maphash.String(s.own, target)
	} else {
		fp = maphash.Comparable(s.foreign, foreign{issuer, target})
	}
	return max(fp, 1) // 0 marks a free slot
}

// Apply adds r, which must come in the order of the log: a Seq at or below the
// watermark is ignored as seen before, any other becomes the watermark. When
// Apply returns, every Check that starts later sees r; an acknowledgement to the
// authority must wait for that.
func (s *Set) Apply(r curfew.Revocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Seq <= curfew.Seq(s.watermark.Load()) {
		return
	}
	switch expiry := expirySeconds(r.ExpiresAt); r.Kind {
	case curfew.KindToken:
		s.put(kindToken, r.Issuer, r.Target, expiry, 0)
	case curfew.KindSession:
		s.put(kindSession, r.Issuer, r.Target, expiry, 0)
	case curfew.KindKey:
		s.put(kindKey, r.Issuer, r.Target, expiry, 0)
	case curfew.KindSubject:
		s.put(kindSubject, r.Issuer, r.Target, expiry, r.Seq)
	case curfew.KindClient:
		s.put(kindClient, r.Issuer, r.Target, never, r.Seq)
	case curfew.KindEverything:
		if r.Issuer != "" {
			s.put(kindIssuer, r.Issuer, r.Issuer, never, r.Seq)
			break
		}
		s.raiseEverything(r.Seq)
	default:
		// A kind of a newer authority. What it ends is unknown here, so the
		// only refusal that is certain to cover it is everything before it.
		if r.Issuer != "" {
			s.put(kindIssuer, r.Issuer, r.Issuer, never, r.Seq)
			break
		}
		s.raiseEverything(r.Seq)
	}
	s.watermark.Store(int64(r.Seq))
}

func (s *Set) raiseEverything(seq curfew.Seq) {
	if int64(seq) > s.everything.Load() {
		s.everything.Store(int64(seq))
	}
}

// put adds an entry to the table of kind. The caller holds mu.
func (s *Set) put(kind int, issuer, target string, expiry uint32, epoch curfew.Seq) {
	p := &s.tables[kind]
	t := p.Load()
	if t.full() {
		// Readers keep the old table until the new one has everything.
		t = t.rebuild(t.grown(), 0)
		defer p.Store(t)
	}
	if t.put(s.fingerprint(issuer, target), expiry, int64(epoch)) {
		s.entries.Add(1)
	}
}

// Check returns nil if no level of l is revoked, and otherwise an error that
// wraps [curfew.ErrRevoked]. A token lives only if every level says so:
//
//	everything, client, subject   l.Ver is at least the Seq of their revocation
//	key, session, token           they have not been revoked
//
// The Seq of everything counts for foreign tokens as well, and a revocation of
// everything of one issuer for that issuer alone.
//
// It sees every revocation whose Apply returned before Check was called. A
// revocation that Forget has dropped is not seen: whoever judges a token must
// call [Set.Horizon] after Check, not before, and refuse a token that expires at
// or before it.
func (s *Set) Check(l Levels) error {
	if int64(l.Ver) < s.everything.Load() {
		return errEverything
	}
	switch {
	case s.has(kindSession, l.Issuer, l.Session):
		return errSession
	case s.has(kindToken, l.Issuer, l.Token):
		return errToken
	case int64(l.Ver) < s.epoch(kindSubject, l.Issuer, l.Subject):
		return errSubject
	case int64(l.Ver) < s.epoch(kindClient, l.Issuer, l.Client):
		return errClient
	case s.has(kindKey, l.Issuer, l.Key):
		return errKey
	case int64(l.Ver) < s.epoch(kindIssuer, l.Issuer, l.Issuer):
		return errEverything
	}
	return nil
}

// has reports whether there is an entry of kind.
func (s *Set) has(kind int, issuer, target string) bool {
	t := s.tables[kind].Load()
	return target != "" && t.used.Load() > 0 && t.find(s.fingerprint(issuer, target)) >= 0
}

// epoch returns the epoch of an entry of kind, or 0, which ends nothing.
func (s *Set) epoch(kind int, issuer, target string) int64 {
	t := s.tables[kind].Load()
	if target == "" || t.used.Load() == 0 {
		return 0
	}
	i := t.find(s.fingerprint(issuer, target))
	if i < 0 {
		return 0
	}
	return atomic.LoadInt64(&t.epochs[i])
}

// Floors raises the epochs of everything and of the given clients, all of our
// own issuer, to at least the given positions. They come from the durable state
// that a verifier or an authority starts with, do not touch the watermark and
// are never forgotten.
func (s *Set) Floors(everything curfew.Seq, clients map[string]curfew.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raiseEverything(everything)
	for client, seq := range clients {
		s.put(kindClient, "", client, never, seq)
	}
}

// Forget raises the horizon, which never falls, and drops the entries that
// expired at or before it, to the second: every token that they could touch
// expires at or before the horizon and is dead for that reason. The epochs of
// clients and of everything stay. Forget returns how many entries it dropped.
func (s *Set) Forget(horizon time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !horizon.After(*s.horizon.Load()) {
		return 0
	}
	// The horizon is published before anything is dropped. The other way
	// round, a Check in between would find neither.
	s.horizon.Store(&horizon)
	return s.drop(horizonSeconds(horizon))
}

// DropWithoutHorizon is a mistake (rule 11): tokens whose entries it drops may
// come back to life. It is for fault.PurgeByWallClock.
func (s *Set) DropWithoutHorizon(cut time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(horizonSeconds(cut))
}

// drop drops the entries that expired at or before cut. The caller holds mu.
func (s *Set) drop(cut uint32) int {
	dropped := 0
	for kind := range s.tables {
		old := s.tables[kind].Load()
		n := old.expired(cut)
		if n == 0 {
			continue
		}
		dropped += n
		s.tables[kind].Store(old.rebuild(slotsFor(int(old.used.Load())-n), cut))
	}
	s.entries.Add(int64(-dropped))
	return dropped
}

// Horizon returns the latest horizon given to Forget, or the zero time. A token
// whose exp is at or before it is dead, whatever any clock says.
func (s *Set) Horizon() time.Time { return *s.horizon.Load() }

// Len returns the number of entries: keys, sessions, tokens, subjects and
// clients.
func (s *Set) Len() int { return int(s.entries.Load()) }

// Watermark returns the highest Seq that was applied.
func (s *Set) Watermark() curfew.Seq { return curfew.Seq(s.watermark.Load()) }

// SetWatermark says that everything up to seq has been applied, as after a
// snapshot, which holds only the entries that still matter. It can also lower
// the watermark, before a snapshot of a log that has diverged: what was applied
// before stays in the set.
func (s *Set) SetWatermark(seq curfew.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watermark.Store(int64(seq))
}

// never is an expiry that no horizon reaches.
const never = math.MaxUint32

// expirySeconds returns when an entry expires in whole seconds since 1970,
// rounded up: an entry may stay too long but must not go too early. Entries
// without an expiry, and those that the 32 bits cannot hold (after 2106), stay
// for ever.
func expirySeconds(t time.Time) uint32 {
	if t.IsZero() {
		return never
	}
	sec := t.Unix()
	if t.Nanosecond() > 0 {
		sec++
	}
	return uint32(min(max(sec, 0), never))
}

// horizonSeconds rounds a horizon down, and never reaches entries that stay.
func horizonSeconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), never-1))
}
