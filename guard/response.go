package guard

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// response is the ResponseWriter that a guarded handler gets. It lets the guard
// end what the handler does not end by itself: a connection that was hijacked,
// as WebSockets are, and a handler that does not look at its context.
type response struct {
	http.ResponseWriter
	ctx  context.Context
	work *work

	mu   sync.Mutex
	done bool      // the handler has returned
	conn *heldConn // if it was hijacked
}

// cutOffAfter is how long a cancelled handler has for ending politely.
const cutOffAfter = 500 * time.Millisecond

// Write fails once the session has ended: a stream stops there even if its
// handler does not look at the context.
func (r *response) Write(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ResponseWriter.Write(b)
}

// ReadFrom keeps the way for files open that the kernel copies.
func (r *response) ReadFrom(src io.Reader) (int64, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return io.Copy(r.ResponseWriter, src)
}

// Unwrap serves [http.ResponseController].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements [http.Flusher], which many event streams ask for.
func (r *response) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Hijack implements [http.Hijacker]. The connection stays tied to the session
// until it is closed, also after the handler has returned.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
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

// cutOff ends what is still going on. It holds the lock, so that a connection
// which has gone on to another request is left alone.
func (r *response) cutOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		r.conn.Close()
		return
	}
	if r.done {
		return
	}
	rc := http.NewResponseController(r.ResponseWriter)
	past := time.Unix(1, 0)
	// Where a server cannot do that, the context is all there is.
	_ = rc.SetReadDeadline(past)
	_ = rc.SetWriteDeadline(past)
}
