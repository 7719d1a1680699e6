package sim

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
)

// record is everything that was seen in a run. Times are true time.
type record struct {
	mu       sync.Mutex
	commits  []commit
	answers  []enforced
	checks   []check
	restores []restored
	keys     map[string]time.Duration // since when the hub gives a key to guards
	times    []reading                // of authority time, whenever it was later than ever
	now      []reading                // all readings of authority time
	probes   map[*issued]time.Duration
	summary  summary
}

// commit is a revocation that became durable.
type commit struct {
	at      time.Duration
	history int
	entry   curfew.Revocation
}

// enforced is an answer which says that everything up to seq is in force.
type enforced struct {
	at      time.Duration
	history int
	seq     curfew.Seq
	began   time.Duration // when it was durable, or was asked about
	by      *authority
	late    bool // asked from time to time, not waited for
}

// check is a verdict on a token.
type check struct {
	token      *issued
	guard      int // guards is the authority itself
	process    int
	start, end time.Duration
	verdict    verdict
	strict     bool
	last       bool // when everything should be well
}

func (c check) String() string {
	return fmt.Sprintf("guard %d, process %d, from %.9f to %.9f: token %d is %v (strict %v)",
		c.guard, c.process, c.start.Seconds(), c.end.Seconds(), c.token.n, c.verdict, c.strict)
}

type restored struct {
	at      time.Duration
	history int // of the log that began
}

type reading struct {
	at   time.Duration
	time time.Time
}

// summary counts what happened, so that nobody takes an empty run for a good
// one.
type summary struct {
	Runs, Logins, Refreshes, Logouts, Recorded, Enforced, Accepted, Refused, Expired, Unknown, Stale, Strict         int
	Lapses, Boots, Starts, Restores, Releases, Pauses, Stalls, Cuts, Jumps, Suspends, Snapshots, Compactions, Strays int
}

func (s *summary) add(o summary) {
	s.Runs += o.Runs
	s.Logins += o.Logins
	s.Refreshes += o.Refreshes
	s.Logouts += o.Logouts
	s.Recorded += o.Recorded
	s.Enforced += o.Enforced
	s.Accepted += o.Accepted
	s.Refused += o.Refused
	s.Expired += o.Expired
	s.Unknown += o.Unknown
	s.Stale += o.Stale
	s.Strict += o.Strict
	s.Lapses += o.Lapses
	s.Boots += o.Boots
	s.Starts += o.Starts
	s.Restores += o.Restores
	s.Releases += o.Releases
	s.Pauses += o.Pauses
	s.Stalls += o.Stalls
	s.Cuts += o.Cuts
	s.Jumps += o.Jumps
	s.Suspends += o.Suspends
	s.Snapshots += o.Snapshots
	s.Compactions += o.Compactions
	s.Strays += o.Strays
}

func (s summary) each() []struct {
	name string
	n    int
} {
	return []struct {
		name string
		n    int
	}{
		{"runs", s.Runs}, {"logins", s.Logins}, {"refreshes", s.Refreshes}, {"logouts", s.Logouts}, {"recorded", s.Recorded},
		{"enforced", s.Enforced}, {"accepted", s.Accepted}, {"refused", s.Refused}, {"expired", s.Expired}, {"of unknown keys", s.Unknown},
		{"stale", s.Stale}, {"strict", s.Strict}, {"lapses", s.Lapses}, {"verifier starts", s.Boots}, {"releases", s.Releases},
		{"authority starts", s.Starts}, {"restores", s.Restores}, {"pauses", s.Pauses}, {"stalls", s.Stalls}, {"cuts", s.Cuts},
		{"clock jumps", s.Jumps}, {"suspends", s.Suspends}, {"snapshots", s.Snapshots}, {"compactions", s.Compactions}, {"stray answers", s.Strays},
	}
}

func (s summary) String() string {
	var out []string
	for _, c := range s.each() {
		out = append(out, fmt.Sprint(c.n, " ", c.name))
	}
	return strings.Join(out, ", ")
}

func (r *record) count(f func(*summary)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.summary)
}

func (r *record) commit(c commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits = append(r.commits, c)
	r.summary.Recorded++
}

func (r *record) enforced(e enforced) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, e)
	r.summary.Enforced++
}

func (r *record) check(c check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, c)
	s := &r.summary
	*[]*int{&s.Accepted, &s.Refused, &s.Expired, &s.Unknown, &s.Stale}[c.verdict]++
	if c.strict {
		s.Strict++
	}
}

// probed reports whether a token was asked about at this moment already: logouts
// that share a round are answered together.
func (r *record) probed(i *issued, at time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probes == nil {
		r.probes = map[*issued]time.Duration{}
	}
	last, ok := r.probes[i]
	r.probes[i] = at
	return ok && last == at
}

func (r *record) restored(at time.Duration, history int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restores = append(r.restores, restored{at, history})
}

func (r *record) keyKnown(kid string, at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]time.Duration{}
	}
	if _, ok := r.keys[kid]; !ok {
		r.keys[kid] = at
	}
}

func (r *record) authorityTime(at time.Duration, t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.times); n == 0 || t.After(r.times[n-1].time) {
		r.times = append(r.times, reading{at, t})
	}
	r.now = append(r.now, reading{at, t})
}

// latest returns the latest authority time that was told up to a moment.
func (r *record) latest(at time.Duration) time.Time {
	i := sort.Search(len(r.times), func(i int) bool { return r.times[i].at > at })
	if i == 0 {
		return time.Time{}
	}
	return r.times[i-1].time
}

// fingerprint is what a run was, in a form that does not depend on the order in
// which goroutines ran.
func (r *record) fingerprint() string {
	var lines []string
	for _, c := range r.checks {
		lines = append(lines, fmt.Sprintf("%d check %d/%d %d %v %v", c.start, c.guard, c.process, c.end, c.token.claims.ID, c.verdict))
	}
	for _, c := range r.commits {
		lines = append(lines, fmt.Sprintf("%d commit %d %d %v", c.at, c.history, c.entry.Seq, c.entry.Kind))
	}
	for _, e := range r.answers {
		lines = append(lines, fmt.Sprintf("%d enforced %d %d %d", e.at, e.history, e.seq, e.began))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
