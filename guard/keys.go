package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/token"
)

const (
	// lookUpEvery bounds how often an unknown kid makes a guard ask for keys:
	// kids are free to invent, and the authority must not feel it.
	lookUpEvery = time.Second
	// maxLookUps bounds the requests that wait for such a question.
	maxLookUps = 1000
)

// lookUps are the questions for keys because of an unknown kid, one at a time.
type lookUps struct {
	mu      sync.Mutex
	last    *lookUp
	changed chan struct{} // closed and replaced when there are other keys
	waiting int
}

type lookUp struct {
	began time.Time
	done  chan struct{} // closed when it was answered
	err   error         // set before that
}

// announce wakes those who wait for a key.
func (l *lookUps) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
}

// enter reports whether one more may wait.
func (l *lookUps) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting >= maxLookUps {
		return false
	}
	l.waiting++
	return true
}

func (l *lookUps) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// withNewKeys looks again at a token whose key is not known: it may have been
// signed in the moment since the key came to be. Only an answer to a question
// that was asked after the token came says that there is no such key. Questions
// are rare, so the token may have to wait for the next one: those who invent
// keys wait a second, and nobody who has a token of a new key is told that it is
// invalid because of them.
func (g *Guard) withNewKeys(ctx context.Context, raw string) (*Claims, error) {
	l := &g.lookUps
	if !l.enter() {
		return nil, fmt.Errorf("%w: too many tokens of unknown keys at once", curfew.ErrStale)
	}
	defer l.leave()
	came := time.Now()
	for {
		l.mu.Lock()
		if l.last == nil || time.Since(l.last.began) >= lookUpEvery {
			l.last = g.lookUpKeys()
		}
		last, changed := l.last, l.changed
		l.mu.Unlock()
		if err := await(ctx, last.done, nil); err != nil {
			return nil, err
		}
		// Under the lease: the question may be older than this request.
		c, err := g.verifier.Check(raw)
		if !errors.Is(err, token.ErrUnknownKey) {
			return c, err
		}
		if !last.began.Before(came) {
			return nil, cmp.Or(last.err, err)
		}
		timer := time.NewTimer(time.Until(last.began.Add(lookUpEvery)))
		err = await(ctx, changed, timer.C)
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// lookUpKeys asks for keys, among other news.
func (g *Guard) lookUpKeys() *lookUp {
	l := &lookUp{began: time.Now(), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		_, l.err = g.follower.Confirm(context.Background()) // bounds itself
	}()
	return l
}

// await waits for either channel.
func await(ctx context.Context, news <-chan struct{}, timer <-chan time.Time) error {
	select {
	case <-news:
	case <-timer:
	case <-ctx.Done():
		return fmt.Errorf("%w: asking for keys: %w", curfew.ErrStale, context.Cause(ctx))
	}
	return nil
}
