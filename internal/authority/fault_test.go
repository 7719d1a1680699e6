package authority_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

// faulty fails the next commit that revokes something, in one of the two ways
// in which a commit can fail.
type faulty struct {
	store.Store
	mode atomic.Int32 // 0 = works
}

const (
	notApplied = iota + 1
	applied
)

func (s *faulty) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	if len(c.Revocations) == 0 {
		return s.Store.Commit(ctx, c)
	}
	switch s.mode.Swap(0) {
	case notApplied:
		return store.Committed{}, store.ErrUnavailable
	case applied:
		if _, err := s.Store.Commit(ctx, c); err != nil {
			return store.Committed{}, err
		}
		return store.Committed{}, store.ErrUnknownOutcome
	}
	return s.Store.Commit(ctx, c)
}

// A store error must never be answered with success (CVE-2020-15223), and the
// repeated call must bring the promise about whatever became of the first.
func TestLogoutThatFailsPromisesNothingAndCanBeRepeated(t *testing.T) {
	for name, mode := range map[string]int32{"not applied": notApplied, "applied": applied} {
		for _, scope := range []authority.LogoutScope{authority.ScopeLocal, authority.ScopeOthers, authority.ScopeGlobal} {
			t.Run(name+"/"+string(scope), func(t *testing.T) {
				var broken *faulty
				f := newFixture(t, authority.Config{}, func(s store.Store) store.Store { broken = &faulty{Store: s}; return broken })
				mine, other := f.login(t), f.login(t)
				broken.mode.Store(mode)
				in := authority.LogoutInput{Access: []string{mine.AccessToken}, Scope: scope}
				out, err := f.Logout(t.Context(), in)
				if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
					t.Fatalf("logout: %+v, %v", out, err)
				}
				if mode == notApplied {
					f.mustLive(t, "after the failure", mine)
					f.mustLive(t, "the other, after the failure", other)
				}
				if out, err = f.Logout(t.Context(), in); err != nil || out.State != authority.StateEnforced {
					t.Fatalf("repeated: %+v, %v", out, err)
				}
				if scope == authority.ScopeOthers {
					f.mustLive(t, "current", mine)
				} else {
					f.mustBeDead(t, "current", mine)
				}
				if scope == authority.ScopeLocal {
					f.mustLive(t, "other", other)
				} else {
					f.mustBeDead(t, "other", other)
				}
			})
		}
	}
}

// A client that hangs up has still logged out.
func TestLogoutOfAClientThatHangsUpIsNotLost(t *testing.T) {
	var cancel context.CancelFunc
	f := newFixture(t, authority.Config{}, func(s store.Store) store.Store {
		return &hangup{Store: s, before: func() { cancel() }}
	})
	i := f.login(t)
	ctx, c := context.WithCancel(t.Context())
	cancel = c
	defer c()
	f.Logout(ctx, authority.LogoutInput{Access: []string{i.AccessToken}})
	f.logout(t, authority.ScopeLocal, i) // waits until the first is in force
	f.mustBeDead(t, "logged out", i)
	if s, err := f.SessionByID(t.Context(), i.Session.ID); err != nil || s.EndedSeq != 1 {
		t.Errorf("ended at %d, %v", s.EndedSeq, err)
	}
}

// hangup cancels the caller while its change is in the writer's hands.
type hangup struct {
	store.Store
	before func()
}

func (s *hangup) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	done, err := s.Store.Commit(ctx, c)
	if len(c.Revocations) > 0 {
		s.before()
	}
	return done, err
}
