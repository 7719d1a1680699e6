package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"
)

// observer is a place where a credential is accepted or refused. For each of
// them alone a history must make sense: while a logout is under way they need
// not agree.
type observer int

const (
	atUser       observer = iota // GET /user at the authority
	atIntrospect                 // POST /introspect at the authority
	atRefresh                    // refresh tokens
	atVerifier                   // the first of the verifiers
)

// kind is what an operation does.
type kind string

const (
	opLogin     kind = "login"
	opVerify    kind = "verify"
	opRefresh   kind = "refresh"
	opLogout    kind = "logout"
	opLogoutAll kind = "logout-all"
	// opReuse is no call: from here on the authority may take a refresh token
	// that was sent twice for stolen, and end the session.
	opReuse kind = "reuse"
)

// outcomes beside the verdicts.
const (
	done    verdict = "done"    // a login that succeeded, a logout that is enforced
	unknown verdict = "unknown" // it may have been carried out, at any time
)

// never is the return of what has no known one.
const never = int64(math.MaxInt64)

// op is one operation of a history. Times are nanoseconds of one monotonic clock.
type op struct {
	Client   int      `json:"client"`
	Kind     kind     `json:"kind"`
	User     int      `json:"user"`
	Session  int      `json:"session"` // counted for each user; of a logout-all, whose credential it used
	Observer observer `json:"observer,omitempty"`
	Counter  int      `json:"counter,omitempty"` // of a refresh token
	By       string   `json:"by,omitempty"`      // credential of a logout
	Call     int64    `json:"call"`
	Return   int64    `json:"return"`
	Outcome  verdict  `json:"outcome"`
	// Each says that a logout-all found nothing to end: each session had ended
	// by itself, and observers need not have learnt of all of them at once.
	Each   bool   `json:"each,omitempty"`
	ID     string `json:"id,omitempty"` // of the session
	Detail string `json:"detail,omitempty"`
}

func (o op) String() string {
	ret := "never"
	if o.Return != never {
		ret = time.Duration(o.Return).String()
	}
	return fmt.Sprintf("client %d, user %d, session %d %s: %s at %d (%s) -> %s [%v, %s] %s",
		o.Client, o.User, o.Session, o.ID, o.Kind, o.Observer, o.By, o.Outcome, time.Duration(o.Call), ret, o.Detail)
}

// history is what the clients saw.
type history struct {
	began time.Time
	mu    sync.Mutex
	ops   []op
}

func newHistory() *history { return &history{began: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(o op) {
	h.mu.Lock()
	h.ops = append(h.ops, o)
	h.mu.Unlock()
}

// soFar is a copy of what has been seen so far.
func (h *history) soFar() []op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

func (h *history) write(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := json.MarshalIndent(h.ops, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
