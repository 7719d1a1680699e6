package fresh

import (
	"context"
	"sync"
)

// Group makes calls by key. The zero value is ready. It is safe for concurrent
// use.
type Group[K comparable, V any] struct {
	mu    sync.Mutex
	lines map[K]*line[V]
}

// line is the callers of one key while a call is under way: those who wait for
// the next one.
type line[V any] struct{ next *call[V] }

type call[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// Do returns the result of a call of f for key that began after Do was called.
// Callers that come during a call share the next one; its f is that of the first
// of them. The call goes on if ctx ends; f bounds itself.
func (g *Group[K, V]) Do(ctx context.Context, key K, f func() (V, error)) (V, error) {
	g.mu.Lock()
	if g.lines == nil {
		g.lines = map[K]*line[V]{}
	}
	l := g.lines[key]
	var mine *call[V]
	switch {
	case l == nil:
		l, mine = &line[V]{}, &call[V]{done: make(chan struct{})}
		g.lines[key] = l
		go g.run(key, l, mine, f)
	case l.next == nil:
		l.next = &call[V]{done: make(chan struct{})}
		mine = l.next
	default:
		mine = l.next
	}
	g.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var none V
		return none, context.Cause(ctx)
	}
}

// run makes calls until nobody waits.
func (g *Group[K, V]) run(key K, l *line[V], c *call[V], f func() (V, error)) {
	for c != nil {
		c.value, c.err = f()
		close(c.done)
		g.mu.Lock()
		if c, l.next = l.next, nil; c == nil {
			delete(g.lines, key)
		}
		g.mu.Unlock()
	}
}
