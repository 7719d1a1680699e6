package limit

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// DefaultMaxKeys is the number of keys counted apart when Config says nothing.
const DefaultMaxKeys = 100_000

// Precision: up to exact events of a key are kept one by one. With a higher
// limit, events that fall within a 1/exact of the window are counted together
// and expire with the last of them: late, never early.
const exact = 32

// maxKey is the longest key kept as it is. Longer ones are kept as their hash,
// so that user names of a megabyte do not fill the memory that MaxKeys bounds.
const maxKey = 64

// Config is a limit of Limit events in any Window.
type Config struct {
	Limit   int           // zero or less turns the limiter off
	Window  time.Duration // zero or less turns the limiter off
	MaxKeys int           // keys counted apart; zero means DefaultMaxKeys
}

// A Limiter counts events by key. It is safe for concurrent use.
type Limiter struct {
	cfg     Config
	quantum time.Duration
	start   time.Time

	mu        sync.Mutex
	keys      map[string]*counter
	overflow  counter
	nextSweep time.Duration
}

// A Verdict is the state of one key.
type Verdict struct {
	Allowed   bool
	Limit     int           // 0 when the limiter is off
	Remaining int           // events still allowed now
	Reset     time.Duration // until the oldest counted event leaves the window; 0 if there is none
}

// counter holds the events of one key, oldest first. Times are counted from the
// start of the limiter and monotonic: setting the clock of the machine back
// must not keep anybody out, nor setting it forward let anybody in.
type counter struct {
	events []event
	total  int
}

type event struct {
	first, last time.Duration
	n           int
}

// New returns a limiter for cfg.
func New(cfg Config) *Limiter {
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = DefaultMaxKeys
	}
	l := &Limiter{cfg: cfg, start: time.Now(), keys: map[string]*counter{}}
	if cfg.Limit > exact {
		l.quantum = cfg.Window / exact
	}
	l.nextSweep = cfg.Window
	return l
}

// Take counts one event and says whether it was within the limit. An event that
// is refused is not counted: whoever keeps knocking is let in as soon as Reset
// promised.
func (l *Limiter) Take(key string) Verdict {
	if l.off() {
		return Verdict{Allowed: true}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	c := l.counter(key, now, true)
	if c.total >= l.cfg.Limit {
		return l.verdict(c, now, false)
	}
	c.add(now, l.quantum)
	return l.verdict(c, now, true)
}

// Peek says whether an event would be within the limit and counts nothing.
//
// Peek before and Add after the work is a gap that a thousand simultaneous
// guesses fit through. Where that matters, Take before the work and Return when
// it turns out not to count.
func (l *Limiter) Peek(key string) Verdict {
	if l.off() {
		return Verdict{Allowed: true}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	c := l.counter(key, now, false)
	return l.verdict(c, now, c.total < l.cfg.Limit)
}

// Add counts one event. Above the limit the newest events are the ones kept, so
// that guesses which overtook a Peek are paid for with a longer wait.
func (l *Limiter) Add(key string) {
	if l.off() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	c := l.counter(key, now, true)
	c.add(now, l.quantum)
	if c.total > l.cfg.Limit {
		c.dropOldest()
	}
}

// Return takes back one event that Take has counted, the newest.
func (l *Limiter) Return(key string) {
	if l.off() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counter(key, time.Since(l.start), false)
	if len(c.events) == 0 {
		return
	}
	newest := &c.events[len(c.events)-1]
	newest.n--
	c.total--
	if newest.n == 0 {
		c.events = c.events[:len(c.events)-1]
	}
	if k := internal(key); c.total == 0 && l.keys[k] == c {
		delete(l.keys, k)
	}
}

// Clear forgets the events of a key. Those counted in the overflow bucket stay:
// they are not this key's alone.
func (l *Limiter) Clear(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, internal(key))
}

func (l *Limiter) off() bool { return l.cfg.Limit <= 0 || l.cfg.Window <= 0 }

// counter returns the current counter of a key. A key that has none gets one if
// create is set and there is room.
//
// When there is no room even after a sweep, all further keys share the overflow
// bucket. Forgetting the oldest key instead would let an attacker flush a
// counter, his own or that of the account he is guessing at, by sending
// MaxKeys invented names; letting uncounted keys pass would be no limit at all.
// Sharing fails closed: while the flood lasts newcomers are limited together,
// and every counter that exists goes on counting.
func (l *Limiter) counter(key string, now time.Duration, create bool) *counter {
	key = internal(key)
	c := l.keys[key]
	if c == nil {
		if now >= l.nextSweep {
			l.sweep(now)
		}
		switch {
		case len(l.keys) >= l.cfg.MaxKeys:
			c = &l.overflow
		case create:
			c = &counter{}
			l.keys[key] = c
		default:
			c = &counter{}
		}
	}
	c.expire(now - l.cfg.Window)
	return c
}

// sweep forgets the keys whose events have all expired. Going through all keys
// for every new one would hand an attacker a quadratic cost, so the next sweep
// is due when the first of the remaining keys can expire, yet not at once.
func (l *Limiter) sweep(now time.Duration) {
	next := now + l.cfg.Window
	for key, c := range l.keys {
		if c.expire(now - l.cfg.Window); c.total == 0 {
			delete(l.keys, key)
			continue
		}
		next = min(next, c.events[len(c.events)-1].last+l.cfg.Window)
	}
	l.nextSweep = max(next, now+l.cfg.Window/64)
}

func (l *Limiter) verdict(c *counter, now time.Duration, allowed bool) Verdict {
	v := Verdict{Allowed: allowed, Limit: l.cfg.Limit, Remaining: max(0, l.cfg.Limit-c.total)}
	if len(c.events) > 0 {
		v.Reset = c.events[0].last + l.cfg.Window - now
	}
	return v
}

func (c *counter) add(now, quantum time.Duration) {
	c.total++
	if i := len(c.events) - 1; i >= 0 && now-c.events[i].first <= quantum {
		c.events[i].n++
		c.events[i].last = now
		return
	}
	c.events = append(c.events, event{first: now, last: now, n: 1})
}

// expire forgets the events at or before the given time.
func (c *counter) expire(until time.Duration) {
	i := 0
	for i < len(c.events) && c.events[i].last <= until {
		c.total -= c.events[i].n
		i++
	}
	if i > 0 {
		// Copied down, so that the slice does not wander through memory.
		c.events = append(c.events[:0], c.events[i:]...)
	}
}

func (c *counter) dropOldest() {
	c.total--
	c.events[0].n--
	if c.events[0].n == 0 {
		c.events = append(c.events[:0], c.events[1:]...)
	}
}

// internal is the form under which a key is kept. A hashed key is longer than
// any that is kept as it is: nobody can choose a name that is another's hash.
func internal(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "#" + hex.EncodeToString(sum[:])
}
