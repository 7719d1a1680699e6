package denylist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
)

// log appends revocations with dense positions.
type log struct {
	*Set
	seq curfew.Seq
}

func (l *log) apply(kind curfew.Kind, target string) curfew.Seq {
	l.seq++
	l.Apply(curfew.Revocation{Seq: l.seq, Kind: kind, Target: target, ExpiresAt: expires})
	return l.seq
}

func mustBe(t testing.TB, s *Set, l Levels, live bool) {
	t.Helper()
	err := s.Check(l)
	if live && err != nil {
		t.Errorf("Check(%+v) = %v, want live", l, err)
	}
	if !live && !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("Check(%+v) = %v, want ErrRevoked", l, err)
	}
}

// Every combination of levels, against the rule itself: a token lives only if
// every level says so.
func TestLattice(t *testing.T) {
	const ver = 10
	epochs := []curfew.Seq{0, ver - 1, ver, ver + 1} // unset, older, equal, newer
	token := Levels{Key: "k", Client: "c", Subject: "u", Session: "s", Token: "t", Ver: ver}
	n := 0
	for _, everything := range epochs {
		for _, client := range epochs {
			for _, subject := range epochs {
				for bits := range 8 {
					for _, floors := range []bool{false, true} {
						key, session, tok := bits&1 != 0, bits&2 != 0, bits&4 != 0
						s := New()
						// The watermark is lowered each time, because the
						// positions of the combinations coincide.
						apply := func(seq curfew.Seq, kind curfew.Kind, target string) {
							if seq > 0 {
								s.SetWatermark(0)
								s.Apply(curfew.Revocation{Seq: seq, Kind: kind, Target: target, ExpiresAt: expires})
							}
						}
						if floors {
							s.Floors(everything, map[string]curfew.Seq{"c": client})
						} else {
							apply(everything, curfew.KindEverything, "")
							apply(client, curfew.KindClient, "c")
						}
						apply(subject, curfew.KindSubject, "u")
						for _, e := range []struct {
							on     bool
							kind   curfew.Kind
							target string
						}{{key, curfew.KindKey, "k"}, {session, curfew.KindSession, "s"}, {tok, curfew.KindToken, "t"}} {
							if e.on {
								apply(1, e.kind, e.target) // the position does not matter
							}
						}

						live := ver >= everything && ver >= client && ver >= subject && !key && !session && !tok
						if err := s.Check(token); (err == nil) != live || err != nil && !errors.Is(err, curfew.ErrRevoked) {
							t.Errorf("everything %d client %d subject %d key %v session %v token %v: Check = %v, want live %v",
								everything, client, subject, key, session, tok, err, live)
						}
						n++
					}
				}
			}
		}
	}
	if n != 4*4*4*8*2 {
		t.Errorf("%d combinations", n)
	}
}

// A level means itself only: the same name at another level is somebody else.
func TestLevelsAreDistinct(t *testing.T) {
	kinds := []curfew.Kind{curfew.KindKey, curfew.KindClient, curfew.KindSubject, curfew.KindSession, curfew.KindToken}
	named := map[curfew.Kind]Levels{
		curfew.KindKey: {Key: "x"}, curfew.KindClient: {Client: "x"}, curfew.KindSubject: {Subject: "x"},
		curfew.KindSession: {Session: "x"}, curfew.KindToken: {Token: "x"},
	}
	for _, revoked := range kinds {
		s := &log{Set: New()}
		s.apply(revoked, "x")
		for _, kind := range kinds {
			mustBe(t, s.Set, named[kind], kind != revoked)
		}
		mustBe(t, s.Set, Levels{}, true)
	}
}

// The issuer is part of every name. Otherwise one issuer's logout ends sessions
// of another, or names are shifted across the border between the two fields.
func TestForeignIssuers(t *testing.T) {
	s := New()
	s.Apply(curfew.Revocation{Seq: 1, Kind: curfew.KindSession, Issuer: "https://a", Target: "bc", ExpiresAt: expires})
	s.Apply(curfew.Revocation{Seq: 2, Kind: curfew.KindToken, Issuer: "https://a", Target: "t", ExpiresAt: expires})
	s.Apply(curfew.Revocation{Seq: 3, Kind: curfew.KindSubject, Issuer: "https://a", Target: "u", ExpiresAt: expires})
	s.Apply(curfew.Revocation{Seq: 4, Kind: curfew.KindKey, Issuer: "https://a", Target: "k", ExpiresAt: expires})
	for _, tc := range []struct {
		l    Levels
		live bool
	}{
		{Levels{Issuer: "https://a", Session: "bc"}, false},
		{Levels{Issuer: "https://ab", Session: "c"}, true},
		{Levels{Issuer: "https://", Session: "abc"}, true},
		{Levels{Issuer: "https://b", Session: "bc"}, true},
		{Levels{Session: "bc"}, true},
		{Levels{Session: "https://abc"}, true},
		{Levels{Issuer: "https://a", Token: "t"}, false},
		{Levels{Token: "t"}, true},
		{Levels{Issuer: "https://a", Subject: "u", Ver: 2}, false},
		{Levels{Issuer: "https://a", Subject: "u", Ver: 3}, true},
		{Levels{Subject: "u"}, true},
		{Levels{Issuer: "https://a", Key: "k"}, false},
		{Levels{Issuer: "https://b", Key: "k"}, true}, // CVE-2026-49998
		{Levels{Key: "k"}, true},
	} {
		mustBe(t, s, tc.l, tc.live)
	}

	s.Apply(curfew.Revocation{Seq: 5, Kind: curfew.KindEverything, Issuer: "https://a", ExpiresAt: expires})
	mustBe(t, s, Levels{Issuer: "https://a", Ver: 4}, false)
	mustBe(t, s, Levels{Issuer: "https://a", Ver: 5}, true)
	mustBe(t, s, Levels{Issuer: "https://b", Ver: 4}, true)
	mustBe(t, s, Levels{Ver: 4}, true)
	s.Apply(curfew.Revocation{Seq: 6, Kind: curfew.KindEverything, ExpiresAt: expires})
	mustBe(t, s, Levels{Issuer: "https://b", Ver: 5}, false)
	mustBe(t, s, Levels{Ver: 5}, false)
}

func TestApplyFollowsTheLog(t *testing.T) {
	s := New()
	revoke := func(seq curfew.Seq, kind curfew.Kind, target string) {
		s.Apply(curfew.Revocation{Seq: seq, Kind: kind, Target: target, ExpiresAt: expires})
	}
	revoke(5, curfew.KindSession, "five")
	if got := s.Watermark(); got != 5 {
		t.Errorf("watermark %d, want 5", got)
	}
	// A replay, as after a reconnect, changes nothing.
	revoke(5, curfew.KindSession, "replayed")
	revoke(4, curfew.KindSession, "late")
	mustBe(t, s, Levels{Session: "replayed"}, true)
	mustBe(t, s, Levels{Session: "late"}, true)
	if s.Len() != 1 {
		t.Errorf("Len = %d, want 1", s.Len())
	}
	// The second revocation of one name is no second entry.
	revoke(6, curfew.KindSession, "five")
	if s.Len() != 1 {
		t.Errorf("Len = %d, want 1", s.Len())
	}
	// A snapshot ends with the head of the log.
	s.SetWatermark(100)
	revoke(100, curfew.KindSession, "in the snapshot")
	mustBe(t, s, Levels{Session: "in the snapshot"}, true)
	// The log has diverged: what was revoked before stays revoked.
	s.SetWatermark(0)
	revoke(1, curfew.KindSession, "of the new log")
	mustBe(t, s, Levels{Session: "of the new log"}, false)
	mustBe(t, s, Levels{Session: "five"}, false)
	// Epochs never fall.
	s.SetWatermark(50)
	revoke(60, curfew.KindSubject, "u")
	s.SetWatermark(50)
	revoke(55, curfew.KindSubject, "u")
	mustBe(t, s, Levels{Subject: "u", Ver: 59}, false)
}

// A kind that a newer authority invented must not be ignored.
func TestUnknownKindFailsClosed(t *testing.T) {
	s := New()
	s.Apply(curfew.Revocation{Seq: 3, Kind: "device", Target: "d", ExpiresAt: expires})
	mustBe(t, s, Levels{Session: "s", Ver: 2}, false)
	mustBe(t, s, Levels{Session: "s", Ver: 3}, true)
}

func TestFloors(t *testing.T) {
	s := New()
	s.Floors(5, map[string]curfew.Seq{"web": 9})
	s.Floors(4, map[string]curfew.Seq{"web": 8}) // floors never fall
	mustBe(t, s, Levels{Client: "app", Ver: 4}, false)
	mustBe(t, s, Levels{Client: "app", Ver: 5}, true)
	mustBe(t, s, Levels{Client: "web", Ver: 8}, false)
	mustBe(t, s, Levels{Client: "web", Ver: 9}, true)
	if got := s.Watermark(); got != 0 {
		t.Errorf("watermark %d, want 0", got)
	}
}

func TestForget(t *testing.T) {
	at := func(sec int64, nsec int64) time.Time { return time.Unix(sec, nsec).UTC() }
	s := New()
	for i, r := range []curfew.Revocation{
		{Kind: curfew.KindSession, Target: "early", ExpiresAt: at(100, 0)},
		{Kind: curfew.KindToken, Target: "fraction", ExpiresAt: at(100, 1)},
		{Kind: curfew.KindSubject, Target: "late", ExpiresAt: at(200, 0)},
		{Kind: curfew.KindKey, Target: "zero"}, // no expiry: stays
		{Kind: curfew.KindKey, Target: "2107", ExpiresAt: at(1<<32+5, 0)},
		{Kind: curfew.KindClient, Target: "web", ExpiresAt: at(100, 0)},
		{Kind: curfew.KindEverything, ExpiresAt: at(100, 0)},
		{Kind: curfew.KindSession, Target: "twice", ExpiresAt: at(300, 0)},
		{Kind: curfew.KindSession, Target: "twice", ExpiresAt: at(100, 0)}, // the longer one counts
	} {
		r.Seq = curfew.Seq(i + 1)
		s.Apply(r)
	}
	if got := s.Horizon(); !got.IsZero() {
		t.Errorf("horizon %v, want zero", got)
	}
	steps := []struct {
		horizon time.Time
		dropped int
		want    time.Time
	}{
		{at(99, 999_999_999), 0, at(99, 999_999_999)},
		{at(100, 0), 1, at(100, 0)}, // early
		{at(50, 0), 0, at(100, 0)},  // the horizon never falls
		{at(150, 0), 1, at(150, 0)}, // fraction
		{at(1<<40, 0), 2, at(1<<40, 0)},
	}
	for _, step := range steps {
		if got := s.Forget(step.horizon); got != step.dropped {
			t.Errorf("Forget(%v) = %d, want %d", step.horizon.Unix(), got, step.dropped)
		}
		if got := s.Horizon(); !got.Equal(step.want) {
			t.Errorf("horizon %v, want %v", got, step.want)
		}
	}
	ver := curfew.Seq(100)
	mustBe(t, s, Levels{Session: "early", Ver: ver}, true)
	mustBe(t, s, Levels{Session: "twice", Ver: ver}, true)
	mustBe(t, s, Levels{Key: "zero", Ver: ver}, false)
	mustBe(t, s, Levels{Key: "2107", Ver: ver}, false)
	mustBe(t, s, Levels{Client: "web", Ver: 5}, false)
	mustBe(t, s, Levels{Ver: 6}, false)
	if s.Len() != 3 {
		t.Errorf("Len = %d, want 3", s.Len())
	}
}

// Random histories against a map.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	s, ref := &log{Set: New()}, make(map[string]time.Time)
	now := time.Unix(1_000_000, 0)
	for range 20_000 {
		switch r.IntN(100) {
		case 0:
			now = now.Add(time.Duration(r.IntN(60)) * time.Second)
			want := 0
			if now.After(s.Horizon()) {
				for id, exp := range ref {
					if !exp.After(now) {
						delete(ref, id)
						want++
					}
				}
			}
			if got := s.Forget(now); got != want {
				t.Fatalf("Forget = %d, want %d", got, want)
			}
		default:
			id := fmt.Sprint(r.IntN(30_000))
			exp := now.Add(time.Duration(1+r.IntN(3000)) * time.Second)
			s.seq++
			s.Apply(curfew.Revocation{Seq: s.seq, Kind: curfew.KindSession, Target: id, ExpiresAt: exp})
			if exp.After(ref[id]) {
				ref[id] = exp
			}
		}
		id := fmt.Sprint(r.IntN(30_000))
		_, dead := ref[id]
		mustBe(t, s.Set, Levels{Session: id}, !dead)
		if s.Len() != len(ref) {
			t.Fatalf("Len = %d, want %d", s.Len(), len(ref))
		}
	}
}

// What was applied before a Check starts is always seen, while the tables grow
// and while other entries are forgotten.
func TestConcurrent(t *testing.T) {
	const n = 60_000
	s, r := New(), rand.New(rand.NewPCG(9, 10))
	ids := make([]string, n)
	for i := range ids {
		ids[i] = randomID(r)
	}
	kinds := [...]curfew.Kind{curfew.KindSession, curfew.KindToken, curfew.KindSubject, curfew.KindClient, curfew.KindKey}
	var applied atomic.Int64 // entries below are visible
	var done atomic.Bool
	var wg sync.WaitGroup
	for seed := range uint64(3) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(11, seed))
			for !done.Load() {
				top := applied.Load()
				if top == 0 {
					runtime.Gosched()
					continue
				}
				i := top - 1 // the newest one half of the time
				if r.IntN(2) == 0 {
					i = r.Int64N(top)
				}
				l := Levels{Session: "live", Token: "live", Subject: "live", Client: "live", Key: "live"}
				if s.Check(l) != nil {
					t.Error("a live token was refused")
					return
				}
				fields := [...]*string{&l.Session, &l.Token, &l.Subject, &l.Client, &l.Key}
				*fields[i%5] = ids[i]
				if s.Check(l) == nil {
					t.Errorf("entry %d of %d was not seen", i, top)
					return
				}
			}
		})
	}
	for i := range n {
		// Chaff that Forget drops goes with every entry.
		exp := time.Unix(int64(1000+i), 0)
		s.Apply(curfew.Revocation{Seq: curfew.Seq(2*i + 1), Kind: kinds[i%5], Target: "chaff" + ids[i], ExpiresAt: exp})
		s.Apply(curfew.Revocation{Seq: curfew.Seq(2*i + 2), Kind: kinds[i%5], Target: ids[i], ExpiresAt: expires})
		applied.Store(int64(i + 1))
		if i%2000 == 1999 {
			if s.Forget(exp) == 0 {
				t.Error("nothing forgotten")
			}
		}
	}
	done.Store(true)
	wg.Wait()
}

// The horizon is published before entries are dropped: a reader that looks at
// the horizon after the denylist never misses both. Many subjects make Forget
// take its time after it has dropped the session.
func TestHorizonBeforeDrop(t *testing.T) {
	s := &log{Set: New()}
	exp := expires.Add(-time.Hour)
	for i := range 200_000 {
		s.apply(curfew.KindSubject, fmt.Sprint(i))
	}
	for range 5 {
		exp = exp.Add(time.Second)
		for _, r := range []curfew.Revocation{{Kind: curfew.KindSession, Target: "s"}, {Kind: curfew.KindSubject, Target: "u"}} {
			s.seq++
			r.Seq, r.ExpiresAt = s.seq, exp
			s.Apply(r)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Forget(exp)
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			if s.Check(Levels{Session: "s"}) == nil && s.Horizon().Before(exp) {
				t.Fatal("dropped before the horizon was raised")
			}
		}
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	s := &log{Set: New()}
	for _, k := range []curfew.Kind{curfew.KindKey, curfew.KindClient, curfew.KindSubject, curfew.KindSession, curfew.KindToken} {
		s.apply(k, "dead")
	}
	for name, l := range map[string]Levels{
		"live":    {Key: "k", Client: "c", Subject: "u", Session: "s", Token: "t", Ver: 1},
		"foreign": {Issuer: "https://a", Key: "k", Client: "c", Subject: "u", Session: "s", Token: "t", Ver: 1},
		"revoked": {Key: "k", Client: "c", Subject: "u", Session: "dead", Token: "t", Ver: 1},
	} {
		if n := testing.AllocsPerRun(100, func() { _ = s.Check(l) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// At a million entries a session takes at most 20 bytes, at whatever point
// between two growths.
func TestBytesPerEntry(t *testing.T) {
	tab := newTable(0, false)
	for i := 1; i <= million+million/4; i++ {
		if tab.full() {
			tab = tab.rebuild(tab.grown(), 0)
			if i < million/2 {
				continue
			}
			size := len(tab.fps)*8 + len(tab.expires)*4
			if per := float64(size) / float64(tab.used.Load()); per > 20 {
				t.Errorf("%.1f bytes an entry at %d", per, i)
			}
		}
		tab.put(rand.Uint64()|1, 1, 0)
	}
	// After Forget: 12 bytes a slot, two thirds taken.
	if per := float64(slotsFor(million)*12) / million; per > 20 {
		t.Errorf("%.1f bytes an entry after Forget", per)
	}
}
