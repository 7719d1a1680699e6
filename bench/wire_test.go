package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// replay is a connection on which a fixed text arrives.
type replay struct {
	net.Conn
	io.Reader
}

func (r replay) Read(b []byte) (int, error)  { return r.Reader.Read(b) }
func (r replay) Write(b []byte) (int, error) { return len(b), nil }

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 40<<10) // more than the buffer holds
	for _, test := range []struct {
		name, wire string
		status     int
		body       string
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		{"spelling of headers", "HTTP/1.1 401 Unauthorized\r\ncontent-length:5\r\nX: a:b\r\n\r\nhello", 401, "hello"},
		{"bare newlines", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok"},
		{"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", 200, "hello world"},
		{"long", "HTTP/1.1 200 OK\r\nContent-Length: 40960\r\n\r\n" + long, 200, long},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, next := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
			} {
				// Twice: what belongs to the second answer must not be lost.
				c := newConn(replay{Reader: next(strings.NewReader(test.wire + test.wire))})
				for range 2 {
					status, body, err := c.do([]byte("GET / HTTP/1.1\r\n\r\n"))
					if err != nil || status != test.status || string(body) != test.body {
						t.Fatalf("got %d %q, %v; want %d %q", status, body, err, test.status, test.body)
					}
				}
				if _, _, err := c.do(nil); !errors.Is(err, io.EOF) {
					t.Errorf("after the last answer: %v, want EOF", err)
				}
			}
		})
	}
}

func TestAnswersRefused(t *testing.T) {
	for name, wire := range map[string]string{
		"cut in the headers":   "HTTP/1.1 200 OK\r\nContent-",
		"cut in the body":      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
		"cut in a chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"other protocol":       "SSH-2.0-OpenSSH_9.9\r\n",
		"HTTP/1.0":             "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no number":            "HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n",
		"informational":        "HTTP/1.1 100 Continue\r\n\r\n",
		"negative length":      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"no length":            "HTTP/1.1 200 OK\r\n\r\nhello",
		"no colon":             "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\nhello",
		"closing":              "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"chunk size":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
		"text behind a chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
		"a line without limit": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			c := newConn(replay{Reader: strings.NewReader(wire)})
			if status, body, err := c.do(nil); err == nil {
				t.Errorf("accepted as %d %q", status, body)
			}
		})
	}
}

func TestAppendRequest(t *testing.T) {
	got := string(appendRequest(nil, "POST", "/logout", "abc", "application/json", []byte("{}")))
	want := "POST /logout HTTP/1.1\r\nHost: bench\r\nUser-Agent: " + userAgent +
		"\r\nAuthorization: Bearer abc\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	got = string(appendRequest(nil, "GET", "/user", "", "", nil))
	if want := "GET /user HTTP/1.1\r\nHost: bench\r\nUser-Agent: " + userAgent + "\r\n\r\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestField(t *testing.T) {
	body := []byte(`{"state":"enforced","access_token":"a.b.c","n":1,"open":"never closed`)
	for name, want := range map[string]string{"state": "enforced", "access_token": "a.b.c", "n": "", "open": "", "token": ""} {
		if got := string(field(body, name)); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}
