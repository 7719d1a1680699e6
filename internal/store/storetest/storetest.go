package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

// Options say how to get at the engine.
type Options struct {
	// Open returns a new, empty store. The suite closes it.
	Open func(t *testing.T) store.Store
	// Reopen closes s, which may be closed already, and opens it again.
	Reopen func(t *testing.T, s store.Store) store.Store
}

// Run runs the suite. After each test the store must still pass its own Check.
func Run(t *testing.T, opts Options) {
	groups := []map[string]func(*testing.T, *harness){rowTests, changeTests, sessionTests, logTests, concurrencyTests}
	seen := map[string]bool{}
	for _, tests := range groups {
		for _, name := range slices.Sorted(maps.Keys(tests)) {
			test := tests[name]
			if seen[name] {
				t.Fatalf("two tests are named %s", name)
			}
			seen[name] = true
			t.Run(name, func(t *testing.T) { test(t, newHarness(t, opts)) })
		}
	}
}

// harness is a store with shorthands that fail the test.
type harness struct {
	store.Store
	t    *testing.T
	opts Options
	ctx  context.Context
}

func newHarness(t *testing.T, opts Options) *harness {
	h := &harness{Store: opts.Open(t), t: t, opts: opts, ctx: t.Context()}
	t.Cleanup(func() {
		// The test's own context is done by now.
		if err := h.Check(context.Background()); err != nil {
			t.Errorf("Check after the test: %v", err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("Close after the test: %v", err)
		}
	})
	return h
}

func (h *harness) reopen() {
	h.t.Helper()
	h.Store = h.opts.Reopen(h.t, h.Store)
}

// base is later than the wall clock of any store's creation, so that a time of
// the suite always raises the high-water mark.
var base = time.Date(2100, 1, 2, 3, 4, 5, 678901000, time.UTC)

// at returns a time n seconds after base.
func at(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }

func (h *harness) commit(c store.Change) store.Committed {
	h.t.Helper()
	out, err := h.Commit(h.ctx, c)
	if err != nil {
		h.t.Fatalf("Commit: %v", err)
	}
	return out
}

func (h *harness) refuse(c store.Change, want error) {
	h.t.Helper()
	if _, err := h.Commit(h.ctx, c); !errors.Is(err, want) {
		h.t.Fatalf("Commit: got %v, want %v", err, want)
	}
}

func (h *harness) user(id string) store.User     { return must(h.User(h.ctx, id))(h.t) }
func (h *harness) sess(id string) curfew.Session { return must(h.Session(h.ctx, id))(h.t) }
func (h *harness) state() store.State            { return must(h.State(h.ctx))(h.t) }

func (h *harness) sessions(f store.SessionFilter) []curfew.Session {
	return must(h.Sessions(h.ctx, f))(h.t)
}

func (h *harness) audit(f store.AuditFilter) []audit.Entry { return must(h.Audit(h.ctx, f))(h.t) }

// begin inserts a user, unless there is one, and live sessions of the user.
func (h *harness) begin(subject string, ids ...string) {
	h.t.Helper()
	c := store.Change{At: at(0)}
	if _, err := h.User(h.ctx, subject); errors.Is(err, store.ErrNotFound) {
		c.InsertUsers = []store.User{aUser(subject)}
	}
	for _, id := range ids {
		c.InsertSessions = append(c.InsertSessions, aSession(id, subject))
	}
	h.commit(c)
}

func aUser(id string) store.User {
	return store.User{
		ID: id, Email: id + "@example.com", EmailFold: id + "@example.com", Status: store.UserActive,
		CreatedAt: at(0), UpdatedAt: at(0),
	}
}

func aSession(id, subject string) curfew.Session {
	return curfew.Session{
		ID: id, Subject: subject, ClientID: "web", CreatedAt: at(0), AuthTime: at(0), LastSeenAt: at(0),
		ExpiresAt: at(3600), RotatedAt: at(0), TokenExp: at(300),
	}
}

func revoke(kind curfew.Kind, target string) curfew.Revocation {
	return curfew.Revocation{
		Kind: kind, Target: target, Reason: curfew.ReasonUser, Actor: "user:u",
		RecordedAt: at(1), ExpiresAt: at(1000),
	}
}

// end is the change that logs one session out, as the authority makes it.
func end(s curfew.Session) store.Change {
	s.EndedAt, s.EndReason = at(1), curfew.ReasonUser
	return store.Change{
		At: at(1), UpdateSessions: []store.SessionUpdate{{Session: s}},
		Revocations: []curfew.Revocation{revoke(curfew.KindSession, s.ID)},
		Audit:       []audit.Entry{{At: at(1), Event: audit.SessionLogout, Actor: "user:u", Session: s.ID}},
	}
}

// endAll is the change that logs a subject out everywhere.
func endAll(subject, except string) store.Change {
	return store.Change{
		At:          at(1),
		EndSubjects: []store.EndSubject{{Subject: subject, Except: except, Reason: curfew.ReasonUserAll}},
		Revocations: []curfew.Revocation{revoke(curfew.KindSubject, subject)},
		Audit:       []audit.Entry{{At: at(1), Event: audit.SessionLogout, Actor: "user:u", Subject: subject, Count: store.CountEnded}},
	}
}

// contents is all that a store shows.
type contents struct {
	State       store.State
	Users       []store.User
	Sessions    []curfew.Session
	Revocations []curfew.Revocation
	Keys        []store.Key
	APIKeys     []store.APIKey
	Audit       []audit.Entry
}

func (h *harness) contents() (c contents) {
	h.t.Helper()
	const all = 1 << 20
	st, revs, err := h.Snapshot(h.ctx)
	if err != nil {
		h.t.Fatalf("Snapshot: %v", err)
	}
	return contents{
		State: st, Revocations: revs,
		Users:    must(h.Users(h.ctx, store.Page{Limit: all}))(h.t),
		Sessions: h.sessions(store.SessionFilter{Page: store.Page{Limit: all}}),
		Keys:     must(h.Keys(h.ctx))(h.t),
		APIKeys:  must(h.APIKeys(h.ctx))(h.t),
		Audit:    h.audit(store.AuditFilter{Limit: all}),
	}
}

// must returns the value of a call that may not fail.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func ids(sessions []curfew.Session) (out []string) {
	for _, s := range sessions {
		out = append(out, s.ID)
	}
	return out
}

// verifyChain checks that revs are dense and chained after the given position.
func verifyChain(revs []curfew.Revocation, after curfew.Seq, prev curfew.Hash) (curfew.Hash, error) {
	for i, r := range revs {
		if r.Seq != after+curfew.Seq(i)+1 {
			return prev, fmt.Errorf("entry %d stands where %d should", r.Seq, after+curfew.Seq(i)+1)
		}
		if r.Chain(prev) != r.Hash {
			return prev, fmt.Errorf("entry %d does not chain to the one before", r.Seq)
		}
		prev = r.Hash
	}
	return prev, nil
}
