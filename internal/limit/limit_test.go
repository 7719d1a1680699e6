package limit

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func expect(t *testing.T, what string, got, want Verdict) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Limit: 3, Window: time.Minute})
		expect(t, "before", l.Peek("a"), Verdict{true, 3, 3, 0})
		expect(t, "first", l.Take("a"), Verdict{true, 3, 2, time.Minute})
		time.Sleep(10 * time.Second)
		expect(t, "second", l.Take("a"), Verdict{true, 3, 1, 50 * time.Second})
		time.Sleep(10 * time.Second)
		expect(t, "third", l.Take("a"), Verdict{true, 3, 0, 40 * time.Second})
		expect(t, "fourth", l.Take("a"), Verdict{false, 3, 0, 40 * time.Second})
		expect(t, "peek", l.Peek("a"), Verdict{false, 3, 0, 40 * time.Second})
		expect(t, "another key", l.Take("b"), Verdict{true, 3, 2, time.Minute})

		time.Sleep(40*time.Second - 1)
		expect(t, "just before", l.Take("a"), Verdict{false, 3, 0, 1})
		time.Sleep(time.Nanosecond)
		// Retry-After was the truth, though the key went on knocking.
		expect(t, "first has left", l.Take("a"), Verdict{true, 3, 0, 10 * time.Second})
		expect(t, "only one has left", l.Take("a"), Verdict{false, 3, 0, 10 * time.Second})
		time.Sleep(time.Hour)
		expect(t, "after an hour", l.Peek("a"), Verdict{true, 3, 3, 0})
	})
}

// A fixed window lets twice the limit through around its edge; this one never
// does, wherever the burst falls.
func TestBurstAtTheEdge(t *testing.T) {
	for _, limit := range []int{10, 100} {
		synctest.Test(t, func(t *testing.T) {
			const window, step = time.Minute, 100 * time.Millisecond
			l := New(Config{Limit: limit, Window: window})
			var taken []time.Time
			for range 5 * int(window/step) {
				for l.Take("a").Allowed {
					taken = append(taken, time.Now())
				}
				time.Sleep(step)
			}
			for i := limit; i < len(taken); i++ {
				if gap := taken[i].Sub(taken[i-limit]); gap < window {
					t.Fatalf("limit %d: %d events within %v", limit, limit+1, gap)
				}
			}
			if len(taken) < 4*limit {
				t.Errorf("limit %d: only %d events in five windows", limit, len(taken))
			}
		})
	}
}

// With a high limit, events are kept in groups: never more of them than the
// bound on memory assumes, never expired early.
func TestGroupsAreBoundedAndStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 3 * time.Minute
		l := New(Config{Limit: 1 << 20, Window: window})
		var at []time.Time
		for i := range 8_000 {
			l.Take("a")
			at = append(at, time.Now())
			time.Sleep(time.Duration(i%7) * 100 * time.Millisecond)
			if i%50 != 0 {
				continue
			}
			real := 0
			for j := len(at) - 1; j >= 0 && time.Since(at[j]) < window; j-- {
				real++
			}
			if counted := 1<<20 - l.Peek("a").Remaining; counted < real {
				t.Fatalf("%d events in the window, %d counted", real, counted)
			}
			if n := len(l.keys["a"].events); n > exact+2 {
				t.Fatalf("%d groups are kept", n)
			}
		}
	})
}

func TestAddReturnClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Limit: 2, Window: time.Minute})
		l.Add("a")
		l.Add("a")
		expect(t, "after two failures", l.Peek("a"), Verdict{false, 2, 0, time.Minute})
		time.Sleep(time.Second)
		l.Add("a") // overtook a Peek
		expect(t, "after the third", l.Peek("a"), Verdict{false, 2, 0, 59 * time.Second})
		time.Sleep(59 * time.Second)
		expect(t, "the third still counts", l.Peek("a"), Verdict{true, 2, 1, time.Second})
		l.Clear("a")
		expect(t, "cleared", l.Peek("a"), Verdict{true, 2, 2, 0})

		l.Take("a")
		l.Return("a")
		expect(t, "returned", l.Peek("a"), Verdict{true, 2, 2, 0})
		l.Return("a")
		l.Return("nobody")
		expect(t, "returned too often", l.Peek("a"), Verdict{true, 2, 2, 0})
		if len(l.keys) != 0 {
			t.Errorf("%d keys are kept for nothing", len(l.keys))
		}
	})
}

// A thousand guesses sent at once must not all pass before the first is counted.
func TestSimultaneousGuesses(t *testing.T) {
	l := New(Config{Limit: 10, Window: time.Hour})
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if l.Take("alice").Allowed {
				allowed.Add(1)
			}
			l.Peek("alice")
			l.Add("bob")
		})
	}
	wg.Wait()
	if allowed.Load() != 10 {
		t.Errorf("%d guesses were allowed, want 10", allowed.Load())
	}
	if l.Peek("bob").Remaining != 0 || l.keys["bob"].total != 10 {
		t.Errorf("the counter of 1000 failures stands at %d", l.keys["bob"].total)
	}
}

func TestOff(t *testing.T) {
	for _, cfg := range []Config{{}, {Limit: -1, Window: time.Hour}, {Limit: 5}} {
		l := New(cfg)
		for range 100 {
			l.Add("a")
			expect(t, "off", l.Take("a"), Verdict{Allowed: true})
			expect(t, "off", l.Peek("a"), Verdict{Allowed: true})
			l.Return("a")
			l.Clear("a")
		}
		if len(l.keys) != 0 {
			t.Error("a limiter that is off keeps keys")
		}
	}
}

// Flushing: an attacker invents user names until the table is full, to get rid
// of the counter of the account he is guessing at.
func TestFloodFlushesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Limit: 2, Window: time.Minute, MaxKeys: 100})
		l.Take("victim")
		l.Take("victim")
		allowed := 0
		for i := range 10_000 {
			if l.Take(fmt.Sprint("invented", i)).Allowed {
				allowed++
			}
		}
		if l.Take("victim").Allowed {
			t.Error("the flood flushed the victim's counter")
		}
		// 99 keys of their own, then one shared bucket: closed, not open.
		if allowed != 99+2 {
			t.Errorf("%d of the flood were allowed, want 101", allowed)
		}
		if len(l.keys) > 100 {
			t.Errorf("%d keys are kept, want at most 100", len(l.keys))
		}
		expect(t, "newcomer during the flood", l.Peek("newcomer"), Verdict{false, 2, 0, time.Minute})
		// Neither may one newcomer clear what all share.
		l.Clear("newcomer")
		if l.Peek("another").Allowed {
			t.Error("clearing one key cleared the overflow bucket")
		}
		if v := l.Take("invented5"); !v.Allowed || v.Remaining != 0 {
			t.Errorf("a key that was counted before the table was full is %+v", v)
		}

		time.Sleep(time.Minute)
		expect(t, "newcomer afterwards", l.Take("newcomer"), Verdict{true, 2, 1, time.Minute})
		if len(l.keys) != 1 {
			t.Errorf("%d keys are left after the window, want 1", len(l.keys))
		}
	})
}

// A sweep for each of many new keys would be the attack's amplifier.
func TestSweepsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = time.Minute
		l := New(Config{Limit: 2, Window: window, MaxKeys: 640})
		sweeps, next := 0, l.nextSweep
		for i := range 6400 {
			l.Take(fmt.Sprint(i))
			if l.nextSweep != next {
				sweeps, next = sweeps+1, l.nextSweep
			}
			time.Sleep(window / 640)
		}
		if sweeps > 64*10 {
			t.Errorf("%d sweeps in ten windows", sweeps)
		}
	})
}

func TestLongKeys(t *testing.T) {
	l := New(Config{Limit: 1, Window: time.Hour})
	long := strings.Repeat("x", 1<<20)
	if !l.Take(long).Allowed || l.Take(long).Allowed {
		t.Error("a long key is not counted")
	}
	if !l.Take(long + "y").Allowed {
		t.Error("two long keys share a counter")
	}
	for key := range l.keys {
		if len(key) > maxKey+1 {
			t.Errorf("a key of %d bytes is kept", len(key))
		}
		// Nobody can take the name that stands for another's long one.
		if !l.Take(key).Allowed {
			t.Error("the internal form of a key is a key itself")
		}
		break
	}
	l.Clear(long)
	if !l.Take(long).Allowed {
		t.Error("a long key cannot be cleared")
	}
}

func BenchmarkTake(b *testing.B) {
	l := New(Config{Limit: 100, Window: time.Minute})
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("user", i)
	}
	i := 0
	for b.Loop() {
		l.Take(keys[i%len(keys)])
		i++
	}
}
