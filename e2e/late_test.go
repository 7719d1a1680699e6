package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// TestLateGrants lets grants arrive late and then not at all. The authority
// counts a lease from when it gave it and the verifier from when it asked, so
// the verifier stops in time however long the answer was under way.
func TestLateGrants(t *testing.T) {
	t.Parallel()
	l := newLateGrants(t)
	rounds := 2
	if long() {
		rounds = 25
	}
	for range rounds {
		for _, w := range l.round() {
			t.Error(w)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("seed %d: %d rounds; accepted %d times after the link was cut, of which the last was %v before the answer to a logout",
		*flagSeed, rounds, l.afterCut, l.closest.Round(time.Millisecond))
	if l.afterCut == 0 {
		t.Error("this run shows nothing: nothing was accepted after the link was cut")
	}
}

type lateGrants struct {
	t        *testing.T
	c        *cluster
	h        *history
	rnd      *rand.Rand
	n        int
	afterCut int
	closest  time.Duration
}

func newLateGrants(t *testing.T, env ...string) *lateGrants {
	return &lateGrants{
		t: t, h: newHistory(), rnd: rand.New(rand.NewPCG(*flagSeed, 3)), closest: time.Hour,
		c: startCluster(t, clusterConfig{Lease: time.Second, Users: 10, Services: 2, Fault: len(env) > 0, Env: env}),
	}
}

func (l *lateGrants) round() []string {
	t, c := l.t, l.c
	t.Helper()
	var list []tokens
	for range 2 {
		l.n++
		session, err := c.login(t.Context(), l.n%c.cfg.Users)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, session)
	}
	c.awaitLeases(t)
	late := c.verifiers[0]
	if err := c.awaitAccept(t.Context(), late, list[1]); err != nil {
		t.Fatal(err)
	}
	accepts := watch(c, l.h, list)
	// Later than that it would not be waited for.
	late.link.down.set(false, c.cfg.Lease/5, 0)
	time.Sleep(c.cfg.Lease)
	// What is asked after this grant does not arrive, so it is the last.
	late.link.cutUpAfterGrant()
	cut := l.h.now()
	time.Sleep(time.Duration(l.rnd.Int64N(int64(c.cfg.Lease / 2))))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := c.logout(ctx, "/logout", list[0].Access, ""); err != nil {
		t.Fatal(err)
	}
	answered := l.h.now()
	time.Sleep(c.cfg.Lease)
	late.link.heal()
	var out []string
	last := int64(0)
	for _, a := range accepts.end() {
		if a.session == 0 && a.call > answered {
			out = append(out, c.verifiers[a.at-atVerifier].name+" accepted a session "+time.Duration(a.call-answered).String()+" after its logout was answered")
		}
		if a.at == atVerifier && a.call > cut && a.call < answered {
			l.afterCut++
			last = max(last, a.call)
		}
	}
	if last > 0 {
		l.closest = min(l.closest, time.Duration(answered-last))
	}
	return out
}
