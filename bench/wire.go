package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// conn is one keep-alive connection of the load generator. It speaks as much of
// HTTP/1.1 as the server under test answers with, and nothing more: no
// redirects, no trailers, no pipelining. Its buffers are used again, so a
// request costs no allocation here and the generator stays out of the figures.
type conn struct {
	net.Conn
	buf  []byte // what was read and not yet consumed is buf[from:to]
	from int
	to   int
	body []byte // of the last answer
}

// answerTimeout is longer than the server's own, which is an answer.
const answerTimeout = 40 * time.Second

func dial(addr string) (*conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, buf: make([]byte, 16<<10)} }

// do sends a request and reads its answer. The body is good until the next call.
func (c *conn) do(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, fmt.Errorf("sending a request: %w", err)
	}
	status, err = c.readAnswer()
	if err != nil {
		return 0, nil, fmt.Errorf("reading an answer: %w", err)
	}
	return status, c.body, nil
}

var errMalformed = errors.New("malformed HTTP")

func (c *conn) readAnswer() (status int, err error) {
	line, err := c.line()
	if err != nil {
		return 0, err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("%w: status line %q", errMalformed, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil || status < 200 {
		return 0, fmt.Errorf("%w: status line %q", errMalformed, line)
	}
	length, chunked := -1, false
	for {
		if line, err = c.line(); err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, fmt.Errorf("%w: header %q", errMalformed, line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, fmt.Errorf("%w: header %q", errMalformed, line)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			// The figures are of connections that stay open.
			return 0, fmt.Errorf("status %d, and the server closes the connection", status)
		}
	}
	c.body = c.body[:0]
	switch {
	case chunked:
		return status, c.readChunks()
	case status == 204 || status == 304 || length == 0:
		return status, nil
	case length < 0:
		return 0, fmt.Errorf("%w: a body of unknown length", errMalformed)
	}
	return status, c.take(length)
}

func (c *conn) readChunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return fmt.Errorf("%w: chunk size %q", errMalformed, line)
		}
		if err := c.take(int(n)); err != nil {
			return err
		}
		if line, err = c.line(); err != nil {
			return err
		}
		if len(line) != 0 {
			return fmt.Errorf("%w: %q behind a chunk", errMalformed, line)
		}
		if n == 0 {
			return nil
		}
	}
}

// line returns the next line without its end. It is good until the next read.
func (c *conn) line() ([]byte, error) {
	for searched := 0; ; {
		if i := bytes.IndexByte(c.buf[c.from+searched:c.to], '\n'); i >= 0 {
			line := c.buf[c.from : c.from+searched+i]
			c.from += searched + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		searched = c.to - c.from
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// take appends the next n bytes to the body.
func (c *conn) take(n int) error {
	for n > 0 {
		if c.from == c.to {
			if err := c.fill(); err != nil {
				return err
			}
		}
		part := c.buf[c.from:min(c.to, c.from+n)]
		c.body = append(c.body, part...)
		c.from += len(part)
		n -= len(part)
	}
	return nil
}

// fill reads once. What is in the buffer moves to its front.
func (c *conn) fill() error {
	if c.from > 0 {
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	}
	if c.to == len(c.buf) {
		return fmt.Errorf("%w: a line of more than %d bytes", errMalformed, len(c.buf))
	}
	n, err := c.Read(c.buf[c.to:])
	c.to += n
	if n > 0 {
		return nil
	}
	return err
}

// appendRequest writes a request. An empty bearer or content type leaves its
// header out.
func appendRequest(b []byte, method, path, bearer, contentType string, body []byte) []byte {
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: bench\r\nUser-Agent: "...)
	b = append(b, userAgent...)
	if bearer != "" {
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, bearer...)
	}
	if contentType != "" {
		b = append(b, "\r\nContent-Type: "...)
		b = append(b, contentType...)
	}
	if method != "GET" {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

// userAgent is one that people have: it is parsed at a login and stored with
// every audit entry.
const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

// field returns the text of a member of a flat JSON answer. It does no
// unescaping: tokens and states have nothing to escape.
func field(body []byte, name string) []byte {
	_, rest, ok := bytes.Cut(body, []byte(`"`+name+`":"`))
	if !ok {
		return nil
	}
	value, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return nil
	}
	return value
}
