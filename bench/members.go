package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/bench/rig"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
	"github.com/curfewhq/curfew/internal/token"
	"golang.org/x/sync/errgroup"
)

// startVerifiers starts verifiers that speak the feed's protocol: each polls
// over a connection of its own, reads every entry of a grant, and acknowledges
// with the next poll. They share one snapshot and keep no denylist, because what
// 10,000 machines would do with theirs must not count on this one.
func startVerifiers(s rig.SwarmSetup, w *rig.Swarm) (stop func() error, err error) {
	at, err := startPosition(s)
	if err != nil {
		return nil, err
	}
	if at.Keys == nil {
		return nil, errors.New("a snapshot without keys")
	}
	var stopping atomic.Bool
	var running, first sync.WaitGroup
	first.Add(s.Count)
	conns := make([]net.Conn, s.Count)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range s.Count {
		g.Go(func() error {
			c, err := net.Dial("tcp", s.Addr)
			if err != nil {
				return err
			}
			conns[i] = c
			v := &verifier{
				stopping: &stopping, member: w.Member(i), at: at, id: curfew.NewID(), head: pollHead(s),
				first: sync.OnceFunc(first.Done), http: &conn{Conn: c, buf: make([]byte, 1<<10)},
			}
			running.Go(func() {
				if err := v.run(); err != nil {
					w.Fail(fmt.Errorf("a verifier: %w", err))
					v.first()
				}
			})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	first.Wait()
	// Each ends when its poll is answered, which is within a second.
	return func() error {
		stopping.Store(true)
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
		}
		running.Wait()
		return w.Err()
	}, w.Err()
}

// startPosition takes a snapshot, reads all of it, and returns its header.
func startPosition(s rig.SwarmSetup) (feed.SnapshotHeader, error) {
	var h feed.SnapshotHeader
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.Addr+"/feed/snapshot", nil)
	if err != nil {
		return h, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		return h, fmt.Errorf("snapshot: %s: %w", resp.Status, err)
	}
	r := bufio.NewReader(z)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, err
	}
	rest, err := io.ReadAll(r)
	if n := bytes.Count(rest, []byte("\n")); err == nil && int64(n) != h.Entries {
		err = fmt.Errorf("a snapshot of %d entries has %d lines", h.Entries, n)
	}
	return h, err
}

func pollHead(s rig.SwarmSetup) []byte {
	return []byte("POST /feed/poll HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAuthorization: Bearer " + s.Key +
		"\r\nContent-Type: application/json\r\nContent-Length: ")
}

// verifier is one simulated verifier. It owns its goroutine.
type verifier struct {
	stopping *atomic.Bool
	member   *rig.Member
	http     *conn
	id       string
	head     []byte // of every request
	at       feed.SnapshotHeader
	poll     int64
	first    func()
	body     []byte
	request  []byte
}

func (v *verifier) run() error {
	for wait := 0; ; wait = 1000 {
		stop := v.stopping.Load()
		v.compose(wait, stop)
		status, body, err := v.http.do(v.request)
		if err != nil {
			return err
		}
		if stop {
			v.http.Close()
			if status != http.StatusNoContent {
				return unexpected("releasing a lease", status, body)
			}
			return nil
		}
		if status != http.StatusOK {
			return unexpected("a poll", status, body)
		}
		before := v.at.Seq
		if err := v.accept(body); err != nil {
			return fmt.Errorf("%w: %.200q", err, body)
		}
		v.first()
		v.member.Arrived(int64(before), int64(v.at.Seq))
	}
}

// compose writes the next poll.
func (v *verifier) compose(waitMS int, release bool) {
	v.poll++
	b := append(v.body[:0], `{"instance":"`...)
	b = append(b, v.id...)
	b = append(b, `","poll":`...)
	b = strconv.AppendInt(b, v.poll, 10)
	if release {
		b = append(b, `,"release":true`...)
	} else {
		b = append(b, `,"log":"`...)
		b = append(b, v.at.Log...)
		b = append(b, `","seq":`...)
		b = strconv.AppendInt(b, int64(v.at.Seq), 10)
		b = append(b, `,"hash":"`...)
		b = append(b, v.at.Hash...)
		b = append(b, `","keys":"`...)
		b = append(b, v.at.Keys.Version...)
		b = append(b, `","wait_ms":`...)
		b = strconv.AppendInt(b, int64(waitMS), 10)
	}
	v.body = append(b, '}')
	r := append(v.request[:0], v.head...)
	r = strconv.AppendInt(r, int64(len(v.body)), 10)
	r = append(r, "\r\n\r\n"...)
	v.request = append(r, v.body...)
}

var errBadGrant = errors.New("a grant that is not whole")

// accept takes a grant in, all of it or nothing.
func (v *verifier) accept(body []byte) error {
	line, entries, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return errBadGrant
	}
	poll, ok1 := number(line, "poll")
	seq, ok2 := number(line, "seq")
	count, ok3 := number(line, "entries")
	lease, ok4 := number(line, "lease_us")
	hash := field(line, "hash")
	if !ok1 || !ok2 || !ok3 || !ok4 || poll != v.poll || lease <= 0 || string(field(line, "log")) != v.at.Log || bytes.Contains(line, []byte(`"keys":`)) {
		return errBadGrant
	}
	next := int64(v.at.Seq) + 1
	for range count {
		end := bytes.IndexByte(entries, '\n')
		if end < 0 {
			return errBadGrant
		}
		got, rest := digits(entries[:end])
		if got != next || len(rest) == 0 || rest[0] != ' ' {
			return errBadGrant
		}
		next++
		entries = entries[end+1:]
	}
	if len(entries) > 0 || next != seq+1 {
		return errBadGrant
	}
	if curfew.Seq(seq) != v.at.Seq {
		v.at.Seq, v.at.Hash = curfew.Seq(seq), string(hash)
	}
	return nil
}

// number returns an integer member of a flat JSON object.
func number(line []byte, name string) (int64, bool) {
	_, rest, ok := bytes.Cut(line, []byte(`"`+name+`":`))
	if !ok {
		return 0, false
	}
	n, after := digits(rest)
	return n, len(after) < len(rest)
}

func digits(b []byte) (n int64, rest []byte) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n, b[i:]
}

// startFollowers starts the library's own end of the feed, denylist included.
func startFollowers(s rig.SwarmSetup, w *rig.Swarm) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	followers := make([]*feed.Follower, s.Count)
	for i := range followers {
		client, err := feedhttp.New("http://"+s.Addr, s.Key, nil, false)
		if err != nil {
			cancel()
			return nil, err
		}
		followers[i] = feed.NewFollower(feed.FollowerConfig{Transport: client, Target: arrivals{w.Member(i)}})
		running.Go(func() { followers[i].Run(ctx) })
	}
	for _, f := range followers {
		select {
		case <-f.Ready():
		case <-time.After(30 * time.Second):
			err = errors.Join(errors.New("a follower has no lease"), f.Status().Err)
		}
	}
	return func() error {
		cancel()
		for _, f := range followers {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			f.Close(ctx)
		}
		running.Wait()
		return w.Err()
	}, err
}

// arrivals notes what a follower is told.
type arrivals struct{ member *rig.Member }

// Replace implements [feed.Target].
func (arrivals) Replace(*denylist.Set) {}

// SetIssuer implements [feed.Target].
func (arrivals) SetIssuer(string, *token.KeySet) {}

// Applied implements [feed.Target].
func (a arrivals) Applied(entries []curfew.Revocation) {
	a.member.Arrived(int64(entries[0].Seq)-1, int64(entries[len(entries)-1].Seq))
}
