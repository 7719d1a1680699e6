package feed_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
)

func TestEnforcedMeansRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var all []*service
		for i := range 3 {
			all = append(all, r.service(fmt.Sprint("s", i)))
		}
		for i := range 50 {
			sid := curfew.NewID()
			raw := r.token(sid)
			for _, s := range all {
				r.want(s, raw, nil)
			}
			began := time.Now()
			receipt, err := r.authority().Wait(t.Context(), r.revoke(sid))
			if err != nil || receipt.State != feed.Enforced || receipt.Verifiers != 3 || len(receipt.Acks) != 3 || len(receipt.Unacknowledged) != 0 {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("logout %d took %v without a network", i, took)
			}
			for _, s := range all {
				r.want(s, raw, curfew.ErrRevoked)
			}
		}
	})
}

// Live: a verifier that is cut off delays a logout until its lease is over, and
// is stale by then.
func TestADeadVerifierDelaysByOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		good, bad := r.service("good"), r.service("bad")
		sid := curfew.NewID()
		raw := r.token(sid)
		bad.link.set(true)
		began := time.Now()
		seq := r.revoke(sid)
		synctest.Wait()
		if s := r.authority().Status(seq); s.State != feed.Recorded || len(s.Unacknowledged) != 1 || s.Unacknowledged[0].Verifier != "bad" {
			t.Errorf("while it is waited for: %+v", s)
		}
		r.want(good, raw, curfew.ErrRevoked)
		r.want(bad, raw, nil) // nothing has been promised yet
		receipt, err := r.authority().Wait(t.Context(), seq)
		took := time.Since(began)
		if err != nil || receipt.Verifiers != 2 || len(receipt.Unacknowledged) != 1 || receipt.Unacknowledged[0].Verifier != "bad" {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		if took > feed.Wait(3*time.Second) || took < time.Second {
			t.Errorf("took %v", took)
		}
		r.want(bad, raw, curfew.ErrStale)

		// The next logout does not wait for it.
		began = time.Now()
		if _, err := r.authority().Wait(t.Context(), r.revoke(curfew.NewID())); err != nil || time.Since(began) > 0 {
			t.Errorf("took %v, %v", time.Since(began), err)
		}
		// It comes back, and refuses.
		bad.link.set(false)
		time.Sleep(2 * time.Second)
		r.want(bad, raw, curfew.ErrRevoked)
		if v := r.authority().Verifiers(); !slices.ContainsFunc(v, func(v feed.Verifier) bool { return v.Name == "bad" && v.Live }) {
			t.Errorf("verifiers %+v", v)
		}
	})
}

// Strict mode: every confirmation begins after it was asked for, and needs no
// lease.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				sid := curfew.NewID()
				if now, err := s.Confirm(t.Context()); err != nil {
					t.Error(err)
				} else if _, err := s.CheckAt(r.token(sid), now); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		sid := curfew.NewID()
		raw := r.token(sid)
		r.revoke(sid)
		now, err := s.Confirm(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.CheckAt(raw, now); !errors.Is(err, curfew.ErrRevoked) {
			t.Error(err)
		}
		s.link.set(true)
		if _, err := s.Confirm(t.Context()); !errors.Is(err, curfew.ErrStale) {
			t.Error(err)
		}
	})
}
