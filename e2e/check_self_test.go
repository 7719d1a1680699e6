package e2e

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The checkers are shown small histories, good ones and one for each thing that
// they are to find.
func TestCheckers(t *testing.T) {
	observers := []string{"user", "introspect", "refresh", "service"}
	login := func(session int, call, ret int64) op {
		return op{Kind: opLogin, Session: session, Call: call, Return: ret, Outcome: done}
	}
	verify := func(session int, at observer, said verdict, call, ret int64) op {
		return op{Kind: opVerify, Session: session, Observer: at, Outcome: said, Call: call, Return: ret}
	}
	refresh := func(counter int, said verdict, successor string, call, ret int64) op {
		return op{Kind: opRefresh, Observer: atRefresh, Counter: counter, Outcome: said, Detail: successor, Call: call, Return: ret}
	}
	logout := func(session int, said verdict, call, ret int64) op {
		return op{Kind: opLogout, Session: session, Outcome: said, Call: call, Return: ret}
	}
	all := func(said verdict, call, ret int64) op {
		return op{Kind: opLogoutAll, Outcome: said, Call: call, Return: ret}
	}
	const service = atVerifier
	for _, c := range []struct {
		name string
		ops  []op
		// wrong to the checkers
		linear, model bool
	}{
		{"a life", []op{login(0, 1, 2), verify(0, service, accepted, 3, 4), logout(0, done, 5, 8), verify(0, service, refused, 9, 10)}, false, false},
		{"during a logout either", []op{login(0, 1, 2), logout(0, done, 3, 10), verify(0, service, accepted, 4, 5), verify(0, atUser, refused, 4, 5), verify(0, atIntrospect, accepted, 6, 7)}, false, false},
		{"no verdict", []op{login(0, 1, 2), logout(0, done, 3, 10), verify(0, service, refused, 4, 5), verify(0, service, stale, 6, 7), verify(0, service, failed, 8, 9)}, false, false},
		{"accept after an answered logout", []op{login(0, 1, 2), logout(0, done, 3, 4), verify(0, service, accepted, 5, 6)}, true, true},
		{"accept that began before the answer", []op{login(0, 1, 2), logout(0, done, 3, 6), verify(0, service, accepted, 5, 9)}, false, false},
		{"accept after a refusal", []op{login(0, 1, 2), logout(0, done, 3, 20), verify(0, service, refused, 5, 6), verify(0, service, accepted, 7, 8)}, true, true},
		{"refusal of a live session", []op{login(0, 1, 2), verify(0, service, refused, 5, 6), logout(0, done, 7, 8)}, true, true},
		{"refusal after a logout of another session", []op{login(0, 1, 2), login(1, 3, 4), logout(0, done, 5, 6), verify(1, service, refused, 7, 8)}, true, true},
		{"logout of unknown outcome, carried out", []op{login(0, 1, 2), logout(0, unknown, 3, never), verify(0, service, accepted, 5, 6), verify(0, service, refused, 7, 8)}, false, false},
		{"logout of unknown outcome, not carried out", []op{login(0, 1, 2), logout(0, unknown, 3, never), verify(0, service, accepted, 50, 60)}, false, false},
		{"unknown outcome, and back to life", []op{login(0, 1, 2), logout(0, unknown, 3, never), verify(0, service, refused, 5, 6), verify(0, service, accepted, 7, 8)}, true, true},
		{"logout-all", []op{login(0, 1, 2), login(1, 1, 2), all(done, 3, 4), verify(0, service, refused, 5, 6), verify(1, service, refused, 5, 6)}, false, false},
		{"accept after a logout-all", []op{login(0, 1, 2), login(1, 1, 2), all(done, 3, 4), verify(1, service, accepted, 5, 6)}, true, true},
		{"login after a logout-all", []op{login(0, 1, 2), all(done, 3, 4), login(1, 5, 6), verify(1, service, accepted, 7, 8)}, false, false},
		// The one chose its sessions before the login, the verifier hears later.
		{"logout-all that arrives after a login", []op{login(0, 1, 2), all(done, 3, 20), login(1, 5, 6), verify(0, service, accepted, 7, 8), verify(0, service, refused, 9, 10), verify(1, service, accepted, 11, 12)}, false, false},
		{"logout-all during a login, with both outcomes", []op{login(0, 1, 2), all(done, 3, 20), login(1, 5, 16), verify(1, service, refused, 21, 22), verify(1, service, accepted, 23, 24)}, true, true},
		// No single operation is wrong by itself here.
		{"logout-all that ends one session and then accepts another of before", []op{login(0, 1, 2), login(1, 1, 2), all(done, 3, 20), verify(0, service, refused, 5, 6), verify(1, service, accepted, 7, 8)}, false, true},
		{"refreshes", []op{login(0, 1, 2), refresh(0, accepted, "a", 3, 4), refresh(1, accepted, "b", 5, 6), logout(0, done, 7, 8), refresh(2, refused, "", 9, 10)}, false, false},
		{"refresh of unknown outcome, repeated", []op{login(0, 1, 2), refresh(0, unknown, "", 3, never), refresh(0, accepted, "a", 5, 6), refresh(1, accepted, "b", 7, 8)}, false, false},
		{"refresh after an answered logout", []op{login(0, 1, 2), logout(0, done, 3, 4), refresh(0, accepted, "a", 5, 6)}, true, true},
		{"refresh refused to a live session", []op{login(0, 1, 2), refresh(0, refused, "", 3, 4)}, true, true},
		{"refresh of a token that is long spent", []op{login(0, 1, 2), refresh(0, accepted, "a", 3, 4), refresh(1, accepted, "b", 5, 6), refresh(0, accepted, "a", 7, 8)}, false, true},
		{"two successors", []op{login(0, 1, 2), refresh(0, accepted, "a", 3, 4), refresh(0, accepted, "b", 5, 6)}, true, false},
		{"a refresh sent twice may be taken for theft", []op{login(0, 1, 2), {Kind: opReuse, Call: 3, Return: never, Outcome: unknown}, verify(0, service, refused, 5, 6)}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wrong := checkLinear(c.ops, observers); (len(wrong) > 0) != c.linear {
				t.Errorf("the linear checks say %q; wrong: %v", wrong, c.linear)
			}
			wrong := checkModel(c.ops, observers, t.TempDir())
			if (len(wrong) > 0) != c.model || strings.Contains(strings.Join(wrong, ""), "Unknown") {
				t.Errorf("the model says %q; wrong: %v", wrong, c.model)
			}
		})
	}
}

// Narrowing what has no known outcome must not change what the model says. The
// histories are random and short, so that both ways can be searched.
func TestNarrowing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(*flagSeed, 5))
	count := map[porcupine.CheckResult]int{}
	for range 1000 {
		ops := randomHistory(rnd)
		var said [2]map[place]porcupine.CheckResult
		for i, raw := range []bool{true, false} {
			parts, err := partitions(ops, int(atVerifier)+1, raw)
			if err != nil {
				t.Fatal(err)
			}
			said[i] = map[place]porcupine.CheckResult{}
			for p, list := range parts {
				said[i][p] = porcupine.CheckOperationsTimeout(model, list, time.Minute)
			}
		}
		for p, raw := range said[0] {
			if count[raw]++; said[1][p] != raw {
				t.Errorf("at %d: %s, narrowed %s", p.observer, raw, said[1][p])
				for _, o := range ops {
					t.Log(o)
				}
				t.FailNow()
			}
		}
	}
	t.Logf("%v", count)
	if count[porcupine.Ok] == 0 || count[porcupine.Illegal] == 0 {
		t.Errorf("these histories show nothing: %v", count)
	}
}

// randomHistory is that of two sessions of one user, with outcomes that mostly
// make sense.
func randomHistory(rnd *rand.Rand) []op {
	var ops []op
	counter, refreshed := [2]int{}, [2]int64{}
	for session := range 2 {
		at := rnd.Int64N(5)
		ops = append(ops, op{Kind: opLogin, Session: session, Call: at, Return: at + 1, Outcome: done})
		refreshed[session] = at + 1
	}
	for range 3 + rnd.IntN(8) {
		session := rnd.IntN(2)
		call := 6 + rnd.Int64N(30)
		o := op{Session: session, Call: call, Return: call + 1 + rnd.Int64N(12)}
		switch rnd.IntN(8) {
		case 0, 1:
			o.Kind = []kind{opLogout, opLogout, opLogoutAll}[rnd.IntN(3)]
			if o.Outcome = done; rnd.IntN(2) == 0 {
				o.Outcome, o.Return = unknown, never
			}
		case 2, 3: // one refresh of a session after another
			o.Kind, o.Observer, o.Counter = opRefresh, atRefresh, counter[session]
			o.Call = refreshed[session] + 1 + rnd.Int64N(6)
			o.Return = o.Call + 1 + rnd.Int64N(6)
			refreshed[session] = o.Return
			switch rnd.IntN(4) {
			case 0:
				o.Outcome = refused
			case 1:
				o.Outcome, o.Return = unknown, never
			default:
				o.Outcome = accepted
				counter[session]++
			}
		default:
			o.Kind, o.Observer, o.Outcome = opVerify, atVerifier, accepted
			if o.Call > 15 && rnd.IntN(3) > 0 {
				o.Outcome = refused
			}
		}
		ops = append(ops, o)
	}
	return ops
}
