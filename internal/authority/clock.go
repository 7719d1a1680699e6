package authority

import (
	"sync"
	"time"
)

// clock is authority time: the wall clock, except that it never goes back. It
// starts at the high-water mark that the store has kept, and while the wall
// clock is behind it advances with the monotonic clock. A server that restarts
// with its clock set back thus cannot bring expired tokens to life again
// (guarantee §4), and one whose clock is stepped back while running cannot
// either.
type clock struct {
	mu   sync.Mutex
	last time.Time // with a monotonic reading, taken when it was noted
	at   time.Time // authority time at last
}

func newClock(highWater time.Time) *clock {
	c := &clock{last: time.Now(), at: highWater}
	return c
}

// now returns authority time in UTC, in whole microseconds.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := time.Now()
	at := c.at.Add(n.Sub(c.last)) // monotonic difference
	// Round strips the monotonic reading, so that wall clocks are compared.
	if wall := n.Round(0); wall.After(at) {
		at = wall
	}
	c.last, c.at = n, at
	return at.Truncate(time.Microsecond).UTC()
}

// check is the clock of the authority's own endpoints, which hold no lease:
// they read the log themselves.
func (c *clock) check() (time.Time, error) { return c.now(), nil }
