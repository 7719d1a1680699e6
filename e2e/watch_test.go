package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// accept is one that a watcher saw.
type accept struct {
	at        observer
	session   int
	call, ret int64
}

// watcher asks all verifiers about some sessions all the time, and notes what
// is accepted.
type watcher struct {
	stop atomic.Bool
	all  sync.WaitGroup

	mu      sync.Mutex
	accepts []accept
	refused map[accept]bool // without times
}

func watch(c *cluster, h *history, list []tokens) *watcher {
	w := &watcher{refused: map[accept]bool{}}
	for i, v := range c.verifiers {
		w.all.Go(func() {
			for n := 0; !w.stop.Load(); n++ {
				session := n % len(list)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				call := h.now()
				said := c.verdict(ctx, v.url(), list[session].Access)
				cancel()
				w.mu.Lock()
				switch said {
				case accepted:
					w.accepts = append(w.accepts, accept{atVerifier + observer(i), session, call, h.now()})
				case refused:
					w.refused[accept{at: atVerifier + observer(i), session: session}] = true
				}
				w.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return w
}

// end stops asking and returns what was accepted.
func (w *watcher) end() []accept {
	w.stop.Store(true)
	w.all.Wait()
	return w.accepts
}
