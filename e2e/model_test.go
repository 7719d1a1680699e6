package e2e

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model is that of one user at one observer. For each session its state has
// whether it lives and which logouts-all are to end it. Of a refresh token it
// has also how often it was exchanged; only one observer sees that change.
type state struct {
	// begun are the logouts-all that have chosen what they end. They do so
	// together with the commit, and an observer learns of it later: in between
	// logins begin sessions that live on.
	begun    uint32
	sessions string // sessionSize bytes for each: life, and chosen as big-endian uint32
}

const (
	sessionSize = 5

	absent = 0 // before the login
	alive  = 1 // plus how often its refresh token was exchanged
	dead   = 255

	maxLogoutAlls = 32 // of one user
)

func (s state) life(session int) byte {
	if at := session * sessionSize; at < len(s.sessions) {
		return s.sessions[at]
	}
	return absent
}

func (s state) set(session int, life byte) state {
	b := make([]byte, max(len(s.sessions), (session+1)*sessionSize))
	copy(b, s.sessions)
	b[session*sessionSize] = life
	s.sessions = string(b)
	return s
}

// each changes all sessions that have begun.
func (s state) each(change func(life *byte, chosen *uint32)) state {
	b := []byte(s.sessions)
	for i := 0; i < len(b); i += sessionSize {
		if b[i] == absent {
			continue
		}
		chosen := binary.BigEndian.Uint32(b[i+1:])
		change(&b[i], &chosen)
		if b[i] == dead {
			chosen = 0 // it makes no difference any more
		}
		binary.BigEndian.PutUint32(b[i+1:], chosen)
	}
	s.sessions = string(b)
	return s
}

// The two halves of a logout-all, beside the kinds of operations.
const (
	choose kind = "choose-all"
	finish kind = "end-chosen"
)

// step is an operation as the model sees it. Of a logout each observer has one
// of its own, with the same times: until it has been answered, it may have
// reached some and not others.
type step struct {
	*op
	kind    kind
	session int
	nth     int // of the logouts-all of its user
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, input, output any) (bool, any) {
		return next(s.(state), input.(step), output.(verdict))
	},
	DescribeOperation: func(input, output any) string {
		switch s := input.(step); s.kind {
		case opRefresh:
			return fmt.Sprintf("refresh(%d, %d) -> %s", s.session, s.Counter, output)
		case opLogoutAll, choose, finish:
			return fmt.Sprintf("%s #%d -> %s", s.kind, s.nth, output)
		default:
			return fmt.Sprintf("%s(%d) -> %s", s.kind, s.session, output)
		}
	},
	DescribeState: func(s any) string {
		var out []string
		for i := range len(s.(state).sessions) / sessionSize {
			switch b := s.(state).life(i); b {
			case absent:
			case dead:
				out = append(out, fmt.Sprintf("%d: dead", i))
			default:
				out = append(out, fmt.Sprintf("%d: %d", i, b-alive))
			}
		}
		return strings.Join(out, ", ")
	},
}

func next(s state, o step, out verdict) (bool, state) {
	bit := uint32(1) << o.nth
	switch o.kind {
	case opLogoutAll:
		return true, s.each(func(life *byte, _ *uint32) { *life = dead })
	case choose:
		s.begun |= bit
		return true, s.each(func(_ *byte, chosen *uint32) { *chosen |= bit })
	case finish:
		return s.begun&bit != 0, s.each(func(life *byte, chosen *uint32) {
			if *chosen&bit != 0 {
				*life = dead
			}
		})
	}
	life := s.life(o.session)
	live := life != absent && life != dead
	switch o.kind {
	case opLogin:
		return life == absent, s.set(o.session, alive)
	case opLogout, opReuse:
		if life == absent {
			return true, s
		}
		return true, s.set(o.session, dead).each(func(*byte, *uint32) {})
	case opVerify:
		return live && out == accepted || life == dead && out == refused, s
	case opRefresh:
		counter := int(life) - alive
		switch {
		case out == refused:
			return life == dead, s
		case live && o.Counter == counter:
			return true, s.set(o.session, life+1)
		case out == unknown:
			return true, s
		default: // the same again, within the grace window
			return live && o.Counter == counter-1, s
		}
	}
	return false, s
}

// place is a partition of a history.
type place struct {
	user     int
	observer observer
}

// partitions returns the histories of each user at each observer. What only
// asked and was not answered is left out.
//
// What could change something and was not answered has no end in a history: it
// may have been carried out at any time, or never. As it stands, that makes the
// search explode, so unless it is wanted raw it is narrowed to where it makes
// a difference. That changes no verdict, see TestNarrowing.
func partitions(ops []op, observers int, raw bool) (map[place][]porcupine.Operation, error) {
	out := map[place][]porcupine.Operation{}
	logins := map[int][]*op{}
	for i := range ops {
		if ops[i].Kind == opLogin && ops[i].Outcome == done {
			logins[ops[i].User] = append(logins[ops[i].User], &ops[i])
		}
	}
	ends := newOpenEnds(ops)
	alls := map[int]int{}
	for i := range ops {
		o := &ops[i]
		nth := 0
		add := func(at observer, k kind, session int, call, ret int64) {
			p := place{o.User, at}
			out[p] = append(out[p], porcupine.Operation{
				ClientId: o.Client, Input: step{o, k, session, nth}, Output: o.Outcome, Call: call, Return: ret,
			})
		}
		everywhere := func(k kind, session int) {
			for at := range observer(observers) {
				add(at, k, session, o.Call, o.Return)
			}
		}
		switch {
		case o.Outcome == stale || o.Outcome == failed:
		case o.Kind == opVerify, o.Kind == opRefresh && (raw || o.Outcome != unknown):
			// Clients send the newest refresh token that they know. Whether it
			// was exchanged by a call that was not answered makes no
			// difference to the next.
			add(o.Observer, o.Kind, o.Session, o.Call, o.Return)
		case o.Kind == opRefresh:
		case o.Outcome == unknown:
			for _, l := range logins[o.User] {
				if o.Kind != opLogoutAll && o.Session != l.Session {
					continue
				}
				for at := range observer(observers) {
					if raw {
						add(at, opLogout, l.Session, o.Call, never)
					} else if call, ret, ok := ends.narrow(o, l.Session, at); ok {
						add(at, opLogout, l.Session, call, ret)
					}
				}
			}
		case o.Kind == opLogoutAll && o.Each:
			for _, l := range logins[o.User] {
				if l.Return < o.Call {
					everywhere(opLogout, l.Session)
				}
			}
		case o.Kind == opLogoutAll:
			if nth = alls[o.User]; nth == maxLogoutAlls {
				return nil, fmt.Errorf("more than %d logouts-all of user %d", maxLogoutAlls, o.User)
			}
			alls[o.User]++
			for at := range observer(observers) {
				if at == atIntrospect || at == atRefresh {
					// They read the rows that the commit has changed.
					add(at, opLogoutAll, 0, o.Call, o.Return)
					continue
				}
				add(at, choose, 0, o.Call, o.Return)
				add(at, finish, 0, o.Call, o.Return)
			}
		default:
			everywhere(o.Kind, o.Session)
		}
	}
	return out, nil
}

// openEnds narrows ends of sessions whose outcome is not known. They make a
// difference only by explaining refusals, and it makes none how much earlier
// they come than the first of those.
type openEnds struct {
	first   map[seenAt]*op                       // the unknown end that was called first
	refused map[seenAt]struct{ call, ret int64 } // the earliest call and return of refusals
}

// seenAt is a session at an observer.
type seenAt struct {
	user, session int
	at            observer
}

func newOpenEnds(ops []op) openEnds {
	e := openEnds{map[seenAt]*op{}, map[seenAt]struct{ call, ret int64 }{}}
	for i := range ops {
		o := &ops[i]
		if o.Outcome != refused {
			continue
		}
		k := seenAt{o.User, o.Session, o.Observer}
		r, ok := e.refused[k]
		if !ok {
			r.call, r.ret = o.Call, o.Return
		}
		r.call, r.ret = min(r.call, o.Call), min(r.ret, o.Return)
		e.refused[k] = r
	}
	return e
}

// narrow returns when an end of unknown outcome can matter: from its call, or
// from when the first refusal may have been decided, until that must have been.
// After that the session is dead and it changes nothing any more. One is enough
// to explain what several can, the one that was called first.
func (e openEnds) narrow(o *op, session int, at observer) (call, ret int64, ok bool) {
	k := seenAt{o.User, session, at}
	r, any := e.refused[k]
	if !any || o.Call > r.ret || e.first[k] != nil && e.first[k].Call <= o.Call {
		return 0, 0, false
	}
	e.first[k] = o
	return max(o.Call, r.call), r.ret, true
}

// modelTimeout bounds the search in one partition. It takes milliseconds.
const modelTimeout = time.Minute

// checkModel returns what does not fit the model, and puts pictures of it into
// dir.
func checkModel(ops []op, observers []string, dir string) []string {
	parts, err := partitions(ops, len(observers), false)
	if err != nil {
		return []string{err.Error()}
	}
	var mu sync.Mutex
	var out []string
	var workers sync.WaitGroup
	work := make(chan place)
	for range 2 {
		workers.Go(func() {
			for p := range work {
				result, info := porcupine.CheckOperationsVerbose(model, parts[p], modelTimeout)
				if result == porcupine.Ok {
					continue
				}
				path := filepath.Join(dir, fmt.Sprintf("user%d-%s.html", p.user, observers[p.observer]))
				if err := porcupine.VisualizePath(model, info, path); err != nil {
					path = err.Error()
				}
				mu.Lock()
				out = append(out, fmt.Sprintf("user %d at %s: porcupine says %s: %s", p.user, observers[p.observer], result, path))
				mu.Unlock()
			}
		})
	}
	for p := range parts {
		work <- p
	}
	close(work)
	workers.Wait()
	slices.Sort(out)
	return out
}
