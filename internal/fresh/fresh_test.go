package fresh

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The result of a call that had begun before is the state of before.
func TestTheCallBeginsAfterItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, time.Time]
		calls := 0
		f := func() (time.Time, error) {
			calls++
			began := time.Now()
			time.Sleep(time.Second)
			return began, nil
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				asked := time.Now()
				began, err := g.Do(t.Context(), "k", f)
				if err != nil || began.Before(asked) {
					t.Errorf("asked at %v, began at %v: %v", asked, began, err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if calls > 7 {
			t.Errorf("%d calls for 5 seconds of callers", calls)
		}
		if len(g.lines) != 0 {
			t.Errorf("%d lines are left", len(g.lines))
		}
	})
}

func TestACallerMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int, int]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := g.Do(ctx, 1, func() (int, error) { time.Sleep(time.Minute); return 1, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if v, err := g.Do(t.Context(), 2, func() (int, error) { return 2, nil }); v != 2 || err != nil {
			t.Error(v, err)
		}
		time.Sleep(2 * time.Minute)
	})
}
