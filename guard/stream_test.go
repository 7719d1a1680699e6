package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// deaf is an event stream that looks neither at its context nor at the errors
// of its writes. It ends with the test.
func deaf(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; t.Context().Err() == nil && i < 200; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// firstLine starts a stream and returns it after its first line.
func firstLine(t *testing.T, c *http.Client, r *http.Request) (*bufio.Reader, func()) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	b := bufio.NewReader(resp.Body)
	if _, err := b.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return b, func() { resp.Body.Close() }
}

// drain reads until the end and says how it came.
func drain(r io.Reader) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		out <- err
	}()
	return out
}

func TestEventStreamThatIgnoresItsContext(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			a, g := newGuard(t, guard.Config{})
			srv := httptest.NewUnstartedServer(g.Middleware(deaf(t)))
			srv.EnableHTTP2 = proto == "HTTP/2.0"
			srv.StartTLS()
			defer srv.Close()
			defer srv.CloseClientConnections()
			text, session := a.Issue(guardtest.Token{})
			body, stop := firstLine(t, srv.Client(), request(t, "GET", srv.URL, bearer(text)))
			defer stop()
			a.Revoke(session)
			if _, took := within(t, promised, "the end of the stream", drain(body)); took > promised {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// The response of a hijacked connection is out of the server's hands.
func TestHijackedConnectionThatIgnoresItsContext(t *testing.T) {
	t.Parallel()
	for name, stay := range map[string]bool{"in the handler": true, "after the handler": false} {
		t.Run(name, func(t *testing.T) {
			a, g := newGuard(t, guard.Config{})
			url := serve(t, g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\nhello\n")
				echo := func() {
					defer conn.Close()
					io.Copy(conn, rw)
				}
				if stay {
					echo()
				} else {
					go echo()
				}
			}))).URL
			dial := func(text string) net.Conn {
				conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nAuthorization: Bearer %s\r\n\r\n", text)
				b := bufio.NewReader(conn)
				for line := ""; line != "hello\n"; {
					if line, err = b.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				return conn
			}
			text, session := a.Issue(guardtest.Token{})
			other, _ := a.Issue(guardtest.Token{})
			conn, theirs, gone := dial(text), dial(other), dial(text)
			if n := g.Status().Running; n != 3 {
				t.Errorf("%d running", n)
			}
			gone.Close()
			eventually(t, "the end of a connection", func() bool { return g.Status().Running == 2 })

			a.Revoke(session)
			within(t, promised, "the end of the connection", drain(conn))
			eventually(t, "the end of the work", func() bool { return g.Status().Running == 1 })
			fmt.Fprint(theirs, "x")
			theirs.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := theirs.Read(make([]byte, 1)); err != nil {
				t.Errorf("somebody else's connection: %v", err)
			}
		})
	}
}

// A handler that was slow to upgrade must not get a connection that nobody
// watches any more.
func TestHijackAfterTheEnd(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	started, result := make(chan struct{}), make(chan error, 1)
	proceed := make(chan struct{})
	url := serve(t, g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-proceed
		conn, _, err := w.(http.Hijacker).Hijack()
		result <- err
		if err == nil {
			defer conn.Close()
			io.Copy(conn, conn)
		}
	}))).URL
	text, session := a.Issue(guardtest.Token{})
	got := open(t, url, bearer(text))
	within(t, 5*time.Second, "the request", started)
	a.Revoke(session)
	time.Sleep(promised)
	close(proceed)
	if err, _ := within(t, 5*time.Second, "the upgrade", result); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("Hijack: %v", err)
	}
	within(t, 5*time.Second, "the answer", got)
}

// A handler that is stuck in a read or a write cannot look at anything.
func TestStuckHandlersAreCutOff(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	started, ended := make(chan struct{}, 2), make(chan error, 2)
	mux := http.NewServeMux()
	mux.HandleFunc("/download", func(w http.ResponseWriter, _ *http.Request) {
		started <- struct{}{}
		for block := make([]byte, 1<<20); ; {
			if _, err := w.Write(block); err != nil {
				ended <- err
				return
			}
		}
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		started <- struct{}{}
		_, err := w.(io.ReaderFrom).ReadFrom(io.LimitReader(zeros{}, 1<<40))
		ended <- err
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		for {
			// Renewing the deadline is what handlers do that mean well.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := r.Body.Read(make([]byte, 100)); err != nil {
				ended <- err
				return
			}
		}
	})
	url := serve(t, g.Middleware(mux)).URL
	for _, path := range []string{"/download", "/file", "/upload"} {
		t.Run(path, func(t *testing.T) {
			text, session := a.Issue(guardtest.Token{})
			r := request(t, "POST", url+path, bearer(text))
			body, feedBody := io.Pipe()
			defer feedBody.Close()
			r.Body = body
			if path == "/upload" {
				go func() {
					for _, err := feedBody.Write([]byte("x")); err == nil; _, err = feedBody.Write([]byte("x")) {
						time.Sleep(20 * time.Millisecond)
					}
				}()
			}
			go func() {
				if resp, err := http.DefaultClient.Do(r); err == nil {
					defer resp.Body.Close()
					<-t.Context().Done() // nobody reads the answer
				}
			}()
			within(t, 5*time.Second, "the request", started)
			time.Sleep(100 * time.Millisecond) // until the buffers are full
			a.Revoke(session)
			within(t, promised, "the end of the handler", ended)
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// What was cut short must not look whole.
func TestTruncatedAnswers(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	started := make(chan struct{}, 1)
	mux := http.NewServeMux()
	// A download whose handler learns from the failed write that it is over.
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "first half")
		http.NewResponseController(w).Flush()
		started <- struct{}{}
		<-r.Context().Done()
		if _, err := fmt.Fprintln(w, "second half"); !errors.Is(err, curfew.ErrRevoked) {
			t.Errorf("writing: %v", err)
		}
	})
	// A stream whose handler ends when it is told to.
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "data: 1")
		http.NewResponseController(w).Flush()
		started <- struct{}{}
		<-r.Context().Done()
	})
	// A handler that gives up before it has said anything.
	mux.HandleFunc("/nothing", func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
		w.Header().Set("Content-Length", "1000")
		http.Error(w, "the database call was cancelled", http.StatusInternalServerError)
	})
	// A handler that says nothing at all, whatever happens.
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
	})
	url := serve(t, g.Middleware(mux)).URL
	run := func(path string) answer {
		text, session := a.Issue(guardtest.Token{})
		ch := open(t, url+path, bearer(text))
		within(t, 5*time.Second, "the request", started)
		a.Revoke(session)
		got, _ := within(t, promised, "the end", ch)
		return got
	}
	if got := run("/download"); got.err == nil || got.body != "first half\n" {
		t.Errorf("a download that was cut short: %q, %v", got.body, got.err)
	}
	if got := run("/stream"); got.err != nil || got.body != "data: 1\n" {
		t.Errorf("a stream that ended politely: %q, %v", got.body, got.err)
	}
	run("/nothing").wantError(t, 401, "session_revoked")
	run("/silent").wantError(t, 401, "session_revoked")
}

// A connection is shared by requests of many sessions, behind a proxy above
// all. The end of one must not break the next.
func TestTheNextRequestOfAConnection(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	started := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.Handle("/", whoami)
	mux.HandleFunc("/polite", func(_ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
	})
	// Its client has the whole answer, and sends the next request, while the
	// handler is being cut off.
	mux.HandleFunc("/lingers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		fmt.Fprint(w, "ok")
		http.NewResponseController(w).Flush()
		started <- struct{}{}
		time.Sleep(promised)
	})
	url := serve(t, g.Middleware(mux)).URL
	other, _ := a.Issue(guardtest.Token{Subject: "dave"})
	for _, path := range []string{"/polite", "/lingers"} {
		t.Run(path, func(t *testing.T) {
			c := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
			defer c.CloseIdleConnections()
			text, session := a.Issue(guardtest.Token{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				resp, err := c.Do(request(t, "POST", url+path, bearer(text)))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}()
			within(t, 5*time.Second, "the request", started)
			a.Revoke(session)
			within(t, 5*time.Second, "the answer", done)
			for range 3 {
				// A request that fails on a connection which the server closes
				// is repeated by clients if it is known not to have begun. So
				// it must fail, if at all, before it reaches a handler.
				r := request(t, "GET", url, bearer(other))
				if got := do(t, c, r).want(t, 200); got.body != "dave" {
					t.Errorf("body %q", got.body)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// A context may end for reasons of others. What the handler says then is none
// of the guard's business.
func TestOtherPeoplesTimeouts(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	guarded := g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.WriteHeader(http.StatusGatewayTimeout)
		fmt.Fprint(w, "the database is slow")
	}))
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		guarded.ServeHTTP(w, r.WithContext(ctx))
	})).URL
	text, _ := a.Issue(guardtest.Token{})
	if got := get(t, url, bearer(text)).want(t, http.StatusGatewayTimeout); got.body != "the database is slow" {
		t.Errorf("body %q", got.body)
	}
}

// A request that takes no notice of its end is counted once.
func TestDeafRequestsAreCountedOnce(t *testing.T) {
	t.Parallel()
	m := &recorder{}
	a, g := newShort(t, guard.Config{Metrics: m})
	h := deaf(t)
	url := serve(t, g.Middleware(h)).URL
	text, _ := a.Issue(guardtest.Token{})
	_, stop := firstLine(t, http.DefaultClient, request(t, "GET", url, bearer(text)))
	defer stop()
	a.Down()
	waitStale(t, g)
	time.Sleep(2 * promised)
	m.read(func(m *recorder) {
		if m.cancelled != 1 {
			t.Errorf("%d cancelled", m.cancelled)
		}
	})
}

// An open WebSocket ends within a second of the logout.
func TestWebSocket(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	var cause atomic.Value
	url := serve(t, g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(context.Background()) // not the request's
			if err != nil {
				if r.Context().Err() != nil {
					cause.Store(context.Cause(r.Context()))
				}
				return
			}
			if err := c.Write(context.Background(), kind, msg); err != nil {
				return
			}
		}
	}))).URL
	dial := func(text string) *websocket.Conn {
		c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + text}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	echo := func(c *websocket.Conn) error {
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		_, got, err := c.Read(t.Context())
		if err == nil && string(got) != "hello" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}
	text, session := a.Issue(guardtest.Token{})
	other, _ := a.Issue(guardtest.Token{})
	mine, theirs := dial(text), dial(other)
	for _, c := range []*websocket.Conn{mine, theirs} {
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Status().Running; n != 2 {
		t.Errorf("%d running", n)
	}
	a.Revoke(session)
	ended := make(chan error, 1)
	go func() {
		_, _, err := mine.Read(t.Context())
		ended <- err
	}()
	if err, _ := within(t, promised, "the end of the socket", ended); err == nil {
		t.Error("a message came instead of the end")
	}
	if err := echo(theirs); err != nil {
		t.Errorf("somebody else's socket: %v", err)
	}
	eventually(t, "the end of the handler", func() bool { return cause.Load() != nil })
	mustEnd(t, cause.Load().(error), session, curfew.ReasonUser)
	if _, resp, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + text}}}); err == nil || resp.StatusCode != 401 {
		t.Errorf("another socket of the session: %v", err)
	}
}

// Connections stay in use across requests, guarded ones too.
func TestConnectionsAreReused(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	url := serve(t, g.Middleware(whoami)).URL
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	made := 0
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			made++
		}
	}}
	for i := range 20 {
		text, session := a.Issue(guardtest.Token{})
		r := request(t, "GET", url, bearer(text))
		do(t, c, r.WithContext(httptrace.WithClientTrace(r.Context(), trace))).want(t, 200)
		if i%2 == 0 {
			a.Revoke(session)
			do(t, c, r.WithContext(httptrace.WithClientTrace(r.Context(), trace))).want(t, 401)
		}
	}
	if made != 1 {
		t.Errorf("%d connections", made)
	}
}
