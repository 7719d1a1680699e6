package guard

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// response is the ResponseWriter that a guarded handler gets. It lets the guard
// end what the handler does not end by itself: a connection that was hijacked,
// as WebSockets are, and a handler that does not look at its context.
type response struct {
	http.ResponseWriter
	work *work

	mu   sync.Mutex
	done bool      // nothing goes on any more, or nothing that may be touched
	cut  bool      // the handler was cut off
	conn *heldConn // if it was hijacked

	// writing is held during a call to the ResponseWriter. It comes after mu.
	writing sync.Mutex
	sent    bool // something of the answer has been
	refused bool // something of the answer was not
}

// cutOffAfter is how long a cancelled handler has for ending politely.
const cutOffAfter = 500 * time.Millisecond

// over returns why the session has ended, and nil while it has not. The context
// does not tell: it may have ended for reasons that are none of the guard's.
func (r *response) over() error {
	if e := r.work.over.Load(); e != nil {
		return *e
	}
	return nil
}

// begin asks for leave to write, and if there is none says why. Otherwise the
// caller unlocks writing.
func (r *response) begin() error {
	r.writing.Lock()
	if err := r.over(); err != nil {
		r.refused = true
		r.writing.Unlock()
		return err
	}
	return nil
}

// WriteHeader implements [http.ResponseWriter].
func (r *response) WriteHeader(status int) {
	if r.begin() != nil {
		return
	}
	defer r.writing.Unlock()
	r.sent = r.sent || status >= 200 || status == http.StatusSwitchingProtocols
	r.ResponseWriter.WriteHeader(status)
}

// Write fails once the session has ended: a stream stops there even if its
// handler does not look at the context.
func (r *response) Write(b []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	defer r.writing.Unlock()
	r.sent = true
	return r.ResponseWriter.Write(b)
}

// ReadFrom keeps the way for files open that the kernel copies. Other sources
// may keep us waiting, and the session may end meanwhile.
func (r *response) ReadFrom(src io.Reader) (int64, error) {
	file := src
	if l, ok := src.(*io.LimitedReader); ok {
		file = l.R
	}
	if _, ok := file.(*os.File); !ok {
		return io.Copy(struct{ io.Writer }{r}, src)
	}
	if err := r.begin(); err != nil {
		return 0, err
	}
	defer r.writing.Unlock()
	r.sent = true
	return io.Copy(r.ResponseWriter, src)
}

// Unwrap serves [http.ResponseController].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements [http.Flusher], which many event streams ask for.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError is asked for by [http.ResponseController].
func (r *response) FlushError() error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.writing.Unlock()
	r.sent = true
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker]. The connection stays tied to the session
// until it is closed, also after the handler has returned. After the end of the
// session there is none to be had: nobody would watch it.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin(); err != nil {
		return nil, nil, err
	}
	defer r.writing.Unlock()
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	r.conn = &heldConn{Conn: c, release: r.work.remove}
	return r.conn, rw, nil
}

// heldConn is a hijacked connection. Closing it is the end of the work.
type heldConn struct {
	net.Conn
	once    sync.Once
	release func()
}

// Close implements [net.Conn].
func (c *heldConn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}

// CloseWrite is asked for by proxies.
func (c *heldConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// returned says that the handler has returned, and reports whether that is the
// end of the work.
func (r *response) returned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	return r.conn == nil
}

// finish ends the answer of a handler that has returned after its session ended.
// Where nothing was sent, refuse writes the answer. What is cut short must not
// look whole, and its connection is broken off.
func (r *response) finish(refuse func(http.ResponseWriter)) {
	r.mu.Lock()
	gone, cut := r.done || r.conn != nil, r.cut
	r.done = true
	r.mu.Unlock()
	switch {
	case gone: // the connection is closed, or the handler's own
	case cut, r.refused && r.sent:
		panic(http.ErrAbortHandler)
	case !r.sent:
		h := r.ResponseWriter.Header()
		for _, name := range []string{"Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Trailer"} {
			h.Del(name) // they were about another answer
		}
		refuse(r.ResponseWriter)
	}
}

// cutOff ends what is still going on. It holds the lock, so that a connection
// which has gone on to another request is left alone.
func (r *response) cutOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		abort(r.conn)
		return
	}
	if r.done {
		return
	}
	r.cut = true
	rc := http.NewResponseController(r.ResponseWriter)
	past := time.Unix(1, 0)
	// A handler that is stuck in a read or a write is let go. Over HTTP/2 this
	// ends the stream as well.
	_ = rc.SetReadDeadline(past)
	_ = rc.SetWriteDeadline(past)
	// The client must see the end even if the handler does nothing at all. The
	// connection is taken from under it, while it does not write.
	for range 100 {
		if r.writing.TryLock() {
			defer r.writing.Unlock()
			r.done = closeUnder(r.ResponseWriter)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	// It copies something that keeps it waiting, over a writer that has no
	// deadlines. The context is all there is.
}

// closeUnder closes the connection of an answer, and reports whether it could.
// Writers of other middleware may say no, as gin's does when something was sent.
func closeUnder(w http.ResponseWriter) bool {
	for {
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				abort(c)
				return true
			}
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = u.Unwrap()
	}
}

// abort closes a connection without a farewell, for which TLS would wait.
func abort(c net.Conn) {
	inner := c
	if held, ok := c.(*heldConn); ok {
		inner = held.Conn
	}
	if t, ok := inner.(interface{ NetConn() net.Conn }); ok {
		t.NetConn().Close()
	}
	c.Close()
}
