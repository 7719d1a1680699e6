package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/fault"
)

// TestDeathAtEachStep kills the authority, as by kill -9, at each named step of
// a logout. One of two verifiers is cut off at that moment and goes on with the
// lease that it has. After the restart nothing lives that was answered, what was
// not answered is in force or has not happened, and no logout is answered before
// the leases of before are over.
func TestDeathAtEachStep(t *testing.T) {
	t.Parallel()
	rounds := 3
	if long() {
		rounds = 25
	}
	for i, step := range fault.Steps() {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			d := newDeaths(t, step, uint64(i))
			for range rounds {
				if d.round(); len(d.found) > 0 {
					t.Fatal(strings.Join(d.found, "\n"))
				}
			}
			t.Logf("%s, seed %d: %d deaths; %d logouts answered before, %d cut off of which %d were in force after the restart; "+
				"the verifier that was cut off accepted %d times after the death, %d of them when the authority served again; "+
				"first enforced answer %v to %v after the start, leases of %v count for %v",
				step, *flagSeed, rounds, d.answered, d.cutOff, d.inForce, d.afterDeath, d.afterStart, d.soonest.Round(time.Millisecond), d.latest.Round(time.Millisecond), d.c.cfg.Lease, d.c.bound)
			if d.afterDeath == 0 {
				t.Error("this run shows nothing: the verifier that was cut off accepted nothing after the death")
			}
		})
	}
}

// deaths is a cluster whose authority dies again and again.
type deaths struct {
	t    *testing.T
	c    *cluster
	h    *history
	step fault.Step
	env  []string // of the authority that lives
	rnd  *rand.Rand
	user int

	found                                             []string // that is wrong
	answered, cutOff, inForce, afterDeath, afterStart int
	soonest, latest                                   time.Duration
}

// Sessions of a round: some are logged out around the death, one afterwards,
// and one never.
const (
	deathSessions = 5
	laterSession  = deathSessions
	liveSession   = deathSessions + 1
)

func newDeaths(t *testing.T, step fault.Step, stream uint64, env ...string) *deaths {
	c := startCluster(t, clusterConfig{Lease: time.Second, Users: 20, Services: 2, Fault: true, Env: env})
	return &deaths{
		t: t, c: c, h: newHistory(), step: step, env: c.authority.env, rnd: rand.New(rand.NewPCG(*flagSeed, stream)), soonest: time.Hour,
	}
}

func (d *deaths) wrong(format string, args ...any) {
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

// carrier is a credential by which a session is logged out.
type carrier struct{ bearer, refresh string }

func (d *deaths) carrier(t tokens) carrier {
	if d.rnd.IntN(2) == 0 {
		return carrier{refresh: t.Refresh}
	}
	return carrier{bearer: t.Access}
}

// logout returns when a logout was answered, or 0 if it was not.
func (d *deaths) logout(by carrier) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := d.c.logout(ctx, "/logout", by.bearer, by.refresh); err != nil {
		return 0
	}
	return d.h.now()
}

// restart kills the authority and starts it again, to die when a logout has
// passed the step so many times, or not at all.
func (d *deaths) restart(dieAt int) {
	d.t.Helper()
	d.c.authority.kill()
	d.c.authority.env = d.env
	if dieAt > 0 {
		d.c.authority.env = append([]string{fmt.Sprintf("CURFEW_FAULT_DIE=%s:%d", d.step, dieAt)}, d.env...)
	}
	if err := d.c.startAuthority(); err != nil {
		d.t.Fatal(err)
	}
}

// death is what happened in a round. Times are 0 where something did not.
type death struct {
	list     []tokens
	tried    [deathSessions]bool  // to log out before the death
	answered [deathSessions]int64 // before the death
	repeated [deathSessions]int64 // after the restart
	later    int64                // the logout of laterSession, after the restart

	died, started, serves, healed int64
}

func (d *deaths) round() {
	t, c := d.t, d.c
	t.Helper()
	before := d.rnd.IntN(3)     // logouts that are answered
	alone := d.rnd.IntN(2) == 0 // whether only one is under way at the death
	d.restart(before + 1)
	r := &death{}
	for range deathSessions + 2 {
		d.user = (d.user + 1) % c.cfg.Users
		session, err := c.login(t.Context(), d.user)
		if err != nil {
			t.Fatal(err)
		}
		r.list = append(r.list, session)
	}
	c.awaitLeases(t)
	d.awaitAccept(r.list[liveSession])
	accepts := watch(c, d.h, r.list)
	defer accepts.end()

	for i := range before {
		r.tried[i] = true
		if r.answered[i] = d.logout(d.carrier(r.list[i])); r.answered[i] == 0 {
			t.Fatalf("logout %d of %d before the death was not answered\n%s", i, before, c.authority.tail())
		}
	}
	last := deathSessions
	if alone {
		last = before + 1
	}
	var calls sync.WaitGroup
	for i := before; i < last; i++ {
		r.tried[i] = true
		by := d.carrier(r.list[i])
		calls.Go(func() { r.answered[i] = d.logout(by) })
	}
	if err := c.authority.wait(20 * time.Second); err != nil {
		t.Fatalf("the authority does not die at %s: %v", d.step, err)
	}
	r.died = d.h.now()
	c.verifiers[1].link.cut()
	defer c.verifiers[1].link.heal()
	calls.Wait()

	r.started = d.h.now()
	d.restart(0)
	r.serves = d.h.now()
	// The first logout after the restart is asked for at once.
	by := d.carrier(r.list[laterSession])
	calls.Go(func() { r.later = d.logout(by) })
	d.checkRestarted(r, alone)
	for i := range deathSessions {
		if r.tried[i] && r.answered[i] == 0 {
			by := d.carrier(r.list[i])
			calls.Go(func() { r.repeated[i] = d.logout(by) })
		}
	}
	calls.Wait()
	time.Sleep(100 * time.Millisecond)
	r.healed = d.h.now()
	c.verifiers[1].link.heal()
	d.awaitAccept(r.list[liveSession])
	d.checkAccepts(r, accepts.end())
}

// checkRestarted asks the authority right after the restart: what was answered
// is dead, and what was not is whole. A session whose access token is refused
// and whose refresh token still works would be neither.
func (d *deaths) checkRestarted(r *death, alone bool) {
	for i := range deathSessions {
		user, introspect, refresh := d.atAuthority(r.list[i])
		switch {
		case user != introspect || user != refresh || user != accepted && user != refused:
			d.wrong("session %d after the restart: /user %s, /introspect %s, refresh %s", i, user, introspect, refresh)
		case r.answered[i] > 0 && user != refused:
			d.wrong("session %d was logged out before the death and lives after the restart", i)
		case !r.tried[i] && user != accepted:
			d.wrong("session %d has ended, and nobody has ended it", i)
		}
		switch {
		case !r.tried[i]:
			continue
		case r.answered[i] > 0:
			d.answered++
			continue
		}
		d.cutOff++
		if user == refused {
			d.inForce++
		}
		if want := d.step != fault.BeforeCommit; alone && (user == refused) != want {
			d.wrong("the logout of session %d died at %s; in force: %v, want %v", i, d.step, user == refused, want)
		}
	}
}

// checkAccepts looks at what the verifiers accepted all the time.
func (d *deaths) checkAccepts(r *death, accepts []accept) {
	c := d.c
	if r.later == 0 {
		d.wrong("the first logout after the restart was not answered\n%s", c.authority.tail())
		return
	}
	first := r.later
	ends := make([]int64, len(r.list)) // when the promise holds for a session
	ends[laterSession] = r.later
	for i := range deathSessions {
		if ends[i] = r.answered[i]; r.tried[i] && ends[i] == 0 {
			if ends[i] = r.repeated[i]; ends[i] == 0 {
				d.wrong("the repetition of the logout of session %d was not answered\n%s", i, c.authority.tail())
				continue
			}
			first = min(first, ends[i])
		}
	}
	took := time.Duration(first - r.started)
	d.soonest, d.latest = min(d.soonest, took), max(d.latest, took)
	if took < c.bound {
		d.wrong("the first logout was answered %v after the start; the leases of before count for %v", took, c.bound)
	}
	const cutOff = atVerifier + 1
	for _, a := range accepts {
		name := c.verifiers[a.at-atVerifier].name
		if end := ends[a.session]; end > 0 && a.call > end {
			d.wrong("session %d was accepted at %s %v after its logout was answered", a.session, name, time.Duration(a.call-end))
		}
		switch {
		case a.at != cutOff || a.call < r.died:
		case a.call < first:
			d.afterDeath++
			if a.call > r.serves {
				d.afterStart++
			}
		case a.ret < r.healed: // otherwise it may have got another one on the way
			d.wrong("%s still had its lease of before the death %v after the first answer", name, time.Duration(a.call-first))
		}
	}
	for i, end := range ends {
		want := accepted
		if end > 0 {
			want = refused
		}
		for _, v := range c.verifiers {
			if got, said := c.ask(d.t.Context(), v.url(), r.list[i].Access); got != want {
				d.wrong("session %d in the end: %s says %s, want %s: %s", i, v.name, got, want, said)
			}
		}
	}
}

// atAuthority asks the authority itself in three ways.
func (d *deaths) atAuthority(t tokens) (user, introspect, refresh verdict) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	user = d.c.verdict(ctx, d.c.url("/user"), t.Access)
	introspect, _ = d.c.introspect(ctx, t.Access)
	switch _, err := d.c.refresh(ctx, t.Refresh); err {
	case nil:
		refresh = accepted
	case errNoRefresh:
		refresh = refused
	default:
		refresh = failed
	}
	return user, introspect, refresh
}

func (d *deaths) awaitAccept(session tokens) {
	d.t.Helper()
	for _, v := range d.c.verifiers {
		if err := d.c.awaitAccept(d.t.Context(), v, session); err != nil {
			d.t.Fatal(err)
		}
	}
}
