package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is a real 'curfew serve', on an address and a directory that outlive
// it.
type process struct {
	t         *testing.T
	addr, dir string
	cmd       *exec.Cmd
	stderr    bytes.Buffer
	http      *http.Client
}

func newProcess(t *testing.T) *process {
	t.Helper()
	return &process{
		t: t, addr: freeAddress(), dir: filepath.Join(t.TempDir(), "data"),
		// As many idle connections as there are clients, or each call would
		// need one of its own.
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
}

func (p *process) start() {
	p.t.Helper()
	p.stderr.Reset()
	p.cmd = exec.Command("curfew", "serve", "--listen", p.addr, "--data", p.dir,
		"--password-memory-kib", "64", "--password-iterations", "1")
	p.cmd.Env = append(os.Environ(), "GORACE="+quickExit)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.kill)
	if !eventually(func() bool { return answers(p.url("/readyz")) }) {
		p.t.Fatalf("serve does not answer:\n%s", p.stderr.String())
	}
}

// kill is kill -9, as is losing the machine's power but for the disk.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
		p.http.CloseIdleConnections()
	}
}

func (p *process) url(path string) string { return "http://" + p.addr + path }

// call returns the status, or 0 if there was no answer.
func (p *process) call(method, path, bearer string, form url.Values, out any) int {
	req, err := http.NewRequest(method, p.url(path), strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0 // an answer that was cut off is none
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(b, out); err != nil {
			return 0
		}
	}
	return resp.StatusCode
}

func (p *process) operator(args ...string) string {
	p.t.Helper()
	args = append(args, "--authority", p.url(""), "--operator-key-file", filepath.Join(p.dir, operatorKeyName))
	var out, errOut bytes.Buffer
	if code := run(args, strings.NewReader("correct-horse\n"), &out, &errOut); code != 0 {
		p.t.Fatalf("curfew %s: exit code %d\n%s%s", strings.Join(args, " "), code, out.String(), errOut.String())
	}
	return out.String()
}

const operatorKeyName = "operator.key"

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (p *process) login() (tokens, error) {
	var t tokens
	form := url.Values{"grant_type": {"password"}, "email": {"alice@example.com"}, "password": {"correct-horse"}}
	if status := p.call("POST", "/token", "", form, &t); status != http.StatusOK {
		return t, fmt.Errorf("login: status %d", status)
	}
	return t, nil
}

// inParallel calls f for 0 to n-1 from so many clients.
func inParallel(clients, n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

// TestKillNine kills the authority while it answers logouts. Whatever was
// answered with 200 must be in force after the next start.
func TestKillNine(t *testing.T) {
	const clients, sessions = 8, 200
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	p := newProcess(t)
	p.start()
	p.operator("users", "add", "alice@example.com", "--password-stdin")
	var answered, lost int
	for range rounds {
		issued := make([]tokens, sessions)
		inParallel(clients, sessions, func(i int) {
			var err error
			if issued[i], err = p.login(); err != nil {
				t.Error(err)
			}
		})
		if t.Failed() {
			t.Fatal(p.stderr.String())
		}
		done := killDuringLogouts(p, clients, issued)
		p.start()
		checkEndings(p, clients, issued, done)
		for i := range done {
			if done[i] {
				answered++
			} else {
				lost++
			}
		}
		p.operator("audit", "verify")
		if t.Failed() {
			return
		}
	}
	// Killing before the first or after the last answer would show nothing.
	if answered == 0 || lost == 0 {
		t.Errorf("%d logouts were answered and %d were not: the kill did not fall among them", answered, lost)
	}
	t.Logf("%d rounds: %d logouts answered, %d cut off", rounds, answered, lost)
}

// killDuringLogouts logs out everything, kills the process after a random
// number of answers, and reports which logouts were answered with 200.
func killDuringLogouts(p *process, clients int, issued []tokens) []bool {
	done := make([]bool, len(issued))
	var answers atomic.Int64
	killAt := 1 + rand.Int64N(int64(len(issued)-clients))
	delay := time.Duration(rand.Int64N(int64(3 * time.Millisecond)))
	server := p.cmd.Process
	inParallel(clients, len(issued), func(i int) {
		if p.call("POST", "/logout", issued[i].Access, nil, nil) != http.StatusOK {
			return
		}
		done[i] = true
		if answers.Add(1) == killAt {
			// Not here and now, where this client is between two calls.
			time.AfterFunc(delay, func() { server.Kill() })
		}
	})
	p.kill()
	return done
}

func checkEndings(p *process, clients int, issued []tokens, done []bool) {
	inParallel(clients, len(issued), func(i int) {
		access := p.call("GET", "/user", issued[i].Access, nil, nil)
		refresh := p.call("POST", "/token", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {issued[i].Refresh}}, nil)
		ended := access == http.StatusUnauthorized && refresh == http.StatusBadRequest
		live := access == http.StatusOK && refresh == http.StatusOK
		switch {
		case done[i] && !ended:
			p.t.Errorf("logout %d was answered 200; after the restart: access %d, refresh %d", i, access, refresh)
		case !ended && !live:
			p.t.Errorf("logout %d was cut off and left half a session: access %d, refresh %d", i, access, refresh)
		}
	})
}

// TestShutdownFinishesRequests interrupts the authority while it reads the body
// of a logout. The logout still gets its answer, and is in force afterwards.
func TestShutdownFinishesRequests(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.operator("users", "add", "alice@example.com", "--password-stdin")
	issued, err := p.login()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	const body = "scope=local"
	fmt.Fprintf(conn, "POST /logout HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", p.addr, issued.Access, len(body))
	r := bufio.NewReader(conn)
	// The server says this when the handler begins to read.
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v; want 100 Continue", line, err)
	}
	r.ReadString('\n')

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return !answers(p.url("/livez")) }) {
		t.Fatal("new requests are still accepted after the interrupt")
	}
	fmt.Fprint(conn, body)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("the request in flight was cut off: %v\n%s", err, p.stderr.String())
	}
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), `"state":"enforced"`) {
		t.Errorf("got %d %s, want 200 with state enforced", resp.StatusCode, b)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("serve: %v\n%s", err, p.stderr.String())
	}
	p.cmd = nil
	p.start()
	if status := p.call("GET", "/user", issued.Access, nil, nil); status != http.StatusUnauthorized {
		t.Errorf("after the restart the access token gets %d, want 401", status)
	}
}
