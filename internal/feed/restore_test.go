package feed_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
)

// A restored authority: fewer positions than its follower has, in another log.
func TestARestoredAuthorityForcesASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		for range 20 {
			r.revoke(curfew.NewID())
		}
		synctest.Wait()
		if got := s.applied(); got != 20 {
			t.Fatalf("applied %d", got)
		}
		r.restore("log-2", r.entries[:5])
		sid := curfew.NewID()
		r.revoke(sid)
		time.Sleep(2 * time.Second)
		if p := s.Status().Position; p.LogID != "log-2" || p.Seq != 6 {
			t.Errorf("position %+v", p)
		}
		r.want(s, r.token(sid), curfew.ErrRevoked)
		r.want(s, r.token(curfew.NewID()), nil)
	})
}

// The same position with another history, be it under the same name.
func TestTheSamePositionWithAnotherHashForcesASnapshot(t *testing.T) {
	for _, log := range []string{"log-1", "log-2"} {
		t.Run(log, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				s := r.idle("s")
				for range 5 {
					r.revoke(curfew.NewID())
				}
				s.step(t)
				r.restore(log, r.entries[:4])
				sid := curfew.NewID()
				raw := r.token(sid)
				if got := r.revoke(sid); got != s.applied() {
					t.Fatalf("at %d, not %d", got, s.applied())
				}
				r.want(s, raw, nil)
				for range 2 {
					s.step(t)
				}
				if p := s.Status().Position; p != r.head() {
					t.Errorf("%+v, want %+v", p, r.head())
				}
				r.want(s, raw, curfew.ErrRevoked)
			})
		})
	}
}

// An authority that was set back by copying files bears the name of the log
// that it has lost a part of. Its followers know more than it does.
func TestAFollowerAheadOfItsOwnLogTakesASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		for range 9 {
			r.revoke(curfew.NewID())
		}
		s.step(t)
		raw := r.token(curfew.NewID())
		r.want(s, raw, nil)
		r.restore("log-1", r.entries[:5])
		sid := curfew.NewID()
		r.revoke(sid)
		s.step(t)
		if p := s.Status().Position; p != r.head() {
			t.Errorf("%+v, want %+v", p, r.head())
		}
		// What it has and what it had do not go together, until a lease says so.
		r.want(s, raw, curfew.ErrStale)
		s.step(t)
		r.want(s, raw, nil)
		if !s.denied(sid) {
			t.Error("the new entry is lost")
		}
	})
}
