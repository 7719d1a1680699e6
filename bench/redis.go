package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// redisServer is a Redis of this run. It keeps nothing on disk.
type redisServer struct {
	cmd  *exec.Cmd
	addr string
}

// startRedis starts a redis-server, which comes from the system's packages.
func (b *bench) startRedis() (*redisServer, error) {
	path, err := findRedis()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	s := &redisServer{addr: addr, cmd: exec.CommandContext(b.ctx, path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
		"--enable-debug-command", "local", "--maxclients", "15000", "--dir", b.dir)}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return s, c.Close()
		}
		if time.Since(begin) > 10*time.Second {
			return nil, errors.Join(errors.New("redis-server does not answer"), s.stop())
		}
	}
}

// findRedis returns the path of redis-server, and installs it where that takes
// no question.
func findRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err == nil {
		return path, nil
	}
	const advice = "this scenario compares with Redis: install redis-server from the packages of this system (Debian: apt-get install redis-server)"
	if _, noApt := exec.LookPath("apt-get"); noApt != nil || os.Geteuid() != 0 {
		return "", errors.New(advice)
	}
	fmt.Fprintln(os.Stderr, "installing redis-server …")
	cmd := exec.Command("apt-get", "install", "-y", "-qq", "redis-server")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s; apt-get: %w: %s", advice, err, text)
	}
	return exec.LookPath("redis-server")
}

func (s *redisServer) stop() error {
	s.cmd.Process.Signal(os.Interrupt)
	s.cmd.Wait() // its exit code after a signal says nothing
	return nil
}

// version is what the server calls itself.
func (s *redisServer) version() string {
	text, _ := exec.Command(s.cmd.Path, "--version").Output()
	for f := range strings.FieldsSeq(string(text)) {
		if v, ok := strings.CutPrefix(f, "v="); ok {
			return "Redis " + v
		}
	}
	return "Redis"
}

const channel = rig.Channel

// startSubscribers starts subscribers of Redis that do as little as possible:
// they read messages and note the number that each begins with.
func startSubscribers(s rig.SwarmSetup, w *rig.Swarm) (stop func() error, err error) {
	var stopping atomic.Bool
	var running, first sync.WaitGroup
	conns := make([]net.Conn, s.Count)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", s.Addr); err != nil {
			return nil, err
		}
		first.Add(1)
		begun := sync.OnceFunc(first.Done)
		running.Go(func() {
			if err := listen(conns[i], w.Member(i), begun); !stopping.Load() {
				w.Fail(fmt.Errorf("a subscriber: %w", err))
				begun()
			}
		})
	}
	first.Wait()
	return func() error {
		stopping.Store(true)
		for _, c := range conns {
			c.Close()
		}
		running.Wait()
		return w.Err()
	}, w.Err()
}

func listen(c net.Conn, m *rig.Member, begun func()) error {
	if _, err := c.Write(appendRESP(nil, "SUBSCRIBE", channel)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 8<<10)
	noted := int64(0)
	for {
		text, err := readPush(r)
		if err != nil {
			return err
		}
		begun()
		if text == nil {
			continue // the answer to SUBSCRIBE
		}
		pos, _ := digits(text)
		// One note for all that came with one read; less than a message may be
		// left.
		if r.Buffered() < 128 {
			m.Arrived(noted, pos)
			noted = pos
		}
	}
}

// readPush reads an array of three, and returns the last of them if it is a
// message. It is good until the next read.
func readPush(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if string(line) != "*3\r\n" {
		return nil, fmt.Errorf("not an array of three: %q", line)
	}
	for range 2 {
		if _, err := readBulk(r); err != nil {
			return nil, err
		}
	}
	if b, err := r.Peek(1); err != nil || b[0] == ':' {
		_, err = r.ReadSlice('\n')
		return nil, err
	}
	return readBulk(r)
}

func readBulk(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	n, rest := digits(bytes.TrimPrefix(line, []byte("$")))
	if line[0] != '$' || string(rest) != "\r\n" {
		return nil, fmt.Errorf("not a bulk string: %q", line)
	}
	b, err := r.Peek(int(n) + 2)
	if err != nil {
		return nil, err
	}
	_, err = r.Discard(int(n) + 2)
	return b[:n], err
}

func appendRESP(b []byte, args ...string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, "\r\n"...)
	for _, a := range args {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(b, "\r\n"...)
		b = append(b, a...)
		b = append(b, "\r\n"...)
	}
	return b
}

// publisher sends messages without waiting for the answers, so that a slow
// server does not slow the schedule down.
type publisher struct {
	conn net.Conn
	done chan error
	buf  []byte
}

func newPublisher(addr string) (*publisher, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: c, done: make(chan error, 1)}
	go func() {
		_, err := io.Copy(io.Discard, c)
		p.done <- err
	}()
	return p, nil
}

func (p *publisher) publish(text string) error {
	p.buf = appendRESP(p.buf[:0], "PUBLISH", channel, text)
	_, err := p.conn.Write(p.buf)
	return err
}

func (p *publisher) close() error {
	err := p.conn.Close()
	<-p.done
	return err
}
