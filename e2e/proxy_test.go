package e2e

import (
	"net"
	"sync"
	"testing"
	"time"
)

// link is a TCP proxy between a verifier and the authority. Up is towards the
// authority, down is towards the verifier.
type link struct {
	target   string
	listener net.Listener
	up, down *lane

	mu       sync.Mutex
	refusing bool
	pairs    map[*pair]bool
	closed   bool
}

// lane is one direction of a link. What is blocked is late, not lost, as with
// TCP across a network that comes back.
type lane struct {
	mu      sync.Mutex
	changed chan struct{} // closed when the state changes
	blocked bool
	latency time.Duration
	rate    int // bytes per second; 0 = as fast as it goes
	// cuts is blocked as soon as something is under way here, and told so.
	cuts *lane
	told chan struct{}
}

// pair is a connection and its continuation.
type pair struct {
	verifier, authority *net.TCPConn
	done                chan struct{}
	once                sync.Once
}

func newLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{target: target, listener: l, up: newLane(), down: newLane(), pairs: map[*pair]bool{}}
	go k.accept()
	t.Cleanup(k.close)
	return k
}

func newLane() *lane { return &lane{changed: make(chan struct{})} }

func (k *link) url() string { return "http://" + k.listener.Addr().String() }

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		go k.carry(c.(*net.TCPConn))
	}
}

func (k *link) carry(c *net.TCPConn) {
	d, err := net.DialTimeout("tcp", k.target, 5*time.Second)
	if err != nil {
		c.SetLinger(0)
		c.Close()
		return
	}
	p := &pair{verifier: c, authority: d.(*net.TCPConn), done: make(chan struct{})}
	k.mu.Lock()
	if k.refusing || k.closed {
		k.mu.Unlock()
		p.abort()
		return
	}
	k.pairs[p] = true
	k.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { k.up.pump(p, p.verifier, p.authority) })
	both.Go(func() { k.down.pump(p, p.authority, p.verifier) })
	both.Wait()
	p.end()
	k.mu.Lock()
	delete(k.pairs, p)
	k.mu.Unlock()
}

// end closes both sides; whatever is still under way is lost.
func (p *pair) end() {
	p.once.Do(func() {
		close(p.done)
		p.verifier.Close()
		p.authority.Close()
	})
}

// abort is end by RST.
func (p *pair) abort() {
	p.verifier.SetLinger(0)
	p.authority.SetLinger(0)
	p.end()
}

type chunk struct {
	data []byte // nil = the sender has ended
	due  time.Time
}

// pump carries bytes from one side to the other through the lane.
func (l *lane) pump(p *pair, from, to *net.TCPConn) {
	// Latency delays bytes, it does not space them: reading goes on while
	// earlier ones are under way.
	queue := make(chan chunk, 256)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			l.mu.Lock()
			due := time.Now().Add(l.latency)
			if n > 0 && l.cuts != nil {
				l.cuts.set(true, 0, 0)
				close(l.told)
				l.cuts = nil
			}
			l.mu.Unlock()
			if n > 0 {
				select {
				case queue <- chunk{buf[:n], due}:
				case <-p.done:
					return
				}
			}
			if err != nil {
				select {
				case queue <- chunk{nil, due}:
				case <-p.done:
				}
				return
			}
		}
	}()
	for c := range queue {
		if !l.pass(p, c) {
			return
		}
		if c.data == nil {
			to.CloseWrite()
			return
		}
		if _, err := to.Write(c.data); err != nil {
			p.abort()
			return
		}
	}
}

// pass returns when c may go on, or false when its connection is over.
func (l *lane) pass(p *pair, c chunk) bool {
	paid := false // for the bandwidth
	for {
		l.mu.Lock()
		blocked, changed, rate := l.blocked, l.changed, l.rate
		l.mu.Unlock()
		wait := time.Until(c.due)
		if wait <= 0 && rate > 0 && !paid {
			wait, paid = time.Duration(len(c.data))*time.Second/time.Duration(rate), true
			c.due = time.Now().Add(wait)
		}
		if !blocked && wait <= 0 {
			return true
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

func (l *lane) set(blocked bool, latency time.Duration, rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked, l.latency, l.rate = blocked, latency, rate
	close(l.changed)
	l.changed = make(chan struct{})
}

// heal lets everything through.
func (k *link) heal() {
	k.refuse(false)
	k.up.set(false, 0, 0)
	k.down.set(false, 0, 0)
}

// reset ends all connections by RST, and so every new one until heal.
func (k *link) reset() {
	k.refuse(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range k.pairs {
		p.abort()
	}
}

func (k *link) refuse(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refusing = on
}

// cutUpAfterGrant waits until an answer is on its way to the verifier, which is
// the last: whatever the verifier asks after it does not arrive.
func (k *link) cutUpAfterGrant() {
	told := make(chan struct{})
	k.down.mu.Lock()
	k.down.cuts, k.down.told = k.up, told
	k.down.mu.Unlock()
	<-told
}

func (k *link) cutUp()   { k.up.set(true, 0, 0) }
func (k *link) cutDown() { k.down.set(true, 0, 0) }

// cut is a black hole: nothing comes through, and nobody is told.
func (k *link) cut() {
	k.cutUp()
	k.cutDown()
}

func (k *link) slow(latency time.Duration) {
	k.up.set(false, latency, 0)
	k.down.set(false, latency, 0)
}

func (k *link) narrow(rate int) {
	k.up.set(false, 0, rate)
	k.down.set(false, 0, rate)
}

func (k *link) close() {
	k.listener.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for p := range k.pairs {
		p.abort()
	}
}

// The proxy is what the other tests believe in.
func TestLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	heard := make(chan byte, 100)
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					heard <- b[0]
					c.Write(b)
				}
			}()
		}
	}()
	k := newLink(t, echo.Addr().String())
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", k.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	// say sends a byte and reports whether it arrived and came back in time.
	next := byte(0)
	say := func(within time.Duration) (arrived, back bool) {
		t.Helper()
		next++
		if _, err := c.Write([]byte{next}); err != nil {
			return false, false
		}
		c.SetReadDeadline(time.Now().Add(within))
		b := make([]byte, 1)
		_, err := c.Read(b)
		select {
		case got := <-heard:
			arrived = got == next
		default:
		}
		return arrived, err == nil && b[0] == next
	}
	const long, short = 10 * time.Second, 100 * time.Millisecond
	check := func(what string, within time.Duration, wantArrived, wantBack bool) {
		t.Helper()
		if arrived, back := say(within); arrived != wantArrived || back != wantBack {
			t.Fatalf("%s: arrived %v, came back %v; want %v, %v", what, arrived, back, wantArrived, wantBack)
		}
	}
	check("open", long, true, true)
	k.cutDown()
	check("cut down", short, true, false)
	k.heal()
	late := func() {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(long))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("what was late did not come after the link was healed: %v", err)
		}
	}
	late()
	k.cutUp()
	check("cut up", short, false, false)
	k.heal()
	late()
	<-heard
	k.slow(50 * time.Millisecond)
	began := time.Now()
	check("slow", long, true, true)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("slow: %v for 50 ms each way", took)
	}
	k.heal()
	k.narrow(20)
	began = time.Now()
	check("narrow", long, true, true)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("narrow: %v for a byte each way at 20 bytes per second", took)
	}
	k.heal()
	check("healed", long, true, true)
	k.reset()
	check("reset", short, false, false)
	k.heal()
	c = dial()
	check("after a reset", long, true, true)
}
