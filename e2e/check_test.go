package e2e

import (
	"fmt"
	"time"
)

// checkLinear looks for what is wrong by itself, in time linear in the length of
// the history. It finds less than the model, but it cannot run out of time:
//
//   - an accept that began after a logout of the session was answered,
//   - a refusal that ended before anybody could have ended the session,
//   - an accept that began after the same observer had refused,
//   - two different successors of one refresh token.
func checkLinear(ops []op, observers []string) []string {
	type id struct{ user, session int }
	type seen struct {
		id
		at observer
	}
	type used struct {
		id
		counter int
	}
	var out []string
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	ended := map[id]*op{}     // the enforced end that was answered first
	reached := map[id]*op{}   // whatever may have ended it that was called first
	refusal := map[seen]*op{} // that was answered first
	logins := map[int][]*op{}
	for i := range ops {
		if o := &ops[i]; o.Kind == opLogin && o.Outcome == done {
			logins[o.User] = append(logins[o.User], o)
		}
	}
	first := func(m map[id]*op, k id, o *op, key func(*op) int64) {
		if m[k] == nil || key(o) < key(m[k]) {
			m[k] = o
		}
	}
	byCall := func(o *op) int64 { return o.Call }
	byReturn := func(o *op) int64 { return o.Return }
	for i := range ops {
		o := &ops[i]
		switch o.Kind {
		case opLogout, opReuse:
			first(reached, id{o.User, o.Session}, o, byCall)
			if o.Outcome == done {
				first(ended, id{o.User, o.Session}, o, byReturn)
			}
		case opLogoutAll:
			for _, l := range logins[o.User] {
				k := id{l.User, l.Session}
				first(reached, k, o, byCall)
				if o.Outcome == done && l.Return < o.Call {
					first(ended, k, o, byReturn)
				}
			}
		case opVerify, opRefresh:
			if o.Outcome == refused {
				k := seen{id{o.User, o.Session}, o.Observer}
				if refusal[k] == nil || o.Return < refusal[k].Return {
					refusal[k] = o
				}
			}
		}
	}
	successors := map[used]string{}
	for i := range ops {
		o := &ops[i]
		if o.Kind != opVerify && o.Kind != opRefresh {
			continue
		}
		k := id{o.User, o.Session}
		switch o.Outcome {
		case accepted:
			if e := ended[k]; e != nil && o.Call > e.Return {
				complain("accepted at %s %v after an answered logout:\n  %v\n  %v", observers[o.Observer], time.Duration(o.Call-e.Return), o, e)
			}
			if r := refusal[seen{k, o.Observer}]; r != nil && o.Call > r.Return {
				complain("accepted at %s after a refusal:\n  %v\n  %v", observers[o.Observer], o, r)
			}
			if o.Kind == opRefresh {
				u := used{k, o.Counter}
				if have, ok := successors[u]; ok && have != o.Detail {
					complain("two successors of one refresh token: %v", o)
				}
				successors[u] = o.Detail
			}
		case refused:
			if r := reached[k]; r == nil || o.Return < r.Call {
				complain("refused at %s, though nobody had ended the session: %v", observers[o.Observer], o)
			}
		}
	}
	return out
}

// report counts what happened, so that a run in which nothing did cannot pass.
type report struct {
	ops      map[kind]int
	verdicts map[verdict][]int // by observer
	enforced int
	unknown  int // writes of which it is not known whether they were carried out
	// slowest is the longest that an enforced logout took, of those during
	// which the authority was neither stopped nor killed.
	slowest time.Duration
	faults  map[string]int
	swept   int
}

func summarize(ops []op, observers []string, faults map[string]int, outages []outage) report {
	r := report{ops: map[kind]int{}, verdicts: map[verdict][]int{}, faults: faults}
	for _, o := range ops {
		if o.Kind == opReuse {
			continue
		}
		r.ops[o.Kind]++
		if o.Kind == opVerify || o.Kind == opRefresh {
			if r.verdicts[o.Outcome] == nil {
				r.verdicts[o.Outcome] = make([]int, len(observers))
			}
			r.verdicts[o.Outcome][o.Observer]++
		}
		if o.Outcome == unknown {
			r.unknown++
		}
		if (o.Kind == opLogout || o.Kind == opLogoutAll) && o.Outcome == done {
			r.enforced++
			if !overlaps(outages, o.Call, o.Return) {
				r.slowest = max(r.slowest, time.Duration(o.Return-o.Call))
			}
		}
	}
	return r
}

// outage is a time in which the authority could not answer.
type outage struct{ from, to int64 }

func overlaps(list []outage, from, to int64) bool {
	for _, o := range list {
		if from < o.to && o.from < to {
			return true
		}
	}
	return false
}

func (r report) line(observers []string) string {
	at := func(v verdict) string {
		text := ""
		for i, name := range observers {
			n := 0
			if r.verdicts[v] != nil {
				n = r.verdicts[v][i]
			}
			text += fmt.Sprintf(" %s %d", name, n)
		}
		return text
	}
	return fmt.Sprintf("operations %v; faults %v; accepts%s; refusals%s; 503s%s; enforced logouts %d (slowest without an outage %v); unknown outcomes %d; agreed on at the end %d",
		r.ops, r.faults, at(accepted), at(refused), at(stale), r.enforced, r.slowest.Round(time.Millisecond), r.unknown, r.swept)
}

// vacuous returns which essential things did not happen at all.
func (r report) vacuous(observers []string, faults []string) []string {
	var out []string
	for _, k := range []kind{opLogin, opVerify, opRefresh, opLogout, opLogoutAll} {
		if r.ops[k] == 0 {
			out = append(out, "no "+string(k))
		}
	}
	for i, name := range observers {
		for _, v := range []verdict{accepted, refused} {
			if r.verdicts[v] == nil || r.verdicts[v][i] == 0 {
				out = append(out, fmt.Sprintf("no %s at %s", v, name))
			}
		}
		if observer(i) >= atVerifier && (r.verdicts[stale] == nil || r.verdicts[stale][i] == 0) {
			out = append(out, "no 503 at "+name)
		}
	}
	for _, f := range faults {
		if r.faults[f] == 0 {
			out = append(out, "no "+f)
		}
	}
	if r.enforced == 0 {
		out = append(out, "no enforced logout")
	}
	if r.unknown == 0 {
		out = append(out, "no write of unknown outcome")
	}
	if r.swept == 0 {
		out = append(out, "no session that all observers were asked about at the end")
	}
	return out
}
