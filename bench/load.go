package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errDone ends a client that has nothing left to send. It is no failure.
var errDone = errors.New("nothing left to send")

// client is one caller of a scenario. step makes one call and fails unless the
// answer is what the scenario asks for; it returns errDone when it has nothing
// left.
type client struct {
	conn *conn
	step func(c *conn) error
}

// warmUp is left out of the figures: connections are accepted, buffers grow,
// and the first statements are prepared.
const warmUp = 300 * time.Millisecond

// load lets all clients call in a closed loop: each sends its next request when
// it has the answer to the last one. pid is the server's, whose processor time
// is read.
func load(ctx context.Context, length time.Duration, pid int, clients []client) (measured, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(clients))
	took := make([][]time.Duration, len(clients))
	last := make([]time.Time, len(clients))
	begin := time.Now()
	count := begin.Add(warmUp)
	end := count.Add(length)
	for i, cl := range clients {
		cl.conn.SetDeadline(end.Add(answerTimeout))
		took[i] = make([]time.Duration, 0, 4096)
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				if !start.Before(end) {
					return
				}
				err := cl.step(cl.conn)
				if errors.Is(err, errDone) {
					return
				}
				if err != nil {
					errs[i] = err
					cancel()
					return
				}
				now := time.Now()
				if !start.Before(count) {
					took[i] = append(took[i], now.Sub(start))
					last[i] = now
				}
			}
		})
	}
	time.Sleep(time.Until(count))
	server, self := processTime(pid), processTime(os.Getpid())
	wg.Wait()
	m := measured{serverCPU: processTime(pid) - server, clientCPU: processTime(os.Getpid()) - self}
	if err := errors.Join(errs...); err != nil {
		return m, err
	}
	for i := range clients {
		m.took = append(m.took, took[i]...)
		m.elapsed = max(m.elapsed, last[i].Sub(count))
	}
	if len(m.took) == 0 {
		return m, errors.New("no request was made in the time that counts")
	}
	return m, context.Cause(ctx)
}

// open returns n clients with connections of their own.
func open(addr string, n int, step func(i int) func(*conn) error) ([]client, error) {
	out := make([]client, n)
	for i := range out {
		c, err := dial(addr)
		if err != nil {
			closeAll(out)
			return nil, err
		}
		out[i] = client{conn: c, step: step(i)}
	}
	return out, nil
}

func closeAll(clients []client) {
	for _, c := range clients {
		if c.conn != nil {
			c.conn.Close()
		}
	}
}

// unexpected is an answer that fails the run.
func unexpected(doing string, status int, body []byte) error {
	return fmt.Errorf("%s: unexpected answer %d: %.300s", doing, status, body)
}

// processTime returns the processor time of a process so far, or 0 where the
// kernel does not tell. Its unit is 10 ms, which is fine over seconds.
func processTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return statTime(string(text))
}

// statTime reads utime and stime of a line of /proc/PID/stat. The name of the
// program may hold spaces and parentheses, so fields count from its end.
func statTime(stat string) time.Duration {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// residentBytes returns what a process holds in memory, or 0.
func residentBytes(pid int) int64 { return statusBytes(pid, "VmRSS:") }

// peakBytes returns the most that it ever held, or 0.
func peakBytes(pid int) int64 { return statusBytes(pid, "VmHWM:") }

func statusBytes(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
